"""Logistic recalibration, for thousands of weightings of the images at once: intercept, slope and a smooth curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from breastlens.evaluation.scalars import Floats, Labels

_STEPS = 50
_TOLERANCE = 1e-9
_SHRINK = 1e-9
"""A ridge that keeps a step finite where a draw has too few different images for a curve."""

KNOTS = (0.05, 0.35, 0.65, 0.95)
"""Quantiles of the log-odds between which the smooth curve is cubic (Harrell 2015, table 2.3, for four knots)."""


def calibration_intercept(labels: Labels, log_odds: Floats, weights: Floats) -> Floats:
    """Give the shift of the log-odds after which as many images are positive as are expected to be, (draws,).

    Calibration in the large: the intercept of a logistic regression with the log-odds as offset (Cox, Biometrika 45,
    1958; Van Calster et al., BMC Medicine 17, 2019). 0 is best; below 0 scores are too high.

    Args:
        labels: 0 or 1, (n,).
        log_odds: Of the scores, (n,).
        weights: Of the images, (draws, n).

    Returns:
        NaN in draws without an image of either class.
    """
    design = np.ones((labels.size, 1))
    found = fit_weighted(design, labels, weights, offset=log_odds)[:, 0]
    positives, total = weights @ labels, weights.sum(axis=1)
    return np.where((positives > 0) & (positives < total), found, np.nan)


def calibration_slope(labels: Labels, log_odds: Floats, weights: Floats) -> Floats:
    """Give the slope of a logistic regression on the log-odds, (draws,).

    1 is best; below 1 scores are too extreme, above 1 too timid (Cox 1958; Van Calster et al. 2019).

    Args:
        labels: 0 or 1, (n,).
        log_odds: Of the scores, (n,).
        weights: Of the images, (draws, n).

    Returns:
        NaN in draws that have no finite slope: a class is missing, or a cut separates the two.
    """
    spread = log_odds.std()
    if spread == 0:
        return np.full(weights.shape[0], np.nan)
    standard = (log_odds - log_odds.mean()) / spread
    found = fit_weighted(np.stack([np.ones_like(standard), standard], axis=1), labels, weights)[:, 1]
    return np.where(_overlap(labels, log_odds, weights), found / spread, np.nan)


def smooth_curve(labels: Labels, log_odds: Floats, at: Floats, weights: Floats) -> Floats:
    """Give the observed share of positives as a smooth function of the score, (draws, points).

    A logistic regression on a restricted cubic spline of the log-odds with four knots (Harrell, Regression modeling
    strategies, 2015, section 2.4.5; as a calibration curve: Austin and Steyerberg, Statistics in Medicine 33, 2014).

    Args:
        labels: 0 or 1, (n,).
        log_odds: Of the scores, (n,).
        at: Log-odds where it is wanted, (points,).
        weights: Of the images, (draws, n).

    Returns:
        Shares in [0, 1]; NaN in draws where the classes do not overlap.
    """
    from scipy.special import expit

    knots = np.unique(np.quantile(log_odds, KNOTS))
    centre, spread = log_odds.mean(), log_odds.std() or 1.0
    basis, wanted = (
        spline_basis((each - centre) / spread, (knots - centre) / spread) for each in (log_odds, at)
    )
    coefficients = fit_weighted(basis, labels, weights)
    shares = expit(coefficients @ wanted.T)
    return np.where(_overlap(labels, log_odds, weights)[:, None], shares, np.nan)


def spline_basis(values: Floats, knots: Floats) -> Floats:
    """Columns 1, the value itself, and for k knots k - 2 restricted cubic terms (Harrell 2015, equation 2.25).

    Args:
        values: (n,).
        knots: Rising, (k,); with fewer than three there are no cubic terms.
    """
    columns = [np.ones_like(values), values]
    if knots.size >= 3:
        last, before = knots[-1], knots[-2]

        def cube(knot: np.float64) -> Floats:
            return np.maximum(values - knot, 0.0) ** 3

        for knot in knots[:-2]:
            bent = cube(knot) - cube(before) * (last - knot) / (last - before)
            bent = bent + cube(last) * (before - knot) / (last - before)
            columns.append(bent / (last - knots[0]) ** 2)
    return np.stack(columns, axis=1)


def fit_weighted(design: Floats, labels: Labels, weights: Floats, offset: Floats | None = None) -> Floats:
    """Fit a logistic regression by maximum likelihood to each weighting, (draws, p); Newton steps, all at once.

    Args:
        design: (n, p).
        labels: 0 or 1, (n,).
        weights: Of the images, (draws, n).
        offset: Log-odds to which the fit adds, (n,).
    """
    from scipy.special import expit

    count, width = design.shape
    base = np.zeros(count) if offset is None else offset
    products = (design[:, :, None] * design[:, None, :]).reshape(count, width * width)
    found = np.zeros((weights.shape[0], width))
    if weights.shape[0] > 1:  # all lie near the fit to their mean
        found += fit_weighted(design, labels, weights.mean(axis=0, keepdims=True), offset)
    open_ = np.arange(weights.shape[0])
    for _ in range(_STEPS):
        own = weights[open_]
        chance = expit(found[open_] @ design.T + base)
        gradient = (own * (labels - chance)) @ design
        curvature = ((own * chance * (1 - chance)) @ products).reshape(-1, width, width)
        curvature = curvature + _SHRINK * np.eye(width)
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        # a step of more than 4 leaves the region in which the curve is known
        step *= np.minimum(1.0, 4.0 / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-300))
        found[open_] += step
        open_ = open_[np.abs(step).max(axis=1) > _TOLERANCE * (1 + np.abs(found[open_]).max(axis=1))]
        if open_.size == 0:
            break
    return found


def _overlap(labels: Labels, log_odds: Floats, weights: Floats) -> NDArray[np.bool_]:
    """In which draws some negative scores above some positive and some below, so that a slope is finite."""
    drawn = weights > 0
    positive, negative = drawn & (labels == 1), drawn & (labels == 0)
    lowest = [np.where(of, log_odds, np.inf).min(axis=1) for of in (positive, negative)]
    highest = [np.where(of, log_odds, -np.inf).max(axis=1) for of in (positive, negative)]
    return np.asarray((highest[1] > lowest[0]) & (highest[0] > lowest[1]))
