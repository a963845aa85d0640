"""What is left of an image without the breast: exactly that, and nothing of the anatomy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kurtosis, skew

from breastlens.imaging.occlusions import (
    BODY_MARGIN,
    STATISTICS,
    intensity_statistics,
    keep_background,
    keep_border,
    noise_residual,
    shuffle_pixels,
)


def random_squares(count: int, side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def from_centre(side: int) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    return np.hypot(rows - side / 2, columns - side / 2)


@pytest.fixture
def with_a_body() -> np.ndarray:
    """(1, 128, 128, 3): a bright disc of 30 px on dim noise, so that what is kept can be told from black."""
    surround = np.random.default_rng(3).integers(10, 30, (1, 128, 128, 3))
    return np.where((from_centre(128) < 30)[None, ..., None], 200, surround).astype(np.uint8)


@given(side=st.integers(5, 40), data=st.data())
def test_a_ring_may_begin_inside_and_is_all_that_is_left(side: int, data: st.DataObject) -> None:
    inset = data.draw(st.integers(0, (side - 1) // 2 - 1))
    width = data.draw(st.integers(1, (side - 1) // 2 - inset))
    pixels = np.random.default_rng(side).integers(1, 256, (2, side, side, 3), dtype=np.uint8)
    before = pixels.copy()
    ring = keep_border(pixels, width, inset)
    rows, columns = np.mgrid[:side, :side]
    from_edge = np.minimum.reduce([rows, columns, side - 1 - rows, side - 1 - columns])
    shown = (from_edge >= inset) & (from_edge < inset + width)
    np.testing.assert_array_equal(ring, np.where(shown[..., None], pixels, 0))
    np.testing.assert_array_equal(pixels, before)


def test_a_ring_inside_a_hidden_border_is_not_black() -> None:
    pixels = np.full((1, 32, 32, 3), 90, np.uint8)
    pixels[0, :2] = pixels[0, -2:] = pixels[0, :, :2] = pixels[0, :, -2:] = 0
    assert not keep_border(pixels, 2).any()
    assert (keep_border(pixels, 2, inset_px=2) > 0).any(axis=3).sum() == 4 * 2 * (28 - 2)


@pytest.mark.parametrize(
    ("width", "inset", "said"),
    [
        (
            2,
            2,
            "expected a border of 1 to 1 px, beginning 2 px from the edge, for images of 8 px, received 2",
        ),
        (
            0,
            1,
            "expected a border of 1 to 2 px, beginning 1 px from the edge, for images of 8 px, received 0",
        ),
        (4, 0, "expected a border of 1 to 3 px for images of 8 px, received 4"),
        (
            1,
            3,
            "a ring that begins 3 px from the edge leaves no room for one of 1 px or more in images of 8 px",
        ),
        (1, -1, "expected a ring that begins 0 px or more from the edge, received -1"),
    ],
)
def test_a_ring_without_room_is_refused(width: int, inset: int, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}$"):
        keep_border(np.zeros((1, 8, 8, 3), np.uint8), width, inset)


def test_body_and_a_margin_are_black_and_the_rest_is_as_it_was(with_a_body: np.ndarray) -> None:
    before = with_a_body.copy()
    kept = keep_background(with_a_body)
    distance, margin_px = from_centre(128), BODY_MARGIN * 128
    assert (kept[0][distance < 30 + margin_px - 1] == 0).all()
    far = distance > 30 + margin_px + 5  # the outline is sure to a few pixels
    np.testing.assert_array_equal(kept[0][far], before[0][far])
    assert far.sum() > 8_000
    np.testing.assert_array_equal(with_a_body, before)


def test_a_dark_spot_inside_the_body_is_hidden_with_it(with_a_body: np.ndarray) -> None:
    spotted = with_a_body.copy()
    spotted[0, 58:70, 58:70] = 20
    assert not keep_background(spotted)[0][from_centre(128) < 30].any()


def test_where_no_body_stands_out_nothing_is_shown(with_a_body: np.ndarray) -> None:
    pair = np.concatenate([np.full((1, 128, 128, 3), 77, np.uint8), with_a_body])
    kept = keep_background(pair)
    assert not kept[0].any()
    np.testing.assert_array_equal(kept[1], keep_background(with_a_body)[0])


@pytest.mark.parametrize("across", [True, False])
def test_slopes_edges_and_flat_parts_leave_no_noise(across: bool) -> None:
    profile = np.concatenate([np.full(20, 40), np.arange(40, 64), np.full(20, 200)]).astype(np.uint8)
    plane = np.broadcast_to(profile[None, :] if across else profile[:, None], (64, 64))
    pixels = np.repeat(plane[None, ..., None], 3, axis=3)
    assert (noise_residual(pixels, 0) == 128).all()


@pytest.mark.parametrize(("step", "seed"), [(3, 0), (-3, 1), (5, 7)])
def test_a_lone_pixel_is_noise_and_its_block_moves_whole(step: int, seed: int) -> None:
    pixels = np.full((1, 24, 24, 3), 100, np.uint8)
    pixels[0, 12, 11] += np.uint8(step % 256)
    left = noise_residual(pixels, seed)[0, ..., 1].astype(int) - 128
    blocks = left.reshape(3, 8, 3, 8).swapaxes(1, 2).reshape(9, 8, 8)
    (moved,) = [block for block in blocks if block.any()]
    expected = np.zeros((8, 8), int)
    expected[3:6, 2:5] = 4 * step * np.outer([1, -2, 1], [1, -2, 1])
    np.testing.assert_array_equal(moved, expected)


def test_strong_noise_is_cut_off_and_not_wrapped() -> None:
    pixels = np.full((2, 8, 8, 3), 100, np.uint8)
    pixels[0, 4, 4], pixels[1, 4, 4] = 255, 0
    left = noise_residual(pixels, 0)
    assert (left[0].max(), left[1].min()) == (255, 0)
    assert left[0, 4, 4, 0] == 255
    assert left[1, 4, 4, 0] == 0


def test_the_order_of_blocks_is_the_image_s_and_the_seed_s_and_not_its_row_s() -> None:
    pixels = random_squares(2, 32)
    left = noise_residual(pixels, 0)
    np.testing.assert_array_equal(left[::-1], noise_residual(pixels[::-1], 0))
    other = noise_residual(pixels, 1)
    assert (left != other).any()
    np.testing.assert_array_equal(np.sort(left[0].ravel()), np.sort(other[0].ravel()))


def test_what_fills_no_block_is_grey_and_brightness_does_not_matter() -> None:
    noisy = np.random.default_rng(1).integers(100, 104, (1, 20, 20, 3), dtype=np.uint8)
    left = noise_residual(noisy, 0)
    assert (left[:, 16:] == 128).all()
    assert (left[:, :, 16:] == 128).all()
    assert (left[:, :16, :16] != 128).any()
    brighter = noise_residual(noisy + np.uint8(50), 0)
    np.testing.assert_array_equal(np.sort(left.ravel()), np.sort(brighter.ravel()))


@given(count=st.integers(1, 3), side=st.integers(1, 12), seed=st.integers(0, 2**32 - 1))
def test_shuffling_keeps_every_pixel_and_its_colour(count: int, side: int, seed: int) -> None:
    pixels = random_squares(count, side)
    shuffled = shuffle_pixels(pixels, seed)
    assert shuffled.shape == pixels.shape
    assert shuffled.dtype == np.uint8
    for before, after in zip(pixels, shuffled, strict=True):
        assert sorted(map(tuple, before.reshape(-1, 3))) == sorted(map(tuple, after.reshape(-1, 3)))
    np.testing.assert_array_equal(shuffled, shuffle_pixels(pixels, seed))


def test_each_image_is_shuffled_in_an_order_of_its_own() -> None:
    places = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    first, second = shuffle_pixels(np.concatenate([places, 255 - places]), 0)
    assert (first != 255 - second).any()  # one order for both would make these the same
    assert (first != places[0]).any()
    assert (shuffle_pixels(places, 1) != first).any()


def test_statistics_are_those_of_the_grey_values() -> None:
    pixels = random_squares(3, 20)
    found = intensity_statistics(pixels)
    assert found.shape == (3, len(STATISTICS)) == (3, 12)
    for row, image in zip(found, pixels, strict=True):
        grey = image.astype(float).mean(axis=2).ravel()
        named = dict(zip(STATISTICS, row, strict=True))
        assert named["mean"] == pytest.approx(grey.mean())
        assert named["standard deviation"] == pytest.approx(grey.std())
        assert named["skewness"] == pytest.approx(skew(grey))
        assert named["kurtosis"] == pytest.approx(kurtosis(grey))
        assert named["median"] == pytest.approx(np.median(grey))
        assert named["1st percentile"] == pytest.approx(np.quantile(grey, 0.01))
        assert named["99th percentile"] == pytest.approx(np.quantile(grey, 0.99))


def test_two_levels_in_equal_parts_have_one_bit() -> None:
    pixels = np.zeros((1, 8, 8, 3), np.uint8)
    pixels[:, :4] = 255
    named = dict(zip(STATISTICS, intensity_statistics(pixels)[0], strict=True))
    assert named["entropy"] == pytest.approx(1.0)
    assert (named["mean"], named["standard deviation"]) == pytest.approx((127.5, 127.5))
    assert (named["skewness"], named["kurtosis"]) == pytest.approx((0.0, -2.0))


def test_statistics_know_nothing_of_positions() -> None:
    pixels = random_squares(2, 16)
    np.testing.assert_allclose(
        intensity_statistics(shuffle_pixels(pixels, 4)), intensity_statistics(pixels), rtol=1e-12
    )


@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_constant_image_has_plain_numbers(level: int) -> None:
    named = dict(
        zip(STATISTICS, intensity_statistics(np.full((1, 9, 9, 3), level, np.uint8))[0], strict=True)
    )
    assert named.pop("mean") == level
    assert {name: named.pop(name) for name in ("standard deviation", "skewness", "kurtosis", "entropy")} == {
        "standard deviation": 0,
        "skewness": 0,
        "kurtosis": 0,
        "entropy": 0,
    }
    assert set(named.values()) == {level}


def test_no_images_give_no_rows() -> None:
    assert intensity_statistics(np.zeros((0, 8, 8, 3), np.uint8)).shape == (0, 12)
