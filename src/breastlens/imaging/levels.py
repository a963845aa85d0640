"""Statistics of grey levels from how often each occurs, which is many times faster than from the pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.imaging.header import Pixels

Counts = NDArray[np.int64]
"""How often each level from 0 occurs."""

_EXACT_IN_FLOAT32 = 2**24


def count_levels(pixels: Pixels) -> Counts:
    """Counts how often each level occurs.

    Args:
        pixels: uint8 or uint16 of any shape.

    Returns:
        int64, 256 or, of uint16, as many as the greatest level needs but at least 256.
    """
    if pixels.dtype == np.uint8 and pixels.size < _EXACT_IN_FLOAT32:  # OpenCV counts in float32
        counted = cv2.calcHist([pixels.reshape(len(pixels), -1)], [0], None, [256], [0, 256])
        return np.asarray(counted.ravel(), dtype=np.int64)
    return np.bincount(pixels.ravel(), minlength=256)


def percentiles(counts: Counts, percents: tuple[float, float]) -> tuple[float, float]:
    """Gives two percentiles of levels, interpolated linearly, the same as ``np.percentile`` of the pixels.

    Args:
        counts: From `count_levels`, of at least one pixel.
        percents: 0 to 100.
    """
    reached = np.cumsum(counts)
    last = int(reached[-1]) - 1

    def find(percent: float) -> float:
        place = last * (percent / 100)
        before = int(place)
        lower, upper = np.searchsorted(reached, (before, min(before + 1, last)), side="right").tolist()
        share = place - before
        # From the nearer of the two, as NumPy does, so that both round alike.
        return float(
            lower + (upper - lower) * share if share < 0.5 else upper - (upper - lower) * (1 - share)
        )

    return find(percents[0]), find(percents[1])


def mean_and_variance(counts: Counts) -> tuple[float, float]:
    """Gives mean and variance of levels.

    Args:
        counts: From `count_levels`, of at least one pixel.
    """
    levels = np.arange(counts.size)
    total = int(counts.sum())
    mean = int((counts * levels).sum()) / total
    return mean, float((counts * (levels - mean) ** 2).sum()) / total
