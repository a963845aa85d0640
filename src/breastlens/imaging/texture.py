"""Features of an image that need no network: oriented gradients and local binary patterns."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_SIDE_PX = 64
_CELLS = 4
_NEIGHBOURS = 8


def texture_features(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Describe images by histograms of oriented gradients and of local binary patterns.

    Oriented gradients as in Dalal and Triggs (CVPR 2005), in cells of 8 px of the image at 64 px. Uniform local binary
    patterns of the eight neighbours (Ojala, Pietikainen and Maenpaa, IEEE PAMI 24(7), 2002), counted in 4 x 4 cells.

    Args:
        pixels: uint8 (n, s, s, 3), RGB.

    Returns:
        float32 (n, 1924), all in [0, 1].
    """
    from skimage.feature import hog, local_binary_pattern

    rows = []
    for image in pixels:
        grey = cv2.resize(
            cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA
        )
        gradients = hog(grey, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2))
        patterns = local_binary_pattern(grey, _NEIGHBOURS, 1, method="uniform").astype(np.int64)
        rows.append(np.concatenate([gradients, *_histograms(patterns)]))
    return np.asarray(rows, dtype=np.float32)


def _histograms(patterns: NDArray[np.int64]) -> list[NDArray[np.float64]]:
    return [
        np.bincount(cell.ravel(), minlength=_NEIGHBOURS + 2) / cell.size
        for band in np.array_split(patterns, _CELLS, axis=0)
        for cell in np.array_split(band, _CELLS, axis=1)
    ]
