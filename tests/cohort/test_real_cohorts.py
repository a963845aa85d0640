"""The real sets beside the project: what is known of them is found again by other means."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from breastlens.audit.findings import find_problems
from breastlens.cohort import Cohort
from breastlens.cohort.batches import load_images
from breastlens.cohort.splits import prove_disjoint, split_folds, split_groups

pytestmark = pytest.mark.real


def hash_with_opencv(root: Path) -> set[frozenset[str]]:
    """Sets of paths with the same decoded pixels, found without BreastLens."""
    same: dict[str, set[str]] = defaultdict(set)
    for file in root.rglob("*.png"):
        pixels = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_UNCHANGED)
        key = hashlib.md5(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        same[key].add(file.relative_to(root).as_posix())
    return {frozenset(paths) for paths in same.values() if len(paths) > 1}


def duplicate_sets(cohort: Cohort) -> set[frozenset[str]]:
    repeated = cohort.table[cohort.table["duplicate_group"] != ""]
    return {frozenset(rows["path"]) for _, rows in repeated.groupby("duplicate_group")}


def test_thermograms(shared_dir):
    root = shared_dir / "data/dmr"
    cohort = Cohort.read(root, manifest=root / "manifest.csv", exclude_when=["note"])
    assert duplicate_sets(cohort) == hash_with_opencv(root)
    crossing = cohort.table[cohort.table["excluded"].str.startswith("same pixels under healthy and sick")]
    assert [Path(path).parent.name for path in crossing["path"]] == ["healthy", "sick"]
    assert crossing["duplicate_group"].nunique() == 1
    assert (cohort.table["excluded"] != "").sum() == 13
    assert len(cohort.table) == 301
    counts = {finding.code: finding.count for finding in find_problems(cohort)}
    assert counts == {
        "duplicates-across-labels": 2,
        "duplicates-across-patients": 6,
        "dates-hardly-overlap": 162,  # healthy images are of 2012 to 2015, most sick ones of 2018 to 2020
        "column-tells-label": 288,  # visit: only the sick came more than once
    }
    used = cohort.included
    folds = split_folds(used["label"], split_groups(used), 5, seed=0)
    proof = prove_disjoint(used.assign(split=folds))
    assert proof["patients_checked"] == len(cohort.patients)
    assert proof["duplicate_groups_checked"] == 3


def test_ultrasound(shared_dir):
    root = shared_dir / "data/busi"
    cohort = Cohort.read(root, positive=["malignant"])
    assert duplicate_sets(cohort) == hash_with_opencv(root)
    left_out = cohort.table.loc[cohort.table["excluded"] != "", "path"].tolist()
    assert left_out == ["benign/benign (433).png", "malignant/malignant (145).png"]
    assert cohort.labels.negative == ("benign", "normal")
    assert (cohort.included["label"].sum(), len(cohort.included)) == (209, 778)


def test_temperature_matrices(shared_dir):
    cohort = Cohort.read(shared_dir / "data/dmr_matrices", patient_pattern=r"/(?P<patient_id>T\d+)\.")
    assert len(cohort.patients) == 6
    assert set(cohort.table["format"]) == {"MATRIX"}
    loaded = load_images(cohort, cohort.included)
    assert set(loaded.window_low) == {20.0}
    assert set(loaded.window_high) == {38.0}
