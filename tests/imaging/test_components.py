"""Components and their areas and boxes, against OpenCV's own statistics."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from breastlens.imaging.components import component_place, find_components


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_areas_and_boxes_are_those_that_opencv_counts(connectivity: int, share: float) -> None:
    mask = np.random.default_rng(3).random((60, 83)) < share
    numbers, areas = find_components(mask, connectivity)
    count, expected, boxes, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=connectivity
    )
    np.testing.assert_array_equal(numbers, expected)
    assert areas.shape == (count,)
    assert areas[0] == 0
    np.testing.assert_array_equal(areas[1:], boxes[1:, cv2.CC_STAT_AREA])
    for number in range(1, count):
        assert component_place(numbers, number) == tuple(boxes[number, :4].tolist())
