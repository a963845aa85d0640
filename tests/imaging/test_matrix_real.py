"""Real temperature matrices against the pictures that were made from them on the same 20-38 deg C."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from breastlens.config import ImageRecipe
from breastlens.imaging.decode import decode
from breastlens.imaging.preprocess import apply_window, preprocess

pytestmark = pytest.mark.real


def pairs(shared_dir: Path) -> list[tuple[Path, Path]]:
    matrices = sorted((shared_dir / "data" / "dmr_matrices").glob("*/*.txt"))
    assert len(matrices) == 6
    return [(path, shared_dir / "data" / "dmr" / path.parent.name / f"{path.stem}.png") for path in matrices]


@pytest.mark.parametrize("crop", ["none", "body"])
def test_matrix_and_picture_give_the_same_square(shared_dir: Path, crop: str) -> None:
    recipe = ImageRecipe(temperature_range=(20.0, 38.0), crop=crop)
    for matrix, picture in pairs(shared_dir):
        one, other = preprocess(decode(matrix), recipe), preprocess(decode(picture), recipe)
        if crop == "body":
            assert one.box is not None
            assert other.box is not None
            assert np.abs(np.subtract(one.box, other.box)).max() <= 6, matrix.name
            continue
        difference = np.abs(one.pixels.astype(int) - other.pixels)
        assert difference.max() <= 1, matrix.name
        assert difference.mean() < 0.02, matrix.name


def test_full_size_picture_differs_by_rounding_only(shared_dir: Path) -> None:
    for matrix, picture in pairs(shared_dir):
        image = decode(matrix)
        assert (image.width, image.height, image.quantity) == (640, 480, "temperature_c")
        stored = cv2.imread(str(picture), cv2.IMREAD_UNCHANGED)
        difference = np.abs(apply_window(image.pixels, 20.0, 38.0).astype(int) - stored)
        assert difference.max() <= 1, matrix.name
        assert (difference > 0).mean() < 0.006, matrix.name


def test_every_third_real_image_is_read_unchanged(shared_dir: Path) -> None:
    paths = [*(shared_dir / "data" / "dmr").glob("*/*.png"), *(shared_dir / "data" / "busi").glob("*/*.png")]
    assert len(paths) == 1081
    for path in paths[::3]:
        image = decode(path)
        assert image.format == "PNG"
        assert image.bits == 8
        np.testing.assert_array_equal(
            image.pixels, cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1] if image.pixels.ndim == 3
            else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        )  # fmt: skip
