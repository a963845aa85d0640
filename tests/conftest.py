"""Fixtures that more than one room's tests need."""

from __future__ import annotations

from pathlib import Path

import pytest

from breastlens.cohort.records import Cohort
from breastlens.imaging.phantom import PhantomSettings, write_cohort

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of real images and weights beside the project, or a skip that says why."""
    if not (SHARED / "data").is_dir():
        pytest.skip("real images and weights are not beside the project")
    return SHARED


@pytest.fixture(scope="session")
def phantom_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty simulated patients with two images each; ``manifest.csv`` is inside."""
    folder = tmp_path_factory.mktemp("phantom") / "images"
    write_cohort(folder, PhantomSettings(patients=30, images_per_patient=2, seed=1))
    return folder


@pytest.fixture(scope="session")
def phantoms(phantom_dir: Path) -> Cohort:
    """The simulated patients as a cohort."""
    return Cohort.read(phantom_dir, manifest=phantom_dir / "manifest.csv")
