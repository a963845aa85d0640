"""The ``phantom`` command with ``--trap``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from breastlens.audit.findings import find_problems
from breastlens.cohort.records import Cohort

SMALL = ("--patients", "6", "--images-per-patient", "1")


def test_traps_are_planted_and_told(command: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "new"
    done = command("phantom", out, *SMALL, "--trap", "format", "--trap", "duplicates-across-categories")
    assert done.code == 0, done.err
    assert done.out == f"Manifest: {out / 'manifest.csv'}\nTruth: {out / 'truth.json'}\n"
    truth = json.loads((out / "truth.json").read_text())
    assert [trap["name"] for trap in truth["traps"]] == ["format", "duplicates-across-categories"]
    cohort = Cohort.read(out, manifest=out / "manifest.csv")
    found = {finding.code: finding for finding in find_problems(cohort)}
    pairs = {path for record in truth["traps"][1]["records"] for path in (record["path"], record["original"])}
    assert set(found["duplicates-across-labels"].records) == pairs


def test_without_a_trap_nothing_is_told(command: Callable[..., Any], tmp_path: Path) -> None:
    done = command("phantom", tmp_path / "new", *SMALL)
    assert done.out == f"Manifest: {tmp_path / 'new' / 'manifest.csv'}\n"
    assert not (tmp_path / "new" / "truth.json").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--trap", "markr"], "no trap 'markr' for --trap; the traps are camera-noise, era, "),
        (["--trap", "markr"], "; did you mean --trap marker?"),
        (["--trap", "era", "--trap", "era"], "the trap era is named 2 times, expected once"),
        (["--trap", "border", "--format", "matrix"], "the trap border needs images"),
        (["--trap", "similar-patient-ids"], "needs 2 images per patient, got 1"),
        (["--trap", "duplicates-across-patients", "--trap", "near-duplicates"], "simulate more patients"),
    ],
)
def test_traps_that_cannot_be(run: Callable[..., str], tmp_path: Path, options: list[str], said: str) -> None:
    small = ("--patients", "4", "--images-per-patient", "1")
    assert said in run("phantom", tmp_path / "new", *small, *options)
    assert list(tmp_path.iterdir()) == []


def test_a_name_like_no_other_gets_no_advice(run: Callable[..., str], tmp_path: Path) -> None:
    assert run("phantom", tmp_path / "new", "--trap", "xyzxyz").endswith("flipped-labels, inverted-labels")
