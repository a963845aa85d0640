"""Connected components of a mask and their areas, several times as fast as with the statistics that OpenCV adds."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int32]
"""(h, w): 0 on the ground, and from 1 the number of the component that a pixel belongs to."""


def find_components(mask: NDArray[np.bool_], connectivity: int) -> tuple[Numbers, NDArray[np.int64]]:
    """Numbers the components of a mask.

    Args:
        mask: bool (h, w).
        connectivity: 4, or 8 where pixels that touch at a corner are connected.

    Returns:
        The numbers, and how many pixels each component has, (count + 1,), with 0 for the ground.
    """
    count, numbers = cv2.connectedComponents(mask.view(np.uint8), connectivity=connectivity)
    return np.asarray(numbers), np.bincount(numbers.ravel()[np.flatnonzero(mask)], minlength=count)


def component_place(numbers: Numbers, number: int) -> tuple[int, int, int, int]:
    """The box round one component: x, y, width, height."""
    x, y, width, height = cv2.boundingRect((numbers == number).view(np.uint8))
    return x, y, width, height
