"""What can be told of one decoded image by plain figures: levels, contrast, clipping, sharpness, colour."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.imaging.channels import brightest_channel, merge_equal_channels
from breastlens.imaging.header import Pixels
from breastlens.imaging.levels import count_levels, mean_and_variance, percentiles

SHARPNESS_SIDE_PX = 256
"""Sharpness is measured at this size for the longer side, so that large and small exports can be compared."""

_ROBUST_PERCENT = 1.0


@dataclass(frozen=True)
class ImageMeasures:
    """Plain figures of one image as it stands in its file.

    Attributes:
        grey_levels: Different values among its pixels.
        contrast: From the 1st to the 99th percentile, as a share of the range: 0 to 255 of 8 bits; 0 to the greatest
            value of 16 bits, which often hold 10, 12 or 14; from the least to the greatest value of anything else.
        deviation: Standard deviation, as a share of that range.
        clipped_dark: Share of pixels at the least value of that range. A black ground counts as well.
        clipped_bright: Share of pixels at the greatest value that occurs.
        sharpness: Standard deviation of the Laplacian over that of the image; 0 for one level.
        colour: Whether the three channels differ anywhere.
    """

    grey_levels: int
    contrast: float
    deviation: float
    clipped_dark: float
    clipped_bright: float
    sharpness: float
    colour: bool


def measure(pixels: Pixels) -> ImageMeasures:
    """Measures one image.

    Sharpness is the variance of the Laplacian (Pech-Pacheco, Cristobal, Chamorro-Martinez and Fernandez-Valdivia, ICPR
    2000), here as a standard deviation, of the image at 256 px for the longer side and divided by the image's own
    deviation, so that neither size nor contrast matters. An image that is smaller is not enlarged.

    Args:
        pixels: (h, w) or (h, w, 3), uint8, uint16 or float32, finite.
    """
    merged = merge_equal_channels(pixels)
    grey = brightest_channel(merged)
    least, greatest = float(grey.min()), float(grey.max())
    low = 0.0 if pixels.dtype.kind == "u" else least
    high = 255.0 if pixels.dtype == np.uint8 else greatest
    width, colour = high - low, merged.ndim == 3
    if not greatest > least:
        at_dark, at_bright = float(pixels.dtype.kind == "u" and least == low), float(least == high)
        return ImageMeasures(_count_distinct(merged), 0.0, 0.0, at_dark, at_bright, 0.0, colour)
    first, last, deviation = _measure_spread(grey)
    return ImageMeasures(
        grey_levels=_count_distinct(merged),
        contrast=(last - first) / width,
        deviation=deviation / width,
        clipped_dark=float(np.count_nonzero(grey == low) / grey.size),
        clipped_bright=float(np.count_nonzero(grey == greatest) / grey.size),
        sharpness=_sharpness(grey),
        colour=colour,
    )


def _count_distinct(pixels: Pixels) -> int:
    return int(np.count_nonzero(count_levels(pixels)) if _is_counted(pixels) else np.unique(pixels).size)


def _measure_spread(grey: Pixels) -> tuple[float, float, float]:
    """The 1st and the 99th percentile, and the standard deviation."""
    ends = _ROBUST_PERCENT, 100 - _ROBUST_PERCENT
    if _is_counted(grey):
        counts = count_levels(grey)
        return *percentiles(counts, ends), mean_and_variance(counts)[1] ** 0.5
    first, last = np.percentile(grey, ends)
    return float(first), float(last), float(grey.std(dtype=np.float64))


def _is_counted(pixels: Pixels) -> bool:
    """Whether the pixels are levels, few enough to be counted."""
    return pixels.dtype in (np.uint8, np.uint16)


def _sharpness(grey: Pixels) -> float:
    height, width = grey.shape
    scale = min(1.0, SHARPNESS_SIDE_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small: NDArray[np.float32] = np.asarray(
        cv2.resize(grey.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    )
    spread = float(small.std(dtype=np.float64))
    return float(cv2.Laplacian(small, cv2.CV_32F).std(dtype=np.float64)) / spread if spread > 0 else 0.0
