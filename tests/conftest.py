"""Fixtures that more than one room's tests need."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of real images and weights beside the project, or a skip that says why."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"real images and weights are not at {SHARED}")
    return SHARED
