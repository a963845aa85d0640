"""Which pixels of an image belong to the body: the largest component that is warmer or brighter than the rest."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.imaging.crop import segment_body
from breastlens.imaging.header import Pixels


def body_mask(pixels: Pixels) -> NDArray[np.bool_] | None:
    """Mark the body.

    Args:
        pixels: (h, w) or (h, w, 3) of any dtype.

    Returns:
        bool (h, w), holes filled; None where no body stands out from its surroundings, as in most ultrasound.
    """
    found = segment_body(pixels)
    if found is None:
        return None
    outline, _ = cv2.findContours(found.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros(found.shape, np.uint8), outline, -1, 1, cv2.FILLED)
    size = pixels.shape[1], pixels.shape[0]
    return np.asarray(cv2.resize(filled, size, interpolation=cv2.INTER_NEAREST), dtype=np.bool_)
