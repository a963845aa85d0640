"""Net benefit counted out, and operating points with predictive values at another prevalence."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, recall_score

from breastlens.errors import DataError
from breastlens.evaluation.decisions import assess_operating_point, decision_curve
from breastlens.evaluation.prevalence import rebase_scores


def studied(seed, n=200):
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(int)
    return labels, 1 / (1 + np.exp(-rng.normal(2.5 * labels - 1.8, 1.3)))


def test_the_curve_is_true_positives_less_false_ones_at_the_exchange_rate():
    labels, scores = studied(0)
    found = decision_curve(labels, scores)
    for at in (4, 19, 49, 79):
        threshold = found["threshold"][at]
        (_, fp), (_, tp) = confusion_matrix(labels, scores >= threshold)
        assert found["net_benefit"][at] == pytest.approx((tp - fp * threshold / (1 - threshold)) / 200)
        everybody = (labels.sum() - (1 - labels).sum() * threshold / (1 - threshold)) / 200
        assert found["treat_all"][at] == pytest.approx(everybody)
        assert found["low"][at] <= found["net_benefit"][at] <= found["high"][at]
    assert found["prevalence"] == labels.mean()
    json.dumps(found, allow_nan=False)


def test_at_a_prevalence_it_is_that_of_a_population_of_this_mix():
    """Negatives repeated until the mix is the stated one; scores re-based by hand."""
    labels, scores = studied(1)
    times = 40
    many = np.concatenate([np.arange(200), np.repeat(np.flatnonzero(labels == 0), times - 1)])
    prevalence = float(labels[many].mean())
    found = decision_curve(labels, scores, prevalence=prevalence, trained_at=0.3)
    moved = rebase_scores(scores, 0.3, prevalence)[many]
    for at in (0, 4, 9):
        threshold = found["threshold"][at]
        (_, fp), (_, tp) = confusion_matrix(labels[many], moved >= threshold)
        assert found["net_benefit"][at] == pytest.approx((tp - fp * threshold / (1 - threshold)) / many.size)
    assert found["treat_all"][0] == pytest.approx(
        prevalence - (1 - prevalence) * found["threshold"][0] / (1 - found["threshold"][0])
    )


def test_a_prevalence_asks_for_that_of_the_scores():
    labels, scores = studied(1)
    with pytest.raises(DataError, match="a prevalence asks for trained_at"):
        decision_curve(labels, scores, prevalence=0.01)
    assert decision_curve(labels, scores, trained_at=0.3) == decision_curve(labels, scores)


def test_one_class_has_no_curve():
    assert decision_curve([0, 0], [0.1, 0.2]) is None


def test_a_class_of_one_patient_has_a_curve_without_a_band():
    labels, scores = studied(2)
    patients = ["one" if label else f"{number}" for number, label in enumerate(labels)]
    found = decision_curve(labels, scores, patients)
    assert found["low"] is found["high"] is None


def test_a_point_has_its_figures_and_at_a_prevalence_those_of_bayes():
    labels, scores = studied(3)
    found = assess_operating_point(labels, scores, 0.3, prevalence=0.01, draws=400)
    sensitivity = recall_score(labels, scores >= 0.3)
    specificity = recall_score(labels, scores >= 0.3, pos_label=0)
    assert found["sensitivity"]["value"] == pytest.approx(sensitivity)
    assert found["specificity"]["value"] == pytest.approx(specificity)
    ppv = 0.01 * sensitivity / (0.01 * sensitivity + 0.99 * (1 - specificity))
    npv = 0.99 * specificity / (0.99 * specificity + 0.01 * (1 - sensitivity))
    for name, value in (("ppv_at_prevalence", ppv), ("npv_at_prevalence", npv)):
        assert found[name]["value"] == pytest.approx(value)
        assert found[name]["low"] < value < found[name]["high"]
    assert "ppv_at_prevalence" not in assess_operating_point(labels, scores, 0.3, draws=50)


def test_what_has_no_interval_has_a_reason():
    labels, scores = studied(4)
    found = assess_operating_point(labels, scores, 0.0, prevalence=0.01, draws=50)
    assert found["npv"]["value"] is None
    assert found["npv_at_prevalence"]["value"] is None
    assert found["npv"]["reason"]
    assert found["npv_at_prevalence"]["reason"]
    json.dumps(found, allow_nan=False)
