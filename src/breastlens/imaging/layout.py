"""What a square looks like from afar: where it is bright, how its grey levels are spread, and whether it has colour.

Pooled activations of a network hardly know where in the image something was, so that they tell an upside-down image
from an upright one badly. These few numbers know that, and little else.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

CELLS = 8
"""The square is looked at as so many by so many cells."""

LAYOUT_SIZE = CELLS * CELLS + 7


def describe_layout(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give the mean grey level of each cell and seven statistics of each square.

    The statistics are the mean and the 99th percentile of the colour (largest minus smallest channel), the standard
    deviation of the grey levels, their 1st and 99th percentile, and the mean step from a pixel to its neighbour below
    and to the right; all as shares of 255.

    Args:
        pixels: uint8 (n, s, s, 3), RGB.

    Returns:
        float32 (n, ``LAYOUT_SIZE``).
    """
    rows = np.empty((len(pixels), LAYOUT_SIZE), np.float32)
    for row, image in zip(rows, pixels, strict=True):
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        red, green, blue = cv2.split(
            image
        )  # each in one piece: NumPy takes ten times as long along the last axis
        colour = cv2.max(cv2.max(red, green), blue) - cv2.min(cv2.min(red, green), blue)
        row[: CELLS * CELLS] = cv2.resize(grey, (CELLS, CELLS), interpolation=cv2.INTER_AREA).ravel()
        down, right = cv2.absdiff(grey[1:], grey[:-1]), cv2.absdiff(grey[:, 1:], grey[:, :-1])
        row[CELLS * CELLS :] = (
            cv2.mean(colour)[0],
            *_percentiles(colour, (0.99,)),
            cv2.meanStdDev(grey)[1].item(),
            *_percentiles(grey, (0.01, 0.99)),
            cv2.mean(down)[0],
            cv2.mean(right)[0],
        )
    return rows / np.float32(255)


def _percentiles(levels: NDArray[np.uint8], shares: tuple[float, ...]) -> NDArray[np.intp]:
    """The level that so large a share of the pixels does not exceed; counting is ten times as fast as sorting."""
    reached = np.cumsum(cv2.calcHist([levels], [0], None, [256], [0, 256]), dtype=np.float64)
    return np.searchsorted(reached, np.multiply(shares, levels.size))
