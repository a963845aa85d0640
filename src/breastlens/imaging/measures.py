"""What can be told of one decoded image by plain figures: levels, contrast, clipping, sharpness, colour."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.imaging.header import Pixels

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
    colour = pixels.ndim == 3 and bool((pixels != pixels[..., :1]).any())
    grey = _to_one_channel(pixels)
    values = grey.ravel()
    least, greatest = float(values.min()), float(values.max())
    low = 0.0 if pixels.dtype.kind == "u" else least
    high = 255.0 if pixels.dtype == np.uint8 else greatest
    width = high - low
    if not greatest > least:
        at_dark, at_bright = float(pixels.dtype.kind == "u" and least == low), float(least == high)
        return ImageMeasures(int(np.unique(pixels).size), 0.0, 0.0, at_dark, at_bright, 0.0, colour)
    first, last = np.percentile(values, (_ROBUST_PERCENT, 100 - _ROBUST_PERCENT))
    return ImageMeasures(
        grey_levels=int(np.unique(pixels).size),
        contrast=float(last - first) / width,
        deviation=float(values.std(dtype=np.float64)) / width,
        clipped_dark=float((values == low).mean()),
        clipped_bright=float((values == greatest).mean()),
        sharpness=_sharpness(grey),
        colour=colour,
    )


def _to_one_channel(pixels: Pixels) -> Pixels:
    """The image itself, or the brightest of its channels, so that a clipped channel counts as clipped."""
    return pixels if pixels.ndim == 2 else np.asarray(pixels.max(axis=2))


def _sharpness(grey: Pixels) -> float:
    height, width = grey.shape
    scale = min(1.0, SHARPNESS_SIDE_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small: NDArray[np.float32] = np.asarray(
        cv2.resize(grey.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    )
    spread = float(small.std(dtype=np.float64))
    return float(cv2.Laplacian(small, cv2.CV_32F).std(dtype=np.float64)) / spread if spread > 0 else 0.0
