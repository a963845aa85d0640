from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from breastlens.training import logistic as room
from breastlens.training.logistic import GRADIENT_TOLERANCE, fit_logistic


def make(count, width, *, seed=0, scales=None):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, width)) * (1.0 if scales is None else scales)
    labels = (features[:, 0] / features[:, 0].std() + rng.normal(size=count) > 0.3).astype(np.int64)
    return features, labels


def loss_of(features, labels, weights, strength, coefficients, intercept):
    logits = features @ coefficients + intercept
    losses = np.logaddexp(0, logits) - labels * logits
    return weights @ losses + coefficients @ coefficients / (2 * strength)


@pytest.mark.parametrize(("count", "width"), [(60, 5), (200, 40), (40, 200)])
def test_the_solution_is_that_of_scikit_learn(count, width):
    features, labels = make(count, width)
    strengths = np.array([1e-3, 0.1, 3.0])
    weights = np.ones((count, 3))
    coefficients, intercepts = fit_logistic(features, labels, weights, strengths)
    for column, strength in enumerate(strengths):
        model = LogisticRegression(C=strength, tol=1e-10, max_iter=100_000).fit(features, labels)
        expected = features @ model.coef_[0] + model.intercept_[0]
        found = features @ coefficients[:, column] + intercepts[column]
        np.testing.assert_allclose(found, expected, atol=0.01 * max(1, strength) * np.abs(expected).max())
        mine, theirs = (
            loss_of(features, labels, weights[:, column], strength, *each)
            for each in (
                (coefficients[:, column], intercepts[column]),
                (model.coef_[0], model.intercept_[0]),
            )
        )
        assert mine <= theirs * (1 + 1e-4)


def test_an_image_of_no_weight_is_as_if_it_were_not_there():
    features, labels = make(80, 6)
    inside = np.random.default_rng(1).random(80) < 0.7
    some, bias = fit_logistic(features, labels, inside[:, None].astype(float), np.array([0.5]))
    alone, own_bias = fit_logistic(
        features[inside], labels[inside], np.ones((inside.sum(), 1)), np.array([0.5])
    )
    np.testing.assert_allclose(some, alone, atol=1e-4)
    np.testing.assert_allclose(bias, own_bias, atol=1e-4)


def test_weights_count_as_often_as_they_say():
    features, labels = make(50, 4)
    times = np.random.default_rng(2).integers(1, 4, 50)
    weighted, bias = fit_logistic(features, labels, times[:, None].astype(float), np.array([1.0]))
    repeated, own_bias = fit_logistic(
        np.repeat(features, times, axis=0),
        np.repeat(labels, times),
        np.ones((times.sum(), 1)),
        np.array([1.0]),
    )
    np.testing.assert_allclose(weighted, repeated, atol=1e-4)
    np.testing.assert_allclose(bias, own_bias, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(4, 60),
    width=st.integers(1, 30),
    spread=st.floats(-6, 6),
    strength=st.floats(-5, 2),
)
def test_the_gradient_is_next_to_nothing_wherever_it_ends(seed, count, width, spread, strength):
    features, labels = make(count, width, seed=seed, scales=10.0**spread)
    labels[:2] = 0, 1
    weights = np.random.default_rng(seed).random((count, 2)) + 0.05
    strengths = np.array([10.0**strength, 1.0])
    coefficients, intercepts = fit_logistic(features, labels, weights, strengths)
    residuals = weights * (expit(features @ coefficients + intercepts) - labels[:, None])
    total = weights.sum(axis=0)
    # in the units in which the features have unit length, where rounding does not decide
    slope = (features.T @ residuals + coefficients / strengths) / total / max(1.0, np.abs(features).max())
    assert np.abs(slope).max() <= 1.01 * GRADIENT_TOLERANCE
    assert np.abs(residuals.sum(axis=0) / total).max() <= 1.01 * GRADIENT_TOLERANCE


def test_separable_classes_end_at_the_penalty_not_at_infinity():
    features = np.linspace(-1, 1, 20)[:, None]
    labels = (features[:, 0] > 0).astype(int)
    coefficients, _ = fit_logistic(features, labels, np.ones((20, 1)), np.array([10.0]))
    model = LogisticRegression(C=10.0, tol=1e-10).fit(features, labels)
    assert coefficients[0, 0] == pytest.approx(model.coef_[0, 0], rel=1e-3)


def test_features_that_say_nothing_leave_the_prevalence():
    labels = np.array([0, 0, 0, 1])
    coefficients, intercepts = fit_logistic(np.zeros((4, 3)), labels, np.ones((4, 1)), np.array([1.0]))
    np.testing.assert_array_equal(coefficients, 0)
    assert intercepts[0] == pytest.approx(np.log(1 / 3), abs=1e-3)


def test_a_fit_does_not_depend_on_its_neighbours():
    features, labels = make(100, 20)
    strengths = np.array([1e-4, 1e-2, 1.0, 100.0])
    together, _ = fit_logistic(features, labels, np.ones((100, 4)), strengths)
    for column in range(4):
        alone, _ = fit_logistic(features, labels, np.ones((100, 1)), strengths[[column]])
        np.testing.assert_allclose(together[:, [column]], alone, rtol=1e-6, atol=1e-8)


def test_what_is_not_done_in_time_is_given_as_far_as_it_came(monkeypatch, caplog):
    monkeypatch.setattr(room, "_MOST_STEPS", 1)
    features, labels = make(100, 20)
    with caplog.at_level("INFO"):
        coefficients, _ = fit_logistic(features, labels, np.ones((100, 2)), np.array([1.0, 2.0]))
    assert np.abs(coefficients).max() > 0
    assert "2 logistic regressions were not done after 1 steps" in caplog.text
