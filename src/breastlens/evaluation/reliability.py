"""How far scores are probabilities: the ``calibration`` block of metrics.json, before and after calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from breastlens.evaluation.calibration import LEAST_SCORE
from breastlens.evaluation.inputs import Units, check_labels, check_numbers, check_scores, find_units
from breastlens.evaluation.recalibration import calibration_intercept, calibration_slope, smooth_curve
from breastlens.evaluation.resampling import (
    Drawn,
    bootstrap_interval,
    check_options,
    draw_figures,
    find_lone_classes,
    name_bootstrap,
    resample,
)
from breastlens.evaluation.scalars import Floats, Labels

MOST_BINS = 10
IMAGES_A_BIN = 10
"""No bin is to have fewer images, or its share of positives says nothing."""

_CURVE_POINTS = 61
_CURVE_DRAWS = 500
_CHANCE_DRAWS = 2000

ERROR = "expected_calibration_error"
FIGURES = ("intercept", "slope", "brier", ERROR)


def assess_calibration(
    y_true: ArrayLike,
    y_score: ArrayLike,
    raw_logit: ArrayLike,
    patient_id: Sequence[str] | None = None,
    *,
    linked: NDArray[np.integer] | None = None,
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
) -> dict[str, Any]:
    """Say how far scores are probabilities, before and after they were calibrated.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score: Calibrated scores in [0, 1], (n,).
        raw_logit: Log-odds of the same images before calibration, (n,).
        patient_id: Patient of each image; see `find_units`.
        linked: (n,) which images without a patient belong together; see `find_units`.
        seed: Of the draws.
        draws: How often patients are drawn.
        level: Coverage that the intervals aim at.

    Returns:
        ``before`` and ``after``, each with

        - ``intercept``, ``slope``, ``brier``, ``expected_calibration_error``: ``value``, ``low``, ``high``, ``level``,
          ``method``, and a ``reason`` where one is missing (`calibration_intercept`, `calibration_slope`). Patients of
          both classes are drawn together, since whether scores are too high depends on how many are positive. The
          interval of the error is that of `error_interval`;
        - ``error_by_chance``: the mean expected calibration error, and what 95 % stay below, if every score were the
          true probability (`error_by_chance`);
        - ``brier_decomposition``: see `decompose_brier`;
        - ``bins`` and ``curve``: what a reliability diagram shows.

    Raises:
        DataError: Lengths differ, or a label, a score or a log-odds is not usable.
        ValueError: ``draws`` or ``level`` is out of range.
    """
    from scipy.special import expit, logit

    labels = check_labels(y_true)
    scores = check_scores(y_score, labels.size)
    raw = check_numbers("raw_logit", raw_logit, labels.size)
    units = find_units(patient_id, labels.size, linked)
    check_options(draws, level)
    calibrated = logit(np.clip(scores, LEAST_SCORE, 1 - LEAST_SCORE))
    return {
        "before": _assess(labels, raw, expit(raw), units, seed, draws, level),
        "after": _assess(labels, calibrated, scores, units, seed, draws, level),
    }


def equal_mass_bins(scores: Floats) -> NDArray[np.int64]:
    """Put scores into bins with about as many images each, rising from 0, (n,); equal scores share a bin.

    There are ten, or fewer where a bin would have less than ten images, but at least two.
    """
    bins = max(2, min(MOST_BINS, scores.size // IMAGES_A_BIN))
    edges = np.quantile(scores, np.arange(1, bins) / bins)
    return np.asarray(np.unique(np.searchsorted(edges, scores, side="left"), return_inverse=True)[1])


def decompose_brier(labels: Labels, scores: Floats, bins: NDArray[np.int64]) -> dict[str, Any]:
    """Split the Brier score into reliability - resolution + uncertainty, and what is left within bins.

    The split is that of Murphy (Journal of Applied Meteorology 12, 1973). His identity holds for scores that are equal
    within a bin. Here they are not, and ``within_bins`` is what is left over: the variance of the scores within bins
    minus twice their covariance with the labels (Stephenson, Coelho and Jolliffe, Weather and Forecasting 23, 2008).
    The four add up to the Brier score exactly.

    Args:
        labels: 0 or 1, (n,).
        scores: In [0, 1], (n,).
        bins: Of each image, (n,), from `equal_mass_bins`.
    """
    mean, share, size = _by_bin(labels, scores, bins)
    whole = labels.mean()
    reliability = float(size @ (mean - share) ** 2) / labels.size
    resolution = float(size @ (share - whole) ** 2) / labels.size
    uncertainty = float(whole * (1 - whole))
    brier = float(np.mean((scores - labels) ** 2))
    return {
        "bins": int(size.size),
        "reliability": reliability,
        "resolution": resolution,
        "uncertainty": uncertainty,
        "within_bins": brier - (reliability - resolution + uncertainty),
    }


def expected_error(labels: Labels, scores: Floats, bins: NDArray[np.int64], weights: Floats) -> Floats:
    """Give the mean distance of mean score and share of positives over bins, by their weight, (draws,).

    The expected calibration error of Naeini, Cooper and Hauskrecht (AAAI 2015), on bins of equal mass.

    Args:
        labels: 0 or 1, (n,).
        scores: In [0, 1], (n,).
        bins: Of each image, (n,).
        weights: Of the images, (draws, n).
    """
    in_bin = (bins[:, None] == np.arange(bins.max() + 1)).astype(np.float64)
    distance = np.abs((weights * (scores - labels)) @ in_bin).sum(axis=1)
    return np.asarray(distance / weights.sum(axis=1))


def error_by_chance(scores: Floats, bins: NDArray[np.int64], units: Units, seed: int) -> dict[str, float]:
    """Tell what expected calibration error is to be expected if every score were the true probability.

    Absolute distances never cancel, so the error is above 0 even then, the more so the fewer patients there are. Labels
    are drawn by the scores themselves, 2,000 times; the images of a patient share one draw, since they share the truth.

    Args:
        scores: In [0, 1], (n,).
        bins: Of each image, (n,).
        units: Which images share a draw.
        seed: Of the draws.

    Returns:
        ``mean``, and ``high``, below which 95 % of the draws stay.
    """
    generator = np.random.default_rng([seed, 1])
    in_bin = (bins[:, None] == np.arange(bins.max() + 1)).astype(np.float64)
    drawn = generator.random((_CHANCE_DRAWS, units.count))[:, units.index] < scores
    errors = np.abs((scores - drawn) @ in_bin).sum(axis=1) / scores.size
    return {"mean": float(errors.mean()), "high": float(np.quantile(errors, 0.95))}


def error_interval(drawn: Drawn, chance: dict[str, float], level: float, method: str) -> dict[str, Any]:
    """Give the interval of the expected calibration error that all patients would show.

    Chance adds to the error, and adds to it once more where patients are drawn from those that are there. So the low
    end of the normal interval is moved down by how far the draws lie above the error, and is 0 where the error is not
    above what chance alone stays below. The high end is not moved: from there the bias is on the safe side.

    Args:
        drawn: The error and its draws.
        chance: From `error_by_chance`.
        level: Coverage aimed at.
        method: What was drawn, in words.
    """
    from scipy.special import ndtri

    half = float(ndtri((1 + level) / 2) * drawn.draws.std())
    bias = float(drawn.draws.mean()) - drawn.value
    low = 0.0 if drawn.value <= chance["high"] else max(0.0, drawn.value - bias - half)
    return {
        "value": drawn.value,
        "low": low,
        "high": min(1.0, drawn.value + half),
        "level": level,
        "method": f"{method}, normal, {drawn.draws.size} draws, low end less the bias, 0 where chance gives as much",
    }


def _assess(
    labels: Labels, log_odds: Floats, scores: Floats, units: Units, seed: int, draws: int, level: float
) -> dict[str, Any]:
    bins = equal_mass_bins(scores)
    squares = (scores - labels) ** 2

    def figures(weights: Floats) -> dict[str, Floats]:
        return {
            "intercept": calibration_intercept(labels, log_odds, weights),
            "slope": calibration_slope(labels, log_odds, weights),
            "brier": weights @ squares / weights.sum(axis=1),
            ERROR: expected_error(labels, scores, bins, weights),
        }

    drawn = draw_figures(figures, None, units, seed, draws)
    lone = find_lone_classes(labels, units)
    method = name_bootstrap(None, units)
    chance = error_by_chance(scores, bins, units, seed)
    told = {name: _with_interval(drawn[name], level, method, lone, labels, log_odds) for name in FIGURES}
    if told[ERROR]["low"] is not None:
        told[ERROR] = error_interval(drawn[ERROR], chance, level, method)
    return {
        **told,
        "error_by_chance": chance,
        "brier_decomposition": decompose_brier(labels, scores, bins),
        "mean_score": float(scores.mean()),
        "bins": _describe_bins(labels, scores, bins),
        "curve": _describe_curve(labels, log_odds, units, seed, level),
    }


def _with_interval(
    drawn: Drawn, level: float, method: str, lone: Sequence[str], labels: Labels, log_odds: Floats
) -> dict[str, Any]:
    found = bootstrap_interval(drawn, level, method, lone)
    if not isinstance(found, str):
        return found
    value = None if np.isnan(drawn.value) else drawn.value
    if value is None:
        found = _why_no_slope(labels, log_odds)
    return {"value": value, "low": None, "high": None, "level": level, "method": method, "reason": found}


def _why_no_slope(labels: Labels, log_odds: Floats) -> str:
    if np.unique(labels).size < 2:
        return "a class is missing"
    if np.ptp(log_odds) == 0:
        return "all scores are the same"
    return "no score is on the wrong side, so that no slope is finite"


def _by_bin(labels: Labels, scores: Floats, bins: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """Mean score, share of positives and number of images of each bin."""
    size = np.bincount(bins).astype(np.float64)
    return np.bincount(bins, scores) / size, np.bincount(bins, labels) / size, size


def _describe_bins(labels: Labels, scores: Floats, bins: NDArray[np.int64]) -> list[dict[str, Any]]:
    return [
        {"images": int(size), "mean_score": float(mean), "positive_share": float(share)}
        for mean, share, size in zip(*_by_bin(labels, scores, bins), strict=True)
    ]


def _describe_curve(
    labels: Labels, log_odds: Floats, units: Units, seed: int, level: float
) -> dict[str, Any] | None:
    """The smooth curve between the outermost scores with its band; None where it has no finite form."""
    from scipy.special import expit

    if np.ptp(log_odds) == 0:
        return None
    at = np.linspace(log_odds.min(), log_odds.max(), _CURVE_POINTS)
    curve = smooth_curve(labels, log_odds, at, np.ones((1, labels.size)))[0]
    if np.isnan(curve).any():
        return None
    band = np.concatenate(
        [smooth_curve(labels, log_odds, at, weights) for weights in resample(None, units, seed, _CURVE_DRAWS)]
    )
    band = band[~np.isnan(band).any(axis=1)]
    enough = band.shape[0] >= 0.95 * _CURVE_DRAWS and not find_lone_classes(labels, units)
    low, high = np.quantile(band, ((1 - level) / 2, (1 + level) / 2), axis=0) if enough else (None, None)
    return {
        "score": expit(at).tolist(),
        "positive_share": curve.tolist(),
        "low": None if low is None else low.tolist(),
        "high": None if high is None else high.tolist(),
        "level": level,
        "method": f"{name_bootstrap(None, units)}, percentile, {_CURVE_DRAWS} draws, at each score",
    }
