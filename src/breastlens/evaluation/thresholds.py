"""The operating point: which score is called positive, chosen on one set and used on others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from breastlens.errors import DataError
from breastlens.evaluation.inputs import check_labels, check_scores
from breastlens.evaluation.scalars import Floats, counts_by_score

#: Used when there is nothing to choose on; the natural cut of a calibrated probability.
FALLBACK_THRESHOLD = 0.5


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and how it came about.

    Attributes:
        threshold: A score at or above it is called positive; in [0, 1].
        rule: How it was chosen, for people, such as ``largest balanced accuracy``.
        sensitivity: On the set where it was chosen; None without a positive image there.
        specificity: On the set where it was chosen; None without a negative image there.
    """

    threshold: float
    rule: str
    sensitivity: float | None
    specificity: float | None


def choose_operating_point(
    y_true: ArrayLike, y_score: ArrayLike, *, target_sensitivity: float | None = None
) -> OperatingPoint:
    """Choose the threshold on one set of scored images, usually the validation part.

    One threshold is considered for each distinct score: midway between it and the next lower score (0 below
    the lowest), so that rounding a score on its way through a file cannot change what it is called. Hence at
    least one image of the set is called positive. Among these thresholds

    - without a target, the one of the largest balanced accuracy is taken (the largest Youden index; Youden,
      1950), and among equals the lowest, since a missed cancer costs more than a false alarm;
    - with a target, those that reach at least that sensitivity are kept, of them the largest specificity is
      taken, and among equals the lowest threshold, which has the larger sensitivity.

    With a class missing there is nothing to choose on: the threshold is 0.5 and the rule says why.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score: Scores in [0, 1], (n,).
        target_sensitivity: Sensitivity to reach on this set, above 0 and up to 1; None for no target.

    Returns:
        The operating point with its sensitivity and specificity on this set.

    Raises:
        DataError: Labels or scores are not usable, or the target is not above 0 and up to 1.
    """
    labels = check_labels(y_true)
    scores = check_scores(y_score, labels.size)
    if target_sensitivity is not None and not 0 < target_sensitivity <= 1:
        raise DataError(f"the target sensitivity must be above 0 and up to 1, got {target_sensitivity}")
    rule = (
        "largest balanced accuracy"
        if target_sensitivity is None
        else f"sensitivity of at least {target_sensitivity:g}"
    )
    levels, positives, negatives = counts_by_score(labels, scores, np.ones((1, labels.size)))
    all_positives, all_negatives = positives.sum(), negatives.sum()
    if all_positives == 0 or all_negatives == 0:
        called = scores >= FALLBACK_THRESHOLD
        word = "positive" if all_positives == 0 else "negative"
        return OperatingPoint(
            threshold=FALLBACK_THRESHOLD,
            rule=f"{FALLBACK_THRESHOLD:g}, as there was no {word} image to choose by {rule}",
            sensitivity=float(called.mean()) if all_negatives == 0 else None,
            specificity=float((~called).mean()) if all_positives == 0 else None,
        )

    true_positives = np.cumsum(positives[0])
    true_negatives = all_negatives - np.cumsum(negatives[0])
    sensitivity = true_positives / all_positives
    if target_sensitivity is None:
        # Whole numbers, so that equal balanced accuracies compare as equal.
        merit = true_positives * all_negatives + true_negatives * all_positives
    else:
        merit = np.where(sensitivity >= target_sensitivity, true_negatives, -1.0)
    best = int(np.flatnonzero(merit == merit.max())[-1])
    return OperatingPoint(
        threshold=_midway(levels, best),
        rule=rule,
        sensitivity=float(sensitivity[best]),
        specificity=float(true_negatives[best] / all_negatives),
    )


def _midway(levels: Floats, position: int) -> float:
    """The middle between one of the falling scores and the next lower one, but never the lower one itself."""
    upper = float(levels[position])
    lower = float(levels[position + 1]) if position + 1 < levels.size else 0.0
    middle = lower + (upper - lower) / 2
    return middle if middle > lower else upper
