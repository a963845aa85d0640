"""Models for the benchmarks that use one: small trainings on simulated thermograms; what they score does not matter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from breastlens.errors import WeightsError
from breastlens.imaging.phantom import PhantomSettings, write_cohort
from breastlens.models.backbones import get_backbone
from breastlens.models.weights import resolve_weights
from side_by_side import BREASTLENS, run_child, say

_COHORT = PhantomSettings(patients=20, images_per_patient=2)


def train_model(folder: Path, backbone: str, weights: str, *more: str) -> tuple[Path, str]:
    """Train a probe on simulated thermograms.

    Args:
        folder: For the images and the run; made where there is none.
        backbone: As `breastlens train --backbone` takes it.
        weights: imagenet, none, or a folder of weights files; where it holds none for this backbone, random
            ones are taken.
        *more: Further options of `breastlens train`, such as ``--precision``, ``bf16``.

    Returns:
        The run, and what its weights are.
    """
    try:
        resolve_weights(weights, get_backbone(backbone))
    except WeightsError:
        weights = "none"
    data = folder / "phantoms"
    if not data.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_cohort(data, _COHORT)
    run = folder / "-".join([backbone.replace(":", "-"), *(part.strip("-") for part in more)])
    say(f"a model with {backbone}")
    train: Sequence[str | Path] = [
        *BREASTLENS,
        "train",
        data,
        "--manifest",
        data / "manifest.csv",
        "--no-audit",
    ]
    run_child([*train, "--backbone", backbone, "--weights", weights, *more, "--out", run, "--quiet"])
    return run, "random" if weights == "none" else "ImageNet"
