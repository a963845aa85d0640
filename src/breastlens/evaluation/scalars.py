"""Every scalar metric of the same scored images under many weightings at once.

The figure itself is the case of equal weights; a bootstrap draw is the case where an image's weight is how
often it was drawn. One implementation serves both, so a figure and its interval cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

#: The classes a metric compares. Without an image of each of them it has no value, or a trivial one (the PPV
#: of a part without negatives is 1 whatever the model does). Accuracy and Brier score need no class.
CLASSES_NEEDED: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "accuracy": (),
        "balanced_accuracy": (0, 1),
        "auc": (0, 1),
        "average_precision": (0, 1),
        "sensitivity": (1,),
        "specificity": (0,),
        "ppv": (0, 1),
        "npv": (0, 1),
        "f1": (0, 1),
        "mcc": (0, 1),
        "brier": (),
    }
)
CLASS_WORD: Mapping[int, str] = MappingProxyType({0: "negative", 1: "positive"})
SCALAR_METRICS: tuple[str, ...] = tuple(CLASSES_NEEDED)


def counts_by_score(y_true: Labels, y_score: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Weigh the positives and negatives at each distinct score, from the highest score down.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score: Scores, (n,).
        weights: Non-negative weights, (draws, n).

    Returns:
        The g distinct scores, falling, (g,); the weight of the positives at each, (draws, g); and that of the
        negatives, (draws, g).
    """
    order = np.argsort(-y_score, kind="stable")
    falling = y_score[order]
    starts = np.flatnonzero(np.r_[True, np.diff(falling) != 0])
    sorted_weights = weights[:, order]
    positive = y_true[order].astype(np.float64)
    positives = np.add.reduceat(sorted_weights * positive, starts, axis=1)
    negatives = np.add.reduceat(sorted_weights * (1 - positive), starts, axis=1)
    return falling[starts], positives, negatives


def weighted_auc(y_true: Labels, y_score: Floats, weights: Floats) -> Floats:
    """Give the area under the ROC curve for each weighting, NaN where a class has no weight.

    It is the share of positive-negative pairs in which the positive scores higher, a tie counting half
    (Hanley and McNeil, 1982, "The meaning and use of the area under a ROC curve").

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score: Scores, (n,).
        weights: Non-negative weights, (draws, n).

    Returns:
        One area a weighting, (draws,) in [0, 1].
    """
    _, positives, negatives = counts_by_score(y_true, y_score, weights)
    return _auc(positives, negatives)


def scalar_metrics(
    y_true: Labels, y_score: Floats, called: NDArray[np.bool_], weights: Floats
) -> dict[str, Floats]:
    """Give every scalar metric for each weighting.

    Definitions are scikit-learn's, with two exceptions: where scikit-learn warns and returns 0 or 0.5 for a
    metric whose class or whose called class has no weight, this returns NaN; and the MCC stays 0 when
    everything is called the same, its limit (Chicco and Jurman, 2020, "The advantages of the Matthews
    correlation coefficient"). Average precision is the step-wise sum without interpolation.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score: Scores in [0, 1], (n,).
        called: Whether each image is called positive, (n,).
        weights: Non-negative weights, (draws, n), of positive sum in each draw.

    Returns:
        For each name in `SCALAR_METRICS` an array (draws,), NaN where the metric is not defined.
    """
    positive = y_true == 1
    cells = np.stack(
        [
            ~positive & ~called,
            ~positive & called,
            positive & ~called,
            positive & called,
        ],
        axis=1,
    ).astype(np.float64)
    tn, fp, fn, tp = (weights @ cells).T
    squared_error = weights @ (y_score - y_true) ** 2
    _, positives, negatives = counts_by_score(y_true, y_score, weights)

    total = tn + fp + fn + tp
    sensitivity = _ratio(tp, tp + fn)
    specificity = _ratio(tn, tn + fp)
    spread = np.sqrt((tp + fp) * (tn + fn) * (tp + fn) * (tn + fp))
    metrics = {
        "accuracy": _ratio(tp + tn, total),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "auc": _auc(positives, negatives),
        "average_precision": _average_precision(positives, negatives),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": _ratio(tp, tp + fp),
        "npv": _ratio(tn, tn + fn),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "mcc": np.divide(tp * tn - fp * fn, spread, out=np.zeros_like(spread), where=spread > 0),
        "brier": _ratio(squared_error, total),
    }
    present = {0: tn + fp > 0, 1: tp + fn > 0}
    for name, needed in CLASSES_NEEDED.items():
        for label in needed:
            metrics[name] = np.where(present[label], metrics[name], np.nan)
    return metrics


def _auc(positives: Floats, negatives: Floats) -> Floats:
    all_positives = positives.sum(axis=1)
    all_negatives = negatives.sum(axis=1)
    negatives_below = all_negatives[:, None] - np.cumsum(negatives, axis=1)
    won = (positives * (negatives_below + negatives / 2)).sum(axis=1)
    return _ratio(won, all_positives * all_negatives)


def _average_precision(positives: Floats, negatives: Floats) -> Floats:
    called_right = np.cumsum(positives, axis=1)
    called = called_right + np.cumsum(negatives, axis=1)
    # Nothing drawn yet from the top of the list: the precision there is multiplied by a weight of 0.
    precision = np.divide(called_right, called, out=np.zeros_like(called), where=called > 0)
    return _ratio((positives * precision).sum(axis=1), called_right[:, -1])


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.full_like(denominator, np.nan), where=denominator > 0)
