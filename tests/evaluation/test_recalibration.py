"""Intercept, slope and smooth curve against scikit-learn and closed forms; the spline against SciPy's natural one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from breastlens.evaluation.recalibration import (
    calibration_intercept,
    calibration_slope,
    fit_weighted,
    smooth_curve,
    spline_basis,
)


def studied(seed, n=200, slope=0.6, shift=-0.5):
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(0, 2, n)
    return (rng.random(n) < expit(slope * log_odds + shift)).astype(int), log_odds


def drawn(seed, n, draws=4):
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), draws).astype(float)


def reference(design, labels, weight):
    model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    model.fit(design, labels, sample_weight=weight)
    return np.r_[model.intercept_, model.coef_[0]]


@pytest.mark.parametrize("scale", [0.01, 1.0, 40.0])
def test_the_slope_is_that_of_scikit_learns_logistic_regression_in_every_draw(scale):
    labels, log_odds = studied(0)
    weights = np.concatenate([np.ones((1, 200)), drawn(1, 200)])
    expected = [reference(log_odds[:, None], labels, weight)[1] / scale for weight in weights]
    np.testing.assert_allclose(calibration_slope(labels, scale * log_odds, weights), expected, rtol=1e-5)


def test_the_intercept_makes_as_many_positives_expected_as_there_are():
    labels, log_odds = studied(2)
    weights = np.concatenate([np.ones((1, 200)), drawn(3, 200)])
    for weight, found in zip(weights, calibration_intercept(labels, log_odds, weights), strict=True):
        wanted = brentq(lambda shift, w=weight: w @ (expit(log_odds + shift) - labels), -20, 20)
        assert found == pytest.approx(wanted, abs=1e-8)


def test_known_distortions_are_found():
    labels, log_odds = studied(4, n=50_000, slope=0.5, shift=0.0)
    once = np.ones((1, labels.size))
    assert calibration_slope(labels, log_odds, once)[0] == pytest.approx(0.5, abs=0.02)
    labels, log_odds = studied(5, n=50_000, slope=1.0, shift=-0.7)
    assert calibration_intercept(labels, log_odds, once)[0] == pytest.approx(-0.7, abs=0.04)


def test_a_draw_without_a_finite_slope_has_none_and_the_others_keep_theirs():
    labels, log_odds = np.array([0, 0, 0, 1, 1, 1]), np.array([-2.0, -1.0, 0.5, 0.0, 1.0, 2.0])
    weights = np.array([[1.0] * 6, [1, 1, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 0]])
    slopes = calibration_slope(labels, log_odds, weights)
    np.testing.assert_array_equal(np.isnan(slopes), [False, True, True, False])
    assert slopes[0] == pytest.approx(reference(log_odds[:, None], labels, weights[0])[1], rel=1e-6)
    intercepts = calibration_intercept(labels, log_odds, weights)
    np.testing.assert_array_equal(np.isnan(intercepts), [False, False, True, False])


def test_equal_scores_have_no_slope():
    assert np.isnan(calibration_slope(np.array([0, 1]), np.zeros(2), np.ones((1, 2)))[0])


def test_the_spline_is_every_natural_cubic_spline_through_its_knots():
    knots = np.array([-2.0, -0.3, 0.4, 2.5])
    at = np.linspace(-5, 5, 400)
    heights = np.array([0.3, -1.0, 0.7, 0.2])
    natural = CubicSpline(knots, heights, bc_type="natural")
    # beyond the outermost knots it is a straight line, where SciPy would go on with the cubic
    wanted = np.where(at < knots[0], heights[0] + natural(knots[0], 1) * (at - knots[0]), natural(at))
    wanted = np.where(at > knots[-1], heights[-1] + natural(knots[-1], 1) * (at - knots[-1]), wanted)
    basis = spline_basis(at, knots)
    coefficients = np.linalg.lstsq(spline_basis(knots, knots), heights, rcond=None)[0]
    np.testing.assert_allclose(basis @ coefficients, wanted, atol=1e-9)


def test_the_curve_is_scikit_learns_regression_on_the_spline():
    labels, log_odds = studied(6, n=400)
    at = np.array([-2.0, 0.0, 1.0])
    weights = np.concatenate([np.ones((1, 400)), drawn(7, 400, 2)])
    knots = np.quantile(log_odds, (0.05, 0.35, 0.65, 0.95))
    columns, wanted = spline_basis(log_odds, knots)[:, 1:], spline_basis(at, knots)[:, 1:]
    for found, weight in zip(smooth_curve(labels, log_odds, at, weights), weights, strict=True):
        fitted = reference(columns, labels, weight)
        np.testing.assert_allclose(logit(found), fitted[0] + wanted @ fitted[1:], atol=1e-4)


def test_the_curve_of_a_bent_truth_follows_it_and_a_line_does_not():
    rng = np.random.default_rng(8)
    log_odds = rng.normal(0, 1.5, 20_000)
    truth = expit(np.where(log_odds > 0, 2 * log_odds, 0.3 * log_odds))
    labels = (rng.random(20_000) < truth).astype(int)
    at = np.array([-1.5, 0.0, 1.5])
    found = smooth_curve(labels, log_odds, at, np.ones((1, 20_000)))[0]
    wanted = expit([-0.45, 0.0, 3.0])
    np.testing.assert_allclose(found, wanted, atol=0.07)
    line = reference(log_odds[:, None], labels, np.ones(20_000))
    assert np.abs(expit(line[0] + line[1] * at) - wanted).max() > 1.5 * np.abs(found - wanted).max()


def test_one_weighting_is_not_touched_by_its_neighbours():
    labels, log_odds = studied(9)
    design = np.stack([np.ones(200), log_odds], axis=1)
    weights = drawn(10, 200, 3)
    together = fit_weighted(design, labels, weights)
    alone = np.concatenate([fit_weighted(design, labels, weight[None]) for weight in weights])
    np.testing.assert_allclose(together, alone, rtol=1e-7)
