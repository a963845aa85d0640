"""How strongly something tells the label, and whether chance would do as well: labels are dealt anew to patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from breastlens.evaluation.inputs import find_units

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""From dealt labels (draws, blocks) to one figure a draw, (draws,); more is always further from chance."""

_LABELS_AT_ONCE = 2_000_000  # 16 MB
_ROUNDING = 1e-9


def cramers_v(values: NDArray[np.str_], labels: NDArray[np.integer]) -> float:
    """Measure how far categories tell the label.

    Cramer's V with the bias correction of Bergsma (Journal of the Korean Statistical Society 42, 2013), which stays
    near 0 when every image has a value of its own.

    Args:
        values: (n,) categories.
        labels: (n,) of 0 and 1.

    Returns:
        V from 0 to 1; 0 where either is constant.
    """
    names, code = np.unique(values, return_inverse=True)
    counts = np.zeros((names.size, 2))
    np.add.at(counts, (code, labels), 1)
    n, rows, columns = counts.sum(), names.size, int((counts.sum(axis=0) > 0).sum())
    if rows < 2 or columns < 2:
        return 0.0
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / n
    squared = ((counts - expected) ** 2 / expected).sum() / n
    corrected = max(0.0, squared - (rows - 1) * (columns - 1) / (n - 1))
    smaller = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1))
    return float(min(1.0, np.sqrt(corrected / (smaller - 1)))) if smaller > 1 else 0.0


def cliffs_delta(numbers: Floats, labels: NDArray[np.integer]) -> float:
    """Measure how far numbers tell the label: the chance that a positive has more, minus that it has less.

    Cliff (Psychological Bulletin 114, 1993); it is twice the AUC of the numbers as a score, minus 1.

    Args:
        numbers: (n,) finite.
        labels: (n,) of 0 and 1.

    Returns:
        -1 to 1; 0 where a label is missing.
    """
    from scipy.stats import rankdata

    positives = int(labels.sum())
    negatives = labels.size - positives
    if not positives or not negatives:
        return 0.0
    won = rankdata(numbers)[labels == 1].sum() - positives * (positives + 1) / 2
    return float(2 * won / (positives * negatives) - 1)


def find_blocks(labels: NDArray[np.integer], patient_id: Sequence[str]) -> NDArray[np.int64]:
    """Number the images whose labels are dealt together: those of one patient with one label.

    An image of unknown patient stands alone. A patient with both labels makes two blocks, which for whatever is the
    same in all images of a patient can only raise the p value.

    Args:
        labels: (n,) of 0 and 1.
        patient_id: (n,), "" where unknown.

    Returns:
        int64 (n,), numbered from 0.
    """
    units = find_units(patient_id, labels.size).index
    return np.asarray(np.unique(2 * units + labels, return_inverse=True)[1], dtype=np.int64)


def compare_categories(
    values: NDArray[np.str_], rows: NDArray[np.intp], blocks: NDArray[np.int64]
) -> Statistic:
    """Build the chi-square statistic of categories, divided by the number of images.

    Args:
        values: (m,) categories.
        rows: (m,) the images that they are of.
        blocks: (n,) the block of each image.
    """
    counts = _count(np.unique(values, return_inverse=True)[1], rows, blocks)
    totals = counts.sum(axis=0)
    sizes = counts.sum(axis=1)

    def phi_squared(dealt: Floats) -> Floats:
        positives = dealt @ sizes
        pairs = positives * (rows.size - positives)
        expected = totals * (positives / rows.size)[:, None]
        apart = ((dealt @ counts - expected) ** 2 / totals).sum(axis=1)
        phi: Floats = np.divide(rows.size * apart, pairs, out=np.zeros_like(apart), where=pairs > 0)
        return phi

    return phi_squared


def compare_numbers(numbers: Floats, rows: NDArray[np.intp], blocks: NDArray[np.int64]) -> Statistic:
    """Build the size of Cliff's delta; arguments as for `compare_categories`, ``numbers`` being finite."""
    from scipy.stats import rankdata

    count = int(blocks.max()) + 1
    ranks = np.bincount(blocks[rows], weights=rankdata(numbers), minlength=count)
    sizes = np.bincount(blocks[rows], minlength=count).astype(np.float64)

    def size_of_delta(dealt: Floats) -> Floats:
        positives = dealt @ sizes
        pairs = positives * (rows.size - positives)
        won = dealt @ ranks - positives * (positives + 1) / 2
        share: Floats = np.divide(won, pairs, out=np.full_like(won, 0.5), where=pairs > 0)
        return np.abs(2 * share - 1)

    return size_of_delta


def compare_overlap(years: NDArray[np.int64], rows: NDArray[np.intp], blocks: NDArray[np.int64]) -> Statistic:
    """Build the share of images outside the years that hold both labels, in the label where it is larger.

    Arguments as for `compare_categories`.
    """
    counts = _count(np.unique(years, return_inverse=True)[1], rows, blocks)
    totals = counts.sum(axis=0)

    def share_apart(dealt: Floats) -> Floats:
        positives = dealt @ counts
        negatives = totals - positives
        both = (positives > 0) & (negatives > 0)
        shares = [
            (side * both).sum(axis=1) / np.maximum(side.sum(axis=1), 1.0) for side in (positives, negatives)
        ]
        apart: Floats = 1 - np.minimum(*shares)
        return apart

    return share_apart


def permutation_p_values(
    statistics: Sequence[Statistic],
    labels: NDArray[np.integer],
    blocks: NDArray[np.int64],
    *,
    seed: int,
    draws: int,
) -> list[float]:
    """Test each statistic against the same dealings of the labels to the blocks.

    The p value is the share of dealings, the real one included, in which the statistic is at least as large as it is
    (Phipson and Smyth, Statistical Applications in Genetics and Molecular Biology 9, 2010).

    Args:
        statistics: What is tested.
        labels: (n,) of 0 and 1.
        blocks: (n,) from `find_blocks`.
        seed: Of the dealings.
        draws: How many dealings.

    Returns:
        One p value a statistic, at least 1 / (draws + 1).
    """
    if not statistics:
        return []
    count = int(blocks.max()) + 1
    real = np.zeros((1, count))
    real[0, blocks] = labels
    observed = [float(statistic(real)[0]) for statistic in statistics]
    reached = np.ones(len(statistics))
    random = np.random.default_rng(seed)
    batch = max(1, _LABELS_AT_ONCE // count)
    for start in range(0, draws, batch):
        dealt = random.permuted(np.repeat(real, min(batch, draws - start), axis=0), axis=1)
        for index, statistic in enumerate(statistics):
            reached[index] += (statistic(dealt) >= observed[index] - _ROUNDING).sum()
    return [float(value) for value in reached / (draws + 1)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for their number (Holm, Scandinavian Journal of Statistics 6, 1979), in their order."""
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - place)))
        adjusted[index] = largest
    return adjusted


def _count(code: NDArray[np.intp], rows: NDArray[np.intp], blocks: NDArray[np.int64]) -> Floats:
    """Images of each block with each value, (blocks, values)."""
    counts = np.zeros((int(blocks.max()) + 1, int(code.max()) + 1))
    np.add.at(counts, (blocks[rows], code), 1)
    return counts
