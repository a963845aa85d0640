"""Platt scaling against scikit-learn's logistic regression on the same smoothed targets."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from breastlens.errors import DataError
from breastlens.evaluation import apply_platt, auc, fit_platt


def smoothed(y_true):
    positives, negatives = int(y_true.sum()), int((1 - y_true).sum())
    return np.where(y_true == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))


def logistic_regression(logit, y_true):
    """A soft target t is the same as an image of weight t in class 1 and one of weight 1 - t in class 0."""
    targets = smoothed(y_true)
    spread = logit.std()
    model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    model.fit(
        np.concatenate([logit, logit])[:, None] / spread,
        np.repeat([1, 0], logit.size),
        sample_weight=np.concatenate([targets, 1 - targets]),
    )
    return model.coef_[0, 0] / spread, model.intercept_[0]


def gradient(logit, y_true, slope, intercept):
    residual = apply_platt(logit, slope, intercept) - smoothed(y_true)
    return np.array([np.mean(residual * logit), np.mean(residual)])


def random_logits(seed, n=120, lift=1.5, scale=2.0, shift=0.7):
    rng = np.random.default_rng(seed)
    y_true = rng.permutation(np.arange(n) % 3 == 0).astype(int)
    return scale * (rng.normal(size=n) + lift * y_true) + shift, y_true


@pytest.mark.parametrize("scale", [0.01, 1.0, 50.0])
@pytest.mark.parametrize("shift", [-30.0, 0.0, 400.0])
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_logistic_regression(seed, scale, shift):
    logit, y_true = random_logits(seed, scale=scale, shift=shift)
    slope, intercept = fit_platt(logit, y_true)
    expected_slope, expected_intercept = logistic_regression(logit - shift, y_true)
    assert slope == pytest.approx(expected_slope, rel=1e-6)
    assert intercept + slope * shift == pytest.approx(expected_intercept, rel=1e-6, abs=1e-6)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.floats(-50, 50)), min_size=2, max_size=40).filter(
        lambda rows: {label for label, _ in rows} == {0, 1}
    )
)
def test_always_a_finite_maximum_that_keeps_the_order(rows):
    y_true, logit = (np.array(column) for column in zip(*rows, strict=True))
    slope, intercept = fit_platt(logit, y_true)
    assert np.isfinite([slope, intercept]).all()
    assert slope > 0
    assert gradient(logit, y_true, slope, intercept)[1] == pytest.approx(0, abs=1e-9)
    if logit[y_true == 1].mean() - logit[y_true == 0].mean() > 1e-6:
        reached = gradient(logit - logit.mean(), y_true, slope, intercept + slope * logit.mean())
        assert reached / max(1.0, logit.std()) == pytest.approx([0, 0], abs=1e-9)
    calibrated = apply_platt(np.sort(logit), slope, intercept)
    # Logits a rounding error apart may swap by one.
    assert (np.diff(calibrated) >= -1e-15).all()


def test_fit_goes_on_to_the_precision_of_the_numbers():
    rng = np.random.default_rng(0)
    for _ in range(200):
        y_true = np.r_[0, 1, rng.integers(0, 2, rng.integers(1, 300))]
        logit = rng.standard_t(1.5, size=y_true.size) + 3 * y_true
        logit = (logit - logit.mean()) / logit.std()
        if logit[y_true == 1].mean() > logit[y_true == 0].mean():
            assert np.abs(gradient(logit, y_true, *fit_platt(logit, y_true))).max() < 2e-12


def test_logits_that_separate_the_classes_give_the_smoothed_targets():
    logit, y_true = np.array([-3.0, -3.0, 2.0, 2.0, 2.0]), np.array([0, 0, 1, 1, 1])
    slope, intercept = fit_platt(logit, y_true)
    # Two distinct logits and two parameters: the fit goes through both targets, 1/4 and 4/5.
    assert apply_platt(logit, slope, intercept) == pytest.approx([0.25, 0.25, 0.8, 0.8, 0.8], abs=1e-12)
    wide, _ = fit_platt(1000 * logit, y_true)
    assert wide == pytest.approx(slope / 1000)


def test_undoes_a_known_distortion():
    rng = np.random.default_rng(0)
    truth = rng.normal(scale=2, size=40_000)
    y_true = (rng.random(truth.size) < apply_platt(truth, 1, 0)).astype(int)
    slope, intercept = fit_platt((truth + 1.3) / 0.4, y_true)
    assert slope == pytest.approx(0.4, abs=0.02)
    assert intercept == pytest.approx(-1.3, abs=0.06)


@pytest.mark.parametrize("size", [1.0, 1000.0])
def test_scores_worse_than_chance_are_shifted_but_not_turned_round(size, caplog):
    logit, y_true = random_logits(1, lift=-2, scale=size)
    with caplog.at_level(logging.INFO):
        slope, intercept = fit_platt(logit, y_true)
    assert slope == 1.0
    calibrated = apply_platt(logit, slope, intercept)
    assert calibrated.mean() == pytest.approx(smoothed(y_true).mean(), abs=1e-9)
    assert auc(y_true, apply_platt(logit / size, 1, 0)) < 0.5
    assert "do not score higher" in caplog.text


def test_equal_logits_become_the_mean_target():
    y_true = np.array([0, 0, 0, 1])
    slope, intercept = fit_platt(np.full(4, 7.1), y_true)
    assert slope == 1.0
    assert apply_platt(7.1, slope, intercept) == pytest.approx(smoothed(y_true).mean(), abs=1e-9)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_missing_leaves_scores_as_they_are(label, caplog):
    with caplog.at_level(logging.WARNING):
        assert fit_platt([0.1, 2.0, -3.0], [label] * 3) == (1.0, 0.0)
    assert "not calibrated" in caplog.text


def test_extreme_logits_neither_overflow_nor_lose_the_small_end():
    probability = apply_platt(np.array([-1e6, -700.0, 0.0, 700.0, 1e6]), 1.0, 0.0)
    assert probability == pytest.approx([0.0, np.exp(-700.0), 0.5, 1.0, 1.0], rel=1e-12)


@pytest.mark.parametrize(
    ("logit", "y_true", "message"),
    [
        ([0.0, np.nan], [0, 1], "logit must be finite, got nan at position 1"),
        ([0.0], [0, 1], "logit must hold"),
        ([0.0, 1.0], [0, 2], "y_true must be 0"),
        ([], [], "y_true must hold"),
    ],
)
def test_unusable_input_is_named(logit, y_true, message):
    with pytest.raises(DataError, match=message):
        fit_platt(logit, y_true)
