"""Tests: whether two models are right equally often, and what many tests at once may claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.evaluation.inputs import Units


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_], units: Units) -> dict[str, Any]:
    """Test whether two models are right equally often on the same images, exactly.

    If neither is better, they could change places on any patient. So for each patient the sign of the difference in
    right answers is a coin's, and the probability of a sum at least as far from 0 is counted over all throws. With one
    image a patient this is McNemar's test in its exact form (McNemar, Psychometrika 12, 1947). With several it keeps
    their correlation, as the test of Durkalski and others does (Statistics in Medicine 22, 2003), for any number of
    patients.

    Args:
        first: Where the first model is right, (n,).
        second: Where the second is right, (n,).
        units: Which images belong together.

    Returns:
        ``images``, ``only_first`` and ``only_second``, the images on which one alone is right; ``p_value``, two-sided;
        ``method``.
    """
    ahead = np.bincount(units.index, first.astype(int) - second.astype(int), units.count)
    alone = np.unique(units.index).size == units.index.size
    return {
        "images": int(first.size),
        "only_first": int(np.sum(first & ~second)),
        "only_second": int(np.sum(second & ~first)),
        "p_value": sign_flip_p_value(np.rint(ahead).astype(np.int64)),
        "method": "exact McNemar"
        if alone
        else "exact McNemar, all images of a patient change places together",
    }


def sign_flip_p_value(differences: NDArray[np.int64]) -> float:
    """Give the probability that whole numbers with random signs add up to at least as far from 0 as they do.

    Args:
        differences: (n,), whole numbers.

    Returns:
        Two-sided, in (0, 1]; 1 where all are 0.
    """
    sizes = np.abs(differences[differences != 0])
    reach = int(sizes.sum())
    chances = np.zeros(2 * reach + 1)  # of each sum from -reach to reach
    chances[reach] = 1.0
    for size in sizes.tolist():
        flipped = np.zeros_like(chances)
        flipped[size:] = chances[: chances.size - size] / 2
        flipped[: chances.size - size] += chances[size:] / 2
        chances = flipped
    sums = np.abs(np.arange(-reach, reach + 1))
    return float(min(1.0, chances[sums >= abs(int(differences.sum()))].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for their number (Holm, Scandinavian Journal of Statistics 6, 1979), in their order."""
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - place)))
        adjusted[index] = largest
    return adjusted
