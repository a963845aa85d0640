"""From decoded pixels to the network's square: which values become black and white, and how sides change."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from breastlens.config import ImageRecipe
from breastlens.imaging.decode import DecodedImage
from breastlens.imaging.preprocess import apply_window, preprocess, resize

RNG = np.random.default_rng(11)


def image(pixels: np.ndarray, **facts: object) -> DecodedImage:
    return DecodedImage(pixels, "PNG", pixels.itemsize * 8, pixels.shape[1], pixels.shape[0], **facts)


# --- window ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 3)])
def test_eight_bits_at_the_right_size_pass_unchanged(shape: tuple[int, ...]) -> None:
    pixels = RNG.integers(60, 90, shape, dtype=np.uint8)  # low contrast stays low
    prepared = preprocess(image(pixels), ImageRecipe(image_size=64))
    expected = np.dstack([pixels] * 3) if pixels.ndim == 2 else pixels
    np.testing.assert_array_equal(prepared.pixels, expected)
    assert (prepared.low, prepared.high, prepared.box) == (0.0, 255.0, None)


def test_twelve_bits_in_sixteen_fill_the_range_and_are_not_cut() -> None:
    ramp = np.tile(np.linspace(0, 4095, 64).round().astype(np.uint16), (64, 1))
    prepared = preprocess(image(ramp), ImageRecipe(image_size=64))
    assert (prepared.low, prepared.high) == (0.0, 4095.0)
    np.testing.assert_array_equal(prepared.pixels[0, :, 0], np.rint(ramp[0] / 4095 * 255))
    assert (np.diff(prepared.pixels[0, :, 1].astype(int)) > 0).all()  # a cut to the low byte would run over


def test_one_defective_pixel_does_not_decide_the_contrast() -> None:
    pixels = RNG.integers(1000, 2001, (200, 200)).astype(np.uint16)
    pixels[7, 7], pixels[9, 9] = 65535, 0
    prepared = preprocess(image(pixels), ImageRecipe(image_size=200))
    assert (prepared.low, prepared.high) == (1000.0, 2000.0)
    assert prepared.pixels[7, 7].tolist() == [255, 255, 255]
    assert prepared.pixels[9, 9].tolist() == [0, 0, 0]


def test_colours_share_one_window() -> None:
    pixels = np.zeros((40, 40, 3), np.uint16)
    pixels[:, :20] = (4000, 2000, 1000)
    prepared = preprocess(image(pixels), ImageRecipe(image_size=40))
    assert prepared.pixels[0, 0].tolist() == [255, 128, 64]


def test_window_of_the_file_goes_before_that_of_the_image() -> None:
    pixels = np.linspace(-500, 500, 40 * 40).reshape(40, 40).astype(np.float32)
    prepared = preprocess(image(pixels, window=(-100.0, 100.0)), ImageRecipe(image_size=40))
    assert (prepared.low, prepared.high) == (-100.0, 100.0)
    np.testing.assert_array_equal(
        prepared.pixels[..., 0], np.rint(np.clip((pixels + 100) / 200 * 255, 0, 255))
    )


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_an_image_without_any_contrast_is_black(dtype: type) -> None:
    prepared = preprocess(image(np.full((50, 50), 700, dtype)), ImageRecipe(image_size=32))
    assert prepared.pixels.max() == 0
    assert (prepared.low, prepared.high) == (700.0, 700.0)


@settings(max_examples=100, deadline=None)
@given(
    pixels=arrays.arrays(np.uint16, (9, 9)),
    low=st.integers(0, 60000),
    width=st.integers(1, 60000),
)
def test_window_is_rounded_clipped_and_monotonic(pixels: np.ndarray, low: int, width: int) -> None:
    grey = apply_window(pixels, low, low + width)
    exact = np.clip((pixels.astype(float) - low) / width, 0, 1) * 255
    assert grey.dtype == np.uint8
    assert np.abs(grey - exact).max() <= 0.501
    order = np.argsort(pixels, axis=None)
    assert (np.diff(grey.ravel()[order].astype(int)) >= 0).all()


def test_a_hot_pixel_is_clipped_before_it_is_averaged() -> None:
    celsius = np.full((64, 64), 29.0, np.float32)
    celsius[10, 10] = 120.0
    prepared = preprocess(image(celsius, quantity="temperature_c"), ImageRecipe(image_size=32))
    # A 2x2 area of 255, 128, 128 and 128; averaged before the window it would be all white.
    assert prepared.pixels[5, 5, 0] == round((255 + 3 * 128) / 4)


# --- size ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(300, 400), (300, 400, 3), (20, 30), (1, 1), (1, 900), (900, 1, 3), (128, 50), (500, 60)]
)
@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_shape_becomes_the_square(shape: tuple[int, ...], fit: str, dtype: type) -> None:
    pixels = (RNG.random(shape) * 250).astype(dtype)
    prepared = preprocess(image(pixels), ImageRecipe(image_size=128, fit=fit))
    assert prepared.pixels.shape == (128, 128, 3)
    assert prepared.pixels.dtype == np.uint8
    assert prepared.pixels.flags.c_contiguous


def test_shrinking_averages_areas() -> None:
    pixels = RNG.integers(0, 256, (120, 80), dtype=np.uint8)
    prepared = preprocess(image(pixels), ImageRecipe(image_size=40))
    blocks = pixels.reshape(40, 3, 40, 2).mean(axis=(1, 3))
    assert np.abs(prepared.pixels[..., 0] - blocks).max() <= 0.51


def test_growing_is_bicubic() -> None:
    pixels = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    prepared = preprocess(image(pixels), ImageRecipe(image_size=64))
    np.testing.assert_array_equal(
        prepared.pixels, cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_CUBIC)
    )


def test_a_side_that_shrinks_is_averaged_even_when_the_other_grows() -> None:
    pixels = np.tile(RNG.integers(0, 256, (1, 400), dtype=np.uint8), (10, 1))
    resized = resize(pixels, 100, 20)
    np.testing.assert_allclose(resized[7], pixels[0].reshape(100, 4).mean(axis=1), atol=0.51)


def test_letterbox_keeps_proportions_and_centres_on_black() -> None:
    pixels = np.full((50, 100), 200, np.uint8)
    prepared = preprocess(image(pixels), ImageRecipe(image_size=64, fit="letterbox"))
    grey = prepared.pixels[..., 0]
    assert (grey[16:48] == 200).all()
    assert (grey[:16] == 0).all()
    assert (grey[48:] == 0).all()
    upright = preprocess(image(pixels.T.copy()), ImageRecipe(image_size=64, fit="letterbox"))
    np.testing.assert_array_equal(upright.pixels[..., 0], grey.T)


def test_the_source_is_not_changed() -> None:
    for pixels in (
        RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8),
        RNG.random((64, 64)).astype(np.float32),
    ):
        before = pixels.copy()
        preprocess(image(pixels), ImageRecipe(image_size=64, crop="body"))
        np.testing.assert_array_equal(pixels, before)
