"""An audit whose files are read elsewhere finds what one of this process does, and goes on where it was ended."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from breastlens.audit.survey import PARTS_OF_SEEN, survey_images
from breastlens.cohort.apart import MapApart
from breastlens.cohort.records import Cohort
from breastlens.progress import Progress
from breastlens.runs.reading_apart import reading_apart
from breastlens.work.run import Here
from breastlens.work.store import UnitStore


def facts(folder: Path) -> dict[str, Any]:
    told = json.loads((folder / "findings.json").read_text())
    return {name: value for name, value in told.items() if name not in {"created", "command", "phases"}}


def test_findings_are_the_same_wherever_the_files_are_read(
    command: Callable[..., Any], awkward_dir: Path, tmp_path: Path
) -> None:
    data = ["audit", awkward_dir, "--manifest", awkward_dir / "manifest.csv", "--no-controls", "--quiet"]
    assert command(*data, "--out", tmp_path / "here").code == 0
    assert command(*data, "--out", tmp_path / "there", "--on", "processes:2").code == 0
    assert facts(tmp_path / "there") == facts(tmp_path / "here")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "there"]


def test_what_was_read_before_the_end_is_not_read_again_unless_it_changed(
    awkward: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("breastlens.cohort.apart.TOGETHER", 8)
    root = tmp_path / "images"
    shutil.copytree(awkward.root, root)
    store = UnitStore(tmp_path / "units", PARTS_OF_SEEN)
    cohort = Cohort.read(
        root, manifest=root / "manifest.csv", image=awkward.image, mapper=MapApart(store, Here())
    )
    assert cohort.table.equals(Cohort.read(root, manifest=root / "manifest.csv", image=awkward.image).table)
    survey = survey_images(cohort, mapper=MapApart(store, Here()))
    plain = survey_images(cohort)
    assert (survey.loaded.pixels == plain.loaded.pixels).all()
    assert survey.properties.equals(plain.properties)
    assert [each.marks for each in survey.measures] == [each.marks for each in plain.measures]

    begun = {path.name for path in (tmp_path / "units").iterdir()}
    (root / cohort.included["path"].iloc[0]).touch()
    survey_images(cohort, mapper=MapApart(store, Here()))
    assert len({path.name for path in (tmp_path / "units").iterdir()} - begun) == 1


def test_what_was_read_stays_where_the_audit_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with reading_apart("processes:1", tmp_path / "audit", Progress()):
            (tmp_path / ".audit.units" / "0.npz").touch()
            raise RuntimeError("a bug of ours")

    with pytest.raises(RuntimeError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == [".audit.units"]
    with reading_apart("processes:1", tmp_path / "audit", Progress()):
        pass
    assert list(tmp_path.iterdir()) == []
