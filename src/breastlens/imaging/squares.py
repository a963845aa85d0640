"""Finds squares: markers stuck on the skin, and patches of one grey level drawn into an image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.imaging.components import component_place, find_components

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
_SHARP_REACH_PX = 10
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
    depth[~within] = 0
    done = np.zeros(small.shape, dtype=bool)
    # The deepest first, each at the level where it is a square.
    for level in range(120, _SQUARE_CONTRAST - 1, -6):
        deep = depth >= level
        if np.count_nonzero(deep) >= least**2:
            part = _widen(cv2.boundingRect(deep.view(np.uint8)), _SHARP_REACH_PX)
            squares = _find_sharp_squares(small[part], deep[part], least, most)
            done[part] |= squares
            depth[part][squares] = 0
    resized = cv2.resize(done.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized > 0)


def _find_sharp_squares(grey: Grey, deep: Mask, least_px: int, most_px: int) -> Mask:
    """Marks the components that are squares with sharp edges, and two pixels round each."""
    found = np.zeros(grey.shape, np.uint8)
    numbers, areas = find_components(deep, connectivity=4)
    longest_px = 1.5 * most_px
    possible = (areas >= least_px**2) & (areas <= longest_px**2)
    for number in np.flatnonzero(possible).tolist():
        x, y, w, h = component_place(numbers, number)
        if max(w, h) <= longest_px and _is_square(numbers[y : y + h, x : x + w] == number):
            near = _widen((x, y, w, h), _SHARP_REACH_PX)
            inside = (numbers[near] == number).view(np.uint8)
            if _is_sharp(grey[near], inside):
                found[near] |= cv2.dilate(inside, np.ones((5, 5), np.uint8))
    return np.asarray(found > 0)


def _find_drawn_squares(grey: Grey) -> Mask:
    """Marks upright squares of one grey level with a step all round, brighter or darker, anywhere in the image."""
    found, around = np.zeros(grey.shape, dtype=bool), np.zeros(grey.shape, dtype=bool)
    near = np.ones((3, 3), np.uint8)
    flat = cv2.subtract(cv2.dilate(grey, near), cv2.erode(grey, near)) <= _FLAT_LEVELS
    numbers, areas = find_components(flat, connectivity=4)
    largest_px = _SQUARE_SIDE_SHARE[1] * max(grey.shape)
    possible = (areas >= _DRAWN_FILL * _LEAST_DRAWN_PX**2) & (areas <= largest_px**2)
    for number in np.flatnonzero(possible).tolist():
        box = x, y, w, h = component_place(numbers, number)
        longer, shorter = max(w, h), min(w, h)
        if longer > largest_px or shorter < _LEAST_DRAWN_PX or longer > _SQUARE_ASPECT * shorter:
            continue
        if areas[number] < _DRAWN_FILL * w * h:
            continue
        level = int(np.median(grey[y : y + h, x : x + w][numbers[y : y + h, x : x + w] == number]))
        wide = _widen(box, 4)
        around[wide] = True
        around[_widen(box, 2)] = False
        beside = grey[wide][around[wide]]
        if beside.size and (
            np.percentile(beside, 95) <= level - STEP or np.percentile(beside, 5) >= level + STEP
        ):
            found[_widen(box, 1)] = True
    return found


def _widen(box: Sequence[int], reach_px: int) -> tuple[slice, slice]:
    """Rows and columns of a box (x, y, width, height) and so many pixels round it."""
    x, y, width, height = box
    left, top = max(0, x - reach_px), max(0, y - reach_px)
    return slice(top, y + height + reach_px), slice(left, x + width + reach_px)


def _is_square(patch: Mask) -> bool:
    """Tells whether a component fills its tilted box, and that box is nearly as wide as high."""
    outlines, _ = cv2.findContours(patch.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    _, (across, down), _ = cv2.minAreaRect(outlines[0])
    across, down = across + 1, down + 1  # the outline runs through the centres of pixels
    fill = float(patch.sum()) / (across * down)
    return bool(fill >= _SQUARE_FILL and max(across, down) <= _SQUARE_ASPECT * min(across, down))


def _is_sharp(grey: Grey, inside: Grey) -> bool:
    """Tells whether most of the step from inside to outside happens within a few pixels, all round.

    Args:
        grey: The component and `_SHARP_REACH_PX` round it.
        inside: uint8, 1 in the component.
    """
    disc = np.ones((3, 3), np.uint8)
    core = cv2.erode(inside, disc, iterations=2) > 0
    rim = (cv2.dilate(inside, disc, iterations=4) > 0) & (cv2.dilate(inside, disc, iterations=2) == 0)
    far = (cv2.dilate(inside, disc, iterations=_SHARP_REACH_PX) > 0) & (
        cv2.dilate(inside, disc, iterations=7) == 0
    )
    if not (core.any() and rim.any() and far.any()):
        return False
    level = float(np.median(grey[core]))
    step, whole = float(np.percentile(grey[rim], 10)) - level, float(np.median(grey[far])) - level
    return whole >= _SQUARE_CONTRAST and step >= _SQUARE_STEP * whole
