"""Conformal prediction: which labels a score leaves open at a stated coverage, class by class."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from breastlens.config import Settings
from breastlens.errors import DataError
from breastlens.evaluation.by_patient import PatientRule, score_patients
from breastlens.evaluation.inputs import check_labels, check_scores

_TIE = 1e-9
"""So much less coverage is asked of crepes, which keeps a label whose p-value equals what may be missed, or does not,
as rounding has it. The definition leaves it out. Other p-values of fewer than 10^9 units differ by more."""

SET_NAMES = ("none", "negative", "positive", "both")
"""What a set is called that holds neither label, label 0, label 1, or both: the number of each is its bits."""


class SetLimits(Settings):
    """Where the sets begin and end, for scores of one kind (of images, or of patients)."""

    negative_up_to: float = Field(
        ge=0, le=1, description="label 0 is in the set of a score up to here; 1: in all"
    )
    positive_from: float = Field(
        ge=0, le=1, description="label 1 is in the set of a score from here on; 0: in all"
    )
    negatives: int = Field(ge=0, description="how many units of label 0 decided that")
    positives: int = Field(ge=0, description="how many of label 1")


def fit_set_limits(y_true: ArrayLike, y_score: ArrayLike, coverage: float) -> SetLimits:
    """Find the limits of class-conditional split conformal prediction from scores that no model was fitted on.

    A label is in the set of a score unless at most ``1 - coverage`` of the calibration scores of that label, the new
    one counted among them, are as far from it (Vovk, Gammerman and Shafer, 2005, "Algorithmic learning in a random
    world", sections 2.2 and 4.5; nonconformity is the score itself for label 0 and its negative for label 1). The
    p-values are those of crepes. Since they only fall with the distance, two limits say all, and using them needs
    nothing else. If new scores are exchangeable with the calibration scores of their label, the sets of each class hold
    it with a probability of at least ``coverage``, whatever the model.

    With fewer than ``coverage / (1 - coverage)`` calibration scores of a label nothing can be promised without it,
    and all sets hold it.

    Args:
        y_true: Labels 0 / 1, one score a unit, since images of one patient are not exchangeable with others, (n,).
        y_score: Scores in [0, 1], (n,).
        coverage: Between 0 and 1.

    Raises:
        DataError: Labels, scores or coverage are not usable.
    """
    labels = check_labels(y_true)
    scores = check_scores(y_score, labels.size)
    highest = largest_conforming(scores[labels == 0], coverage)
    lowest = largest_conforming(-scores[labels == 1], coverage)
    return SetLimits(
        negative_up_to=1.0 if highest is None else highest,
        positive_from=0.0 if lowest is None else -lowest,
        negatives=int(np.sum(labels == 0)),
        positives=int(np.sum(labels == 1)),
    )


def largest_conforming(strangeness: NDArray[np.float64], coverage: float) -> float | None:
    """The largest calibration value that is not too strange at a coverage; None where nothing would be.

    Of n values it is the ``ceil((n + 1) * coverage)``-th.

    Args:
        strangeness: Of each unit of the calibration set, (n,), larger is stranger.
        coverage: Between 0 and 1: at least so many of new units are to be no stranger than the value.

    Raises:
        DataError: The coverage is not between 0 and 1.
    """
    from crepes import ConformalClassifier

    if not 0 < coverage < 1:
        raise DataError(f"a coverage lies between 0 and 1, received {coverage:g}")
    conformal = ConformalClassifier().fit(strangeness)

    def conforms(value: float) -> bool:
        found = conformal.predict_set(np.array([value]), confidence=coverage - _TIE, smoothing=False)
        return bool(found[0])

    if conforms(np.inf):
        return None
    rising = np.unique(strangeness)
    first, beyond = 0, rising.size  # p-values never rise, so the last that conforms is found by halving
    while beyond - first > 1:
        middle = (first + beyond) // 2
        first, beyond = (middle, beyond) if conforms(rising[middle]) else (first, middle)
    return float(rising[first])


def find_sets(y_score: ArrayLike, limits: SetLimits) -> NDArray[np.int64]:
    """The set of each score as a position in ``SET_NAMES``, (n,).

    Args:
        y_score: Scores in [0, 1], (n,).
        limits: Of scores of that kind.
    """
    scores = np.asarray(y_score, dtype=np.float64)
    holds_negative, holds_positive = scores <= limits.negative_up_to, scores >= limits.positive_from
    return holds_negative.astype(np.int64) + 2 * holds_positive.astype(np.int64)


def holds(sets: NDArray[np.int64], labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Whether each set holds the label, (n,)."""
    return np.asarray((sets >> labels) & 1 == 1)


def draw_one_each(units: ArrayLike, labels: ArrayLike, seed: int) -> NDArray[np.int64]:
    """Draw one image of each unit, or one of each label where a unit has both; rows in rising order.

    Images of one patient resemble each other, so they are not exchangeable with those of others; one each are. What is
    promised then holds for one image, drawn at random, of a new patient (subsampling once; Dunn, Wasserman and Ramdas,
    Journal of the American Statistical Association 118, 2023).

    Args:
        units: What belongs together, (n,).
        labels: 0 or 1, (n,).
        seed: Of the draw.
    """
    keys = np.stack([np.asarray(units), np.asarray(labels)], axis=1)
    order = np.random.default_rng(seed).permutation(len(keys))
    _, first = np.unique(keys[order], axis=0, return_index=True)
    return np.sort(order[first])


def score_units(
    units: ArrayLike, labels: ArrayLike, y_score: ArrayLike, rule: PatientRule = "mean"
) -> tuple[NDArray[np.generic], NDArray[np.int64], NDArray[np.float64]]:
    """Each unit, its label and its score; units with images of both labels, which have no one label, are left out.

    Args:
        units: What belongs together, (n,).
        labels: 0 or 1, (n,).
        y_score: Scores in [0, 1], (n,).
        rule: From the scores of its images to its own.
    """
    names, place, images = np.unique(np.asarray(units), return_inverse=True, return_counts=True)
    positives = np.bincount(place, weights=np.asarray(labels, dtype=np.float64))
    scores = score_patients(y_score, place, rule)
    pure = (positives == 0) | (positives == images)
    return names[pure], (positives[pure] > 0).astype(np.int64), scores[pure]
