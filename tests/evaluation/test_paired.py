from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from breastlens.errors import DataError
from breastlens.evaluation.metrics import evaluate_scores
from breastlens.evaluation.paired import Judged, compare_models, judge_non_inferiority
from breastlens.evaluation.scalars import SCALAR_METRICS


def two_models(patients=60, images=2, lift=(1.5, 1.0), seed=0):
    """Labels, patients, and scores that share what is hard about a patient."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), images)
    labels = (patient % 3 == 0).astype(int)
    hard = rng.normal(size=patients)[patient]
    scores = [
        1 / (1 + np.exp(-(each * (labels - 0.5) + hard + 0.4 * rng.normal(size=patient.size))))
        for each in lift
    ]
    return labels, [f"p{number:03d}" for number in patient], scores


def judged(scores, threshold=0.5):
    return Judged(scores, (np.asarray(scores) >= threshold).astype(int))


def test_differences_are_those_of_the_figures_of_both():
    labels, patients, (one, other) = two_models()
    found = compare_models(labels, judged(one), judged(other, 0.4), patients)
    blocks = [
        evaluate_scores(labels, scores, cut, patients, draws=1) for scores, cut in ((one, 0.5), (other, 0.4))
    ]
    assert set(found["differences"]) == set(SCALAR_METRICS)
    for name, difference in found["differences"].items():
        assert difference["value"] == pytest.approx(blocks[0][name] - blocks[1][name], abs=1e-12), name
        assert difference["low"] < difference["value"] < difference["high"], name
        assert difference["method"].endswith("paired") or "paired, BCa" in difference["method"], name
    json.dumps(found, allow_nan=False)


def test_turned_round_everything_turns_round():
    labels, patients, (one, other) = two_models()
    forth = compare_models(labels, judged(one), judged(other), patients)
    back = compare_models(labels, judged(other), judged(one), patients)
    for name in SCALAR_METRICS:
        assert forth["differences"][name]["low"] == pytest.approx(
            -back["differences"][name]["high"], abs=1e-9
        ), name
    assert forth["differences"]["auc"]["p_value"] == pytest.approx(back["differences"]["auc"]["p_value"])
    for name, test in forth["mcnemar"].items():
        assert test["only_first"] == back["mcnemar"][name]["only_second"]
        assert test["p_value"] == pytest.approx(back["mcnemar"][name]["p_value"])


def test_pairing_finds_what_unpaired_intervals_hide():
    labels, patients, (one, other) = two_models(patients=120, lift=(2.2, 1.4))
    found = compare_models(labels, judged(one), judged(other), patients)["differences"]["auc"]
    alone = [evaluate_scores(labels, each, 0.5, patients)["intervals"]["auc"] for each in (one, other)]
    assert alone[0]["low"] < alone[1]["high"], "the intervals overlap"
    assert found["low"] > 0
    assert found["p_value"] < 0.05
    assert found["value"] == pytest.approx(roc_auc_score(labels, one) - roc_auc_score(labels, other))


def test_each_test_counts_its_own_images():
    labels = np.array([1, 1, 1, 0, 0, 0, 0])
    first, second = [1, 1, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 1, 0]
    tests = compare_models(labels, Judged(first, first), Judged(second, second))["mcnemar"]
    counted = {
        name: (test["images"], test["only_first"], test["only_second"]) for name, test in tests.items()
    }
    assert counted == {"accuracy": (7, 4, 1), "sensitivity": (3, 2, 0), "specificity": (4, 2, 1)}


def test_a_class_missing_leaves_what_needs_no_class():
    scores = np.random.default_rng(0).random(30)
    found = compare_models(np.zeros(30, int), judged(scores), judged(scores[::-1]))
    assert found["mcnemar"]["sensitivity"] is None
    assert found["differences"]["auc"]["value"] is None
    assert found["differences"]["auc"]["p_value"] is None
    assert found["differences"]["brier"]["value"] == pytest.approx(0)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(("low", "verdict"), [(-0.049, True), (-0.05, False), (-0.2, False), (None, None)])
def test_not_inferior_is_what_lies_above_the_margin(low, verdict):
    assert judge_non_inferiority({"low": low}, 0.05) is verdict


def test_models_that_rank_all_images_alike_are_not_inferior_to_each_other():
    labels, patients, (one, _) = two_models()
    found = compare_models(labels, judged(one), judged(one**2), patients, draws=20)["differences"]["auc"]
    assert judge_non_inferiority(found, 0.01) is True


@pytest.mark.parametrize("decisions", [[0, 1, 2], [0, 1], [0.5, 1, 1]])
def test_decisions_are_checked(decisions):
    scores = [0.1, 0.5, 0.9]
    with pytest.raises(DataError, match="y_pred must"):
        compare_models([0, 1, 1], Judged(scores, decisions), Judged(scores, [0, 1, 1]))
