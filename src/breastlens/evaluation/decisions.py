"""What decisions by the scores are worth: operating points on the judged part, and the decision curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from breastlens.errors import DataError
from breastlens.evaluation.inputs import check_labels, check_scores, check_thresholds, find_units
from breastlens.evaluation.intervals import metric_intervals
from breastlens.evaluation.prevalence import predictive_values, rebase_scores
from breastlens.evaluation.resampling import (
    bootstrap_interval,
    draw_figures,
    find_lone_classes,
    name_bootstrap,
    resample,
)
from breastlens.evaluation.scalars import Floats, Labels, scalar_metrics

POINT_FIGURES = ("sensitivity", "specificity", "ppv", "npv")

_CURVE_STEPS = 100
_FARTHEST = 10.0
"""The decision curve goes up to so many times the prevalence, or to 1: no one acts on other thresholds."""

_CURVE_DRAWS = 500


def assess_operating_point(
    y_true: ArrayLike,
    y_score: ArrayLike,
    threshold: ArrayLike,
    patient_id: Sequence[str] | None = None,
    *,
    linked: NDArray[np.integer] | None = None,
    prevalence: float | None = None,
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
) -> dict[str, Any]:
    """Judge one operating point on images that it was not chosen on.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score: Scores in [0, 1], (n,).
        threshold: One for all images, or one for each, (n,).
        patient_id: Patient of each image; see `find_units`.
        linked: (n,) which images without a patient belong together; see `find_units`.
        prevalence: Of those to be screened; None leaves that out.
        seed: Of the draws.
        draws: How often patients are drawn.
        level: Coverage that the intervals aim at.

    Returns:
        ``sensitivity``, ``specificity``, ``ppv`` and ``npv`` with intervals as `metric_intervals` gives them, and with
        a prevalence ``ppv_at_prevalence`` and ``npv_at_prevalence`` by Bayes' theorem, bootstrapped. Without a value or
        an interval there is a ``reason``.

    Raises:
        DataError: A label, a score, a threshold or the prevalence is not usable.
        ValueError: ``draws`` or ``level`` is out of range.
    """
    labels = check_labels(y_true)
    scores = check_scores(y_score, labels.size)
    called = scores >= check_thresholds(threshold, labels.size)
    once = scalar_metrics(labels, scores, called, np.ones((1, labels.size)))
    # of two scores only, which leaves out the curves' work: none of these figures asks for more
    intervals, reasons = metric_intervals(
        labels, called.astype(float), 0.5, patient_id, linked=linked, seed=seed, draws=draws, level=level
    )
    told = {
        name: intervals.get(name) or _without_interval(once[name][0], level, reasons[name])
        for name in POINT_FIGURES
    }
    if prevalence is None:
        return told
    stated = prevalence

    def at_prevalence(weights: Floats) -> dict[str, Floats]:
        sensitivity, specificity = (
            _mean(called, weights * (labels == 1)),
            _mean(~called, weights * (labels == 0)),
        )
        ppv, npv = predictive_values(sensitivity, specificity, stated)
        return {"ppv_at_prevalence": ppv, "npv_at_prevalence": npv}

    units = find_units(patient_id, labels.size, linked)
    lone = find_lone_classes(labels, units)
    for name, drawn in draw_figures(at_prevalence, labels, units, seed, draws).items():
        found = bootstrap_interval(drawn, level, name_bootstrap(labels, units), lone)
        told[name] = _without_interval(drawn.value, level, found) if isinstance(found, str) else found
    return told


def decision_curve(
    y_true: ArrayLike,
    y_score: ArrayLike,
    patient_id: Sequence[str] | None = None,
    *,
    linked: NDArray[np.integer] | None = None,
    prevalence: float | None = None,
    trained_at: float | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any] | None:
    """Give the net benefit of calling positive what reaches a threshold probability, for every such threshold.

    Net benefit is ``prevalence * sensitivity - (1 - prevalence) * (1 - specificity) * t / (1 - t)``: true positives,
    less false ones at the exchange rate that choosing the threshold t implies (Vickers and Elkin, Medical Decision
    Making 26, 2006). To be worth using, a model has to lie above calling everybody positive and above 0, calling
    nobody so.

    What may vary depends on how the patients came together (Kerr et al., Journal of Clinical Oncology 34, 2016).
    Without a stated prevalence they stand for a population from which they are a random sample: how many of them are
    positive is chance, too, and patients of both classes are drawn together. At a stated prevalence their mix says
    nothing, as in a case-control study: they are drawn within each class. The net benefit over calling everybody
    positive has a band of its own, because both rise and fall with the prevalence together.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score: Probabilities in [0, 1], (n,).
        patient_id: Patient of each image; see `find_units`.
        linked: (n,) which images without a patient belong together; see `find_units`.
        prevalence: Of those to be screened; None: that of these images.
        trained_at: The prevalence that the scores are made for, needed with ``prevalence`` and not used without.
        seed: Of the draws.
        level: Of the band.

    Returns:
        ``threshold``, ``net_benefit``, ``low``, ``high``, ``treat_all``, ``over_treat_all_low``,
        ``over_treat_all_high``, ``prevalence``, ``level`` and ``method``; the bands are None where a class has one
        patient, all is None where a class is missing.

    Raises:
        DataError: A label, a score or a prevalence is not usable, or ``trained_at`` is missing beside ``prevalence``.
    """
    labels = check_labels(y_true)
    scores = check_scores(y_score, labels.size)
    if prevalence is not None and trained_at is None:
        raise DataError("a prevalence asks for trained_at, the prevalence that the scores are made for")
    if np.unique(labels).size < 2:
        return None
    if prevalence is not None and trained_at is not None:
        scores = rebase_scores(scores, trained_at, prevalence)
    units = find_units(patient_id, labels.size, linked)
    share = float(labels.mean()) if prevalence is None else prevalence
    thresholds = np.arange(1, _CURVE_STEPS) / _CURVE_STEPS * min(1.0, _FARTHEST * share)
    rate = thresholds / (1 - thresholds)
    called = (scores[:, None] >= thresholds).astype(np.float64)
    curve = _net_benefit(labels, called, rate, np.ones((1, labels.size)), prevalence)[0]
    low = high = over_low = over_high = None
    apart = None if prevalence is None else labels
    if not find_lone_classes(labels, units):
        drawn = list(resample(apart, units, seed, _CURVE_DRAWS))
        own, everybody = (
            np.concatenate([_net_benefit(labels, each, rate, weights, prevalence) for weights in drawn])
            for each in (called, np.ones_like(called))
        )
        ends = ((1 - level) / 2, (1 + level) / 2)
        low, high = np.quantile(own, ends, axis=0).tolist()
        over_low, over_high = np.quantile(own - everybody, ends, axis=0).tolist()
    return {
        "threshold": thresholds.tolist(),
        "net_benefit": curve.tolist(),
        "low": low,
        "high": high,
        "over_treat_all_low": over_low,
        "over_treat_all_high": over_high,
        "treat_all": (share - (1 - share) * rate).tolist(),
        "prevalence": share,
        "level": level,
        "method": f"{name_bootstrap(apart, units)}, percentile, {_CURVE_DRAWS} draws, at each threshold",
    }


def _net_benefit(
    labels: Labels, called: Floats, rate: Floats, weights: Floats, prevalence: float | None
) -> Floats:
    """Of each draw at each threshold, (draws, thresholds)."""
    positive, negative = weights * labels, weights * (1 - labels)
    share = positive.sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True)
    found = positive @ called / np.maximum(positive.sum(axis=1, keepdims=True), 1e-300)
    alarms = negative @ called / np.maximum(negative.sum(axis=1, keepdims=True), 1e-300)
    at = share if prevalence is None else prevalence
    return np.asarray(at * found - (1 - at) * alarms * rate)


def _mean(values: NDArray[np.bool_], weights: Floats) -> Floats:
    total = weights.sum(axis=1)
    share = np.divide(weights @ values.astype(float), total, out=np.full_like(total, np.nan), where=total > 0)
    return np.asarray(share)


def _without_interval(value: float, level: float, reason: str) -> dict[str, Any]:
    known = None if np.isnan(value) else float(value)
    return {"value": known, "low": None, "high": None, "level": level, "method": None, "reason": reason}
