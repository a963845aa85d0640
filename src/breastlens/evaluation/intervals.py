"""How far a figure may be off over other patients: an interval for every metric, by the method that holds its coverage.

The AUC has DeLong's variance (``delong``), a proportion of images of as many patients Wilson's interval, everything
else the bootstrap of patients (``resampling``). `benchmarks/coverage.py` counts how often they hold the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from breastlens.evaluation.delong import estimate_aucs
from breastlens.evaluation.inputs import Units, check_labels, check_scores, check_thresholds, find_units
from breastlens.evaluation.resampling import (
    ALIKE,
    bootstrap_interval,
    check_options,
    draw_figures,
    find_lone_classes,
    lone_reason,
    name_bootstrap,
    name_units,
)
from breastlens.evaluation.scalars import (
    CLASSES_NEEDED,
    SCALAR_METRICS,
    Floats,
    Labels,
    scalar_metrics,
    weighted_auc,
)


def metric_intervals(
    y_true: ArrayLike,
    y_score: ArrayLike,
    threshold: ArrayLike,
    patient_id: Sequence[str] | None = None,
    *,
    linked: NDArray[np.integer] | None = None,
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Give an interval of every scalar metric, over patients.

    - The AUC: as `auc_interval`.
    - Accuracy, sensitivity, specificity and predictive values, where each patient has one of the images that are
      counted, or all of these are right or all wrong: as `wilson_interval`.
    - All else: images of one patient resemble each other, so patients are drawn, with all their images (the cluster
      bootstrap; Field and Welsh, 2007, "Bootstrapping clustered data"), and the interval is BCa or, where that is not
      defined, of percentiles; see `breastlens.evaluation.resampling`.

    An image without a patient id stands on its own, or with those it is linked with.

    The model and the threshold are held fixed: an interval says how the figure would vary over other
    patients, not over other trainings.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score: Scores in [0, 1], (n,).
        threshold: Operating point in [0, 1], one for all images or one for each, (n,).
        patient_id: Patient of each image, "" where unknown; None where no patient is known.
        linked: (n,) which images without a patient belong together, as `find_units` takes it.
        seed: Seed of the draws; the order of records does not matter where patients are known.
        draws: Number of draws, at least 1.
        level: Coverage aimed at, between 0 and 1.

    Returns:
        For each metric either an interval ``{"value", "low", "high", "level", "method"}`` in the first
        dictionary or, in the second, the reason why there is none: the metric has no value; fewer than two
        patients with images of a class that it needs; undefined in more than 5 % of the draws; or all draws
        alike, as when nothing was called wrong, since an interval of no width would claim certainty.

    Raises:
        DataError: As `breastlens.evaluation.metrics.evaluate_scores`.
        ValueError: ``draws`` or ``level`` is out of range.
    """
    labels = check_labels(y_true)
    scores = check_scores(y_score, labels.size)
    called = scores >= check_thresholds(threshold, labels.size)
    units = find_units(patient_id, labels.size, linked)
    check_options(draws, level)

    drawn = draw_figures(
        lambda weights: scalar_metrics(labels, scores, called, weights), labels, units, seed, draws
    )
    right = called == (labels == 1)
    counted_images = _counted_images(labels, called)
    intervals: dict[str, dict[str, Any]] = {}
    reasons: dict[str, str] = {}
    for name in SCALAR_METRICS:
        counted = CLASSES_NEEDED[name] or tuple(np.unique(labels).tolist())
        lone = find_lone_classes(labels, units, counted)
        value = drawn[name].value
        found: dict[str, Any] | str | None = None
        if name == "auc":
            found = _delong_interval(value, labels, scores, units, level)
        elif name in counted_images and not np.isnan(value):
            found = wilson_interval(right, counted_images[name], units, level)
        if found is None:
            found = bootstrap_interval(drawn[name], level, name_bootstrap(labels, units), lone)
        if isinstance(found, str):
            reasons[name] = found
        else:
            intervals[name] = found
    return intervals, reasons


def wilson_interval(
    successes: NDArray[np.bool_], counted: NDArray[np.bool_], units: Units, level: float
) -> dict[str, Any] | None:
    """Give the score interval of a proportion (Wilson, Journal of the American Statistical Association 22, 1927).

    It needs units that are right or wrong as a whole: those with one image that is counted, or, where all images are
    successes or none is, any, each counted once.

    Args:
        successes: Which images are successes, (n,).
        counted: Which images are counted, (n,).
        units: Which images belong together.
        level: Coverage aimed at, between 0 and 1.

    Returns:
        ``value``, ``low``, ``high``, ``level`` and ``method``; None with fewer than two units among the counted images,
        or where units are neither.
    """
    from scipy.stats import binomtest

    images = int(np.count_nonzero(counted))
    size = np.unique(units.index[counted]).size
    if size < 2:
        return None
    share = float(successes[counted].mean())
    if size < images and 0 < share < 1:
        return None
    found = binomtest(round(share * size), size).proportion_ci(level, method="wilson")
    method = f"Wilson over {name_units(units)}{', each counted once' if size < images else ''}"
    return _interval(share, (float(found.low), float(found.high)), level, method)


def auc_interval(
    y_true: ArrayLike,
    y_score: ArrayLike,
    patient_id: Sequence[str] | None = None,
    *,
    linked: NDArray[np.integer] | None = None,
    level: float = 0.95,
) -> dict[str, Any]:
    """Give the AUC and its interval over patients, by DeLong's variance on the scale of the log-odds.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score: Scores in [0, 1], (n,).
        patient_id: Patient of each image, "" where unknown; None where no patient is known.
        linked: (n,) which images without a patient belong together, as `find_units` takes it.
        level: Coverage aimed at, between 0 and 1.

    Returns:
        ``value``, ``low``, ``high``, ``level`` and ``method``. Where these cannot be had, ``value``, ``low`` and
        ``high`` are None, with a ``reason``: a class is missing or of one patient, or no pair is in the wrong order.

    Raises:
        DataError: As `breastlens.evaluation.metrics.evaluate_scores`.
        ValueError: ``level`` is out of range.
    """
    labels = check_labels(y_true)
    scores = check_scores(y_score, labels.size)
    units = find_units(patient_id, labels.size, linked)
    check_options(1, level)
    value = float(weighted_auc(labels, scores, np.ones((1, labels.size)))[0])
    found = _delong_interval(value, labels, scores, units, level)
    return _without_interval(value, level, _name_delong(units), found) if isinstance(found, str) else found


def paired_difference(
    y_true: ArrayLike,
    y_score_a: ArrayLike,
    y_score_b: ArrayLike,
    patient_id: Sequence[str] | None = None,
    *,
    linked: NDArray[np.integer] | None = None,
    level: float = 0.95,
) -> dict[str, Any]:
    """Give the difference in AUC of two scores of the same images, with its interval over the same patients.

    The covariance of the two is DeLong's, so what makes a patient easy or hard for both cancels.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score_a: Scores in [0, 1], (n,).
        y_score_b: Scores in [0, 1] of the same images in the same order, (n,).
        patient_id: Patient of each image, "" where unknown; None where no patient is known.
        linked: (n,) which images without a patient belong together, as `find_units` takes it.
        level: Coverage aimed at, between 0 and 1.

    Returns:
        ``value`` (AUC of a minus AUC of b), ``low``, ``high``, ``level``, ``method`` and a two-sided ``p_value``.
        All but level and method are None, with a ``reason``, where they cannot be had; see `auc_interval`. Scores that
        rank all images alike, with an AUC that varies, differ by 0 on any patients: both ends are 0 and ``p_value`` is
        1, with a ``reason``.

    Raises:
        DataError: As `breastlens.evaluation.metrics.evaluate_scores`.
        ValueError: ``level`` is out of range.
    """
    from scipy.stats import rankdata

    labels = check_labels(y_true)
    both = np.stack([check_scores(each, labels.size) for each in (y_score_a, y_score_b)])
    units = find_units(patient_id, labels.size, linked)
    check_options(1, level)
    method = f"DeLong over {name_units(units)}, paired"
    once = np.ones((1, labels.size))
    value = float(weighted_auc(labels, both[0], once)[0] - weighted_auc(labels, both[1], once)[0])
    reason = _find_obstacle(labels, units)
    if reason is not None:
        return _without_interval(value, level, method, reason) | {"p_value": None}
    estimate = estimate_aucs(labels, both, units)
    if estimate.has_variance(0) and np.array_equal(*rankdata(both, axis=1)):
        alike = _interval(value, (0.0, 0.0), level, method)
        return alike | {"p_value": 1.0, "reason": "both rank all images alike"}
    ends = estimate.difference(0, 1, level)
    if ends is None:
        return _without_interval(value, level, method, ALIKE) | {"p_value": None}
    return _interval(value, ends, level, method) | {"p_value": estimate.p_value(0, 1)}


def _delong_interval(
    value: float, labels: Labels, scores: Floats, units: Units, level: float
) -> dict[str, Any] | str:
    reason = _find_obstacle(labels, units)
    if reason is not None:
        return reason
    ends = estimate_aucs(labels, scores[np.newaxis], units).interval(0, level)
    return ALIKE if ends is None else _interval(value, ends, level, _name_delong(units))


def _find_obstacle(labels: Labels, units: Units) -> str | None:
    """Why an AUC has no variance: a class is missing, or of one unit."""
    if np.unique(labels).size < 2:
        return "the figure itself has no value"
    lone = find_lone_classes(labels, units)
    return lone_reason(lone) if lone else None


def _name_delong(units: Units) -> str:
    return f"DeLong over {name_units(units)}, scale of log-odds"


def _counted_images(labels: Labels, called: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Which images each proportion counts, (n,)."""
    return {
        "accuracy": np.ones(labels.size, dtype=bool),
        "sensitivity": labels == 1,
        "specificity": labels == 0,
        "ppv": called,
        "npv": ~called,
    }


def _interval(value: float, ends: tuple[float, float], level: float, method: str) -> dict[str, Any]:
    return {"value": value, "low": ends[0], "high": ends[1], "level": level, "method": method}


def _without_interval(value: float, level: float, method: str, reason: str) -> dict[str, Any]:
    return {
        "value": None if np.isnan(value) else value,
        "low": None,
        "high": None,
        "level": level,
        "method": method,
        "reason": reason,
    }
