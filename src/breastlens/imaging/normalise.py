"""Brings the grey levels of every image to one mean and one spread, so that neither tells images apart."""

from __future__ import annotations

import math

import numpy as np

from breastlens.imaging.header import Pixels

MEAN = 128
"""The grey level that an image's mean becomes."""

SPREAD = 51
"""What its standard deviation becomes; 2.5 of them reach from the mean to black and to white, the rest is clipped."""


def standardise(pixels: Pixels) -> Pixels:
    """Shift and scale grey levels to a mean of 128 and a standard deviation of 51, one for all channels.

    What is clipped at 0 and 255 and rounded to whole levels moves both a little. An image of a single level becomes
    128.

    Args:
        pixels: uint8 (h, w) or (h, w, 3), without bars or anything else that is not of the image.

    Returns:
        uint8 of the same shape.
    """
    levels = np.arange(256)
    counts = np.bincount(pixels.ravel(), minlength=256)
    # Whole numbers add up to the same on any machine, and do so however bright the image is.
    total, summed, squared = (int((counts * levels**power).sum()) for power in (0, 1, 2))
    spread = math.sqrt(squared * total - summed**2)  # times the number of values, as the distances below
    if spread == 0:
        return np.full_like(pixels, MEAN)
    table = np.clip(np.rint(MEAN + SPREAD * (levels * total - summed) / spread), 0, 255).astype(np.uint8)
    return np.asarray(table[pixels])
