"""Small cohorts on disk, made of drawn images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

WriteImage = Callable[..., Path]


@pytest.fixture
def write_image(tmp_path: Path) -> WriteImage:
    """Writes a noise image below ``tmp_path / data``; the same seed, size and depth give the same pixels."""

    def write(
        path: str, seed: int, width: int = 12, height: int = 9, dtype: type[np.generic] = np.uint8
    ) -> Path:
        file = tmp_path / "data" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        top = np.iinfo(dtype).max  # type: ignore[type-var]
        pixels = np.random.default_rng(seed).integers(0, top, (height, width)).astype(dtype)
        assert cv2.imwrite(str(file), pixels)
        return file

    return write
