"""The calibration block: Murphy's split by hand and by its closed form, the binned error, chance, and intervals."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import brier_score_loss

from breastlens.evaluation.inputs import find_units
from breastlens.evaluation.reliability import (
    assess_calibration,
    decompose_brier,
    equal_mass_bins,
    error_by_chance,
    error_interval,
    expected_error,
)
from breastlens.evaluation.resampling import draw_figures


def studied(seed, n=400, slope=1.0):
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(0, 2, n)
    return (rng.random(n) < expit(slope * log_odds)).astype(int), expit(log_odds)


def by_name(name, figure):
    """A figure of weights as draws ask for it."""
    return lambda weights: {name: figure(weights)}


def test_murphys_split_by_hand():
    labels = np.array([0, 0, 0, 1, 0, 1, 1, 1, 1, 1])
    scores = np.repeat([0.2, 0.7], [4, 6])
    found = decompose_brier(labels, scores, np.repeat([0, 1], [4, 6]))
    assert found["reliability"] == pytest.approx(0.4 * (0.2 - 0.25) ** 2 + 0.6 * (0.7 - 5 / 6) ** 2)
    assert found["resolution"] == pytest.approx(0.4 * (0.25 - 0.6) ** 2 + 0.6 * (5 / 6 - 0.6) ** 2)
    assert found["uncertainty"] == pytest.approx(0.24)
    assert found["within_bins"] == pytest.approx(0, abs=1e-15), "all scores of a bin are equal"
    assert found["bins"] == 2


def test_what_is_left_within_bins_is_variance_less_twice_the_covariance():
    labels, scores = studied(0)
    bins = equal_mass_bins(scores)
    found = decompose_brier(labels, scores, bins)
    left = 0.0
    for each in np.unique(bins):
        own = bins == each
        left += own.mean() * (np.var(scores[own]) - 2 * np.cov(scores[own], labels[own], ddof=0)[0, 1])
    assert found["within_bins"] == pytest.approx(left, abs=1e-12)
    total = found["reliability"] - found["resolution"] + found["uncertainty"] + found["within_bins"]
    assert total == pytest.approx(brier_score_loss(labels, scores), abs=1e-12)


@pytest.mark.parametrize(("images", "bins"), [(1000, 10), (100, 10), (57, 5), (15, 2)])
def test_bins_have_equal_mass_and_never_less_than_ten_images_if_that_can_be(images, bins):
    _, scores = studied(1, n=images)
    sizes = np.bincount(equal_mass_bins(scores))
    assert sizes.size == bins
    assert np.ptp(sizes) <= 1
    order = np.argsort(scores)
    assert (np.diff(equal_mass_bins(scores)[order]) >= 0).all()


def test_equal_scores_stay_in_one_bin():
    scores = np.r_[np.full(70, 0.1), np.linspace(0.2, 0.9, 30)]
    bins = equal_mass_bins(scores)
    assert np.unique(bins[:70]).size == 1
    assert set(bins) == set(range(bins.max() + 1)), "no bin is empty"


def test_the_error_is_the_mean_distance_over_bins():
    labels, scores = studied(2)
    bins = equal_mass_bins(scores)
    weights = np.random.default_rng(3).integers(0, 3, (3, 400)).astype(float)
    for weight, found in zip(weights, expected_error(labels, scores, bins, weights), strict=True):
        wanted = sum(
            weight[bins == each].sum() * abs(
                np.average(scores[bins == each], weights=weight[bins == each])
                - np.average(labels[bins == each], weights=weight[bins == each])
            )
            for each in np.unique(bins)
        ) / weight.sum()  # fmt: skip
        assert found == pytest.approx(wanted, abs=1e-12)


def test_chance_is_what_perfect_scores_reach():
    errors = []
    for seed in range(200):
        labels, scores = studied(seed)
        errors.append(expected_error(labels, scores, equal_mass_bins(scores), np.ones((1, 400)))[0])
    _, scores = studied(500)
    chance = error_by_chance(scores, equal_mass_bins(scores), find_units(None, 400), 0)
    assert chance["mean"] == pytest.approx(np.mean(errors), rel=0.06)
    assert chance["high"] == pytest.approx(np.quantile(errors, 0.95), rel=0.1)


def test_patients_who_share_a_draw_leave_more_to_chance():
    _, scores = studied(4)
    bins = equal_mass_bins(scores)
    order = np.argsort(scores)
    patients = np.empty(400, dtype=int)
    patients[order] = np.arange(400) // 8  # the images of a patient look alike
    linked = error_by_chance(scores, bins, find_units([str(each) for each in patients], 400), 0)
    assert linked["mean"] > 1.5 * error_by_chance(scores, bins, find_units(None, 400), 0)["mean"]


def test_before_and_after_have_figures_intervals_bins_and_curves_without_nan():
    labels, scores = studied(6, slope=0.5)
    found = assess_calibration(labels, expit(0.5 * logit(scores)), logit(scores), draws=150)
    json.dumps(found, allow_nan=False)
    for name, slope in (("before", 0.5), ("after", 1.0)):
        block = found[name]
        assert block["slope"]["low"] < slope < block["slope"]["high"]
        assert block["slope"]["value"] == pytest.approx(slope, abs=0.15)
        assert block["intercept"]["low"] < 0 < block["intercept"]["high"]
        ece = block["expected_calibration_error"]
        assert 0 <= ece["low"] <= ece["high"] < 0.3
        assert sum(each["images"] for each in block["bins"]) == 400
        curve = block["curve"]
        assert all(low <= high for low, high in zip(curve["low"], curve["high"], strict=True))
        assert curve["score"] == sorted(curve["score"])
    assert found["before"]["slope"]["value"] == pytest.approx(
        0.5 * found["after"]["slope"]["value"], rel=1e-4
    )
    assert found["before"]["expected_calibration_error"]["value"] > found["before"]["error_by_chance"]["high"]
    assert (
        found["after"]["expected_calibration_error"]["value"]
        < found["before"]["expected_calibration_error"]["value"]
    )


def test_the_slopes_interval_holds_the_truth_about_as_often_as_it_says():
    held = 0
    for seed in range(60):
        labels, scores = studied(seed, n=150)
        found = assess_calibration(labels, scores, logit(scores), draws=200, seed=seed)["after"]["slope"]
        held += found["low"] <= 1.0 <= found["high"]
    assert held >= 51


def test_scores_that_separate_have_no_slope_but_a_reason_and_the_rest():
    labels, scores = np.repeat([0, 1], 20), np.r_[np.linspace(0.05, 0.4, 20), np.linspace(0.6, 0.95, 20)]
    found = assess_calibration(labels, scores, logit(scores), draws=100)["after"]
    assert found["slope"]["value"] is None
    assert "no score is on the wrong side" in found["slope"]["reason"]
    assert found["curve"] is None
    assert found["brier"]["value"] == pytest.approx(brier_score_loss(labels, scores))


def test_one_class_alone_leaves_reasons():
    found = assess_calibration([1, 1, 1, 1], [0.3, 0.5, 0.9, 1.0], [-1.0, 0.0, 2.0, 9.0], draws=50)
    json.dumps(found, allow_nan=False)
    assert found["after"]["slope"]["reason"] == found["after"]["intercept"]["reason"] == "a class is missing"


@pytest.mark.parametrize(("shift", "truth"), [(0.0, 0.0), (0.35, 0.053), (0.65, 0.097)])
def test_the_errors_interval_holds_the_error_of_all_patients(shift, truth):
    """The true error of scores whose log-odds are all too low by ``shift``, from a million of them."""
    everyone = np.random.default_rng(0).normal(0, 2, 1_000_000)
    assert np.mean(expit(everyone + shift) - expit(everyone)) == pytest.approx(truth, abs=5e-4)
    held = 0
    for seed in range(60):
        rng = np.random.default_rng([60, seed])
        log_odds = rng.normal(0, 2, 300)
        labels, scores = (rng.random(300) < expit(log_odds + shift)).astype(int), expit(log_odds)
        bins, units = equal_mass_bins(scores), find_units(None, 300)
        error = partial(expected_error, labels, scores, bins)
        drawn = draw_figures(by_name("error", error), None, units, seed, 100)["error"]
        found = error_interval(drawn, error_by_chance(scores, bins, units, seed), 0.95, "")
        held += found["low"] <= truth <= found["high"]
    assert held >= 53, "of 60, 57 are to be expected"


def test_an_error_that_chance_would_give_reaches_down_to_none():
    found = assess_calibration(*studied(0), np.zeros(400), draws=100)["after"]
    error, chance = found["expected_calibration_error"], found["error_by_chance"]
    assert error["value"] <= chance["high"]
    assert error["low"] == 0.0
    assert error["high"] > error["value"]
    assert error["method"].endswith("low end less the bias, 0 where chance gives as much")


def test_the_intercepts_interval_varies_with_how_many_are_positive():
    """Its standard error is 1 / sqrt(sum of p (1 - p)); draws within each class would make it a quarter shorter."""
    labels, scores = studied(0)
    found = assess_calibration(labels, scores, logit(scores), draws=1000)["after"]["intercept"]
    error = 1 / np.sqrt(np.sum(scores * (1 - scores)))
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_scores_that_are_all_the_same_have_no_slope_for_that_reason():
    found = assess_calibration([0, 1, 0, 1, 1, 0], [0.5] * 6, [0.0] * 6, draws=50)["after"]
    assert found["slope"]["reason"] == "all scores are the same"


@pytest.mark.filterwarnings("error")
def test_a_single_patient_has_no_interval_and_makes_no_noise():
    found = assess_calibration([0, 1], [0.2, 0.8], [0.0, 0.0], ["a", "a"], draws=20)
    json.dumps(found, allow_nan=False)
    assert found["after"]["brier"]["low"] is None
    assert "one patient only" in found["after"]["brier"]["reason"]
