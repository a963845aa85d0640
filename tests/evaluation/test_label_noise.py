"""Exchanged labels against hard cases: what the shape of the curve can tell, and what it cannot."""

from __future__ import annotations

import numpy as np
import pytest

from breastlens.errors import DataError
from breastlens.evaluation.label_noise import SHARES, _fit, fit_label_noise


def scored(seed: int, count: int = 300, lift: float = 2.5) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and the true probability of positive given one measurement."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    measured = rng.normal(size=count) + lift * labels
    return labels, 1 / (1 + np.exp(-lift * (measured - lift / 2)))


def exchange(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    wrong = np.random.default_rng(seed).random(labels.size) < share
    return np.where(wrong, 1 - labels, labels)


def test_the_fit_without_wrong_labels_is_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    labels, scores = scored(0, lift=1.5)
    logits = np.log(scores / (1 - scores))
    likelihood, probability = _fit(logits, labels[None].astype(float), 0.0)
    model = LogisticRegression(C=np.inf, tol=1e-8).fit(logits[:, None], labels)
    expected = model.predict_proba(logits[:, None])[:, 1]
    np.testing.assert_allclose(probability[0], expected, atol=1e-4)
    assert likelihood[0] == pytest.approx(
        np.log(np.where(labels == 1, expected, 1 - expected)).sum(), abs=1e-4
    )


@pytest.mark.parametrize("share", SHARES)
def test_no_other_slope_and_intercept_is_likelier(share):
    labels, scores = scored(1, lift=1.5)
    logits = np.log(scores / (1 - scores))
    labels = exchange(labels, share, 1)
    found = _fit(logits, labels[None].astype(float), share)[0][0]
    for slope in np.linspace(0.2, 3, 29):
        for intercept in np.linspace(-1, 1, 21):
            rate = share + (1 - 2 * share) / (1 + np.exp(-(slope * logits + intercept)))
            assert np.log(np.where(labels == 1, rate, 1 - rate)).sum() <= found + 1e-4


def test_right_labels_are_rarely_called_exchanged_however_hard_they_are():
    for lift in (1.2, 2.3):  # AUC 0.80 and 0.95
        found = [fit_label_noise(*scored(seed, 200, lift), seed=seed, draws=99) for seed in range(40)]
        # 1 of 20 is what the p value says: more than 5 of 40 would happen to it in 1 of 70 tests
        assert sum(each.p_value < 0.05 for each in found) <= 5


def test_a_tenth_exchanged_is_found():
    for seed in range(5):
        labels, scores = scored(seed, 400, 3.0)
        found = fit_label_noise(exchange(labels, 0.1, seed), scores)
        assert found.p_value < 0.05
        assert found.share == pytest.approx(0.1, abs=0.06)
        assert found.gain > 0


def test_scores_need_not_be_calibrated():
    labels, scores = scored(3, 400, 3.0)
    logits = np.log(scores / (1 - scores))
    wrong = exchange(labels, 0.1, 3)
    told = fit_label_noise(wrong, scores)
    off = fit_label_noise(wrong, 1 / (1 + np.exp(-(0.3 * logits - 1))))
    assert (off.share, off.draws) == (told.share, told.draws)
    assert off.gain == pytest.approx(told.gain, abs=1e-3)


def test_five_images_of_a_patient_are_worth_one():
    labels, scores = scored(4, 100, 3.0)
    labels = exchange(labels, 0.08, 4)
    once = fit_label_noise(labels, scores, [f"P{row:03d}" for row in range(100)])
    repeated = np.repeat(labels, 5), np.repeat(scores, 5)
    assert once.gain > 1
    told = [
        fit_label_noise(*repeated, [f"P{row // 5:03d}" for row in range(500)]),
        fit_label_noise(*repeated, linked=np.arange(500) // 5),
    ]
    for each in told:
        assert each.gain == pytest.approx(once.gain, rel=1e-6)
        assert each.p_value == once.p_value
    assert fit_label_noise(*repeated).gain > 3 * once.gain


@pytest.mark.parametrize("scores", [np.full(40, 0.3), np.tile([0.0, 1.0], 20), np.tile([1.0, 0.0], 20)])
def test_scores_without_a_shape_tell_nothing(scores):
    found = fit_label_noise(np.tile([0, 1], 20), scores)
    assert found.p_value > 0.05


def test_the_same_seed_gives_the_same_p_value():
    labels, scores = scored(5, 150, 2.0)
    labels = exchange(labels, 0.1, 5)
    assert fit_label_noise(labels, scores, seed=3) == fit_label_noise(labels, scores, seed=3)


def test_one_class_is_refused():
    with pytest.raises(DataError, match="both classes"):
        fit_label_noise([1, 1], [0.2, 0.3])
