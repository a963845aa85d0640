"""One score for a patient with several images: three rules, and which of them to take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from breastlens.evaluation.inputs import check_labels, check_scores
from breastlens.evaluation.scalars import Floats, weighted_auc
from breastlens.evaluation.thresholds import Rule, choose_operating_point

PatientRule = Literal["mean", "max", "noisy-or"]
PATIENT_RULES: tuple[PatientRule, ...] = get_args(PatientRule)


@dataclass(frozen=True)
class PatientPoint:
    """How patients are scored and called.

    Attributes:
        rule: From the scores of their images to theirs.
        threshold: A patient's score at or above it is called positive.
        aucs: By rule, the AUC by patient where the rule was chosen; empty where none was compared.
    """

    rule: PatientRule
    threshold: float
    aucs: dict[str, float]


def score_patients(scores: ArrayLike, index: NDArray[np.integer], rule: PatientRule) -> Floats:
    """Give each patient a score.

    - ``mean``: of the images' probabilities;
    - ``max``: the largest, as where one suspicious view is enough;
    - ``noisy-or``: ``1 - product(1 - p)``, the probability that at least one image shows it if what makes them err is
      independent (Pearl, 1988, Probabilistic reasoning in intelligent systems, 4.3). It rises with every image, so
      patients should have about as many.

    Args:
        scores: Probability of positive of each image, in [0, 1], (n,).
        index: Patient of each image, 0 to k - 1, each there at least once, (n,).
        rule: Which.

    Returns:
        (k,) in [0, 1].
    """
    values = np.asarray(scores, dtype=np.float64)
    count = int(index.max()) + 1
    if rule == "max":
        largest = np.zeros(count)
        np.maximum.at(largest, index, values)
        return largest
    if rule == "noisy-or":
        missed = np.ones(count)
        np.multiply.at(missed, index, 1 - values)
        return 1 - missed
    sums = np.bincount(index, weights=values, minlength=count)
    # a mean of numbers in [0, 1] may leave it by a rounding error
    return np.clip(sums / np.bincount(index, minlength=count), 0.0, 1.0)


def choose_patient_point(
    y_true: ArrayLike,
    y_score: ArrayLike,
    patients: NDArray[np.integer],
    *,
    rule: PatientRule | Literal["auto"] = "auto",
    threshold_rule: Rule | None = None,
) -> PatientPoint:
    """Choose the rule of the largest AUC by patient, and a threshold for it, on images that are not judged later.

    Among equals the first of ``PATIENT_RULES`` is taken: where nobody has two images, that is the mean. Left out are
    patients with images in both classes.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score: Scores in [0, 1], (n,).
        patients: Whose each image is, (n,).
        rule: The one to take; ``auto`` compares all.
        threshold_rule: What the threshold is chosen by, as for ``choose_operating_point``.

    Raises:
        DataError: Labels or scores are not usable.
    """
    labels = check_labels(y_true)
    scores = check_scores(y_score, labels.size)
    names, index = np.unique(patients, return_inverse=True)
    positives = np.bincount(index, weights=labels, minlength=names.size)
    one_class = (positives == 0) | (positives == np.bincount(index, minlength=names.size))
    truth = (positives[one_class] > 0).astype(np.int64)

    tried = PATIENT_RULES if rule == "auto" else (rule,)
    by_rule = {name: score_patients(scores, index, name)[one_class] for name in tried}
    aucs: dict[str, float] = {}
    if np.unique(truth).size == 2:
        aucs = {
            name: float(weighted_auc(truth, each, np.ones((1, truth.size)))[0])
            for name, each in by_rule.items()
        }
    best = max(tried, key=lambda name: aucs.get(name, 0.0))
    if truth.size == 0:
        return PatientPoint(best, 0.5, {})
    point = choose_operating_point(truth, by_rule[best], threshold_rule)
    return PatientPoint(best, point.threshold, aucs)
