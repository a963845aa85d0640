"""Finds squares: markers stuck on the skin, and patches of one grey level drawn into an image."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]

STEP = 38
"""Grey levels of 255 by which what is drawn differs from what lies beside it; steps in tissue are softer or smaller."""

_SEARCH_SIDE_PX = 512
_SQUARE_SIDE_SHARE = (0.03, 0.2)
_SQUARE_FILL = 0.88
_SQUARE_ASPECT = 1.6
_SQUARE_CONTRAST = 12
_SQUARE_STEP = 0.7
_FLAT_LEVELS = 3  # what a JPEG makes of one level
_LEAST_DRAWN_PX = 6
_DRAWN_FILL = 0.95


def find_squares(grey: Grey, body: Mask | None) -> Mask:
    """Marks squares.

    Args:
        grey: uint8 (h, w).
        body: bool (h, w); None where no body stands out, and then nothing is sought that is stuck on it.

    Returns:
        bool (h, w).
    """
    drawn = _find_drawn_squares(grey)
    return drawn if body is None else drawn | _find_stuck_squares(grey, body)


def _find_stuck_squares(grey: Grey, body: Mask) -> Mask:
    """Marks dark squares with straight, sharp edges inside the body."""
    height, width = grey.shape
    scale = min(1.0, _SEARCH_SIDE_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(cv2.GaussianBlur(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), (0, 0), 1))
    within = cv2.resize(body.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    least, most = (max(2, round(share * max(size))) for share in _SQUARE_SIDE_SHARE)
    # A closing wider than the largest square fills it; what it fills is the depth below the surroundings.
    depth = cv2.subtract(
        cv2.morphologyEx(small, cv2.MORPH_CLOSE, np.ones((most | 1, most | 1), np.uint8)), small
    )
    done = np.zeros(small.shape, dtype=bool)
    for level in range(
        120, _SQUARE_CONTRAST - 1, -6
    ):  # the deepest first, each at the level where it is a square
        deep = ((depth >= level) & within & ~done).astype(np.uint8)
        count, numbers, boxes, _ = cv2.connectedComponentsWithStats(deep, connectivity=4)
        for number in range(1, count):
            x, y, w, h, area = (int(value) for value in boxes[number])
            if not (least**2 <= area and max(w, h) <= 1.5 * most):
                continue
            patch = numbers[y : y + h, x : x + w] == number
            if _is_square(patch) and _is_sharp(small, numbers == number):
                done |= cv2.dilate((numbers == number).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    resized = cv2.resize(done.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized > 0)


def _find_drawn_squares(grey: Grey) -> Mask:
    """Marks upright squares of one grey level with a step all round, brighter or darker, anywhere in the image."""
    found = np.zeros(grey.shape, dtype=bool)
    near = np.ones((3, 3), np.uint8)
    flat = cv2.subtract(cv2.dilate(grey, near), cv2.erode(grey, near)) <= _FLAT_LEVELS
    count, numbers, boxes, _ = cv2.connectedComponentsWithStats(flat.astype(np.uint8), connectivity=4)
    height, width = grey.shape
    for number in range(1, count):
        x, y, w, h, area = (int(value) for value in boxes[number])
        small = max(w, h) <= _SQUARE_SIDE_SHARE[1] * max(height, width)
        if not (small and min(w, h) >= _LEAST_DRAWN_PX and max(w, h) <= _SQUARE_ASPECT * min(w, h)):
            continue
        if area < _DRAWN_FILL * w * h:
            continue
        around = np.zeros(grey.shape, dtype=bool)
        around[max(0, y - 4) : y + h + 4, max(0, x - 4) : x + w + 4] = True
        around[max(0, y - 2) : y + h + 2, max(0, x - 2) : x + w + 2] = False
        level = int(np.median(grey[numbers == number]))
        beside = grey[around]
        if beside.size and (
            np.percentile(beside, 95) <= level - STEP or np.percentile(beside, 5) >= level + STEP
        ):
            found[max(0, y - 1) : y + h + 1, max(0, x - 1) : x + w + 1] = True
    return found


def _is_square(patch: Mask) -> bool:
    """Tells whether a component fills its tilted box, and that box is nearly as wide as high."""
    outlines, _ = cv2.findContours(patch.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    _, (across, down), _ = cv2.minAreaRect(outlines[0])
    across, down = across + 1, down + 1  # the outline runs through the centres of pixels
    fill = float(patch.sum()) / (across * down)
    return bool(fill >= _SQUARE_FILL and max(across, down) <= _SQUARE_ASPECT * min(across, down))


def _is_sharp(grey: Grey, inside: Mask) -> bool:
    """Tells whether most of the step from inside to outside happens within a few pixels, all round."""
    near, disc = inside.astype(np.uint8), np.ones((3, 3), np.uint8)
    core = cv2.erode(near, disc, iterations=2) > 0
    rim = (cv2.dilate(near, disc, iterations=4) > 0) & (cv2.dilate(near, disc, iterations=2) == 0)
    far = (cv2.dilate(near, disc, iterations=10) > 0) & (cv2.dilate(near, disc, iterations=7) == 0)
    if not (core.any() and rim.any() and far.any()):
        return False
    level = float(np.median(grey[core]))
    step, whole = float(np.percentile(grey[rim], 10)) - level, float(np.median(grey[far])) - level
    return whole >= _SQUARE_CONTRAST and step >= _SQUARE_STEP * whole
