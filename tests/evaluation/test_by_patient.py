"""One score for a patient with several images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from breastlens.evaluation.by_patient import PATIENT_RULES, PatientPoint, choose_patient_point, score_patients
from breastlens.evaluation.metrics import evaluate_scores

SCORES = np.array([0.2, 0.6, 0.5, 0.9, 0.1, 0.4])
INDEX = np.array([0, 0, 1, 2, 2, 2])


def test_the_rules_on_a_hand_made_case() -> None:
    assert score_patients(SCORES, INDEX, "mean") == pytest.approx([0.4, 0.5, 1.4 / 3])
    assert score_patients(SCORES, INDEX, "max") == pytest.approx([0.6, 0.5, 0.9])
    assert score_patients(SCORES, INDEX, "noisy-or") == pytest.approx(
        [1 - 0.8 * 0.4, 0.5, 1 - 0.1 * 0.9 * 0.6]
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_mean_is_at_most_max_is_at_most_noisy_or(scores: list[float]) -> None:
    mean, largest, either = (
        score_patients(scores, np.zeros(len(scores), dtype=int), rule)[0] for rule in PATIENT_RULES
    )
    assert 0 <= mean <= largest + 1e-12
    assert largest <= either + 1e-12
    assert either <= 1


def study(rule: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patients with three images each; a sick one shows it in one of them, or a little in all."""
    generator = np.random.default_rng(5)
    patients = np.repeat(np.arange(80), 3)
    sick = np.repeat(np.arange(80) % 2, 3)
    scores = np.clip(generator.normal(0.4, 0.12, 240), 0, 1)
    shown = (np.arange(240) % 3 == 0) if rule == "max" else np.ones(240, dtype=bool)
    scores = np.clip(scores + sick * shown * (0.35 if rule == "max" else 0.12), 0, 1)
    return sick, scores, patients


@pytest.mark.parametrize("best", ["mean", "max"])
def test_the_rule_that_fits_the_study_is_chosen(best: str) -> None:
    labels, scores, patients = study(best)
    found = choose_patient_point(labels, scores, patients)
    truth = labels[::3]
    for rule in PATIENT_RULES:
        assert found.aucs[rule] == pytest.approx(roc_auc_score(truth, score_patients(scores, patients, rule)))
    assert found.aucs[found.rule] == max(found.aucs.values())
    assert found.rule == best
    called = score_patients(scores, patients, found.rule) >= found.threshold
    assert np.mean(called == truth) > 0.75


def test_with_one_image_each_the_mean_is_taken() -> None:
    assert choose_patient_point([0, 1, 0, 1], [0.2, 0.4, 0.3, 0.9], np.arange(4)).rule == "mean"


def test_patients_with_both_labels_decide_nothing() -> None:
    labels, scores, patients = study("max")
    more = choose_patient_point([*labels, 0, 1], [*scores, 1.0, 0.0], np.array([*patients, 99, 99]))
    assert more == choose_patient_point(labels, scores, patients)


def test_the_block_by_patient_follows_the_rule_of_each_patient() -> None:
    labels, scores, patients = study("max")
    ids = [f"P{one}" for one in patients]
    largest, noisy = PatientPoint("max", 0.63, {}), PatientPoint("noisy-or", 0.8, {})
    points = [largest if one < 40 else noisy for one in patients]
    block = evaluate_scores(labels, scores, 0.5, ids, patient_points=points)["by_patient"]
    assert block["rules"] == {"max": 40, "noisy-or": 40}
    expected = np.r_[
        score_patients(scores, patients, "max")[:40], score_patients(scores, patients, "noisy-or")[40:]
    ]
    assert block["auc"] == pytest.approx(roc_auc_score(labels[::3], expected))
    called = expected >= np.repeat([0.63, 0.8], 40)
    assert block["accuracy"] == pytest.approx(np.mean(called == labels[::3]))


def test_without_a_rule_a_patient_has_means() -> None:
    labels, scores, patients = study("mean")
    ids = [f"P{one}" for one in patients]
    block = evaluate_scores(labels, scores, 0.5, ids)["by_patient"]
    assert block["rules"] == {"mean": 80}
    assert block["auc"] == pytest.approx(roc_auc_score(labels[::3], scores.reshape(80, 3).mean(axis=1)))
