"""What a training sets right in its data before it begins, and what it leaves alone."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import cv2
import pandas as pd
import pytest

from breastlens.cohort.records import Cohort
from breastlens.config import ImageRecipe
from breastlens.errors import SplitError
from breastlens.imaging.phantom import PhantomSettings, write_cohort
from breastlens.progress import Progress
from breastlens.runs.preparation import prepare
from breastlens.runs.train import train

pytestmark = pytest.mark.usefixtures("figures_not_drawn")


class Listener(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four patients with an image each, one image twice under another patient, one brightened under another.

    Half as wide and high as the phantom writes them, since a training looks at every pixel.
    """
    root = tmp_path_factory.mktemp("images") / "x"
    write_cohort(root, PhantomSettings(patients=24, images_per_patient=1, seed=4))
    for path in root.glob("*/*.png"):
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    (root / "manifest.csv").unlink()
    healthy, sick = (sorted((root / side).glob("*.png")) for side in ("healthy", "sick"))
    shutil.copy(sick[0], root / "sick" / "P9001.1.png")
    pixels = cv2.imread(str(healthy[1]), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(root / "healthy" / "P9002.1.png"), cv2.add(pixels, 7))
    return root


@pytest.fixture
def cohort(folder: Path) -> Cohort:
    return Cohort.read(folder, patient_pattern=r"(?P<patient_id>P\d+)", image=ImageRecipe(image_size=32))


def test_copies_go_and_near_duplicates_stay_together(cohort: Cohort) -> None:
    listener = Listener()
    prepared = prepare(cohort, progress=listener)
    assert prepared.audited
    assert prepared.changes == (
        "1 copy of other images left out.",
        "1 pair of near-duplicates kept together in every split made here.",
    )
    assert set(prepared.changes) < set(listener.said)
    assert any(line.startswith("warning duplicates-across-patients: ") for line in listener.said)
    patients = prepared.seen.used["patient_id"].tolist()
    assert "P9001" not in patients
    assert len(patients) == 25
    assert len(set(prepared.seen.groups)) == 24


def test_a_patients_own_images_that_are_alike_are_no_change(folder: Path, tmp_path: Path) -> None:
    root = shutil.copytree(folder, tmp_path / "x")
    (root / "sick" / "P9001.1.png").unlink()
    brightened = root / "healthy" / "P9002.1.png"
    brightened.rename(brightened.with_name(sorted((folder / "healthy").glob("*.png"))[1].stem + "b.png"))
    same = Cohort.read(root, patient_pattern=r"(?P<patient_id>P\d+)", image=ImageRecipe(image_size=32))
    prepared = prepare(same)
    assert len(prepared.seen.pairs) == 1
    assert prepared.changes == ()


def test_without_an_audit_nothing_is_changed(cohort: Cohort) -> None:
    prepared = prepare(cohort, audit=False)
    assert not prepared.audited
    assert prepared.changes == ()
    assert len(prepared.seen.used) == 26
    assert prepared.seen.pairs == []
    assert len(set(prepared.seen.groups)) == 25  # patients with the same pixels stay together all the same
    assert {"duplicates-across-patients"} <= {finding.code for finding in prepared.seen.findings}


@pytest.mark.parametrize("audit", [True, False])
def test_a_run_says_whether_its_data_was_audited(
    cohort: Cohort, quick: dict[str, Any], tmp_path: Path, audit: bool
) -> None:
    pytest.importorskip("keras")
    run = train(cohort, out=tmp_path / "run", audit=audit, folds=3, **quick)
    assert run.facts["audit"]["done"] is audit
    assert len(run.facts["audit"]["changes"]) == (2 if audit else 0)
    proof = run.facts["split"]["proof"]
    assert proof["near_duplicates_shared"] == 0
    assert proof["near_duplicates_checked"] == (1 if audit else 0)
    always = {"border", "intensity"}
    more = {"background", "noise", "shuffled", "labels"} if audit else set()
    assert set(run.metrics["controls"]) == always | more
    records = pd.read_csv(run.directory / "records.csv", keep_default_na=False)
    (left_out,) = records.loc[records["path"].str.contains("P9001"), "excluded"]
    assert left_out.startswith("same pixels as sick/") is audit
    same = run.metrics["controls"]["border"]["same_model"]
    assert 0 <= same["auc"] <= 1
    assert run.metrics["controls"]["intensity"]["same_model"] is None


def test_near_duplicates_that_a_manifest_parts_are_counted_and_not_refused(
    cohort: Cohort, quick: dict[str, Any], tmp_path: Path
) -> None:
    pytest.importorskip("keras")
    table = cohort.table
    parts = pd.Series(["train", "validation", "test"] * 9)[: len(table)].to_numpy()
    table = table.assign(split=parts)
    bright = table["path"] == "healthy/P9002.1.png"
    original = table["path"] == sorted(table.loc[table["category"] == "healthy", "path"])[1]
    table.loc[bright, "split"], table.loc[original, "split"] = "test", "train"
    same = table["pixels_sha256"].duplicated(keep=False)
    table.loc[same, "split"] = "train"
    split = Cohort(cohort.root, table, cohort.labels, cohort.image, None, cohort.patient_source)
    run = train(split, out=tmp_path / "run", **quick)
    assert run.facts["split"]["proof"]["near_duplicates_shared"] == 1
    codes = {finding["code"] for finding in run.facts["findings"]}
    assert "near-duplicates-across-splits" in codes


def test_a_column_that_is_blank_in_the_test_part_does_not_lose_the_training(
    cohort: Cohort, quick: dict[str, Any], tmp_path: Path
) -> None:
    pytest.importorskip("keras")
    table = cohort.without_copies().table
    parts = pd.Series(["train", "validation", "test"] * 9)[: len(table)].to_numpy()
    year = table["label"].map({0: "2012-05-01", 1: "2018-05-01"}).where(parts != "test", "")
    dated = dataclasses.replace(cohort, table=table.assign(split=parts, acquired=year))
    run = train(dated, out=tmp_path / "run", **quick)
    (matched,) = [each for each in run.metrics["matched"] if each["column"] == "acquired:year"]
    assert matched["auc"]["value"] is None
    assert matched["reason"]


@pytest.mark.parametrize("audit", [True, False])
def test_a_manifest_whose_parts_share_a_copy_is_refused_either_way(
    cohort: Cohort, quick: dict[str, Any], tmp_path: Path, audit: bool
) -> None:
    parts = pd.Series(["train", "validation", "test"] * 9)[: len(cohort.table)].to_numpy()
    table = cohort.table.assign(split=parts)
    table.loc[table["path"] == "sick/P9001.1.png", "split"] = "test"
    table.loc[table["path"] == sorted(table.loc[table["label"] == 1, "path"])[0], "split"] = "train"
    with pytest.raises(SplitError, match="same pixels in"):
        train(dataclasses.replace(cohort, table=table), out=tmp_path / "run", audit=audit, **quick)
