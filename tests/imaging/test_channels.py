"""Three channels as one: those that are the same, and the brightest and darkest of those that are not."""

from __future__ import annotations

import numpy as np
import pytest

from breastlens.imaging.channels import brightest_channel, darkest_channel, merge_equal_channels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, np.int64, ">u2"])
def test_channels_are_merged_only_where_all_are_the_same_everywhere(dtype: str) -> None:
    grey = np.random.default_rng(0).integers(0, 200, (13, 7)).astype(dtype)
    colour = np.repeat(grey[..., None], 3, axis=2)
    merged = merge_equal_channels(colour)
    np.testing.assert_array_equal(merged, grey)
    assert merged.dtype == grey.dtype
    assert merged.flags.c_contiguous
    assert merge_equal_channels(grey) is grey
    for channel in range(3):
        other = colour.copy()
        other[12, 6, channel] += 1
        assert merge_equal_channels(other) is other


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_brightest_and_darkest_are_those_of_each_pixel(dtype: type) -> None:
    colour = np.random.default_rng(1).integers(0, 256, (20, 31, 3)).astype(dtype)
    np.testing.assert_array_equal(brightest_channel(colour), colour.max(axis=2))
    np.testing.assert_array_equal(darkest_channel(colour), colour.min(axis=2))
    assert brightest_channel(colour).dtype == darkest_channel(colour).dtype == dtype
    np.testing.assert_array_equal(brightest_channel(colour[..., 1]), colour[..., 1])
