from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from breastlens.errors import DataError
from breastlens.evaluation.inputs import find_units
from breastlens.evaluation.resampling import bootstrap_interval, draw_figures
from breastlens.evaluation.scalars import weighted_auc
from breastlens.evaluation.stratified import stratified_auc


def count_pairs(labels, scores, strata):
    """Every pair by hand."""
    won = pairs = 0.0
    for label, score, stratum in zip(labels, scores, strata, strict=True):
        for other, against, place in zip(labels, scores, strata, strict=True):
            if label == 1 and other == 0 and stratum == place != "":
                pairs += 1
                won += 1.0 if score > against else 0.5 if score == against else 0.0
    return won / pairs if pairs else None, pairs


def test_by_hand():
    """Year a: 2 positives x 1 negative, one of two pairs won; year b: 1 x 2, both won; year c: no pair."""
    found = stratified_auc(
        [1, 1, 0, 1, 0, 0, 1],
        [0.9, 0.2, 0.5, 0.6, 0.1, 0.3, 0.05],
        ["a", "a", "a", "b", "b", "b", "c"],
        draws=200,
    )
    assert found["value"] == pytest.approx(3 / 4)
    assert (found["pairs"], found["images_used"], found["images_left_out"]) == (4, 6, 1)
    assert found["strata_used"] == {"a": [1, 2], "b": [2, 1]}
    assert found["strata_left_out"] == {"c": [0, 1]}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.2, 0.5, 0.9]), st.sampled_from(["", "a", "b"])),
        min_size=1,
        max_size=25,
    )
)
def test_is_the_share_of_won_pairs(rows):
    labels, scores, strata = zip(*rows, strict=True)
    found = stratified_auc(labels, scores, strata, draws=5)
    value, pairs = count_pairs(labels, scores, strata)
    assert found["value"] == (None if value is None else pytest.approx(value))
    assert found["pairs"] == pairs
    assert found["images_used"] + found["images_left_out"] == len(rows)
    assert found["value"] is not None or found["reason"]
    json.dumps(found, allow_nan=False)


def test_one_stratum_is_the_ordinary_auc_with_its_bootstrap_interval():
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 2, 120), rng.random(120)
    patients = [f"P{number}" for number in rng.integers(0, 60, 120)]
    found = stratified_auc(labels, scores, ["all"] * 120, patients, seed=3, draws=300)
    drawn = draw_figures(
        lambda weights: {"auc": weighted_auc(labels, scores, weights)},
        labels,
        find_units(patients, 120),
        3,
        300,
    )
    plain = bootstrap_interval(drawn["auc"], 0.95, "")
    assert found["value"] == pytest.approx(roc_auc_score(labels, scores))
    assert (found["low"], found["high"]) == (pytest.approx(plain["low"]), pytest.approx(plain["high"]))


def test_a_score_that_only_knows_the_year_is_worth_nothing_within_years():
    """Sick from 2019 mostly, healthy from 2012 mostly; the score is the year."""
    labels = np.array([0] * 90 + [1] * 10 + [0] * 10 + [1] * 90)
    years = ["2012"] * 100 + ["2019"] * 100
    scores = np.array([0.1] * 100 + [0.9] * 100)
    assert roc_auc_score(labels, scores) == pytest.approx(0.9)
    found = stratified_auc(labels, scores, years)
    assert found["value"] == pytest.approx(0.5)
    assert found["low"] is None
    assert "same in nearly every draw" in found["reason"]


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Within strata positives score a standard deviation higher: AUC 0.760 (the normal distribution at 1/sqrt 2)."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        labels, strata = rng.integers(0, 2, 120), rng.integers(0, 3, 120)
        raw = rng.normal(size=120) + labels + 5 * strata
        scores = (raw - raw.min()) / (raw.max() - raw.min())
        found = stratified_auc(labels, scores, [str(stratum) for stratum in strata], draws=300)
        held += found["low"] <= 0.7602 <= found["high"]
    assert 88 <= held <= 99


def test_patients_are_drawn_whole_and_counted():
    rng = np.random.default_rng(2)
    labels = np.repeat(rng.integers(0, 2, 40), 5)
    scores = np.clip(np.repeat(rng.normal(0.4 + 0.2 * labels[::5], 0.2), 5), 0, 1)
    patients = [f"P{number // 5}" for number in range(200)]
    strata = ["a"] * 190 + [""] * 10
    by_patient = stratified_auc(labels, scores, strata, patients, draws=500)
    by_image = stratified_auc(labels, scores, strata, draws=500)
    assert by_patient["high"] - by_patient["low"] > 1.5 * (by_image["high"] - by_image["low"])
    assert (by_patient["patients_used"], by_patient["patients_left_out"]) == (38, 2)
    assert by_patient["method"].startswith(
        "pairs within 1 stratum, bootstrap of patients, stratified by class, BCa"
    )
    assert (by_image["patients_used"], by_image["patients_left_out"]) == (0, 0)


def test_linked_images_without_a_patient_are_drawn_whole_also_within_strata():
    rng = np.random.default_rng(2)
    labels = np.repeat(rng.integers(0, 2, 40), 5)
    scores = np.clip(np.repeat(rng.normal(0.4 + 0.2 * labels[::5], 0.2), 5), 0, 1)
    strata, number = ["a"] * 100 + ["b"] * 90 + [""] * 10, np.arange(200) // 5
    linked = stratified_auc(labels, scores, strata, linked=number, draws=300)
    named = stratified_auc(labels, scores, strata, [f"P{one:02d}" for one in number], draws=300)
    assert (linked["low"], linked["high"]) == (named["low"], named["high"])
    assert linked["patients_used"] == 0
    assert "38 sets of linked images" in linked["method"]


def test_a_lone_patient_without_positives_takes_no_interval_away():
    labels, scores = [0, 1] * 20 + [0], np.random.default_rng(3).random(41)
    patients = [f"P{number // 2}" for number in range(41)]
    found = stratified_auc(labels, scores, ["a"] * 41, patients, draws=200)
    assert found["low"] is not None
    assert "stratified by class" not in found["method"]


def test_the_same_seed_gives_the_same_interval_whatever_the_order():
    rng = np.random.default_rng(4)
    labels, scores = rng.integers(0, 2, 80), rng.random(80)
    strata = [str(one) for one in rng.integers(0, 4, 80)]
    patients = [f"P{number}" for number in range(80)]
    order = rng.permutation(80)
    one = stratified_auc(labels, scores, strata, patients, seed=9, draws=100)
    assert stratified_auc(labels, scores, strata, np.array(patients), seed=9, draws=100) == one
    other = stratified_auc(
        labels[order],
        scores[order],
        [strata[i] for i in order],
        [patients[i] for i in order],
        seed=9,
        draws=100,
    )
    for key in ("value", "low", "high"):
        assert one[key] == pytest.approx(other[key])


@pytest.mark.parametrize(
    ("strata", "reason"),
    [
        (["a", "b"], "no stratum holds images of both labels"),
        (["", ""], "the stratum of every image is unknown"),
    ],
)
def test_without_a_pair_there_is_a_reason(strata, reason):
    found = stratified_auc([0, 1], [0.1, 0.9], strata, ["P1", "P2"])
    assert (found["value"], found["low"], found["reason"]) == (None, None, reason)
    assert (found["images_left_out"], found["patients_left_out"]) == (2, 2)


def test_what_is_not_as_expected_is_refused():
    with pytest.raises(DataError, match="one name for each of the 2 labels, got 1"):
        stratified_auc([0, 1], [0.1, 0.9], ["a"])
    with pytest.raises(DataError, match="strata must be text"):
        stratified_auc([0, 1], [0.1, 0.9], [2012, 2013])  # type: ignore[list-item]
    with pytest.raises(DataError, match="patient_id must hold"):
        stratified_auc([0, 1], [0.1, 0.9], ["a", "a"], ["P1"])
    with pytest.raises(ValueError, match="level"):
        stratified_auc([0, 1], [0.1, 0.9], ["a", "a"], level=95)


def test_a_thousand_images_take_less_than_two_seconds():
    rng = np.random.default_rng(0)
    started = time.process_time()
    stratified_auc(
        rng.integers(0, 2, 1000), rng.random(1000), [str(one) for one in rng.integers(0, 10, 1000)]
    )
    assert time.process_time() - started < 2
