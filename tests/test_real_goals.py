"""The figures that must be reached on real images, each checked again by a script that does not use BreastLens."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from breastlens.cohort.records import Cohort
from breastlens.runs.preparation import Prepared, prepare
from breastlens.runs.train import train

pytestmark = [pytest.mark.real, pytest.mark.slow]

CHECK = Path(__file__).resolve().parents[1] / "scripts" / "check_run.py"
MOBILENET = "mobilenet_v1_alpha0.75_224_imagenet_notop.weights.h5"
VGG16 = "vgg16_imagenet_notop.weights.h5"


def _check(run_dir: Path) -> str:
    return subprocess.run(
        [sys.executable, str(CHECK), str(run_dir)], capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture(scope="module")
def thermograms(shared_dir: Path) -> Prepared:
    """The thermograms, audited once for both networks."""
    data = shared_dir / "data" / "dmr"
    return prepare(Cohort.read(data, manifest=data / "manifest.csv", exclude_when=["note"]))


@pytest.mark.parametrize(
    ("backbone", "weights", "least", "controls"),
    [
        (
            "mobilenet:0.75",
            MOBILENET,
            0.94,
            {"border", "background", "noise", "shuffled", "intensity", "labels"},
        ),
        ("vgg16", VGG16, 0.945, {"border", "intensity"}),  # as without an audit: each other takes a minute
    ],
)
def test_thermograms(
    shared_dir: Path,
    thermograms: Prepared,
    tmp_path: Path,
    backbone: str,
    weights: str,
    least: float,
    controls: set[str],
) -> None:
    run = train(
        dataclasses.replace(thermograms, audited="labels" in controls),
        out=tmp_path / "run",
        backbone=backbone,
        weights=shared_dir / "weights" / weights,
        folds=5,
    )
    assert run.metrics["out_of_fold"]["auc"] >= least
    assert controls <= set(run.metrics["controls"])
    assert run.metrics["controls"]["border"]["auc"] > 0.85, "what the border alone gives away on this set"
    assert "285 images once each, nothing crosses the split" in _check(run.directory)


def test_ultrasound_and_what_its_near_duplicates_add(shared_dir: Path, tmp_path: Path) -> None:
    """Pictures that stand twice in the set, a little changed, raise the score where they may stand on both sides."""
    cohort = Cohort.read(shared_dir / "data" / "busi", positive=["malignant"])
    weights = shared_dir / "weights" / MOBILENET
    settings = {"backbone": "mobilenet:0.75", "weights": weights, "folds": 5}
    apart = train(cohort, out=tmp_path / "apart", audit=False, **settings)
    together = train(cohort, out=tmp_path / "together", **settings)
    assert apart.metrics["out_of_fold"]["auc"] >= 0.94
    assert 0.91 <= together.metrics["out_of_fold"]["auc"] < apart.metrics["out_of_fold"]["auc"] - 0.01
    assert together.facts["split"]["proof"]["near_duplicates_checked"] > 200
    for run in (apart, together):
        assert "778 images once each, nothing crosses the split" in _check(run.directory)
