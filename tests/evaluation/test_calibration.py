"""The three calibrations against scikit-learn and SciPy, what they must never do, and how one is chosen."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss

from breastlens.errors import DataError
from breastlens.evaluation import Calibration, choose_calibration, fit_calibration, fit_platt
from breastlens.evaluation.calibration import METHODS, SHARE_OF_LINE
from breastlens.evaluation.platt import smooth_targets


def studied(seed, n=300, distort=lambda z: z, prevalence=0.0):
    """Raw log-odds and labels whose true log-odds are ``distort`` of them."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(prevalence, 2, n)
    return raw, (rng.random(n) < expit(distort(raw))).astype(int)


def soft_loss(slope, raw, targets):
    z = slope * raw
    return np.mean(np.logaddexp(0, z) - targets * z)


@pytest.mark.parametrize("seed", range(3))
def test_temperature_is_the_best_single_slope(seed):
    raw, y_true = studied(seed, distort=lambda z: z / 3)
    found = fit_calibration("temperature", raw, y_true)
    best = minimize_scalar(
        soft_loss, bounds=(0, 10), args=(raw, smooth_targets(y_true)), method="bounded", options={"xatol": 1e-10}
    )  # fmt: skip
    assert found.slope == pytest.approx(best.x, abs=1e-6)
    assert (found.intercept, found.knots) == (0.0, ())
    assert found.slope == pytest.approx(1 / 3, abs=0.1)


def test_platt_is_the_line_of_fit_platt():
    raw, y_true = studied(0)
    found = fit_calibration("platt", raw, y_true)
    assert (found.slope, found.intercept) == fit_platt(raw, y_true)
    np.testing.assert_allclose(found.apply(raw), found.slope * raw + found.intercept)


def test_isotonic_goes_through_the_levels_of_scikit_learns_regression():
    raw, y_true = studied(1, n=4000, distort=lambda z: np.sign(z) * z**2 / 2)
    found = fit_calibration("isotonic", raw, y_true)
    line = found.slope * raw + found.intercept
    fitted = IsotonicRegression().fit(line, smooth_targets(y_true)).predict(line)
    knots, values = np.array(found.knots), np.array(found.values)
    shares = expit((values - SHARE_OF_LINE * knots) / (1 - SHARE_OF_LINE))
    matched = 0
    for level in np.unique(fitted):
        at = np.flatnonzero(np.isclose(knots, line[fitted == level].mean(), atol=1e-12))
        matched += at.size
        np.testing.assert_allclose(shares[at], level, atol=1e-9)
    assert matched > knots.size / 2, "the others were joined, as they lie close together"
    # the truth is a bent line, which neither Platt's nor a temperature can follow
    test, truth = studied(2, n=20_000, distort=lambda z: np.sign(z) * z**2 / 2)
    losses = {
        method: log_loss(truth, expit(fit_calibration(method, raw, y_true).apply(test))) for method in METHODS
    }
    assert losses["isotonic"] < losses["platt"] - 0.005


def test_close_levels_become_one_at_their_weighted_mean():
    raw = np.array([-2.0, -2.0, 0.0, 0.0, 0.0, 0.001, 0.001, 3.0, 3.0])
    y_true = np.array([0, 0, 0, 0, 1, 0, 1, 1, 1])
    found = fit_calibration("isotonic", raw, y_true)
    line = found.slope * raw + found.intercept
    assert len(found.knots) == 3
    assert found.knots[1] == pytest.approx(line[2:7].mean())
    middle = smooth_targets(y_true)[2:7].mean()
    assert found.values[1] == pytest.approx(0.95 * logit(middle) + 0.05 * found.knots[1])


def test_scores_that_differ_by_rounding_alone_are_one():
    """scikit-learn's isotonic regression has no value for the third of these."""
    raw, y_true = np.array([0.0, 0.0, 3.3e-16, -1.0]), np.array([0, 0, 0, 1])
    found = fit_calibration("isotonic", raw, y_true)
    assert len(found.knots) == 1
    assert np.isfinite(found.values).all()
    assert (np.diff(found.apply(np.linspace(-3, 3, 50))) > 0).all()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.floats(-30, 30, width=32)), min_size=4, max_size=60),
    st.sampled_from(METHODS),
)
def test_the_order_never_changes_and_every_map_can_be_undone(rows, method):
    y_true, raw = (np.array(column) for column in zip(*rows, strict=True))
    found = fit_calibration(method, raw, y_true)
    assert found.slope > 0
    at = np.sort(np.concatenate([raw, np.linspace(-40, 40, 200)]))
    calibrated = found.apply(at)
    assert np.isfinite(calibrated).all()
    apart = np.diff(at) > 1e-6
    assert (np.diff(calibrated)[apart] > 0).all()
    np.testing.assert_allclose(found.undo(calibrated), at, rtol=1e-6, atol=1e-6)
    if found.knots:
        slopes = np.diff(found.values) / np.diff(found.knots)
        assert (slopes >= SHARE_OF_LINE * (1 - 1e-9)).all()
        assert (
            found.values[-1]
            <= 0.95 * logit((y_true.sum() + 1) / (y_true.sum() + 2)) + 0.05 * found.knots[-1] + 1e-9
        )


def test_worse_than_chance_is_not_turned_round():
    raw, y_true = studied(4)
    for method in METHODS:
        found = fit_calibration(method, -raw, y_true)
        assert found.slope == 1.0
        assert (np.diff(found.apply(np.linspace(-5, 5, 50))) > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_with_a_class_missing_nothing_is_changed(method):
    found = fit_calibration(method, [0.3, -1.0, 2.0], [1, 1, 1])
    np.testing.assert_array_equal(found.apply([-2.0, 5.0]), [-2.0, 5.0])


def test_it_survives_the_bundles_json():
    found = fit_calibration("isotonic", *studied(5))
    assert Calibration(**{
        name: tuple(value) if isinstance(value, list) else value
        for name, value in json.loads(json.dumps(asdict(found))).items()
    }) == found  # fmt: skip


def test_raw_log_odds_come_back_from_scores_and_stay_finite():
    raw, y_true = studied(6)
    found = fit_calibration("isotonic", raw, y_true)
    np.testing.assert_allclose(found.raw_logits(expit(found.apply(raw))), raw, atol=1e-6)
    ends = Calibration().raw_logits(np.float32([0.0, 1.0]))
    np.testing.assert_allclose(ends, [logit(1e-7), logit(1 - 1e-7)])


def choose(raw, y_true, groups=None):
    groups = np.arange(raw.size) if groups is None else groups
    return choose_calibration(raw, y_true, groups, groups % 5)


def test_each_method_wins_where_it_is_right():
    bent = studied(7, n=6000, distort=lambda z: np.sign(z) * z**2 / 2)
    shifted = studied(8, n=6000, distort=lambda z: 0.5 * z - 1.5)
    assert choose(*bent).method == "isotonic"
    assert choose(*shifted).method == "platt"
    # Right is the temperature, which on few images is better than Platt's by less than chance, so that this stays.
    methods = {choose(*studied(seed, n=60, distort=lambda z: 0.3 * z)).method for seed in range(20)}
    assert "temperature" in methods
    assert "isotonic" not in methods


def test_the_log_losses_are_those_of_folds_that_the_fit_has_not_seen():
    raw, y_true = studied(9, n=400)
    found = choose(raw, y_true)
    for method in METHODS:
        scores = np.empty(400)
        for fold in range(5):
            held = np.arange(400) % 5 == fold
            scores[held] = expit(fit_calibration(method, raw[~held], y_true[~held]).apply(raw[held]))
        assert found.log_loss[method] == pytest.approx(log_loss(y_true, scores), rel=1e-9)


def test_what_wins_by_chance_is_not_taken():
    """The same images as patients of their own make a small gain look sure; as one patient's they are no more sure."""
    raw, y_true = studied(0, n=80, distort=lambda z: z / 2)
    copies = np.repeat(np.arange(80), 40)
    raw, y_true = raw[copies], y_true[copies]
    apart = choose_calibration(raw, y_true, np.arange(copies.size), copies % 5)
    together = choose_calibration(raw, y_true, copies, copies % 5)
    assert apart.log_loss == together.log_loss
    assert min(together.log_loss, key=together.log_loss.get) == apart.method != "platt"
    assert together.method == "platt"


def test_without_folds_it_is_platts():
    raw, y_true = studied(10)
    assert choose_calibration(raw, y_true, np.arange(300), None) == fit_calibration("platt", raw, y_true)


def test_unusable_input_is_named():
    with pytest.raises(DataError, match="raw must be finite"):
        fit_calibration("isotonic", [0.0, np.inf], [0, 1])
