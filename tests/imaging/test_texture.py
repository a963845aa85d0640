"""Features without a network: what they count, and that they see orientation and fine structure."""

from __future__ import annotations

import numpy as np
import pytest

from breastlens.imaging.texture import texture_features

GRADIENTS = 7 * 7 * 2 * 2 * 9
PATTERNS = 4 * 4 * 10


def stripes(period_px: int, *, upright: bool) -> np.ndarray:
    wave = 127 + 100 * np.sin(2 * np.pi * np.arange(64) / period_px)
    plane = np.broadcast_to(wave[None, :] if upright else wave[:, None], (64, 64))
    return np.repeat(plane[..., None], 3, axis=2).astype(np.uint8)[None]


def orientations(features: np.ndarray) -> np.ndarray:
    """Summed gradients by orientation, in bins of 20 degrees."""
    return features[0, :GRADIENTS].reshape(-1, 9).sum(axis=0)


@pytest.mark.parametrize("side", [32, 64, 128, 200])
def test_width_type_and_range(side: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    features = texture_features(pixels)
    assert features.shape == (3, GRADIENTS + PATTERNS) == (3, 1924)
    assert features.dtype == np.float32
    assert features.min() >= 0
    assert features.max() <= 1


def test_patterns_are_shares_of_each_cell() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    cells = texture_features(pixels)[:, GRADIENTS:].reshape(2, 16, 10)
    np.testing.assert_allclose(cells.sum(axis=2), 1, rtol=1e-6)


def test_a_flat_image_has_no_gradients_and_one_pattern() -> None:
    features = texture_features(np.full((1, 64, 64, 3), 90, np.uint8))
    assert not features[0, :GRADIENTS].any()
    cells = features[0, GRADIENTS:].reshape(16, 10)
    assert (cells[5] == np.eye(10)[8]).all()  # a cell within: all eight neighbours are as bright as the pixel


def test_stripes_show_in_the_orientation_across_them() -> None:
    across, along = (orientations(texture_features(stripes(16, upright=one))) for one in (True, False))
    assert across.argmax() == 0  # gradients run from left to right
    assert along.argmax() == 4  # 80 to 100 degrees
    assert across[0] > 5 * across[4]


def test_fine_noise_shows_in_the_patterns() -> None:
    quiet = np.full((1, 64, 64, 3), 100, np.uint8)
    noisy = quiet + np.random.default_rng(2).integers(0, 3, (1, 64, 64, 1), dtype=np.uint8)
    uneven = [
        texture_features(one)[0, GRADIENTS:].reshape(16, 10)[:, 9].mean() for one in (quiet, noisy)
    ]  # the last bin counts patterns that are not uniform
    assert uneven[1] > uneven[0] + 0.2


def test_an_image_has_the_same_features_in_any_company() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(texture_features(pixels)[2:3], texture_features(pixels[2:3]))
