"""Means over repeats: held against one repeat alone, against placements averaged by hand, and against scikit-learn."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import t as student
from sklearn.metrics import accuracy_score, roc_auc_score

from breastlens.evaluation.intervals import metric_intervals
from breastlens.evaluation.repeated import evaluate_repeats
from breastlens.evaluation.scalars import SCALAR_METRICS

LABELS = np.array([1] * 25 + [0] * 35)
PATIENTS = [f"p{number:02d}" for number in range(60)]
IN_PAIRS = [f"p{number // 2:02d}" for number in range(60)]


@pytest.fixture(scope="module")
def scores() -> np.ndarray:
    """Four repeats of scores that have most in common, (4, 60)."""
    generator = np.random.default_rng(5)
    shared = generator.normal(size=60) + 1.3 * LABELS
    return np.asarray(expit(shared + 0.5 * generator.normal(size=(4, 60))))


def test_the_variance_of_the_mean_auc_is_that_of_placements_averaged_over_repeats(scores: np.ndarray) -> None:
    found = evaluate_repeats(LABELS, scores, [0.5] * 4, PATIENTS, draws=10)["auc"]
    won = (scores[:, LABELS == 1, None] > scores[:, None, LABELS == 0]).mean(axis=0)  # (25, 35)
    value = won.mean()
    variance = won.mean(axis=1).var(ddof=1) / 25 + won.mean(axis=0).var(ddof=1) / 35
    half = student.ppf(0.975, 24) * np.sqrt(variance) / (value * (1 - value))
    mean = found["mean"]
    assert mean["value"] == pytest.approx(value, abs=1e-12)
    assert (mean["low"], mean["high"]) == pytest.approx(
        (expit(logit(value) - half), expit(logit(value) + half)), rel=1e-3
    )
    assert mean["method"] == "DeLong over patients, mean of 4, scale of log-odds"


def test_values_and_spread_are_those_of_the_repeats_alone(scores: np.ndarray) -> None:
    thresholds = [0.3, 0.5, 0.6, 0.7]
    found = evaluate_repeats(LABELS, scores, thresholds, PATIENTS, draws=10)
    areas = [roc_auc_score(LABELS, each) for each in scores]
    assert found["auc"]["values"] == pytest.approx(areas)
    assert found["auc"]["standard_deviation"] == pytest.approx(statistics.stdev(areas))
    assert (found["auc"]["smallest"], found["auc"]["largest"]) == pytest.approx((min(areas), max(areas)))
    right = [accuracy_score(LABELS, each >= cut) for each, cut in zip(scores, thresholds, strict=True)]
    assert found["accuracy"]["values"] == pytest.approx(right)
    assert found["accuracy"]["mean"]["value"] == pytest.approx(statistics.mean(right))


def test_the_same_scores_again_make_nothing_more_certain(scores: np.ndarray) -> None:
    one, reasons = metric_intervals(LABELS, scores[0], 0.5, IN_PAIRS, seed=3, draws=400)
    found = evaluate_repeats(LABELS, [scores[0]] * 6, [0.5] * 6, IN_PAIRS, seed=3, draws=400)
    assert list(found) == list(SCALAR_METRICS)
    assert not reasons
    for name, each in found.items():
        ends = {key: each["mean"][key] for key in ("value", "low", "high")}
        assert ends == pytest.approx({key: one[name][key] for key in ends}), name
        assert each["standard_deviation"] == pytest.approx(0, abs=1e-12)


def test_what_has_no_value_or_no_interval_says_why() -> None:
    lone = np.array([1, 1, 0, 0, 0])
    found = evaluate_repeats(lone, [np.linspace(0.9, 0.1, 5)] * 2, [0.5] * 2, ["a", "a", "b", "c", "d"])
    assert found["auc"]["mean"]["value"] == 1
    assert found["auc"]["mean"]["low"] is None
    assert "a class has one patient only" in found["auc"]["mean"]["reason"]
    nobody = evaluate_repeats([1, 1, 0, 0], [[0.1, 0.2, 0.1, 0.2]] * 2, [[0.5] * 4] * 2)
    assert nobody["ppv"]["values"] == [None, None]
    assert nobody["ppv"]["standard_deviation"] is nobody["ppv"]["smallest"] is None
    assert nobody["ppv"]["mean"]["reason"] == "the figure itself has no value"
