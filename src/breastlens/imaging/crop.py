"""Finds the largest warm or bright component of an image, and the box around it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.imaging.channels import merge_equal_channels
from breastlens.imaging.components import find_components
from breastlens.imaging.header import Pixels
from breastlens.imaging.levels import count_levels, mean_and_variance, percentiles

Box = tuple[int, int, int, int]
"""x, y, width, height in px of the decoded image."""

_SEARCH_SIDE_PX = 256
_LEAST_SEPARABILITY = 0.75
_LEAST_AREA = 0.10
_CLIPPED_PERCENTS = 1.0, 99.0


def component_box(pixels: Pixels) -> Box | None:
    """The box around the largest component that is warmer or brighter than its surroundings.

    Args:
        pixels: (h, w) or (h, w, 3) of any dtype.

    Returns:
        x, y, width, height; never empty and always within the image. None where ``segment_body`` finds nothing.
    """
    body = segment_body(pixels)
    if body is None:
        return None
    height, width = pixels.shape[:2]
    x, y, w, h = cv2.boundingRect(body.astype(np.uint8))
    across, down = width / body.shape[1], height / body.shape[0]
    left, top = int(x * across), int(y * down)
    right, bottom = min(width, int(np.ceil((x + w) * across))), min(height, int(np.ceil((y + h) * down)))
    return left, top, right - left, bottom - top


def segment_body(pixels: Pixels) -> NDArray[np.bool_] | None:
    """The largest component that is warmer or brighter than its surroundings.

    Otsu's threshold (N. Otsu, IEEE Trans. SMC 9(1), 1979) on the square root of the grey levels: the root
    draws the dim parts of a body (fat in a mammogram, a cool breast) towards its bright ones and away from
    the dark surroundings.

    Args:
        pixels: (h, w) or (h, w, 3) of any dtype.

    Returns:
        bool, at most 256 px a side, in the proportions of the image. None where no body stands out: where Otsu's
        separability (variance between the two classes over the total) is not above 0.75, which is what a flat
        histogram has, or where the largest component covers less than a tenth of the frame.
    """
    return segment_picture(search_picture(pixels))


def segment_picture(small: Pixels) -> NDArray[np.bool_] | None:
    """As ``segment_body``, of what ``search_picture`` gives."""
    threshold, mask = cv2.threshold(small, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    if _separability(small, threshold) <= _LEAST_SEPARABILITY:
        return None
    numbers, areas = find_components(mask > 0, connectivity=8)
    largest = int(np.argmax(areas))
    if areas[largest] < _LEAST_AREA * small.size:
        return None
    return np.asarray(numbers == largest)


def search_picture(pixels: Pixels) -> Pixels:
    """The small picture that the body is searched in.

    Args:
        pixels: (h, w) or (h, w, 3) of any dtype.

    Returns:
        uint8, at most 256 px a side, grey, the square root of the range from the 1st to the 99th percentile, blurred.
    """
    scale = min(1.0, _SEARCH_SIDE_PX / max(pixels.shape[:2]))
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    small = merge_equal_channels(np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)))
    if small.dtype == np.uint8 and small.ndim == 2:
        table = _stretch(np.arange(256.0), *percentiles(count_levels(small), _CLIPPED_PERCENTS))
        stretched = cv2.LUT(small, table)
    else:
        values = small.astype(np.float32)
        if values.ndim == 3:
            values = values.mean(axis=2)
        stretched = _stretch(values, *np.percentile(values, _CLIPPED_PERCENTS))
    return np.asarray(cv2.GaussianBlur(stretched, (0, 0), 2))


def _stretch(values: NDArray[np.floating], low: float, high: float) -> NDArray[np.uint8]:
    unit = np.clip((values - low) / max(high - low, float(np.finfo(np.float32).tiny)), 0, 1)
    return np.asarray(np.rint(255 * np.sqrt(unit)), dtype=np.uint8)


def _separability(grey: Pixels, threshold: float) -> float:
    """Otsu's eta: the share of the variance that lies between the two sides of the threshold, 0 to 1."""
    counts = count_levels(grey)
    _, total = mean_and_variance(counts)
    is_above = np.arange(counts.size) > threshold
    above, below = counts * is_above, counts * ~is_above
    share = float(above.sum() / counts.sum())
    if total == 0 or share in (0.0, 1.0):
        return 0.0
    apart = mean_and_variance(above)[0] - mean_and_variance(below)[0]
    return share * (1 - share) * apart**2 / total
