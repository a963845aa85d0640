"""The figures of one set of scored images, ready for metrics.json.

Written in NumPy rather than called from scikit-learn because the intervals need every scalar metric for
thousands of weightings at once (`breastlens.evaluation.scalars`); the tests hold both to the same values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from breastlens.errors import DataError
from breastlens.evaluation.by_patient import PATIENT_RULES, PatientPoint, PatientRule, score_patients
from breastlens.evaluation.inputs import Units, check_labels, check_scores, check_thresholds, find_units
from breastlens.evaluation.intervals import metric_intervals
from breastlens.evaluation.scalars import (
    CLASS_WORD,
    CLASSES_NEEDED,
    SCALAR_METRICS,
    Floats,
    Labels,
    counts_by_score,
    scalar_metrics,
    weighted_auc,
)


class _Bootstrap(NamedTuple):
    seed: int
    draws: int
    level: float


def evaluate_scores(
    y_true: ArrayLike,
    y_score: ArrayLike,
    threshold: ArrayLike,
    patient_id: Sequence[str] | None = None,
    *,
    linked: NDArray[np.integer] | None = None,
    patient_points: Sequence[PatientPoint | None] = (),
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
) -> dict[str, Any]:
    """Compute all figures of a set of scored images, for images and for patients.

    A patient's score is the mean of the scores of their images, held against the mean of their thresholds, unless
    another rule is given. Left out of the figures by patient are patients with images in both classes, who have no one
    label, and images without a patient id; how many stands in the ``reasons`` of that block under ``patients``.

    Args:
        y_true: Labels, 0 negative or 1 positive, (n,).
        y_score: Calibrated probability of positive in [0, 1], (n,).
        threshold: Operating point in [0, 1]: a score at or above it is called positive. One for all images, or one
            for each, (n,), as in cross-validation, where every fold chose its own; the block's ``threshold`` is then
            None unless they are all the same.
        patient_id: Patient of each image, "" where unknown; None where no patient is known.
        linked: (n,) which images without a patient belong together, such as the frames of a file; they are drawn
            together, but count as no patient. None where nothing is linked.
        patient_points: For each image how its patient is scored and called, (n,), the same for all images of a
            patient; empty, or None for an image, for the means. The block by patient then says under ``rules`` how many
            patients were scored by which rule.
        seed: Seed of the bootstrap.
        draws: Number of bootstrap draws.
        level: Coverage that the intervals aim at, between 0 and 1.

    Returns:
        The block of metrics.json: counts, scalar metrics, ``confusion_matrix`` ``[[tn, fp], [fn, tp]]``,
        ``roc``, ``precision_recall``, ``reasons``, ``intervals`` and ``by_patient``. Python numbers and None
        only, no NaN and no infinity. What cannot be had is None with an entry in ``reasons``.

    Raises:
        DataError: Lengths differ, nothing was given, a label is not 0 or 1, a score or the threshold is
            not a number from 0 to 1, or a patient id is not text.
        ValueError: ``draws`` or ``level`` is out of range.
    """
    labels = check_labels(y_true)
    scores = check_scores(y_score, labels.size)
    cut = check_thresholds(threshold, labels.size)
    units = find_units(patient_id, labels.size, linked)
    if len(patient_points) not in (0, labels.size):
        raise DataError(
            f"patient_points must hold one for each of the {labels.size} labels or none, got {len(patient_points)}"
        )
    options = _Bootstrap(seed, draws, level)

    block = _block(labels, scores, cut, patient_id, "image", options, linked)
    block["patients"] = units.patients or None
    if block["patients"] is None:
        block["reasons"]["patients"] = "patients are unknown"
    by_patient, reason = _score_by_patient(labels, scores, cut, units, patient_points)
    if by_patient is None:
        block["by_patient"] = None
        block["reasons"]["by_patient"] = reason
        return block

    names, patient_labels, patient_scores, patient_cut, rules = by_patient
    inner = _block(patient_labels, patient_scores, patient_cut, names, "patient", options)
    inner["patients"] = inner["n"]
    inner["rules"] = rules
    if reason:
        inner["reasons"]["patients"] = reason
    block["by_patient"] = inner
    return block


def auc(y_true: ArrayLike, y_score: ArrayLike) -> float | None:
    """Give the area under the ROC curve, ties counting half; None when a class is missing.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score: Scores in [0, 1], (n,).

    Raises:
        DataError: As `evaluate_scores`.
    """
    labels = check_labels(y_true)
    scores = check_scores(y_score, labels.size)
    return _number(weighted_auc(labels, scores, np.ones((1, labels.size)))[0])


def roc_points(y_true: ArrayLike, y_score: ArrayLike) -> dict[str, list[Any]] | None:
    """List the corners of the ROC curve; None when a class is missing.

    The points are those of ``sklearn.metrics.roc_curve`` with its default ``drop_intermediate=True``:
    thresholds whose point lies on the straight line between its neighbours are left out.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score: Scores in [0, 1], (n,).

    Returns:
        ``fpr``, ``tpr`` and ``thresholds`` from (0, 0) to (1, 1). The first threshold, above every score,
        is None, since JSON has no infinity.

    Raises:
        DataError: As `evaluate_scores`.
    """
    labels = check_labels(y_true)
    return _roc(labels, check_scores(y_score, labels.size))


def precision_recall_points(y_true: ArrayLike, y_score: ArrayLike) -> dict[str, list[float]] | None:
    """List the points of the precision-recall curve; None when a class is missing.

    The points are those of ``sklearn.metrics.precision_recall_curve`` with its default
    ``drop_intermediate=False``: one a distinct score, thresholds rising, and a last point (precision 1,
    recall 0) without a threshold.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score: Scores in [0, 1], (n,).

    Returns:
        ``precision`` and ``recall`` of g + 1 values and ``thresholds`` of g.

    Raises:
        DataError: As `evaluate_scores`.
    """
    labels = check_labels(y_true)
    return _precision_recall(labels, check_scores(y_score, labels.size))


def _block(
    labels: Labels,
    scores: Floats,
    threshold: Floats,
    patient_id: Sequence[str] | None,
    what: str,
    options: _Bootstrap,
    linked: NDArray[np.integer] | None = None,
) -> dict[str, Any]:
    positive = labels == 1
    called = scores >= threshold
    tn, fp = _count(~positive & ~called), _count(~positive & called)
    fn, tp = _count(positive & ~called), _count(positive & called)
    values = scalar_metrics(labels, scores, called, np.ones((1, labels.size)))
    figures = {name: _number(values[name][0]) for name in SCALAR_METRICS}
    reasons = _reasons(figures, positives=tp + fn, negatives=tn + fp, what=what)
    intervals, refused = metric_intervals(
        labels, scores, threshold, patient_id, linked=linked, **options._asdict()
    )
    reasons.update({f"{name} interval": reason for name, reason in refused.items() if name not in reasons})
    if np.ptp(threshold) > 0:
        reasons["threshold"] = f"there are several, from {threshold.min():.3f} to {threshold.max():.3f}"
    return {
        "n": int(labels.size),
        "patients": None,
        "positives": tp + fn,
        "negatives": tn + fp,
        "threshold": float(threshold[0]) if np.ptp(threshold) == 0 else None,
        **figures,
        "confusion_matrix": [[tn, fp], [fn, tp]],
        "roc": _roc(labels, scores),
        "precision_recall": _precision_recall(labels, scores),
        "reasons": reasons,
        "intervals": intervals,
    }


def _reasons(
    figures: dict[str, float | None], *, positives: int, negatives: int, what: str
) -> dict[str, str]:
    missing = [label for label, count in ((1, positives), (0, negatives)) if count == 0]
    absent = f"no {' and no '.join(CLASS_WORD[label] for label in missing)} {what} in this part"
    called = {"ppv": "positive", "npv": "negative"}
    reasons: dict[str, str] = {}
    for name, value in figures.items():
        if value is not None:
            continue
        if set(CLASSES_NEEDED[name]) & set(missing):
            reasons[name] = absent
        else:
            reasons[name] = f"no {what} is called {called[name]} at this threshold"
    if missing:
        reasons["roc"] = reasons["precision_recall"] = absent
    return reasons


def _score_by_patient(
    labels: Labels,
    scores: Floats,
    thresholds: Floats,
    units: Units,
    points: Sequence[PatientPoint | None],
) -> tuple[tuple[list[str], Labels, Floats, Floats, dict[str, int]] | None, str]:
    """Scores, thresholds and rules by patient; or None with the reason why there are none.

    With patients found, the text instead says what was left out, and is empty where nothing was.
    """
    if units.patients == 0:
        return None, "patients are unknown"
    images = np.bincount(units.index, minlength=units.count)[: units.patients]
    if images.max() == 1:
        return None, "every patient has one image"
    positives = np.bincount(units.index, weights=labels, minlength=units.count)[: units.patients]
    cuts = np.bincount(units.index, weights=thresholds, minlength=units.count)[: units.patients]
    of_one_class = (positives == 0) | (positives == images)
    left_out = []
    if mixed := _count(~of_one_class):
        left_out.append(f"patients with images in both classes: {mixed}")
    if units.images_without_patient:
        left_out.append(f"images without a patient id: {units.images_without_patient}")
    note = f"left out here: {'; '.join(left_out)}" if left_out else ""
    kept = np.flatnonzero(of_one_class)
    if kept.size == 0:
        return None, "every patient has images in both classes"
    # A mean of numbers in [0, 1] may leave it by a rounding error, and so may the mean of equal ones.
    limits = np.clip(cuts[kept] / images[kept], 0.0, 1.0)
    if np.ptp(thresholds) == 0:
        limits = np.full(kept.size, thresholds[0])
    own: list[PatientPoint | None] = [None] * units.count
    for unit, point in zip(units.index.tolist(), points, strict=bool(points)):
        own[unit] = point
    chosen = [own[unit] for unit in kept]
    rules: list[PatientRule] = ["mean" if point is None else point.rule for point in chosen]
    by_rule = {rule: score_patients(scores, units.index, rule)[kept] for rule in set(rules)}
    judged = np.array([by_rule[rule][place] for place, rule in enumerate(rules)], dtype=np.float64)
    limits = np.array(
        [limit if point is None else point.threshold for limit, point in zip(limits, chosen, strict=True)]
    )
    counts: dict[str, int] = {rule: rules.count(rule) for rule in PATIENT_RULES if rule in rules}
    # Stand-ins for the ids, in their order: all the bootstrap needs is that each patient is one unit.
    names = [f"{number:09d}" for number in kept]
    return (names, (positives[kept] > 0).astype(np.int64), judged, limits, counts), note


def _roc(labels: Labels, scores: Floats) -> dict[str, list[Any]] | None:
    thresholds, positives, negatives = counts_by_score(labels, scores, np.ones((1, labels.size)))
    tps, fps = np.cumsum(positives[0]), np.cumsum(negatives[0])
    if tps[-1] == 0 or fps[-1] == 0:
        return None
    if tps.size > 2:
        corner = np.r_[True, (np.diff(fps, 2) != 0) | (np.diff(tps, 2) != 0), True]
        thresholds, tps, fps = thresholds[corner], tps[corner], fps[corner]
    return {
        "fpr": [0.0, *(fps / fps[-1]).tolist()],
        "tpr": [0.0, *(tps / tps[-1]).tolist()],
        "thresholds": [None, *thresholds.tolist()],
    }


def _precision_recall(labels: Labels, scores: Floats) -> dict[str, list[float]] | None:
    thresholds, positives, negatives = counts_by_score(labels, scores, np.ones((1, labels.size)))
    tps, fps = np.cumsum(positives[0]), np.cumsum(negatives[0])
    if tps[-1] == 0 or fps[-1] == 0:
        return None
    return {
        "precision": [*(tps / (tps + fps))[::-1].tolist(), 1.0],
        "recall": [*(tps / tps[-1])[::-1].tolist(), 0.0],
        "thresholds": thresholds[::-1].tolist(),
    }


def _count(mask: Any) -> int:
    return int(np.count_nonzero(mask))


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
