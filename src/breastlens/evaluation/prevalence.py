"""What probabilities and predictive values become where another share of people is positive."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from breastlens.errors import DataError


def rebase_scores(y_score: ArrayLike, trained_at: float, prevalence: float) -> NDArray[np.float64]:
    """Turn probabilities made for one prevalence into those at another.

    The odds are multiplied by the ratio of the two prior odds (Elkan, IJCAI 2001, theorem 2; Saerens, Latinne and
    Decaestecker, Neural Computation 14, 2002, equation 2.4). That holds if only the mix of the two classes differs, and
    the images within each class do not. It rises with the score, so AUC, sensitivity and specificity stay.

    Args:
        y_score: Probabilities in [0, 1], of any shape.
        trained_at: The prevalence that they are made for, between 0 and 1.
        prevalence: The other one, between 0 and 1.

    Raises:
        DataError: A prevalence does not lie between 0 and 1.
    """
    ratio = _odds(prevalence) / _odds(trained_at)
    scores = np.asarray(y_score, dtype=np.float64)
    return np.asarray(ratio * scores / (ratio * scores + (1 - scores)))


def predictive_values(
    sensitivity: NDArray[np.float64], specificity: NDArray[np.float64], prevalence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the predictive values of a positive and of a negative call by Bayes' theorem, of any shape.

    Args:
        sensitivity: In [0, 1].
        specificity: In [0, 1], of the same shape.
        prevalence: Between 0 and 1.

    Returns:
        NaN where there would be no such call.

    Raises:
        DataError: The prevalence does not lie between 0 and 1.
    """
    _odds(prevalence)
    found, alarms = prevalence * sensitivity, (1 - prevalence) * (1 - specificity)
    cleared, missed = (1 - prevalence) * specificity, prevalence * (1 - sensitivity)
    return _share(found, alarms), _share(cleared, missed)


def _share(part: NDArray[np.float64], rest: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.asarray(part + rest)
    return np.divide(part, total, out=np.full_like(total, np.nan), where=total > 0)


def _odds(prevalence: float) -> float:
    if not 0 < prevalence < 1:
        raise DataError(f"a prevalence lies between 0 and 1, got {prevalence}")
    return prevalence / (1 - prevalence)
