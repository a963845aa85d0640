"""Augmentation against Keras's own ImageDataGenerator, and what it promises of itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from breastlens.config import Augmentation, FillMode
from breastlens.imaging.augment import Draw, apply, augment, draw, random_positions

SIDE_PX = 128
FILL_MODES = get_args(FillMode)
KERAS_NAMES = {
    "theta_deg": "theta",
    "shift_x_px": "tx",
    "shift_y_px": "ty",
    "shear_deg": "shear",
    "zoom_x": "zx",
    "zoom_y": "zy",
    "flip_horizontal": "flip_horizontal",
    "flip_vertical": "flip_vertical",
    "channel_shift": "channel_shift_intensity",
    "brightness": "brightness",
}
VALUES: dict[str, Any] = {
    "theta_deg": 17.0,
    "shift_x_px": 9.4,
    "shift_y_px": -6.3,
    "shear_deg": 11.0,
    "zoom_x": 0.83,
    "zoom_y": 1.13,
    "flip_horizontal": True,
    "flip_vertical": True,
    "channel_shift": -23.4,
    "brightness": 1.21,
}
EVERYTHING = Augmentation(
    rotation_range=20,
    width_shift_range=0.1,
    height_shift_range=8,
    shear_range=10,
    zoom_range=(0.8, 1.3),
    channel_shift_range=15,
    brightness_range=(0.7, 1.4),
    horizontal_flip=True,
    vertical_flip=True,
)


@pytest.fixture(scope="module")
def smooth() -> NDArray[np.uint8]:
    """A smooth colour picture without any symmetry, reaching both ends of the grey scale."""
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] / SIDE_PX * 2 * np.pi
    channels = [
        127 + 90 * np.sin(1.3 * x + c) * np.cos(0.9 * y + c) + 45 * np.cos(x + 2 * y) for c in range(3)
    ]
    return np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8)


def marked(row: int, column: int, side: int = 9) -> NDArray[np.uint8]:
    """A black picture with one white pixel."""
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[row, column] = 255
    return pixels


def white(pixels: NDArray[np.uint8]) -> list[tuple[int, int]]:
    return [(int(row), int(column)) for row, column in np.argwhere(pixels[..., 0] == 255)]


# Keras does this: SciPy deprecated the name by which Keras 3 calls affine_transform.
@pytest.mark.filterwarnings("ignore:Please import `affine_transform`:DeprecationWarning")
@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize(
    "names", [*([name] for name in VALUES), list(VALUES)], ids=lambda names: "+".join(names)[:20]
)
def test_agrees_with_keras(smooth: NDArray[np.uint8], names: list[str], fill_mode: FillMode) -> None:
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    keras_generator = ImageDataGenerator(fill_mode=fill_mode, cval=33.0)
    expected = keras_generator.apply_transform(
        smooth.astype(np.float32), {KERAS_NAMES[name]: VALUES[name] for name in names}
    )
    drawn = Draw(**{name: VALUES[name] for name in names})
    received = apply(smooth, drawn, Augmentation(fill_mode=fill_mode, cval=33.0))
    inner = slice(SIDE_PX // 4, -SIDE_PX // 4)
    difference = np.abs(received.astype(np.float64) - expected)
    assert difference[inner, inner].mean() <= 1.0
    assert difference[inner, inner].max() <= 2.5
    assert np.abs(smooth.astype(np.float64) - expected)[inner, inner].mean() > 3.0  # and Keras did change it
    if fill_mode in ("nearest", "reflect"):  # constant and wrap differ from SciPy within a pixel of the seam
        assert difference.mean() <= 1.0


def test_each_shift_moves_along_the_axis_of_its_name() -> None:
    plain = Augmentation(fill_mode="constant")
    assert white(apply(marked(4, 4), Draw(shift_x_px=2.0), plain)) == [(4, 2)]
    assert white(apply(marked(4, 4), Draw(shift_y_px=2.0), plain)) == [(2, 4)]
    wide = [draw(Augmentation(width_shift_range=0.25), (100, 200), random_positions(i)) for i in range(300)]
    assert {d.shift_y_px for d in wide} == {0.0}
    assert 40 < max(d.shift_x_px for d in wide) < 50  # a fraction of the width
    tall = [draw(Augmentation(height_shift_range=3), (100, 200), random_positions(i)) for i in range(300)]
    assert {d.shift_x_px for d in tall} == {0.0}
    assert -3 <= min(d.shift_y_px for d in tall) < -2.8  # pixels


def test_fill_modes_by_hand() -> None:
    ramp = np.repeat(np.repeat(np.arange(6, dtype=np.uint8)[None, :, None] * 10, 6, axis=0), 3, axis=2)
    expected: dict[FillMode, list[int]] = {
        "constant": [40, 50, 7, 7, 7, 7],
        "nearest": [40, 50, 50, 50, 50, 50],
        "reflect": [40, 50, 50, 40, 30, 20],
        "wrap": [40, 50, 0, 10, 20, 30],
    }
    for fill_mode, row in expected.items():
        moved = apply(ramp, Draw(shift_x_px=4.0), Augmentation(fill_mode=fill_mode, cval=7))
        assert moved[2, :, 1].tolist() == row, fill_mode


def test_quarter_turns_and_flips_are_exact() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    plain = Augmentation()
    assert np.array_equal(apply(pixels, Draw(), plain), pixels)
    assert np.array_equal(apply(pixels, Draw(flip_horizontal=True), plain), pixels[:, ::-1])
    assert np.array_equal(apply(pixels, Draw(flip_vertical=True), plain), pixels[::-1])
    assert np.array_equal(apply(pixels, Draw(theta_deg=90.0), plain), np.rot90(pixels))


def test_grey_levels_by_hand() -> None:
    pixels = np.full((8, 8, 3), 100, np.uint8)
    pixels[0, 0], pixels[7, 7] = 40, 200
    shifted = apply(pixels, Draw(channel_shift=120.0), Augmentation())
    assert (shifted[3, 3, 0], shifted[0, 0, 0], shifted[7, 7, 0]) == (
        200,
        160,
        200,
    )  # held at the brightest there was
    brighter = apply(pixels, Draw(brightness=1.5), Augmentation())
    assert (brighter[3, 3, 0], brighter[0, 0, 0], brighter[7, 7, 0]) == (150, 60, 255)


def test_depends_on_seed_epoch_and_record_alone(smooth: NDArray[np.uint8]) -> None:
    before = smooth.copy()

    def one(record: int) -> bytes:
        return augment(smooth, EVERYTHING, seed=7, epoch=2, record=record).tobytes()

    forwards = [one(record) for record in range(24)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(24))) == forwards
    assert [one(record) for record in reversed(range(24))] == forwards[::-1]
    assert len(set(forwards)) == 24
    others = {
        augment(smooth, EVERYTHING, seed=seed, epoch=epoch, record=record).tobytes()
        for seed, epoch, record in [(8, 2, 0), (7, 3, 0), (2, 7, 0), (0, 2, 7)]
    }
    assert len(others) == 4
    assert not others & set(forwards)
    assert np.array_equal(smooth, before)


def test_switching_one_change_on_leaves_the_others() -> None:
    turned = draw(Augmentation(rotation_range=10), (64, 64), random_positions(3))
    both = draw(
        Augmentation(rotation_range=10, zoom_range=0.2, vertical_flip=True),
        (64, 64),
        random_positions(3),
    )
    assert turned.theta_deg == both.theta_deg
    assert both.zoom_x != both.zoom_y
    assert turned == Draw(theta_deg=turned.theta_deg)


@given(
    seed=st.integers(0, 2**32 - 1),
    rotation=st.floats(0, 180),
    shift=st.floats(0, 0.9),
    zoom=st.floats(0, 0.9),
)
def test_draws_stay_within_their_ranges(seed: int, rotation: float, shift: float, zoom: float) -> None:
    ranges = Augmentation(
        rotation_range=rotation,
        width_shift_range=shift,
        shear_range=rotation / 2,
        zoom_range=zoom,
        channel_shift_range=rotation,
        brightness_range=(0.5, 0.9),
    )
    drawn = draw(ranges, (50, 80, 3), random_positions(seed))
    slack = 1e-9
    assert abs(drawn.theta_deg) <= rotation
    assert abs(drawn.shift_x_px) <= shift * 80
    assert drawn.shift_y_px == 0.0
    assert abs(drawn.shear_deg) <= rotation / 2
    assert (
        1 - zoom - slack
        <= min(drawn.zoom_x, drawn.zoom_y)
        <= max(drawn.zoom_x, drawn.zoom_y)
        <= 1 + zoom + slack
    )
    assert abs(drawn.channel_shift) <= rotation
    assert 0.5 <= drawn.brightness <= 0.9
    assert not drawn.flip_horizontal
    assert not drawn.flip_vertical


def test_draws_use_the_whole_range_and_flip_half_the_time() -> None:
    drawn = [draw(EVERYTHING, (100, 100), random_positions(seed)) for seed in range(2000)]
    assert np.mean([d.flip_horizontal for d in drawn]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([d.flip_vertical for d in drawn]) == pytest.approx(0.5, abs=0.05)
    assert np.std([d.theta_deg for d in drawn]) == pytest.approx(40 / np.sqrt(12), rel=0.05)
    assert np.mean([d.zoom_x for d in drawn]) == pytest.approx(1.05, abs=0.02)
    assert np.corrcoef([d.zoom_x for d in drawn], [d.zoom_y for d in drawn])[0, 1] == pytest.approx(
        0, abs=0.07
    )
