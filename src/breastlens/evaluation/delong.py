"""The AUC's own variance, without drawing: DeLong's, with the images of a patient taken together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from breastlens.evaluation.inputs import Units
from breastlens.evaluation.scalars import Floats, Labels

_NO_VARIANCE = 1e-16
"""Variances below this are rounding errors of sums."""


@dataclass(frozen=True, eq=False)
class AucEstimates:
    """AUCs of several scores of the same images, and how they would vary over other patients.

    Attributes:
        values: (k,) in [0, 1].
        covariance: (k, k).
        degrees: Degrees of freedom: units with an image of the rarer class, less one.
    """

    values: Floats
    covariance: Floats
    degrees: int

    def has_variance(self, which: int) -> bool:
        """Whether one AUC would vary over other patients: it is neither 0 nor 1, and not of ties alone."""
        return _varies(float(self.values[which]), float(self.covariance[which, which]))

    def interval(self, which: int, level: float) -> tuple[float, float] | None:
        """The interval of one AUC, on the scale of its log-odds and with Student's t; None without variance.

        On that scale it cannot leave [0, 1] and keeps its coverage near 1, where the plain one is too short (Pepe,
        2003, The statistical evaluation of medical tests for classification and prediction, 5.2); t does for the
        variance, which is estimated, what it does for a mean.

        Args:
            which: Which of the scores.
            level: Coverage aimed at, between 0 and 1.
        """
        return self._ends(float(self.values[which]), float(self.covariance[which, which]), level)

    def mean_interval(self, level: float) -> tuple[float, float] | None:
        """The interval of the mean of all AUCs, as `interval`.

        The variance of a mean is the mean of all entries of the covariance: scores of the same patients go up and down
        together, and many of them are hardly more certain than one.

        Args:
            level: Coverage aimed at, between 0 and 1.
        """
        return self._ends(float(self.values.mean()), float(self.covariance.mean()), level)

    def _ends(self, value: float, variance: float, level: float) -> tuple[float, float] | None:
        if not _varies(value, variance):
            return None
        log_odds = np.log(value / (1 - value))
        half = self._quantile(level) * np.sqrt(variance) / (value * (1 - value))
        low, high = (1 / (1 + np.exp(-(log_odds + step))) for step in (-half, half))
        return float(low), float(high)

    def difference(self, one: int, other: int, level: float) -> tuple[float, float] | None:
        """The interval of one AUC less another, with Student's t; None without variance.

        Args:
            one: Which score.
            other: Which is taken from it.
            level: Coverage aimed at, between 0 and 1.
        """
        value = float(self.values[one] - self.values[other])
        variance = self.difference_variance(one, other)
        if variance <= _NO_VARIANCE:
            return None
        half = self._quantile(level) * float(np.sqrt(variance))
        return max(-1.0, value - half), min(1.0, value + half)

    def p_value(self, one: int, other: int) -> float:
        """Two-sided p-value of two AUCs being the same, by Student's t; 1 without variance."""
        from scipy.special import stdtr

        variance = self.difference_variance(one, other)
        if variance <= _NO_VARIANCE:
            return 1.0
        distance = abs(float(self.values[one] - self.values[other])) / float(np.sqrt(variance))
        return float(2 * stdtr(self.degrees, -distance))

    def difference_variance(self, one: int, other: int) -> float:
        """Variance of one AUC less another."""
        sigma = self.covariance
        return float(sigma[one, one] + sigma[other, other] - 2 * sigma[one, other])

    def _quantile(self, level: float) -> float:
        from scipy.special import stdtrit

        return float(stdtrit(self.degrees, (1 + level) / 2))


def estimate_aucs(labels: Labels, scores: Floats, units: Units) -> AucEstimates:
    """AUCs and their covariance (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988), by midranks.

    Ranks make it O(n log n) (Sun and Xu, IEEE Signal Processing Letters 21, 2014). Images of one unit are correlated:
    their placements are added up first (Obuchowski, Biometrics 53, 1997). With one image a unit that is DeLong's own.

    Args:
        labels: 0 or 1, (n,).
        scores: (k, n), k scores of the same images; ties count half.
        units: Which images belong together.

    Raises:
        ValueError: Fewer than two units have an image of a class.
    """
    from scipy.stats import rankdata

    positive = labels == 1
    counts = [np.bincount(units.index[each], minlength=units.count) for each in (positive, ~positive)]
    with_class = [int(np.count_nonzero(count)) for count in counts]
    if min(with_class) < 2:
        raise ValueError(f"two units with an image of each class are needed, received {with_class}")
    images = [int(count.sum()) for count in counts]
    own = [rankdata(scores[:, each], axis=1) for each in (positive, ~positive)]
    among_all = rankdata(np.concatenate([scores[:, positive], scores[:, ~positive]], axis=1), axis=1)
    # of each positive the share of negatives below it, of each negative that of positives above it
    placements = [
        (among_all[:, : images[0]] - own[0]) / images[1],
        1 - (among_all[:, images[0] :] - own[1]) / images[0],
    ]
    values = placements[0].mean(axis=1)
    sums = [
        _sum_by_unit(units.index[each], placement - values[:, None], units.count)
        for each, placement in zip((positive, ~positive), placements, strict=True)
    ]
    within = [
        count / (count - 1) * (total @ total.T) / image**2
        for count, total, image in zip(with_class, sums, images, strict=True)
    ]
    crossed = units.count / (units.count - 1) * (sums[0] @ sums[1].T) / (images[0] * images[1])
    return AucEstimates(values, within[0] + within[1] + crossed + crossed.T, min(with_class) - 1)


def _varies(value: float, variance: float) -> bool:
    return variance > _NO_VARIANCE and 0 < value < 1


def _sum_by_unit(index: NDArray[np.int64], values: Floats, count: int) -> Floats:
    return np.stack([np.bincount(index, row, minlength=count) for row in values])
