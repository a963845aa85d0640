"""Plain figures of an image, on images whose figures are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breastlens.imaging.measures import measure


def texture(height: int = 200, width: int = 256, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, (height, width))
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return np.clip(128 + 40 * smooth / smooth.std(), 1, 254).astype(np.uint8)


def test_a_ramp_has_the_figures_of_a_ramp() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (50, 1))
    found = measure(ramp)
    assert found.grey_levels == 256
    assert found.contrast == pytest.approx(0.98, abs=0.005)
    assert found.deviation == pytest.approx(np.arange(256).std() / 255)
    assert found.clipped_dark == found.clipped_bright == pytest.approx(1 / 256)
    assert not found.colour


def test_shares_at_either_end_are_counted() -> None:
    pixels = np.full((10, 10), 100, np.uint8)
    pixels[0] = 255
    pixels[1:4] = 0
    found = measure(pixels)
    assert (found.clipped_bright, found.clipped_dark) == (0.1, 0.3)
    assert found.grey_levels == 3


@pytest.mark.parametrize("level", [0, 7, 255])
@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 3), (1, 1)])
def test_one_level_is_no_contrast_and_no_division_by_nought(level: int, shape: tuple[int, ...]) -> None:
    found = measure(np.full(shape, level, np.uint8))
    assert (found.grey_levels, found.contrast, found.deviation, found.sharpness) == (1, 0.0, 0.0, 0.0)


def test_colour_is_channels_that_differ() -> None:
    grey = np.repeat(texture()[..., None], 3, axis=2)
    assert not measure(grey).colour
    grey[3, 4, 1] ^= 1
    assert measure(grey).colour


def test_twelve_bits_in_sixteen_have_the_contrast_of_what_they_hold() -> None:
    eight = texture()
    assert measure(eight.astype(np.uint16) * 16).contrast == pytest.approx(
        measure(eight).contrast * 255 / eight.max()
    )


def test_temperatures_are_measured_on_their_own_range() -> None:
    celsius = (20 + texture() / 255 * 18).astype(np.float32)
    assert measure(celsius).contrast > 0.5
    assert measure(celsius).sharpness == pytest.approx(measure(texture()).sharpness, rel=1e-3)


def test_blur_lowers_sharpness_and_neither_contrast_nor_size_does() -> None:
    sharp = texture(480, 640)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 6)
    assert measure(blurred).sharpness < 0.6 * measure(sharp).sharpness
    pale = (100 + sharp / 4).astype(np.float32)
    assert measure(pale).sharpness == pytest.approx(measure(sharp).sharpness, rel=0.01)
    large = cv2.resize(sharp, (1280, 960), interpolation=cv2.INTER_CUBIC)
    assert measure(large).sharpness == pytest.approx(measure(sharp).sharpness, rel=0.1)


@given(st.integers(0, 50), st.sampled_from([np.uint8, np.uint16, np.float32]))
def test_shares_stay_shares(seed: int, dtype: type) -> None:
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(1, 40, 2))
    found = measure(random.integers(0, 256, shape).astype(dtype))
    for share in (found.contrast, found.deviation, found.clipped_dark, found.clipped_bright):
        assert 0.0 <= share <= 1.0
    assert found.sharpness >= 0.0
