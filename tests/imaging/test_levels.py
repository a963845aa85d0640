"""Statistics from counts, against NumPy's of the pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breastlens.imaging import levels
from breastlens.imaging.levels import count_levels, mean_and_variance, percentiles


@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 2000),
    highest=st.integers(1, 256),
    deep=st.booleans(),
    percents=st.tuples(st.floats(0, 100), st.floats(0, 100)),
)
def test_counts_give_what_the_pixels_give(
    seed: int, size: int, highest: int, deep: bool, percents: tuple[float, float]
) -> None:
    drawn = np.random.default_rng(seed).integers(0, highest, size)
    pixels = (drawn * 257).astype(np.uint16) if deep else drawn.astype(np.uint8)
    counts = count_levels(pixels)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, np.bincount(pixels, minlength=256))
    assert percentiles(counts, percents) == tuple(np.percentile(pixels, percents).tolist())
    mean, variance = mean_and_variance(counts)
    assert mean == pytest.approx(pixels.mean(), rel=1e-12)
    assert variance == pytest.approx(pixels.var(dtype=np.float64), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (35,)])
def test_all_values_of_any_shape_are_counted(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(count_levels(pixels), np.bincount(pixels.ravel(), minlength=256))


def test_more_pixels_than_float32_counts_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8)
    expected = count_levels(pixels)
    monkeypatch.setattr(levels, "_EXACT_IN_FLOAT32", 1000)
    np.testing.assert_array_equal(count_levels(pixels), expected)
