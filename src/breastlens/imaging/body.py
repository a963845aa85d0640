"""Which pixels of an image belong to the body: the largest component that is warmer or brighter than the rest."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.imaging.crop import search_picture, segment_picture
from breastlens.imaging.header import Pixels

_LEAST_OUTLINE_STEP = 0.75
_OUTLINE_SHARE = 0.02
_LEAST_OUTLINE_PX = (
    4  # the search picture is blurred by 2 px, which spreads any step over 4 px to either side
)


def body_mask(pixels: Pixels) -> NDArray[np.bool_] | None:
    """Mark the body.

    Args:
        pixels: (h, w) or (h, w, 3) of any dtype.

    Returns:
        bool (h, w), holes filled. None where no body stands out from its surroundings, as in ultrasound, whose frame is
        all tissue: nothing there may be called background. That is where ``segment_body`` finds none, and where what it
        finds has no outline: shadows in tissue fade, whereas at the edge of a body nearly the whole step from body to
        surroundings lies within a few px. That share of the step was 0.80 or more in 299 of 299 thermograms, and under
        0.75 in 323 of the 333 ultrasound images in which ``segment_body`` finds something.
    """
    small = search_picture(pixels)
    found = segment_picture(small)
    if found is None:
        return None
    outline, _ = cv2.findContours(found.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros(found.shape, np.uint8), outline, -1, 1, cv2.FILLED)
    if _outline_step(small, filled) <= _LEAST_OUTLINE_STEP:
        return None
    size = pixels.shape[1], pixels.shape[0]
    return np.asarray(cv2.resize(filled, size, interpolation=cv2.INTER_NEAREST), dtype=np.bool_)


def _outline_step(grey: Pixels, body: NDArray[np.uint8]) -> float:
    """The step from just inside to just outside, as a share of that between all of the inside and the outside."""
    near = max(_LEAST_OUTLINE_PX, round(_OUTLINE_SHARE * max(grey.shape)))
    once, twice = (
        cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        for reach in (near, 2 * near)
    )
    inside, outside = cv2.erode(body, once), 1 - cv2.dilate(body, once)
    inner = inside & (1 - cv2.erode(body, twice))
    outer = outside & cv2.dilate(body, twice)
    if not (inner.any() and outer.any()):
        return 0.0
    means = (cv2.mean(grey, mask)[0] for mask in (inside, outside, inner, outer))
    within, beyond, just_inside, just_outside = means
    return (just_inside - just_outside) / (within - beyond) if within > beyond else 0.0
