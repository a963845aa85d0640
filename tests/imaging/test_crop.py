"""The body's box: found where there is a body, the whole frame where there is none or nothing else."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breastlens.config import ImageRecipe
from breastlens.imaging.body import body_mask
from breastlens.imaging.crop import component_box
from breastlens.imaging.decode import DecodedImage, decode
from breastlens.imaging.preprocess import body_box, preprocess

RNG = np.random.default_rng(3)


def thermogram(
    height: int, width: int, box: tuple[int, int, int, int], skin: float = 33.0, room: float = 22.0
) -> np.ndarray:
    """A warm ellipse in a cool room, deg C, with sensor noise."""
    x, y, w, h = box
    rows, columns = np.mgrid[:height, :width]
    inside = ((columns - x - w / 2) / (w / 2)) ** 2 + ((rows - y - h / 2) / (h / 2)) ** 2 <= 1
    return (np.where(inside, skin, room) + RNG.normal(0, 0.3, (height, width))).astype(np.float32)


def off(found: tuple[int, ...], expected: tuple[int, ...]) -> int:
    """The largest distance between two boxes' edges."""
    corners = [(x, y, x + w, y + h) for x, y, w, h in (found, expected)]
    return max(abs(a - b) for a, b in zip(*corners, strict=True))


@pytest.mark.parametrize("box", [(100, 60, 300, 350), (0, 0, 300, 200), (400, 250, 240, 230)])
def test_warm_body_is_found_in_every_kind_of_pixels(box: tuple[int, int, int, int]) -> None:
    celsius = thermogram(480, 640, box)
    grey = np.clip((celsius - 20) / 18 * 255, 0, 255)
    for pixels in (celsius, celsius - 273.15, grey.astype(np.uint8), (grey * 16).astype(np.uint16)):
        assert (
            off(body_box(pixels), box) <= 12
        )  # blur and search at 256 px: about four px of the search each way
    assert off(body_box(np.dstack([grey.astype(np.uint8)] * 3)), box) <= 12


def test_the_largest_of_several_warm_things_is_kept() -> None:
    scene = np.maximum(thermogram(480, 640, (300, 100, 300, 300)), thermogram(480, 640, (20, 20, 90, 90)))
    assert off(body_box(scene), (300, 100, 300, 300)) <= 12


def test_fat_of_a_mammogram_is_not_cut_away_from_dense_tissue() -> None:
    rows, columns = np.mgrid[:512, :400]
    breast = (columns / 300) ** 2 + ((rows - 256) / 220) ** 2 < 1
    dense = ((columns - 100) / 90) ** 2 + ((rows - 256) / 120) ** 2 < 1
    for brightness in (100, 160, 220):
        picture = np.where(breast & dense, brightness, np.where(breast, 60, 0)).astype(np.uint8)
        assert off(body_box(picture), (0, 36, 300, 440)) <= 12


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((100, 120), np.uint8),
        np.full((100, 120), 33.0, np.float32),
        RNG.normal(33, 0.5, (100, 120)).astype(np.float32),  # all body
        RNG.integers(0, 255, (100, 120, 3), dtype=np.uint8),  # noise
        np.tile(np.linspace(28, 34, 120, dtype=np.float32), (100, 1)) ** 2,  # a slope without an edge
        np.ones((1, 1), np.uint16),
        np.ones((3, 2000), np.float32),
    ],
)
def test_whole_frame_where_no_body_stands_out(pixels: np.ndarray) -> None:
    assert body_box(pixels) == (0, 0, pixels.shape[1], pixels.shape[0])


def test_a_small_lamp_is_no_body() -> None:
    assert body_box(thermogram(480, 640, (300, 200, 60, 60))) == (0, 0, 640, 480)


def test_tissue_that_fades_into_shadow_is_not_cut() -> None:
    """As in ultrasound: bright above, dark below, and nowhere an outline. What is cut away would be tissue."""
    ragged = np.random.default_rng(1).normal(0, 4, (256, 256))
    fade = 1 / (1 + np.exp((np.arange(256) - 140) / 18))
    shadow = np.clip(20 + 150 * fade[:, None] + ragged, 0, 255).astype(np.uint8)
    found = component_box(shadow)
    assert found is not None
    assert found[3] < 200
    assert body_box(shadow) == (0, 0, 256, 256)
    sharp = np.clip(np.where(np.arange(256)[:, None] < 140, 170, 20) + ragged, 0, 255).astype(np.uint8)
    assert off(body_box(sharp), (0, 0, 256, 140)) <= 12


@pytest.mark.real
@pytest.mark.parametrize(("folder", "least", "most"), [("dmr", 0.1, 0.4), ("busi", 0.0, 0.03)])
def test_a_crop_follows_the_judgement_whether_a_body_stands_out(
    shared_dir: Path, folder: str, least: float, most: float
) -> None:
    """Of all 301 thermograms 74 are cut (in the others the body reaches every edge), of 780 ultrasound images 8."""
    cut = []
    for path in sorted((shared_dir / "data" / folder).glob("*/*.png"))[::7]:
        pixels = decode(path).pixels
        box = body_box(pixels)
        whole = (0, 0, pixels.shape[1], pixels.shape[0])
        assert box == (whole if body_mask(pixels) is None else component_box(pixels))
        cut.append(box != whole)
    assert least <= np.mean(cut) <= most


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 700),
    width=st.integers(1, 700),
    x=st.floats(0, 0.7),
    y=st.floats(0, 0.7),
    seed=st.integers(0, 99),
)
def test_box_is_never_empty_and_always_inside(height: int, width: int, x: float, y: float, seed: int) -> None:
    pixels = np.random.default_rng(seed).normal(30, 5, (height, width)).astype(np.float32)
    pixels[int(y * height) : int((y + 0.3) * height), int(x * width) : int((x + 0.3) * width)] += 60
    left, top, w, h = body_box(pixels)
    assert left >= 0
    assert top >= 0
    assert w >= 1
    assert h >= 1
    assert left + w <= width
    assert top + h <= height


def test_crop_is_recorded_and_is_what_the_network_sees() -> None:
    celsius = thermogram(480, 640, (100, 60, 300, 350))
    image = DecodedImage(celsius, "MATRIX", 32, 640, 480, quantity="temperature_c")
    prepared = preprocess(image, ImageRecipe(crop="body"))
    assert prepared.box is not None
    x, y, w, h = prepared.box
    cut = np.rint(np.clip((celsius[y : y + h, x : x + w] - 20) / 18 * 255, 0, 255)).astype(np.uint8)
    expected = cv2.resize(cut, (128, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(prepared.pixels[..., 0].astype(int) - expected).max() <= 1
    assert preprocess(image, ImageRecipe()).box is None


def test_window_is_taken_from_the_body_and_not_from_the_room() -> None:
    levels = (thermogram(480, 640, (100, 60, 300, 350), skin=3300, room=100) + 50).astype(np.uint16)
    levels[5:25, 600:630] = 60000  # a burned-in mark in the corner
    levels[5:25, 600:630] = np.where(levels[5:25, 600:630] > 0, 60000, 0)
    image = DecodedImage(levels, "PNG", 16, 640, 480)
    assert preprocess(image, ImageRecipe()).high == 60000
    assert preprocess(image, ImageRecipe(crop="body")).high < 4000
