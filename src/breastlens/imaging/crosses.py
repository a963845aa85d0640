"""Finds bright plus signs, as callipers leave them in ultrasound."""

from __future__ import annotations

from functools import reduce

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_ARMS_PX = (4, 5, 6, 7)
_CORRELATION = 0.68
_CONTRAST = 25
_PLACES_AT_ONCE = 4096


def find_crosses(grey: Grey) -> Mask:
    """Marks plus signs: normalised cross-correlation with a drawn one of several sizes.

    Args:
        grey: uint8 (h, w).

    Returns:
        bool (h, w).
    """
    found = np.zeros(grey.shape, dtype=bool)
    for arm in _ARMS_PX:
        template = _draw_cross(arm)
        side = len(template)
        if min(grey.shape) < side:
            continue
        # Few places have arms, and correlating these alone is much faster than correlating everywhere.
        stand_out = _arms_stand_out(grey, arm)
        places = np.flatnonzero(stand_out)
        for start in range(0, places.size, _PLACES_AT_ONCE):
            top, left = np.divmod(places[start : start + _PLACES_AT_ONCE], stand_out.shape[1])
            fit = _correlate(sliding_window_view(grey, (side, side))[top, left], template)
            for y, x in zip(top[fit >= _CORRELATION], left[fit >= _CORRELATION], strict=True):
                found[y : y + side, x : x + side] |= template >= 64
    return found


def _correlate(patches: Grey, template: Grey) -> NDArray[np.float64]:
    """Normalised cross-correlation of patches (n, s, s), none of one level, with a template (s, s)."""
    levels = patches.reshape(len(patches), -1).astype(np.float64)
    levels -= levels.mean(axis=1, keepdims=True)
    drawn = template.ravel() - template.mean()
    lengths = np.sqrt((levels**2).sum(axis=1) * (drawn**2).sum())
    return np.asarray((levels * drawn).sum(axis=1) / lengths)


def _arms_stand_out(grey: Grey, arm_px: int) -> Mask:
    """Tells where each arm of a cross is brighter than what lies between them, which that of a round spot is not.

    Returns:
        bool, for each place of a drawn cross in the image.
    """
    centre, end, aside = arm_px + 2, arm_px - 1, arm_px // 2
    height, width = (length - 2 * centre for length in grey.shape)

    def shifted(down: int, across: int) -> Grey:
        return grey[centre + down :, centre + across :][:height, :width]

    arms = reduce(np.minimum, (shifted(*at) for at in ((0, end), (0, -end), (end, 0), (-end, 0))))
    between = reduce(np.maximum, (shifted(y, x) for y in (-aside, aside) for x in (-aside, aside)))
    return np.asarray(cv2.subtract(arms, between) >= _CONTRAST)


def _draw_cross(arm_px: int) -> Grey:
    """A bright plus sign, slightly blurred, with a dark rim of two pixels: uint8 (2 arm + 5, 2 arm + 5)."""
    centre = arm_px + 2
    drawn = np.zeros((2 * centre + 1, 2 * centre + 1), np.uint8)
    drawn[centre, 2:-2] = drawn[2:-2, centre] = 255
    return np.asarray(cv2.GaussianBlur(drawn, (0, 0), 0.7))
