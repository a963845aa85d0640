"""How the AUC grows with the number of patients learnt from: a curve through what was measured, and its band.

The curve is an inverse power law, ``auc = a - b * n ** -c`` (Cortes and others, Advances in Neural Information
Processing Systems 6, 1993; fitted by weighted least squares as Figueroa and others, BMC Medical Informatics and
Decision Making 12, 2012). What lies beyond the largest n is an extrapolation: learning curves need neither be power
laws nor even rise (Viering and Loog, The shape of learning curves: a review, 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from breastlens.evaluation.delong import estimate_aucs
from breastlens.evaluation.inputs import Units, check_labels, check_scores, find_units
from breastlens.evaluation.resampling import (
    ALIKE,
    check_options,
    find_lone_classes,
    lone_reason,
    name_units,
    resample,
)
from breastlens.evaluation.scalars import Floats, Labels, weighted_auc

EXPONENTS = np.geomspace(0.05, 3.0, 60)
"""Rates c tried: for each of them the best a and b are had in closed form, so no search can end in the wrong place."""

FEWEST_SIZES = 4
"""Three numbers are fitted."""

_BAND_POINTS = 25
_LEAST_VARIANCE = 1e-8


def fit_power_law(sizes: Floats, values: Floats, weights: Floats) -> NDArray[np.float64]:
    """Fit ``a - b * size ** -c`` with ``a <= 1``, ``b >= 0`` and c among `EXPONENTS`, by weighted least squares.

    Args:
        sizes: (m,), above 0.
        values: AUCs, (k, m): k curves at the same sizes.
        weights: (m,), above 0.

    Returns:
        a, b and c of each curve, (k, 3).
    """
    scale = float(sizes.max())  # so that powers of large sizes are no rounding errors
    share = weights / weights.sum()
    best = np.full(len(values), np.inf)
    found = np.zeros((len(values), 3))
    for exponent in EXPONENTS:
        fallen = (sizes / scale) ** -exponent
        mean_x, mean_y = float(share @ fallen), values @ share
        slope = ((values - mean_y[:, None]) * (fallen - mean_x)) @ share / (share @ (fallen - mean_x) ** 2)
        b = np.maximum(0.0, -slope)
        a = mean_y + b * mean_x
        above = a > 1
        b = np.where(above, np.maximum(0.0, (1 - values) @ (share * fallen) / (share @ fallen**2)), b)
        a = np.minimum(a, 1.0)
        error = (values - a[:, None] + b[:, None] * fallen) ** 2 @ share
        better = error < best - 1e-15
        best = np.where(better, error, best)
        found[better] = np.stack([a, b * scale**exponent, np.full_like(a, exponent)], axis=1)[better]
    return found


def power_law(parameters: Floats, sizes: Floats) -> Floats:
    """The curves at some sizes, (k, m), from a, b and c of each, (k, 3)."""
    a, b, c = parameters.T[:, :, None]
    return np.asarray(a - b * sizes**-c)


def evaluate_learning_curve(
    y_true: ArrayLike,
    sizes: Sequence[float],
    y_scores: Sequence[Sequence[ArrayLike]],
    patient_id: Sequence[str] | None = None,
    *,
    linked: NDArray[np.integer] | None = None,
    seed: int = 0,
    draws: int = 1000,
    level: float = 0.95,
) -> dict[str, Any]:
    """Give the mean AUC at each size with its interval, the curve through them, and the AUC at twice the most.

    An interval at a size is over the judged patients, as `AucEstimates.mean_interval` gives it. The band of the curve
    and the interval at twice the most come from drawing the judged patients with replacement, adding to the AUC at each
    size a normal deviation with the variance of its draws of training patients, and fitting anew each time
    (percentiles). A size with one draw is given the variance of the others, pooled.

    Args:
        y_true: Labels 0 / 1 of the judged images, (n,).
        sizes: Training patients, rising, each at least 1.
        y_scores: For each size, for each draw of so many patients, the scores in [0, 1], (n,).
        patient_id: Patient of each judged image, "" where unknown; None where no patient is known.
        linked: (n,) which images without a patient belong together, as `find_units` takes it.
        seed: Seed of the draws.
        draws: Number of draws, at least 1.
        level: Coverage aimed at, between 0 and 1.

    Returns:
        ``points``: for each size ``patients``, ``auc`` (an interval) and ``values`` (one a draw of training patients).
        ``fit``: ``a``, ``b`` and ``c``, and ``band`` with ``patients``, ``auc``, ``low``, ``high`` up to twice the
        most; ``twice``: ``patients``, ``auc`` and ``gain`` over the curve at the most, as intervals. Both are None with
        a ``reason`` where there are fewer than four sizes or the AUC has no variance.

    Raises:
        DataError: As `breastlens.evaluation.metrics.evaluate_scores`.
        ValueError: ``draws`` or ``level`` is out of range.
    """
    labels = check_labels(y_true)
    scores = [np.stack([check_scores(one, labels.size) for one in each]) for each in y_scores]
    units = find_units(patient_id, labels.size, linked)
    check_options(draws, level)
    counts = np.asarray(sizes, dtype=np.float64)
    reason = _obstacle(labels, units)
    areas = [
        [float(weighted_auc(labels, one, np.ones((1, labels.size)))[0]) for one in each] for each in scores
    ]
    training = _training_variances(areas)
    points: list[dict[str, Any]] = []
    variances: list[float] = []
    for size, each, values, variance in zip(counts, scores, areas, training, strict=True):
        ends = None
        if reason is None:
            estimate = estimate_aucs(labels, each, units)
            variances.append(float(estimate.covariance.mean()) + variance / len(values))
            ends = estimate.mean_interval(level)
        low, high = ends or (None, None)
        auc: dict[str, Any] = {"value": float(np.mean(values)), "low": low, "high": high, "level": level}
        auc["method"] = f"DeLong over {name_units(units)}, mean of {len(values)}, scale of log-odds"
        if ends is None:
            auc["reason"] = reason or ALIKE
        points.append({"patients": float(size), "auc": auc, "values": values})
    told: dict[str, Any] = {"points": points, "fit": None, "twice": None}
    if reason is None and counts.size < FEWEST_SIZES:
        reason = f"a curve needs at least {FEWEST_SIZES} sizes, and there are {counts.size}"
    if reason is not None:
        return told | {"reason": reason}
    means = np.array([[point["auc"]["value"] for point in points]])
    weights = 1 / np.maximum(np.array(variances), _LEAST_VARIANCE)
    drawn = fit_power_law(counts, _draw_curves(labels, scores, training, units, seed, draws), weights)
    return told | _describe_fit(fit_power_law(counts, means, weights), drawn, counts, level)


def _obstacle(labels: Labels, units: Units) -> str | None:
    if np.unique(labels).size < 2:
        return "the judged images are of one class"
    lone = find_lone_classes(labels, units)
    return lone_reason(lone) if lone else None


def _training_variances(areas: Sequence[Sequence[float]]) -> list[float]:
    """Variance of the AUC over draws of training patients at each size; where there is one draw, that of the others."""
    several = [each for each in areas if len(each) > 1]
    freedom = sum(len(each) - 1 for each in several)
    pooled = sum(np.var(each) * len(each) for each in several) / freedom if freedom else 0.0
    return [float(np.var(each, ddof=1) if len(each) > 1 else pooled) for each in areas]


def _draw_curves(
    labels: Labels, scores: Sequence[Floats], training: Sequence[float], units: Units, seed: int, draws: int
) -> NDArray[np.float64]:
    """Mean AUC at each size for draws of judged patients, moved as other training patients would, (draws, sizes)."""
    turns = [
        [np.mean([weighted_auc(labels, one, weights) for one in each], axis=0) for each in scores]
        for weights in resample(labels, units, seed, draws)
    ]
    judged = np.concatenate(turns, axis=1).T
    deviation = np.sqrt([variance / len(each) for variance, each in zip(training, scores, strict=True)])
    curves = judged + deviation * np.random.default_rng([seed, 0x1C]).standard_normal(judged.shape)
    return np.asarray(curves[~np.isnan(curves).any(axis=1)])


def _describe_fit(own: Floats, drawn: Floats, counts: Floats, level: float) -> dict[str, Any]:
    ends = [(1 - level) / 2, (1 + level) / 2]
    method = f"inverse power law, percentiles of {len(drawn)} draws of judged patients, training draws taken as normal"

    def interval(value: float, draws: Floats) -> dict[str, Any]:
        low, high = np.quantile(draws, ends)
        return {"value": value, "low": float(low), "high": float(high), "level": level, "method": method}

    most = float(counts.max())
    grid = np.geomspace(counts.min(), 2 * most, _BAND_POINTS)
    low, high = np.quantile(power_law(drawn, grid), ends, axis=0)
    edge = np.array([most, 2 * most])
    value, draws = power_law(own, edge)[0], power_law(drawn, edge)
    a, b, c = own[0].tolist()
    band = {"patients": grid.tolist(), "auc": power_law(own, grid)[0].tolist()}
    return {
        "fit": {"a": a, "b": b, "c": c, "band": band | {"low": low.tolist(), "high": high.tolist()}},
        "twice": {
            "patients": 2 * most,
            "auc": interval(float(value[1]), draws[:, 1]),
            "gain": interval(float(value[1] - value[0]), draws[:, 1] - draws[:, 0]),
        },
    }
