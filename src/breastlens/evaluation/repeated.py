"""Several scores of the same images, one a repeat of the cross-validation: their mean, and how far they run apart.

Two kinds of uncertainty are kept apart. Other patients would give another mean: that is its interval. Other dealings of
the same patients into folds give other values: that is the spread over repeats. The spread is no standard error, since
all repeats share all patients (Nadeau and Bengio, Machine Learning 52, 2003), and more repeats do not narrow the
interval.
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
from breastlens.evaluation.scalars import CLASSES_NEEDED, SCALAR_METRICS, Floats, Labels, scalar_metrics


def evaluate_repeats(
    y_true: ArrayLike,
    y_scores: Sequence[ArrayLike],
    thresholds: Sequence[ArrayLike],
    patient_id: Sequence[str] | None = None,
    *,
    linked: NDArray[np.integer] | None = None,
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
) -> dict[str, dict[str, Any]]:
    """Give each scalar metric's mean over repeats with its interval over patients, and its spread over repeats.

    The variance of a mean AUC is the mean of all entries of the covariance of the AUCs (`estimate_aucs`), on the scale
    of the log-odds. Every other mean is bootstrapped: patients are drawn with their images in all repeats at once.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_scores: Of each repeat the scores in [0, 1], (n,), of the same images in the same order.
        thresholds: Of each repeat its operating point in [0, 1], one for all images or one for each, (n,).
        patient_id: Patient of each image, "" where unknown; None where no patient is known.
        linked: (n,) which images without a patient belong together, as `find_units` takes it.
        seed: Seed of the draws.
        draws: Number of draws, at least 1.
        level: Coverage aimed at, between 0 and 1.

    Returns:
        For each metric ``mean`` (``value``, ``low``, ``high``, ``level``, ``method``; ``reason`` where one of the first
        three is None), ``values`` (one a repeat, None where undefined), and of these ``standard_deviation`` (with
        n - 1; None of a single one), ``smallest`` and ``largest``.

    Raises:
        DataError: As `breastlens.evaluation.metrics.evaluate_scores`.
        ValueError: ``draws`` or ``level`` is out of range, or there is not one threshold for each of the scores.
    """
    labels = check_labels(y_true)
    scores = np.stack([check_scores(each, labels.size) for each in y_scores])
    called = np.stack(
        [
            one >= check_thresholds(threshold, labels.size)
            for one, threshold in zip(scores, thresholds, strict=True)
        ]
    )
    units = find_units(patient_id, labels.size, linked)
    check_options(draws, level)

    def each(weights: Floats) -> list[dict[str, Floats]]:
        return [scalar_metrics(labels, *one, weights) for one in zip(scores, called, strict=True)]

    def means(weights: Floats) -> dict[str, Floats]:
        every = each(weights)
        return {name: np.mean([one[name] for one in every], axis=0) for name in SCALAR_METRICS}

    alone = each(np.ones((1, labels.size)))
    drawn = draw_figures(means, labels, units, seed, draws)
    told = {}
    for name in SCALAR_METRICS:
        if name == "auc":
            mean = _mean_auc(drawn[name].value, labels, scores, units, level)
        else:
            needed = CLASSES_NEEDED[name] or tuple(np.unique(labels).tolist())
            method, lone = name_bootstrap(labels, units), find_lone_classes(labels, units, needed)
            found = bootstrap_interval(drawn[name], level, method, lone)
            mean = _without(drawn[name].value, level, method, found) if isinstance(found, str) else found
        told[name] = {"mean": mean, **_spread([float(one[name][0]) for one in alone])}
    return told


def _mean_auc(value: float, labels: Labels, scores: Floats, units: Units, level: float) -> dict[str, Any]:
    method = f"DeLong over {name_units(units)}, mean of {len(scores)}, scale of log-odds"
    lone = find_lone_classes(labels, units)
    if np.isnan(value) or lone:
        reason = lone_reason(lone) if lone else "the figure itself has no value"
        return _without(value, level, method, reason)
    ends = estimate_aucs(labels, scores, units).mean_interval(level)
    if ends is None:
        return _without(value, level, method, ALIKE)
    return {"value": value, "low": ends[0], "high": ends[1], "level": level, "method": method}


def _spread(values: list[float]) -> dict[str, Any]:
    known = [value for value in values if not np.isnan(value)]
    return {
        "values": [None if np.isnan(value) else value for value in values],
        "standard_deviation": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "smallest": min(known, default=None),
        "largest": max(known, default=None),
    }


def _without(value: float, level: float, method: str, reason: str) -> dict[str, Any]:
    missing = {"low": None, "high": None, "level": level, "method": method, "reason": reason}
    return {"value": None if np.isnan(value) else value} | missing
