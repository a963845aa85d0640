"""Marks that were drawn are found where they were drawn, and nothing is found where there are none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breastlens.imaging.acquisition_traps import Marker
from breastlens.imaging.decode import decode
from breastlens.imaging.marks import PRECISION, find_marks, hide_marks
from breastlens.imaging.phantom import PhantomSettings, write_cohort


def tissue(seed: int = 0, height: int = 256, width: int = 256) -> np.ndarray:
    """Layers that lie across, as in ultrasound, with speckle."""
    random = np.random.default_rng(seed)
    layers = cv2.GaussianBlur(random.normal(0, 1, (height, width)), (0, 0), sigmaX=12, sigmaY=2.5)
    speckle = cv2.GaussianBlur(random.normal(0, 1, (height, width)), (0, 0), 1)
    return np.clip(70 + 25 * layers / layers.std() + 8 * speckle / speckle.std(), 0, 255).astype(np.uint8)


def overlap(box: tuple[int, ...], other: tuple[int, ...]) -> float:
    x, y, w, h = box
    a, b, c, d = other
    across, down = min(x + w, a + c) - max(x, a), min(y + h, b + d) - max(y, b)
    both = max(0, across) * max(0, down)
    return both / (w * h + c * d - both)


def draw_cross(pixels: np.ndarray, x: int, y: int, arm: int = 5) -> None:
    pixels[y, x - arm : x + arm + 1] = 230
    pixels[y - arm : y + arm + 1, x] = 230


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_found_in_tissue(seed: int) -> None:
    found = find_marks(tissue(seed))
    assert found.boxes == ()
    assert (found.share, found.confidence, found.kinds) == (0.0, 0.0, ())


@pytest.mark.parametrize("file_format", ["png", "matrix"])
def test_nothing_is_found_in_phantoms(tmp_path: Path, file_format: str) -> None:
    for seed in (3, 4):
        out = tmp_path / f"{file_format}{seed}"
        write_cohort(
            out, PhantomSettings(patients=8, images_per_patient=1, seed=seed, file_format=file_format)
        )
        for path in [*out.glob("*/*.png"), *out.glob("*/*.txt")]:
            assert find_marks(decode(path).pixels).boxes == (), path.name


def test_every_planted_marker_is_found_and_no_other(tmp_path: Path) -> None:
    plain, marked = tmp_path / "plain", tmp_path / "marked"
    write_cohort(plain, PhantomSettings(patients=8, images_per_patient=1, seed=5))
    write_cohort(marked, PhantomSettings(patients=8, images_per_patient=1, seed=5, traps=(Marker(),)))
    planted = 0
    for path in marked.glob("*/*.png"):
        pixels, before = decode(path).pixels, decode(plain / path.relative_to(marked)).pixels
        found = find_marks(pixels)
        if (pixels != before).any():
            planted += 1
            assert found.kinds == ("square",)
            assert overlap(found.boxes[0], cv2.boundingRect((pixels != before).astype(np.uint8))) > 0.7
        else:
            assert found.kinds == ()
    assert planted >= 2


def test_a_cool_marker_on_the_skin_is_found_and_a_round_cool_spot_is_not() -> None:
    rows, columns = np.mgrid[:480, :640]
    body = np.hypot((rows - 260) / 240, (columns - 320) / 220) < 1
    grey = cv2.GaussianBlur(np.where(body, 170, 40).astype(np.float32), (0, 0), 2)
    spot = np.where(np.hypot(rows - 200, columns - 240) < 12, 60, 0).astype(np.float32)
    grey -= cv2.GaussianBlur(spot, (0, 0), 2)
    assert find_marks(grey.astype(np.uint8)).boxes == ()
    corners = cv2.boxPoints(((320, 350), (40, 38), 8)).astype(np.int32)
    patch = cv2.fillConvexPoly(np.zeros(grey.shape, np.uint8), corners, 1).astype(np.float32)
    for depth in (25, 70):
        found = find_marks((grey - depth * cv2.GaussianBlur(patch, (0, 0), 1)).astype(np.uint8))
        assert found.kinds == ("square",)
        assert overlap(found.boxes[0], cv2.boundingRect(corners)) > 0.6


def test_letters_are_found_as_one_text() -> None:
    pixels = tissue()
    cv2.putText(pixels, "RT LIQ", (40, 200), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 230, 1)
    found = find_marks(pixels)
    assert "text" in found.kinds
    assert all(overlap(box, (40, 188, 50, 14)) > 0 for box in found.boxes)
    assert found.confidence == PRECISION["text"]
    assert 0 < found.share < 0.03


def test_callipers_are_found_each() -> None:
    pixels = tissue(1)
    for x, y in ((60, 70), (150, 110)):
        draw_cross(pixels, x, y)
    found = find_marks(pixels)
    assert found.kinds == ("cross", "cross")
    for (x, y), box in zip(((60, 70), (150, 110)), found.boxes, strict=True):
        assert overlap(box, (x - 5, y - 5, 11, 11)) > 0.5


def test_a_round_bright_spot_is_no_cross() -> None:
    pixels = tissue(2)
    cv2.circle(pixels, (120, 120), 3, 230, -1)
    cv2.circle(pixels, (60, 180), 5, 230, -1)
    assert find_marks(cv2.GaussianBlur(pixels, (0, 0), 0.8)).boxes == ()


def test_colour_on_grey_is_a_mark_and_a_colour_image_is_not() -> None:
    pixels = np.repeat(tissue()[..., None], 3, axis=2)
    pixels[100:108, 50:60] = (220, 200, 20)
    assert find_marks(pixels).kinds == ("colour",)
    assert find_marks(pixels).boxes == ((50, 100, 10, 8),)
    stained = np.dstack([tissue(4), tissue(5) // 2, tissue(6)])
    assert find_marks(stained).boxes == ()


def test_depth_and_channels_do_not_matter() -> None:
    pixels = tissue(1)
    draw_cross(pixels, 60, 70)
    pixels[0, 0], pixels[0, 1:30] = 0, 255  # the same range at every depth
    expected = find_marks(pixels).boxes
    assert find_marks(np.repeat(pixels[..., None], 3, axis=2)).boxes == expected
    assert find_marks(pixels.astype(np.uint16) * 257).boxes == expected
    assert find_marks(pixels.astype(np.float32) / 10 + 20).boxes == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_hidden_marks_are_gone_and_the_rest_is_as_it_was(dtype: type, channels: int) -> None:
    before = tissue(1)
    before[0, 0], before[0, 1:30] = 0, 255
    pixels = before.copy()
    draw_cross(pixels, 60, 70)
    given_pixels = pixels.astype(dtype) if channels == 1 else np.repeat(pixels[..., None], 3, 2).astype(dtype)
    kept = given_pixels.copy()
    hidden = hide_marks(given_pixels)
    assert hidden.dtype == dtype
    assert hidden.shape == given_pixels.shape
    assert (given_pixels == kept).all()
    first = hidden if channels == 1 else hidden[..., 0]
    assert float(first[65:76, 55:66].max()) < 170
    far = np.ones(before.shape, dtype=bool)
    far[55:86, 45:76] = False
    assert (first[far] == before.astype(dtype)[far]).all()


def test_an_image_without_marks_is_returned_as_a_copy() -> None:
    pixels = tissue()
    hidden = hide_marks(pixels)
    assert (hidden == pixels).all()
    assert hidden is not pixels


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999))
def test_boxes_lie_in_the_image_whatever_it_holds(seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width = (int(side) for side in random.integers(1, 90, 2))
    found = find_marks(random.integers(0, 256, (height, width), dtype=np.uint8))
    assert len(found.boxes) == len(found.kinds)
    assert 0.0 <= found.share <= 1.0
    for x, y, w, h in found.boxes:
        assert 0 <= x < x + w <= width
        assert 0 <= y < y + h <= height
