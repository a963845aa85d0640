"""Net benefit counted out, and operating points with predictive values at another prevalence."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import norm
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


def true_net_benefit(share, thresholds, shift):
    """Of scores whose log-odds are normal, with a standard deviation of 1.3 around 0.7 in positives and -1.8 else."""
    at = np.log(thresholds / (1 - thresholds)) - shift
    found, alarms = (norm.sf((at - mean) / 1.3) for mean in (0.7, -1.8))
    return share * found - (1 - share) * alarms * thresholds / (1 - thresholds)


@pytest.mark.parametrize("stated", [False, True])
def test_the_band_holds_the_truth_where_its_patients_come_from(stated):
    """Without a prevalence a random sample of a population; at a stated one, cases and controls collected apart."""
    share, studies, at = (0.1 if stated else 0.3), 200, np.array([1, 4, 19, 49])
    held, over = np.zeros(at.size), np.zeros(at.size)
    shift = np.log(0.1 / 0.9) if stated else 0.0
    for seed in range(studies):
        rng = np.random.default_rng(seed)
        labels = np.arange(200) % 2 if stated else (rng.random(200) < share).astype(int)
        scores = 1 / (1 + np.exp(-rng.normal(2.5 * labels - 1.8, 1.3)))
        options = {"prevalence": share, "trained_at": 0.5} if stated else {}
        found = decision_curve(labels, scores, seed=seed, **options)
        low, high, over_low, over_high = (
            np.array(found[name])[at] for name in ("low", "high", "over_treat_all_low", "over_treat_all_high")
        )
        thresholds = np.array(found["threshold"])[at]
        truth = true_net_benefit(share, thresholds, shift)
        everybody = share - (1 - share) * thresholds / (1 - thresholds)
        held += (low <= truth) & (truth <= high)
        over += (over_low <= truth - everybody) & (truth - everybody <= over_high)
    # drawn within each class, the first holds it in 6 to 81 % without a prevalence
    assert held.min() / studies >= 0.89
    assert over.min() / studies >= 0.89
    assert max(held.max(), over.max()) / studies <= 0.99


def test_the_mix_of_the_classes_varies_only_without_a_stated_prevalence():
    labels, scores = studied(5)
    free = decision_curve(labels, scores)
    fixed = decision_curve(labels, scores, prevalence=0.3, trained_at=0.3)
    assert "stratified by class" not in free["method"]
    assert "stratified by class" in fixed["method"]
    # near a threshold of 0 everybody is called positive, and the net benefit is the share of positives
    assert free["high"][0] - free["low"][0] == pytest.approx(2 * 1.96 * np.sqrt(0.3 * 0.7 / 200), rel=0.15)
    assert fixed["high"][0] - fixed["low"][0] < 0.01
    over = np.array(fixed["low"]) - fixed["treat_all"]
    np.testing.assert_allclose(fixed["over_treat_all_low"], over, atol=1e-12)
