"""How strongly something tells the label, and whether chance would do as well: labels are dealt anew to patients.

What is tested is compared block by block (`find_blocks`), each block with one vote however many images it has, and the
labels are dealt only among the blocks that have a value, so that a value that one label has more often than the other
is not mistaken for one that differs between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from breastlens.evaluation.inputs import find_units

Floats = NDArray[np.float64]

ENOUGH_REACHED = 100
"""After so many dealings that do as well as the real labels, chance plainly does, and no more are needed."""

_DEALT_AT_ONCE = 200
_LABELS_AT_ONCE = 2_000_000  # 16 MB
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Statistic:
    """Something to be tested against the label.

    Attributes:
        blocks: int64 (k,), the blocks that have a value, in rising order; labels are dealt among these.
        measure: From labels (draws, k) to one figure a draw, (draws,); more is always further from chance.
    """

    blocks: NDArray[np.int64]
    measure: Callable[[Floats], Floats]


def cramers_v(
    values: NDArray[np.str_], labels: NDArray[np.integer], blocks: NDArray[np.int64] | None = None
) -> float:
    """Measure how far categories tell the label.

    Cramer's V with the bias correction of Bergsma (Journal of the Korean Statistical Society 42, 2013), which stays
    near 0 when every image has a value of its own. The correction depends on the number of independent observations.
    Images of one block that have the same value count as one there.

    Args:
        values: (n,) categories.
        labels: (n,) of 0 and 1.
        blocks: (n,) from `find_blocks`; None where every image stands alone.

    Returns:
        V from 0 to 1; 0 where either is constant.
    """
    names, code = np.unique(values, return_inverse=True)
    counts = np.zeros((names.size, 2))
    np.add.at(counts, (code, labels), 1)
    total, rows, columns = counts.sum(), names.size, int((counts.sum(axis=0) > 0).sum())
    if rows < 2 or columns < 2:
        return 0.0
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / total
    squared = ((counts - expected) ** 2 / expected).sum() / total
    n = total if blocks is None else len(set(zip(blocks.tolist(), code.tolist(), strict=True)))
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


def find_blocks(
    labels: NDArray[np.integer], patient_id: Sequence[str], groups: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Number the images whose labels are dealt together: those of one patient, or of one group, with one label.

    Without groups an image of unknown patient stands alone. A patient with both labels makes two blocks, which for
    whatever is the same in all images of a patient can only raise the p value.

    Args:
        labels: (n,) of 0 and 1.
        patient_id: (n,), "" where unknown.
        groups: (n,) what stays together (`Cohort.groups`): patients, copies, frames of one file, near-duplicates.

    Returns:
        int64 (n,), numbered from 0.
    """
    units = (
        find_units(patient_id, labels.size).index
        if groups is None
        else np.unique(groups, return_inverse=True)[1]
    )
    return np.asarray(np.unique(2 * units + labels, return_inverse=True)[1], dtype=np.int64)


def compare_categories(
    values: NDArray[np.str_], rows: NDArray[np.intp], blocks: NDArray[np.int64]
) -> Statistic:
    """Build the distance between the shares of each category in positive and in negative blocks.

    The squared differences of the shares, weighted as in chi-square, over the variance that they have if blocks are
    drawn: the ANOVA-type statistic of Brunner, Dette and Munk (Journal of the American Statistical Association 92,
    1997). Dividing by the variance keeps the test right where the blocks of one label are larger than those of the
    other, and so vary less (Chung and Romano, Annals of Statistics 41, 2013).

    Args:
        values: (m,) categories.
        rows: (m,) the images that they are of.
        blocks: (n,) the block of each image.
    """
    filled, shares = _share(np.unique(values, return_inverse=True)[1], rows, blocks)
    return Statistic(filled, _compare_means(shares, 1 / shares.mean(axis=0)))


def compare_numbers(numbers: Floats, rows: NDArray[np.intp], blocks: NDArray[np.int64]) -> Statistic:
    """Build the distance between the mean ranks in positive and in negative blocks.

    The square of Welch's t of the ranks (Zimmerman and Zumbo, Canadian Journal of Experimental Psychology 47, 1993);
    with one image a block the difference of mean ranks is Cliff's delta times half the number of blocks. Arguments as
    for `compare_categories`, ``numbers`` being finite.
    """
    from scipy.stats import rankdata

    filled, index, sizes = np.unique(blocks[rows], return_inverse=True, return_counts=True)
    ranks = np.bincount(index, weights=rankdata(numbers) / numbers.size) / sizes
    return Statistic(filled, _compare_means(ranks[:, None], np.ones(1)))


def compare_overlap(years: NDArray[np.int64], rows: NDArray[np.intp], blocks: NDArray[np.int64]) -> Statistic:
    """Build the share of blocks outside the years that hold both labels, in the label where it is larger.

    Arguments as for `compare_categories`.
    """
    filled, votes = _share(np.unique(years, return_inverse=True)[1], rows, blocks)
    present = (votes > 0).astype(np.float64)

    def share_apart(dealt: Floats) -> Floats:
        both = (dealt @ present > 0) & ((1 - dealt) @ present > 0)
        shares = [((side @ votes) * both).sum(axis=1) / side.sum(axis=1) for side in (dealt, 1 - dealt)]
        apart: Floats = 1 - np.minimum(*shares)
        return apart

    return Statistic(filled, share_apart)


def permutation_p_values(
    statistics: Sequence[Statistic],
    labels: NDArray[np.integer],
    blocks: NDArray[np.int64],
    *,
    seed: int,
    draws: int,
) -> list[float]:
    """Test each statistic by dealing the labels anew among its blocks.

    The p value is the share of dealings, the real one included, in which the statistic is at least as large as it is
    (Phipson and Smyth, Statistical Applications in Genetics and Molecular Biology 9, 2010). After the dealing in which
    that has happened `ENOUGH_REACHED` times it is their share of the dealings so far, which is as exact (Besag and
    Clifford, Biometrika 78, 1991).

    Args:
        statistics: What is tested; each has blocks of both labels.
        labels: (n,) of 0 and 1.
        blocks: (n,) from `find_blocks`.
        seed: Of the dealings.
        draws: How many dealings at most.

    Returns:
        One p value a statistic, at least 1 / (draws + 1).
    """
    real = np.zeros(int(blocks.max(initial=-1)) + 1)
    real[blocks] = labels
    alike: dict[bytes, list[int]] = {}
    for index, statistic in enumerate(statistics):
        alike.setdefault(statistic.blocks.tobytes(), []).append(index)
    p_values = [1.0] * len(statistics)
    for indices in alike.values():
        own = real[statistics[indices[0]].blocks]
        found = _test_alike([statistics[index] for index in indices], own, seed=seed, draws=draws)
        for index, p_value in zip(indices, found, strict=True):
            p_values[index] = p_value
    return p_values


def _test_alike(statistics: Sequence[Statistic], real: Floats, *, seed: int, draws: int) -> list[float]:
    """Test statistics of the same blocks, whose labels are ``real``, against the same dealings."""
    observed = [float(statistic.measure(real[None])[0]) for statistic in statistics]
    reached = [0] * len(statistics)
    settled: dict[int, float] = {}
    random = np.random.default_rng(seed)
    batch = max(1, min(_DEALT_AT_ONCE, _LABELS_AT_ONCE // real.size))
    for start in range(0, draws, batch):
        if len(settled) == len(statistics):
            break
        dealt = random.permuted(np.tile(real, (min(batch, draws - start), 1)), axis=1)
        for index, statistic in enumerate(statistics):
            if index in settled:
                continue
            hits = np.flatnonzero(statistic.measure(dealt) >= observed[index] - _ROUNDING)
            lacking = ENOUGH_REACHED - reached[index]
            if hits.size >= lacking:
                settled[index] = ENOUGH_REACHED / (start + int(hits[lacking - 1]) + 1)
            reached[index] += hits.size
    return [settled.get(index, (1 + count) / (1 + draws)) for index, count in enumerate(reached)]


def _compare_means(scores: Floats, weights: Floats) -> Callable[[Floats], Floats]:
    """Build the squared difference of means between both labels over itself and its variance, from 0 to 1.

    Args:
        scores: (blocks, values), one vote a block.
        weights: (values,) of the squares.
    """
    squares = scores**2 @ weights

    def distance(dealt: Floats) -> Floats:
        variance = np.zeros(len(dealt))
        means = []
        for side in (dealt, 1 - dealt):
            count = side.sum(axis=1)
            means.append(side @ scores / count[:, None])
            spread = side @ squares / count - means[-1] ** 2 @ weights
            variance += np.maximum(spread, 0) / np.maximum(count - 1, 1)
        apart = (means[0] - means[1]) ** 2 @ weights
        share: Floats = np.divide(apart, apart + variance, out=np.zeros_like(apart), where=apart > _ROUNDING)
        return share

    return distance


def _share(
    code: NDArray[np.intp], rows: NDArray[np.intp], blocks: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Floats]:
    """The blocks of these images, and the share of each value in each, (blocks, values)."""
    filled, index = np.unique(blocks[rows], return_inverse=True)
    counts = np.zeros((filled.size, int(code.max()) + 1))
    np.add.at(counts, (index, code), 1)
    return filled, counts / counts.sum(axis=1, keepdims=True)
