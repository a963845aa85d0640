"""The operating point: which score is called positive, chosen on one set and used on others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from breastlens.errors import DataError
from breastlens.evaluation.inputs import check_labels, check_scores, find_units
from breastlens.evaluation.resampling import resample
from breastlens.evaluation.scalars import Floats, counts_by_score

#: Used when there is nothing to choose on; the natural cut of a calibrated probability.
FALLBACK_THRESHOLD = 0.5

STANDARD_TARGET = 0.95
"""Sensitivity and specificity of the points that stand beside the one in use, where none was asked for."""

_DRAWS = 500
_LEVEL = 0.95


@dataclass(frozen=True)
class Rule:
    """What a threshold is chosen by: at most one target; without any, the largest balanced accuracy.

    Attributes:
        sensitivity: To be reached, above 0 and up to 1.
        specificity: To be reached, above 0 and up to 1.
        cost_ratio: A missed positive costs so many times as much as a false alarm, above 0.
        prevalence: At which costs are counted; None: that of the set it is chosen on.

    Raises:
        DataError: A value is out of range, or more than one target is given.
    """

    sensitivity: float | None = None
    specificity: float | None = None
    cost_ratio: float | None = None
    prevalence: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("sensitivity", self.sensitivity), ("specificity", self.specificity)):
            if value is not None and not 0 < value <= 1:
                raise DataError(f"the target {name} must be above 0 and up to 1, got {value}")
        if self.cost_ratio is not None and not 0 < self.cost_ratio < np.inf:
            raise DataError(f"the cost ratio must be a number above 0, got {self.cost_ratio}")
        if self.prevalence is not None and not 0 < self.prevalence < 1:
            raise DataError(f"the prevalence must lie between 0 and 1, got {self.prevalence}")
        if sum(given is not None for given in (self.sensitivity, self.specificity, self.cost_ratio)) > 1:
            raise DataError(
                "a threshold is chosen by one of a target sensitivity, a target specificity and costs"
            )

    @property
    def words(self) -> str:
        """The rule for people, such as ``largest balanced accuracy``."""
        if self.sensitivity is not None:
            return f"sensitivity of at least {self.sensitivity:g}"
        if self.specificity is not None:
            return f"specificity of at least {self.specificity:g}"
        if self.cost_ratio is not None:
            at = "" if self.prevalence is None else f" at a prevalence of {self.prevalence:g}"
            return f"lowest cost, a missed positive costing {self.cost_ratio:g} false alarms{at}"
        return "largest balanced accuracy"


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and how it came about.

    Attributes:
        threshold: A score at or above it is called positive; in [0, 1].
        rule: How it was chosen, for people, such as ``largest balanced accuracy``.
        sensitivity: On the set where it was chosen; None without a positive image there.
        specificity: On the set where it was chosen; None without a negative image there.
        low: Lower end of the 95 % interval of the threshold, had other patients been there to choose on; None where
            nothing was drawn.
        high: Its upper end.
    """

    threshold: float
    rule: str
    sensitivity: float | None
    specificity: float | None
    low: float | None = None
    high: float | None = None


def choose_operating_point(
    y_true: ArrayLike,
    y_score: ArrayLike,
    rule: Rule | None = None,
    patient_id: Sequence[str] | None = None,
    *,
    linked: NDArray[np.integer] | None = None,
    seed: int = 0,
    draws: int = 0,
) -> OperatingPoint:
    """Choose the threshold on one set of scored images, usually the validation part.

    One threshold is considered for each distinct score: midway between it and the next lower score (0 below
    the lowest), so that rounding a score on its way through a file cannot change what it is called. Hence at
    least one image of the set is called positive. Among these thresholds

    - without a target, the one of the largest balanced accuracy is taken (the largest Youden index; Youden,
      1950), and among equals the lowest, since a missed cancer costs more than a false alarm;
    - with a target sensitivity, those that reach it are kept, of them the largest specificity is taken, and among
      equals the lowest threshold, which has the larger sensitivity;
    - with a target specificity, those that reach it are kept, of them the largest sensitivity is taken, and among
      equals the highest threshold, which has the larger specificity; where none reaches it, the highest of all;
    - with costs, that of the lowest expected cost ``prevalence * (1 - sensitivity) * ratio + (1 - prevalence) *
      (1 - specificity)`` is taken (Metz, Seminars in Nuclear Medicine 8, 1978), among equals the lowest.

    With a class missing there is nothing to choose on: the threshold is 0.5 and the rule says why.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score: Scores in [0, 1], (n,).
        rule: What to choose by; None: the largest balanced accuracy.
        patient_id: Patient of each image, for the interval; see `find_units`.
        linked: (n,) which images belong together, for the interval; see `find_units`.
        seed: Of the draws.
        draws: How often patients are drawn for the interval of the threshold (percentiles); 0: no interval.

    Returns:
        The operating point with its sensitivity and specificity on this set.

    Raises:
        DataError: Labels or scores are not usable.
    """
    labels = check_labels(y_true)
    scores = check_scores(y_score, labels.size)
    rule = rule or Rule()
    levels, positives, negatives = counts_by_score(labels, scores, np.ones((1, labels.size)))
    if positives.sum() == 0 or negatives.sum() == 0:
        return _without_choice(scores, rule, word="positive" if positives.sum() == 0 else "negative")
    cuts = _midways(levels)
    best = int(_best(positives, negatives, rule)[0])
    sensitivity = float(positives[0, : best + 1].sum() / positives.sum())
    specificity = float(negatives[0, best + 1 :].sum() / negatives.sum())
    missed = rule.specificity is not None and specificity < rule.specificity
    low = high = None
    if draws:
        units = find_units(patient_id, labels.size, linked)
        chosen = [
            cuts[_best(*counts_by_score(labels, scores, weights[_has_both(labels, weights)])[1:], rule)]
            for weights in resample(labels, units, seed, draws)
        ]
        ends = (1 - _LEVEL) / 2, (1 + _LEVEL) / 2
        low, high = map(float, np.quantile(np.concatenate(chosen), ends, method="nearest"))
    return OperatingPoint(
        threshold=float(cuts[best]),
        rule=f"{rule.words}, which no threshold reached" if missed else rule.words,
        sensitivity=sensitivity,
        specificity=specificity,
        low=low,
        high=high,
    )


def choose_operating_points(
    y_true: ArrayLike,
    y_score: ArrayLike,
    rule: Rule,
    *,
    linked: NDArray[np.integer],
    seed: int,
) -> tuple[OperatingPoint, ...]:
    """Choose the point to use and, beside it, those that readers ask for, each with the interval of its threshold.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score: Scores in [0, 1], (n,).
        rule: Of the point to use.
        linked: (n,) which images belong together, as they are drawn.
        seed: Of the draws.

    Returns:
        The point in use, then the others of: the largest balanced accuracy, a sensitivity and a specificity of at least
        `STANDARD_TARGET`.

    Raises:
        DataError: Labels or scores are not usable.
    """
    beside = [Rule()]
    beside += [Rule(sensitivity=STANDARD_TARGET)] if rule.sensitivity is None else []
    beside += [Rule(specificity=STANDARD_TARGET)] if rule.specificity is None else []
    return tuple(
        choose_operating_point(y_true, y_score, each, linked=linked, seed=seed, draws=_DRAWS)
        for each in [rule, *(each for each in beside if each.words != rule.words)]
    )


def _without_choice(scores: Floats, rule: Rule, *, word: str) -> OperatingPoint:
    called = scores >= FALLBACK_THRESHOLD
    return OperatingPoint(
        threshold=FALLBACK_THRESHOLD,
        rule=f"{FALLBACK_THRESHOLD:g}, as there was no {word} image to choose by {rule.words}",
        sensitivity=float(called.mean()) if word == "negative" else None,
        specificity=float((~called).mean()) if word == "positive" else None,
    )


def _has_both(labels: NDArray[np.int64], weights: Floats) -> NDArray[np.bool_]:
    """In which draws there are images of both classes; where a class has one patient, it may be left out."""
    positives, total = weights @ labels, weights.sum(axis=1)
    return np.asarray((positives > 0) & (positives < total))


def _best(positives: Floats, negatives: Floats, rule: Rule) -> NDArray[np.int64]:
    """For each draw the position of the score that the rule calls positive last.

    Args:
        positives: Weight of the positives at each distinct score, from the highest down, (draws, g); of both classes
            some in each draw.
        negatives: The same of the negatives.
        rule: The rule.
    """
    all_positives = positives.sum(axis=1, keepdims=True)
    all_negatives = negatives.sum(axis=1, keepdims=True)
    true_positives = np.cumsum(positives, axis=1)
    true_negatives = all_negatives - np.cumsum(negatives, axis=1)
    highest = False
    if rule.sensitivity is not None:
        reached = true_positives >= rule.sensitivity * all_positives - 1e-9
        merit = np.where(reached, true_negatives, -1.0)
    elif rule.specificity is not None:
        reached = true_negatives >= rule.specificity * all_negatives - 1e-9
        merit, highest = np.where(reached, true_positives, -1.0), True
    elif rule.cost_ratio is not None:
        share = all_positives / (all_positives + all_negatives)
        prevalence = share if rule.prevalence is None else rule.prevalence
        missed = prevalence * rule.cost_ratio * (1 - true_positives / all_positives)
        merit = -(missed + (1 - prevalence) * (1 - true_negatives / all_negatives)).round(12)
    else:
        # Whole numbers, so that equal balanced accuracies compare as equal.
        merit = true_positives * all_negatives + true_negatives * all_positives
    if highest:
        return np.asarray(merit.argmax(axis=1))
    return np.asarray(merit.shape[1] - 1 - merit[:, ::-1].argmax(axis=1))


def _midways(levels: Floats) -> Floats:
    """The middle between each falling score and the next lower one (0 below the last), never the lower one itself."""
    lower = np.r_[levels[1:], 0.0]
    middle = lower + (levels - lower) / 2
    return np.where(middle > lower, middle, levels)
