"""Two models on the same images: how far every figure differs, and whether one is right more often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from breastlens.errors import DataError
from breastlens.evaluation.inputs import check_labels, check_scores, find_units
from breastlens.evaluation.intervals import paired_difference
from breastlens.evaluation.resampling import (
    bootstrap_interval,
    check_options,
    draw_figures,
    find_lone_classes,
    name_bootstrap,
)
from breastlens.evaluation.scalars import CLASSES_NEEDED, SCALAR_METRICS, Floats, scalar_metrics
from breastlens.evaluation.significance import mcnemar

AT_OPERATING_POINT: dict[str, tuple[int, ...]] = {
    "accuracy": (0, 1),
    "sensitivity": (1,),
    "specificity": (0,),
}
"""Figures that McNemar's test compares, and the labels of the images that each counts."""


@dataclass(frozen=True, eq=False)
class Judged:
    """What one model says of the images.

    Attributes:
        y_score: Probability of positive in [0, 1], (n,).
        y_pred: 0 or 1 at the model's own operating point, (n,).
    """

    y_score: ArrayLike
    y_pred: ArrayLike


def compare_models(
    y_true: ArrayLike,
    first: Judged,
    second: Judged,
    patient_id: Sequence[str] | None = None,
    *,
    linked: NDArray[np.integer] | None = None,
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
) -> dict[str, Any]:
    """Compare two models on the same images, so that what makes a patient easy or hard for both cancels.

    Args:
        y_true: Labels 0 / 1, (n,).
        first: What the first model says.
        second: What the second says of the same images in the same order.
        patient_id: Patient of each image, "" where unknown; None where no patient is known.
        linked: (n,) which images without a patient belong together, as `find_units` takes it.
        seed: Seed of the draws.
        draws: Number of draws, at least 1.
        level: Coverage aimed at, between 0 and 1.

    Returns:
        ``differences``: by metric the first model's figure less the second's, as ``value``, ``low``, ``high``,
        ``level``, ``method``, and ``reason`` where one of the first three is None; that of the AUC is DeLong's and has
        a two-sided ``p_value`` (`breastlens.evaluation.intervals.paired_difference`), the others are bootstrapped.
        ``mcnemar``: for accuracy, sensitivity and specificity what `breastlens.evaluation.significance.mcnemar` says;
        None without an image of that label.

    Raises:
        DataError: As `breastlens.evaluation.metrics.evaluate_scores`, or a decision is neither 0 nor 1.
        ValueError: ``draws`` or ``level`` is out of range.
    """
    labels = check_labels(y_true)
    scores = [check_scores(each.y_score, labels.size) for each in (first, second)]
    called = [_check_decisions(each.y_pred, labels.size) for each in (first, second)]
    units = find_units(patient_id, labels.size, linked)
    check_options(draws, level)

    def differences(weights: Floats) -> dict[str, Floats]:
        one, other = (
            scalar_metrics(labels, score, decided, weights)
            for score, decided in zip(scores, called, strict=True)
        )
        return {name: one[name] - other[name] for name in SCALAR_METRICS}

    drawn = draw_figures(differences, labels, units, seed, draws)
    method = f"{name_bootstrap(labels, units)}, paired"
    found: dict[str, dict[str, Any]] = {}
    for name in SCALAR_METRICS:
        if name == "auc":
            found[name] = paired_difference(
                labels, scores[0], scores[1], patient_id, linked=linked, level=level
            )
            continue
        counted = CLASSES_NEEDED[name] or tuple(np.unique(labels).tolist())
        interval = bootstrap_interval(drawn[name], level, method, find_lone_classes(labels, units, counted))
        if isinstance(interval, str):
            value = None if np.isnan(drawn[name].value) else drawn[name].value
            ends = {"value": value, "low": None, "high": None}
            interval = ends | {"level": level, "method": method, "reason": interval}
        found[name] = interval
    right = [decided == (labels == 1) for decided in called]
    tests = {}
    for name, counted in AT_OPERATING_POINT.items():
        rows = np.flatnonzero(np.isin(labels, counted))
        own = find_units(None, rows.size, units.index[rows])
        tests[name] = mcnemar(right[0][rows], right[1][rows], own) if rows.size else None
    return {"differences": found, "mcnemar": tests}


def judge_non_inferiority(difference: dict[str, Any], margin: float) -> bool | None:
    """Whether a figure is no more than a margin below another's, by the low end of its interval.

    That is a one-sided test at half of what the interval leaves out, 2.5 % for 95 % (Piaggio and others, JAMA 308,
    2012).

    Args:
        difference: New less old, from ``compare_models``.
        margin: By how much it may be worse, above 0.

    Returns:
        None where there is no interval.
    """
    return None if difference["low"] is None else bool(difference["low"] > -margin)


def _check_decisions(y_pred: ArrayLike, count: int) -> NDArray[np.bool_]:
    """Return decisions as (n,) bool.

    Raises:
        DataError: Their number is not ``count``, or one is neither 0 nor 1.
    """
    decisions = np.asarray(y_pred)
    if decisions.shape != (count,):
        raise DataError(
            f"y_pred must hold one decision for each of the {count} labels, got shape {decisions.shape}"
        )
    if not np.isin(decisions, (0, 1)).all():
        raise DataError("y_pred must be 0 (negative) or 1 (positive)")
    return np.asarray(decisions == 1)
