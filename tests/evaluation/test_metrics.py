"""The figures against scikit-learn, by invariances, and on inputs that leave a figure without a value."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from breastlens.errors import DataError
from breastlens.evaluation import (
    SCALAR_METRICS,
    auc,
    evaluate_scores,
    precision_recall_points,
    roc_points,
)
from breastlens.evaluation.scalars import scalar_metrics

ORACLE = {
    "accuracy": lambda y, s, p, w: sk.accuracy_score(y, p, sample_weight=w),
    "balanced_accuracy": lambda y, s, p, w: sk.balanced_accuracy_score(y, p, sample_weight=w),
    "auc": lambda y, s, p, w: sk.roc_auc_score(y, s, sample_weight=w),
    "average_precision": lambda y, s, p, w: sk.average_precision_score(y, s, sample_weight=w),
    "sensitivity": lambda y, s, p, w: sk.recall_score(y, p, sample_weight=w),
    "specificity": lambda y, s, p, w: sk.recall_score(y, p, pos_label=0, sample_weight=w),
    "ppv": lambda y, s, p, w: sk.precision_score(y, p, zero_division=np.nan, sample_weight=w),
    "npv": lambda y, s, p, w: sk.precision_score(y, p, pos_label=0, zero_division=np.nan, sample_weight=w),
    "f1": lambda y, s, p, w: sk.f1_score(y, p, sample_weight=w),
    "mcc": lambda y, s, p, w: sk.matthews_corrcoef(y, p, sample_weight=w),
    "brier": lambda y, s, p, w: sk.brier_score_loss(y, s, sample_weight=w),
}


def both_classes(case):
    labels = [label for label, _, _ in case]
    return 0 in labels and 1 in labels


# Scores from a coarse grid, so that most cases hold ties and scores equal to the threshold.
coarse = st.sampled_from([i / 8 for i in range(9)])
score = st.one_of(coarse, st.floats(0, 1, allow_subnormal=False))
cases = st.lists(st.tuples(st.integers(0, 1), score, st.integers(1, 4)), min_size=2, max_size=40).filter(
    both_classes
)


def random_case(seed, n=60):
    rng = np.random.default_rng(seed)
    y_true = rng.permutation(np.arange(n) % 3 == 0).astype(int)
    y_score = np.round(np.clip(0.3 * y_true + 0.7 * rng.random(n), 0, 1), 2)
    return y_true, y_score


def test_oracle_covers_every_metric():
    assert set(ORACLE) == set(SCALAR_METRICS)


@settings(max_examples=100, deadline=None)
@given(cases, coarse)
def test_scalars_and_curves_agree_with_scikit_learn(case, threshold):
    y_true, y_score, _ = (np.array(column) for column in zip(*case, strict=True))
    block = evaluate_scores(y_true, y_score, threshold, draws=1)
    y_pred = (y_score >= threshold).astype(int)
    for name, oracle in ORACLE.items():
        expected = oracle(y_true, y_score, y_pred, None)
        if np.isnan(expected):
            assert block[name] is None
            assert name in block["reasons"]
        else:
            assert block[name] == pytest.approx(expected, abs=1e-12, rel=0), name
    assert block["confusion_matrix"] == sk.confusion_matrix(y_true, y_pred, labels=[0, 1]).tolist()

    fpr, tpr, thresholds = sk.roc_curve(y_true, y_score)
    np.testing.assert_allclose(block["roc"]["fpr"], fpr, rtol=0, atol=1e-12)
    np.testing.assert_allclose(block["roc"]["tpr"], tpr, rtol=0, atol=1e-12)
    assert block["roc"]["thresholds"][0] is None
    assert block["roc"]["thresholds"][1:] == thresholds[1:].tolist()

    precision, recall, thresholds = sk.precision_recall_curve(y_true, y_score)
    np.testing.assert_allclose(block["precision_recall"]["precision"], precision, rtol=0, atol=1e-12)
    np.testing.assert_allclose(block["precision_recall"]["recall"], recall, rtol=0, atol=1e-12)
    assert block["precision_recall"]["thresholds"] == thresholds.tolist()


@settings(max_examples=60, deadline=None)
@given(cases, coarse)
def test_weighted_scalars_agree_with_scikit_learn(case, threshold):
    y_true, y_score, weights = (np.array(column) for column in zip(*case, strict=True))
    y_pred = (y_score >= threshold).astype(int)
    rows = np.stack([np.ones(len(weights)), weights.astype(float)])
    values = scalar_metrics(y_true, y_score.astype(float), y_score >= threshold, rows)
    for name, oracle in ORACLE.items():
        expected = oracle(y_true, y_score, y_pred, weights)
        assert values[name][1] == pytest.approx(expected, abs=1e-12, rel=0, nan_ok=True), name


def test_weights_of_zero_are_as_if_the_image_were_not_there():
    y_true, y_score = random_case(1)
    kept = np.random.default_rng(2).random(60) < 0.5
    masked = scalar_metrics(y_true, y_score, y_score >= 0.4, kept[None].astype(float))
    alone = scalar_metrics(y_true[kept], y_score[kept], y_score[kept] >= 0.4, np.ones((1, kept.sum())))
    for name in SCALAR_METRICS:
        assert masked[name][0] == pytest.approx(alone[name][0], abs=1e-12), name


def test_weights_whose_top_scores_or_one_class_are_all_zero():
    y_true, y_score = np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.4, 0.2])
    weights = np.array([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
    values = scalar_metrics(y_true, y_score, y_score >= 0.5, weights)
    assert values["average_precision"][0] == 1.0
    assert values["auc"][0] == 1.0
    assert np.isnan(values["auc"][1])
    assert np.isnan(values["f1"][1])
    assert values["specificity"].tolist() == [1.0, 0.5]


def test_hand_made_case():
    block = evaluate_scores([1, 1, 0, 0, 0], [0.9, 0.5, 0.5, 0.2, 0.1], 0.5, draws=1)
    assert (block["n"], block["positives"], block["negatives"]) == (5, 2, 3)
    assert block["confusion_matrix"] == [[2, 1], [0, 2]]
    # Six pairs: five won, one tied.
    assert block["auc"] == pytest.approx(5.5 / 6)
    assert block["sensitivity"] == 1.0
    assert block["ppv"] == pytest.approx(2 / 3)
    assert block["brier"] == pytest.approx((0.01 + 0.25 + 0.25 + 0.04 + 0.01) / 5)


RANKING = ("auc", "average_precision")
FLIPPED = {
    "auc": "auc",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced_accuracy",
    "mcc": "mcc",
    "brier": "brier",
    "sensitivity": "specificity",
    "specificity": "sensitivity",
    "ppv": "npv",
    "npv": "ppv",
}


@pytest.mark.parametrize("seed", range(5))
def test_order_of_images_changes_nothing(seed):
    y_true, y_score = random_case(seed)
    # Two images a patient, and no patient in both classes.
    nth = np.where(y_true == 1, np.cumsum(y_true), np.cumsum(1 - y_true))
    patient_id = [f"{label}-{number // 2}" for label, number in zip(y_true, nth, strict=True)]
    order = np.random.default_rng(seed).permutation(60)
    first = evaluate_scores(y_true, y_score, 0.4, patient_id, draws=50)
    second = evaluate_scores(y_true[order], y_score[order], 0.4, [patient_id[i] for i in order], draws=50)
    for one, other in ((first, second), (first["by_patient"], second["by_patient"])):
        for name in SCALAR_METRICS:
            assert one[name] == pytest.approx(other[name], abs=1e-12), name
        assert one["intervals"].keys() == other["intervals"].keys()
        assert one["intervals"].keys() >= {"auc", "specificity", "brier"}
        for name in one["intervals"]:
            for end in ("low", "high"):
                assert one["intervals"][name][end] == pytest.approx(other["intervals"][name][end], abs=1e-12)
        assert one["confusion_matrix"] == other["confusion_matrix"]


@pytest.mark.parametrize("rescale", [lambda s: s**3, lambda s: 0.2 + s / 7, lambda s: np.expm1(s) / 2])
def test_rising_change_of_scale_keeps_ranking_metrics(rescale):
    y_true, y_score = random_case(3)
    block = evaluate_scores(y_true, y_score, 0.4, draws=1)
    other = evaluate_scores(y_true, rescale(y_score), float(rescale(np.float64(0.4))), draws=1)
    for name in SCALAR_METRICS:
        if name != "brier":
            assert other[name] == pytest.approx(block[name], abs=1e-12), name


@pytest.mark.parametrize("seed", range(5))
def test_flipping_labels_and_scores_swaps_the_classes(seed):
    y_true, y_score = random_case(seed)
    # 0.405 is no score here, so >= and > are the same.
    block = evaluate_scores(y_true, y_score, 0.405, draws=1)
    flipped = evaluate_scores(1 - y_true, 1 - y_score, 0.595, draws=1)
    for name, counterpart in FLIPPED.items():
        assert flipped[counterpart] == pytest.approx(block[name], abs=1e-12), name
    assert auc(1 - y_true, y_score) == pytest.approx(1 - auc(y_true, y_score), abs=1e-12)


def test_repeating_every_image_changes_no_figure():
    y_true, y_score = random_case(4)
    once = evaluate_scores(y_true, y_score, 0.4, draws=1)
    thrice = evaluate_scores(np.repeat(y_true, 3), np.repeat(y_score, 3), 0.4, draws=1)
    for name in SCALAR_METRICS:
        assert thrice[name] == pytest.approx(once[name], abs=1e-12), name


def test_scores_that_say_nothing():
    y_true, _ = random_case(0)
    block = evaluate_scores(y_true, np.full(60, 0.3), 0.5, draws=1)
    assert block["auc"] == 0.5
    assert block["average_precision"] == pytest.approx(1 / 3)
    assert block["mcc"] == 0.0
    assert block["ppv"] is None
    assert block["reasons"]["ppv"] == "no image is called positive at this threshold"


@pytest.mark.parametrize(
    ("label", "word", "without_value", "with_value"),
    [
        (0, "positive", "sensitivity", "specificity"),
        (1, "negative", "specificity", "sensitivity"),
    ],
)
def test_one_class_missing_gives_null_with_the_reason_and_no_warning(label, word, without_value, with_value):
    y_score = [0.1, 0.2, 0.7, 0.9]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        block = evaluate_scores([label] * 4, y_score, 0.5, ["a", "a", "b", "c"], draws=20)
    absent = (
        *("auc", "average_precision", "balanced_accuracy", "ppv", "npv", "f1", "mcc"),
        *("roc", "precision_recall", without_value),
    )
    for name in absent:
        assert block[name] is None
        assert block["reasons"][name] == f"no {word} image in this part"
        assert name not in block["intervals"]
    assert block[with_value] == block["accuracy"] == 0.5
    assert block["brier"] is not None
    assert block["by_patient"]["auc"] is None
    assert block["by_patient"]["reasons"]["auc"] == f"no {word} patient in this part"
    assert auc([label] * 4, y_score) is None
    assert roc_points([label] * 4, y_score) is None
    assert precision_recall_points([label] * 4, y_score) is None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), score, st.sampled_from(["", "a", "b", "c", "d"])),
        min_size=1,
        max_size=12,
    ),
    coarse,
)
def test_any_block_is_plain_json_and_every_null_has_a_reason(rows, threshold):
    y_true, y_score, patient_id = (list(column) for column in zip(*rows, strict=True))
    block = evaluate_scores(y_true, y_score, threshold, patient_id, draws=20)
    assert json.loads(json.dumps(block, allow_nan=False)) == block
    for part in filter(None, (block, block["by_patient"])):
        for name, value in part.items():
            assert (value is None) == (name in part["reasons"]) or name == "patients", name
        for name in SCALAR_METRICS:
            explained = f"{name} interval" in part["reasons"] or name in part["reasons"]
            assert explained != (name in part["intervals"])
    assert "by_patient" not in (block["by_patient"] or {})


def test_by_patient_is_the_block_of_mean_scores():
    y_true = [1, 1, 1, 0, 0, 0, 0]
    y_score = [0.9, 0.3, 0.4, 0.5, 0.1, 0.6, 0.4]
    patient_id = ["s2", "s2", "s1", "h1", "h1", "h2", "h3"]
    block = evaluate_scores(y_true, y_score, 0.45, patient_id, draws=200)
    by_patient = block["by_patient"]
    assert block["patients"] == by_patient["patients"] == by_patient["n"] == 5
    # h1 0.3, h2 0.6, h3 0.4, s1 0.4, s2 0.6
    assert by_patient["confusion_matrix"] == [[2, 1], [1, 1]]
    assert by_patient["auc"] == pytest.approx((2 + 0.5 + 1 + 0.5) / 6)
    assert by_patient["threshold"] == 0.45
    assert by_patient["intervals"]["auc"]["method"] == "DeLong over patients, scale of log-odds"
    assert "patients" not in by_patient["reasons"]


def test_by_patient_leaves_out_mixed_patients_and_images_without_one():
    y_true = [1, 0, 1, 1, 0, 0, 1]
    y_score = [0.9, 0.1, 0.8, 0.6, 0.2, 0.4, 0.3]
    block = evaluate_scores(y_true, y_score, 0.5, ["mixed", "mixed", "s", "s", "h", "h", ""], draws=50)
    by_patient = block["by_patient"]
    assert block["patients"] == 3
    assert (by_patient["n"], by_patient["positives"], by_patient["negatives"]) == (2, 1, 1)
    assert by_patient["reasons"]["patients"] == (
        "left out here: patients with images in both classes: 1; images without a patient id: 1"
    )


@pytest.mark.parametrize(
    ("patient_id", "patients", "reason"),
    [
        (None, None, "patients are unknown"),
        (["", "", "", ""], None, "patients are unknown"),
        (["a", "b", "c", ""], 3, "every patient has one image"),
        (["a", "a", "b", "b"], 2, "every patient has images in both classes"),
    ],
)
def test_no_figures_by_patient(patient_id, patients, reason):
    block = evaluate_scores([0, 1, 0, 1], [0.1, 0.7, 0.2, 0.4], 0.5, patient_id, draws=20)
    assert block["by_patient"] is None
    assert block["reasons"]["by_patient"] == reason
    assert block["patients"] == patients


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], 0.5), "y_true must hold"),
        (([[0, 1]], [[0.1, 0.2]], 0.5), r"y_true must hold .* got shape \(1, 2\)"),
        (([0, 2, 3], [0.1, 0.2, 0.3], 0.5), r"y_true must be 0 .* got 2 at position 1 \(and 1 more\)"),
        (([0, np.nan], [0.1, 0.2], 0.5), "y_true must be 0 .* got nan at position 1"),
        ((["sick", "healthy"], [0.1, 0.2], 0.5), "y_true must be 0|y_true must hold 0"),
        (([0, 1], [0.1], 0.5), r"y_score must hold .* 2 labels, got shape \(1,\)"),
        (([0, 1], [0.1, np.nan], 0.5), "y_score must be finite, got nan at position 1"),
        (([0, 1], [np.inf, 0.2], 0.5), "y_score must be finite, got inf at position 0"),
        (([0, 1], [0.1, 1.5], 0.5), "y_score must lie between 0 and 1, got 1.5 at position 1"),
        (([0, 1], ["a", "b"], 0.5), "y_score must hold numbers"),
        (([0, 1], [0.1, 0.2], 1.5), "threshold must lie between 0 and 1.*1.5"),
        (([0, 1], [0.1, 0.2], float("nan")), "threshold must lie between 0 and 1.*nan"),
        (([0, 1], [0.1, 0.2], 0.5, ["a"]), "patient_id must hold one id for each of the 2 labels, got 1"),
        (([0, 1], [0.1, 0.2], 0.5, ["a", float("nan")]), "patient_id must be text .* got nan at position 1"),
    ],
)
def test_unusable_input_is_named(arguments, message):
    with pytest.raises(DataError, match=message):
        evaluate_scores(*arguments)


def test_labels_may_come_as_booleans_or_whole_floats():
    y_score = [0.1, 0.7, 0.4]
    assert auc([False, True, False], y_score) == auc([0.0, 1.0, 0.0], y_score) == auc([0, 1, 0], y_score)


def test_a_threshold_for_each_image_decides_each_image() -> None:
    y_true = np.array([0, 0, 1, 1, 1, 0])
    y_score = np.array([0.1, 0.4, 0.35, 0.8, 0.55, 0.6])
    thresholds = np.array([0.5, 0.3, 0.3, 0.5, 0.6, 0.7])
    block = evaluate_scores(y_true, y_score, thresholds, draws=50)
    assert block["confusion_matrix"] == [[2, 1], [1, 2]]
    assert block["threshold"] is None
    assert block["reasons"]["threshold"] == "there are several, from 0.300 to 0.700"
    assert evaluate_scores(y_true, y_score, np.full(6, 0.5), draws=50) == evaluate_scores(
        y_true, y_score, 0.5, draws=50
    )


def test_thresholds_of_another_number_or_range_are_refused() -> None:
    with pytest.raises(DataError, match="one for each of 3 images"):
        evaluate_scores([0, 1, 1], [0.1, 0.2, 0.3], [0.5, 0.5])
    with pytest.raises(DataError, match="between 0 and 1"):
        evaluate_scores([0, 1, 1], [0.1, 0.2, 0.3], [0.5, 0.5, 1.5])


def test_points_of_patients_are_as_many_as_images():
    from breastlens.evaluation.by_patient import PatientPoint

    points = [PatientPoint("max", 0.5, {})] * 3
    with pytest.raises(
        DataError, match="patient_points must hold one for each of the 4 labels or none, got 3"
    ):
        evaluate_scores([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], 0.5, list("aabb"), patient_points=points)
