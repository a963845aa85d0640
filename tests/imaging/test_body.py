"""Which pixels are the body: the whole of it, without holes, in the size of the image."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from breastlens.imaging.body import body_mask
from breastlens.imaging.crop import segment_body
from breastlens.imaging.decode import decode


def disc(height: int, width: int, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.hypot(rows - height / 2, columns - width / 2) < radius


@pytest.mark.parametrize(("height", "width", "radius"), [(128, 128, 40), (300, 500, 110), (64, 64, 20)])
@pytest.mark.parametrize("colour", [True, False])
def test_a_bright_disc_is_the_body(height: int, width: int, radius: int, colour: bool) -> None:
    truth = disc(height, width, radius)
    grey = np.where(truth, 180, 20).astype(np.uint8)
    found = body_mask(np.repeat(grey[..., None], 3, axis=2) if colour else grey)
    assert found is not None
    assert found.shape == (height, width)
    assert found.dtype == np.bool_
    assert (found & truth).sum() / (found | truth).sum() > 0.9  # a blur of 2 px at most 256 px a side


def test_temperatures_have_a_body_too() -> None:
    truth = disc(96, 128, 35)
    found = body_mask(np.where(truth, 33.0, 22.0).astype(np.float32))
    assert found is not None
    assert (found & truth).sum() / (found | truth).sum() > 0.9


def test_holes_belong_to_the_body_and_smaller_pieces_do_not() -> None:
    body, hole, piece = disc(128, 128, 45), disc(128, 128, 15), np.zeros((128, 128), bool)
    piece[2:14, 2:14] = True
    found = body_mask(np.where((body & ~hole) | piece, 200, 10).astype(np.uint8))
    assert found is not None
    assert found[hole].all()
    assert not found[piece].any()


@pytest.mark.parametrize("level", [0, 128, 255])
def test_one_grey_level_has_no_body(level: int) -> None:
    assert body_mask(np.full((64, 64, 3), level, np.uint8)) is None


def test_noise_alone_has_no_body() -> None:
    assert body_mask(np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)) is None


def test_tissue_that_fades_into_shadow_has_no_body() -> None:
    """Otsu parts it well, but nowhere is there an outline: bright tissue above, shadow below, as in ultrasound."""
    fade = 1 / (1 + np.exp((np.arange(256) - 140) / 18))
    ragged = np.random.default_rng(1).normal(0, 4, (256, 256))
    shadow = np.clip(20 + 150 * fade[:, None] + ragged, 0, 255).astype(np.uint8)
    assert segment_body(shadow) is not None
    assert body_mask(shadow) is None
    sharp = np.where(np.arange(256)[:, None] < 140, 170, 20) + ragged
    assert body_mask(np.clip(sharp, 0, 255).astype(np.uint8)) is not None


@pytest.mark.real
@pytest.mark.parametrize(("folder", "least", "most"), [("dmr", 0.95, 1.0), ("busi", 0.0, 0.06)])
def test_thermograms_have_a_body_and_ultrasound_has_none(
    shared_dir: Path, folder: str, least: float, most: float
) -> None:
    paths = sorted((shared_dir / "data" / folder).glob("*/*.png"))[::7]
    for size in (None, 128):
        images = [decode(path).pixels for path in paths]
        if size is not None:
            images = [cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA) for image in images]
        share = float(np.mean([body_mask(image) is not None for image in images]))
        assert least <= share <= most
