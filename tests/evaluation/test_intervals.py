"""Intervals against DeLong, the binomial, a plain loop over draws, and what clustering must do to them."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats
from scipy.special import logit

from breastlens.errors import DataError
from breastlens.evaluation import (
    SCALAR_METRICS,
    auc_interval,
    evaluate_scores,
    metric_intervals,
    paired_difference,
)
from breastlens.evaluation.inputs import find_units
from breastlens.evaluation.resampling import bootstrap_interval, draw_figures
from breastlens.evaluation.scalars import weighted_auc


def scored(seed, n=300, share=0.4, lift=0.25):
    rng = np.random.default_rng(seed)
    y_true = (np.arange(n) < share * n).astype(int)
    y_score = np.clip(0.35 + lift * y_true + 0.2 * rng.normal(size=n), 0, 1)
    return y_true, y_score


def delong(y_true, *scores):
    """AUCs and their covariance (DeLong, DeLong and Clarke-Pearson, 1988), by comparing all pairs."""
    of_positives, of_negatives = [], []
    for score in scores:
        pairs = score[y_true == 1][:, None] - score[y_true == 0][None]
        won = (pairs > 0) + 0.5 * (pairs == 0)
        of_positives.append(won.mean(axis=1))
        of_negatives.append(won.mean(axis=0))
    covariance = np.atleast_2d(np.cov(of_positives)) / (y_true == 1).sum()
    covariance = covariance + np.atleast_2d(np.cov(of_negatives)) / (y_true == 0).sum()
    return np.array([each.mean() for each in of_positives]), covariance


DRAWN = ("balanced_accuracy", "average_precision", "f1", "mcc", "brier")
"""What is neither an AUC nor a proportion of images."""


def width(interval):
    return interval["high"] - interval["low"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_auc_interval_is_delongs_on_the_scale_of_log_odds(seed, level):
    y_true, y_score = scored(seed)
    patient_id = [f"p{i}" for i in range(300)]
    interval = metric_intervals(y_true, y_score, 0.5, patient_id, level=level)[0]["auc"]
    (area,), ((variance,),) = delong(y_true, y_score)
    half = stats.t(119).ppf((1 + level) / 2) * np.sqrt(variance) / (area * (1 - area))
    assert (interval["value"], interval["level"]) == (pytest.approx(area, abs=1e-12), level)
    assert logit(interval["low"]) == pytest.approx(logit(area) - half, abs=1e-10)
    assert logit(interval["high"]) == pytest.approx(logit(area) + half, abs=1e-10)
    assert interval["method"] == "DeLong over patients, scale of log-odds"


@pytest.mark.parametrize("name", ["accuracy", "sensitivity", "specificity", "ppv", "npv"])
def test_a_proportion_of_patients_with_one_image_has_wilsons_interval(name):
    y_true, y_score = scored(0)
    interval = metric_intervals(y_true, y_score, 0.5)[0][name]
    called, right = y_score >= 0.5, (y_score >= 0.5) == (y_true == 1)
    counted = {
        "accuracy": y_true >= 0,
        "sensitivity": y_true == 1,
        "specificity": y_true == 0,
        "ppv": called,
        "npv": ~called,
    }[name]
    share, count, z = right[counted].mean(), counted.sum(), stats.norm.ppf(0.975)
    # the ends are where the difference is just z standard errors under the end itself
    low, high = np.sort(np.roots([1 + z**2 / count, -(2 * share + z**2 / count), share**2]))
    assert interval["value"] == pytest.approx(right[counted].mean())
    assert (interval["low"], interval["high"]) == (
        pytest.approx(low, abs=1e-9),
        pytest.approx(high, abs=1e-9),
    )
    assert interval["method"] == "Wilson over images (patients unknown)"


def test_with_several_images_a_patient_a_proportion_is_bootstrapped():
    y_true, y_score = scored(0)
    intervals = metric_intervals(y_true, y_score, 0.5, [f"p{i // 2}" for i in range(300)])[0]
    for name in set(SCALAR_METRICS) - {"auc"}:
        assert intervals[name]["method"].startswith("bootstrap of patients, stratified by class, BCa"), name


WILSON_30_OF_30 = 30 / (30 + stats.norm.ppf(0.975) ** 2)
"""Where all of n are right, the low end solves p + z sqrt(p (1 - p) / n) = 1: n / (n + z squared)."""


def test_whether_patients_have_one_image_is_asked_of_the_images_that_a_proportion_counts():
    """Thirty sick patients with one image, thirty healthy ones with two, of which one is called wrong."""
    y_true = np.repeat([1, 0], [30, 60])
    y_score = np.where(y_true == 1, 0.9, np.where(np.arange(90) < 40, 0.7, 0.1))
    patients = [f"s{i}" for i in range(30)] + [f"h{i // 2}" for i in range(60)]
    intervals, _ = metric_intervals(y_true, y_score, 0.5, patients, draws=200)
    assert intervals["sensitivity"]["method"] == "Wilson over patients"
    assert intervals["sensitivity"]["low"] == pytest.approx(WILSON_30_OF_30)
    assert intervals["sensitivity"]["high"] == 1.0
    assert intervals["specificity"]["method"].startswith("bootstrap of patients")


@pytest.mark.parametrize("right", [True, False])
def test_where_all_images_of_all_patients_are_right_each_patient_counts_once(right):
    y_true = np.repeat([1, 0], 60)
    y_score = np.where((y_true == 1) == right, 0.9, 0.1)
    patients = [f"p{i // 2}" for i in range(120)]
    specificity = metric_intervals(y_true, y_score, 0.5, patients, draws=50)[0]["specificity"]
    assert specificity["method"] == "Wilson over patients, each counted once"
    ends = (WILSON_30_OF_30, 1.0) if right else (0.0, 1 - WILSON_30_OF_30)
    assert (specificity["low"], specificity["high"]) == pytest.approx(ends)


def test_an_accuracy_needs_two_patients_and_not_two_of_each_class():
    y_true = np.array([1] + [0] * 29)
    interval = metric_intervals(y_true, 0.1 + 0.8 * y_true, 0.5, draws=20)[0]["accuracy"]
    assert interval["low"] == pytest.approx(WILSON_30_OF_30)


def test_draws_are_those_of_a_plain_loop_over_patients():
    """The same resampling written as a loop that copies images, fed with its own random numbers."""
    rng = np.random.default_rng(5)
    y_true, y_score = scored(2, n=60)
    patient = rng.permutation(np.arange(60) // 4)
    # Patients may hold images of both classes: they are drawn with the positive ones.
    positive = [p for p in range(15) if y_true[patient == p].any()]
    negative = [p for p in range(15) if p not in positive]
    areas = []
    for _ in range(3000):
        drawn = np.concatenate([rng.choice(positive, len(positive)), rng.choice(negative, len(negative))])
        rows = np.concatenate([np.flatnonzero(patient == p) for p in drawn])
        won = stats.rankdata(y_score[rows])[y_true[rows] == 1].sum()
        sick = y_true[rows].sum()
        healthy = rows.size - sick
        areas.append((won - sick * (sick + 1) / 2) / (sick * healthy) if healthy else np.nan)
    expected = np.nanquantile(areas, [0.025, 0.5, 0.975])
    units = find_units([f"p{p}" for p in patient], 60)
    found = draw_figures(
        lambda weights: {"auc": weighted_auc(y_true, y_score, weights)}, y_true, units, 0, 20_000
    )
    assert np.nanquantile(found["auc"].draws, [0.025, 0.5, 0.975]) == pytest.approx(expected, abs=0.012)


@pytest.mark.parametrize("classes", [1, 2])
def test_the_bootstrap_is_scipys_bca(classes):
    """A skewed mean over one class, and the difference of the means of two, drawn apart."""
    rng = np.random.default_rng(8)
    y_true = (np.arange(60) < (20 if classes == 2 else 0)).astype(int)
    values = rng.exponential(size=60) ** 2

    def figure(weights):
        means = [
            (weights[:, y_true == c] @ values[y_true == c]) / weights[:, y_true == c].sum(axis=1)
            for c in (0, 1)
        ]
        return {"figure": means[0] if classes == 1 else means[1] - means[0]}

    units = find_units(None, 60)
    with np.errstate(invalid="ignore"):
        drawn = draw_figures(figure, y_true, units, 0, 40_000)["figure"]
    found = bootstrap_interval(drawn, 0.95, "")
    samples = [values[y_true == c] for c in range(classes)]
    expected = stats.bootstrap(
        samples,
        (lambda x, axis: x.mean(axis)) if classes == 1 else (lambda x, y, axis: y.mean(axis) - x.mean(axis)),
        n_resamples=40_000,
        method="BCa",
        rng=1,
    ).confidence_interval
    percentile = np.quantile(drawn.draws, [0.025, 0.975])
    off = 0.02 * (expected.high - expected.low)
    assert (found["low"], found["high"]) == (
        pytest.approx(expected.low, abs=off),
        pytest.approx(expected.high, abs=off),
    )
    assert abs(percentile[1] - expected.high) > 3 * off, (
        "a case where BCa says something else than percentiles"
    )
    assert found["method"].endswith("BCa, 40000 draws")


def test_units_left_out_several_at_a_time_give_nearly_the_same(monkeypatch):
    y_true, y_score = scored(3)

    def at_once():
        return metric_intervals(y_true, y_score, 0.5)[0]["brier"]

    one_by_one = at_once()
    monkeypatch.setattr("breastlens.evaluation.resampling._MOST_LEFT_OUT", 50)
    in_fifty = at_once()
    assert in_fifty != one_by_one
    for end in ("low", "high"):
        assert in_fifty[end] == pytest.approx(one_by_one[end], abs=0.05 * width(one_by_one))


def test_the_classes_are_drawn_independently():
    # Equal classes, called wrong at the same places: common draws would add their errors up instead of
    # letting them cancel, and make the interval 1.4 times as wide.
    y_true = np.repeat([0, 1], 200)
    wrong = np.tile(np.arange(200) % 4 == 0, 2)
    y_score = np.where(wrong, 1 - y_true, y_true) * 0.8 + 0.1
    interval = metric_intervals(y_true, y_score, 0.5)[0]["balanced_accuracy"]
    expected = 2 * stats.norm.ppf(0.975) * np.sqrt(0.75 * 0.25 / 400)
    assert width(interval) == pytest.approx(expected, rel=0.1)


def test_five_identical_images_a_patient_are_worth_one():
    y_true, y_score = scored(1, n=80)
    once, _ = metric_intervals(y_true, y_score, 0.5, [f"p{i}" for i in range(80)])
    repeated = np.repeat(y_true, 5), np.repeat(y_score, 5), 0.5
    clustered, _ = metric_intervals(*repeated, [f"p{i // 5}" for i in range(400)])
    pretended, _ = metric_intervals(*repeated, [f"p{i}" for i in range(400)])
    for name in ("auc", *DRAWN):
        assert clustered[name]["low"] == pytest.approx(once[name]["low"], abs=1e-12), name
        assert clustered[name]["high"] == pytest.approx(once[name]["high"], abs=1e-12), name
    for name in SCALAR_METRICS:
        assert width(clustered[name]) == pytest.approx(np.sqrt(5) * width(pretended[name]), rel=0.25), name


def test_every_metric_has_an_interval_around_its_value():
    y_true, y_score = scored(3)
    intervals, reasons = metric_intervals(y_true, y_score, 0.5, [f"p{i // 2}" for i in range(300)])
    assert not reasons
    assert set(intervals) == set(SCALAR_METRICS)
    block = evaluate_scores(y_true, y_score, 0.5, [f"p{i // 2}" for i in range(300)])
    assert block["intervals"] == intervals
    for name, interval in intervals.items():
        assert interval["value"] == block[name]
        assert interval["low"] < interval["value"] < interval["high"]


def test_covers_the_truth_about_as_often_as_it_says():
    # AUC of two normals one standard deviation apart.
    truth = stats.norm.cdf(1 / np.sqrt(2))
    rng = np.random.default_rng(0)
    y_true = (np.arange(160) < 80).astype(int)
    covered = 0
    for seed in range(200):
        y_score = stats.norm.cdf(y_true + rng.normal(size=160))
        interval = metric_intervals(y_true, y_score, 0.5, draws=400, level=0.9, seed=seed)[0]["auc"]
        covered += interval["low"] <= truth <= interval["high"]
    # 200 trials at 0.90: a standard error of 0.021.
    assert 0.83 <= covered / 200 <= 0.96


def test_seed_decides_and_order_of_known_patients_does_not():
    y_true, y_score = scored(4)
    patient_id = np.array([f"p{i // 3}" for i in range(300)])
    order = np.random.default_rng(1).permutation(300)
    first, _ = metric_intervals(y_true, y_score, 0.5, patient_id.tolist(), seed=3)
    again, _ = metric_intervals(y_true, y_score, 0.5, patient_id.tolist(), seed=3)
    shuffled, _ = metric_intervals(y_true[order], y_score[order], 0.5, patient_id[order].tolist(), seed=3)
    other, _ = metric_intervals(y_true, y_score, 0.5, patient_id.tolist(), seed=4)
    assert first == again
    for name in SCALAR_METRICS:
        assert shuffled[name]["low"] == pytest.approx(first[name]["low"], abs=1e-12)
    assert first["brier"]["low"] != other["brier"]["low"]
    assert first["auc"] == other["auc"], "nothing is drawn for it"


def test_draws_in_turns_are_the_draws_at_once(monkeypatch):
    y_true, y_score = scored(5)
    at_once, _ = metric_intervals(y_true, y_score, 0.5)
    monkeypatch.setattr("breastlens.evaluation.resampling._WEIGHTS_AT_ONCE", 300 * 7)
    in_turns, _ = metric_intervals(y_true, y_score, 0.5)
    for name in SCALAR_METRICS:
        assert in_turns[name]["low"] == pytest.approx(at_once[name]["low"], abs=1e-12)
        assert in_turns[name]["high"] == pytest.approx(at_once[name]["high"], abs=1e-12)


@pytest.mark.parametrize(
    ("patient_id", "who"),
    [
        (None, "images (patients unknown)"),
        ([""] * 300, "images (patients unknown)"),
        (
            [""] + ["p"] * 2 + [f"q{i}" for i in range(297)],
            "patients (1 images without a patient each on its own)",
        ),
    ],
)
def test_method_says_what_varies(patient_id, who):
    y_true, y_score = scored(6)
    intervals, _ = metric_intervals(y_true, y_score, 0.5, patient_id)
    assert intervals["auc"]["method"] == f"DeLong over {who}, scale of log-odds"
    assert intervals["brier"]["method"] == f"bootstrap of {who}, stratified by class, BCa, 2000 draws"


def test_unknown_patients_are_each_image_on_its_own():
    y_true, y_score = scored(6)
    alone, _ = metric_intervals(y_true, y_score, 0.5, [f"p{i:03d}" for i in range(300)])
    unknown, _ = metric_intervals(y_true, y_score, 0.5)
    for name in SCALAR_METRICS:
        assert unknown[name]["low"] == pytest.approx(alone[name]["low"], abs=1e-12)


def test_one_patient_of_a_class_leaves_an_interval_only_to_what_counts_the_others():
    y_true = np.array([1] * 6 + [0] * 40)
    y_score = np.clip(0.4 + 0.2 * y_true + 0.2 * np.random.default_rng(0).normal(size=46), 0, 1)
    patient_id = ["sick"] * 6 + [f"h{i}" for i in range(40)]
    intervals, reasons = metric_intervals(y_true, y_score, 0.5, patient_id)
    assert set(intervals) == {"specificity", "npv"}, "one image of the sick patient is called negative"
    assert reasons["auc"] == "a class has one patient only, the positive one; an interval needs at least two"
    block = evaluate_scores(y_true, y_score, 0.5, patient_id)
    assert block["auc"] is not None
    assert block["reasons"]["auc interval"] == reasons["auc"]


def test_a_lone_patient_without_positives_takes_no_interval_away():
    """Fifty patients with an image of either class, and one healthy patient: all are drawn together."""
    rng = np.random.default_rng(0)
    y_true = np.array([0, 1] * 50 + [0])
    y_score = stats.norm.cdf(rng.normal(size=101) + y_true)
    patient_id = [f"p{i}" for i in np.repeat(np.arange(50), 2)] + ["q"]
    intervals, reasons = metric_intervals(y_true, y_score, 0.5, patient_id)
    assert not reasons
    assert intervals["brier"]["method"] == "bootstrap of patients, BCa, 2000 draws"
    without, _ = metric_intervals(y_true[:-1], y_score[:-1], 0.5, patient_id[:-1])
    # and all of them have a positive image
    assert without["brier"]["method"] == "bootstrap of patients, BCa, 2000 draws"
    for name in ("auc", "brier"):
        assert width(intervals[name]) == pytest.approx(width(without[name]), rel=0.1)


def test_one_patient_with_both_classes_leaves_the_others_specificity():
    y_true = np.array([1, 0] + [0] * 40)
    y_score = np.clip(0.4 + 0.2 * np.random.default_rng(0).normal(size=42), 0, 1)
    intervals, reasons = metric_intervals(y_true, y_score, 0.5, ["both"] * 2 + [f"h{i}" for i in range(40)])
    assert set(intervals) == {"specificity", "ppv"}, "nobody has two images that are called positive"
    assert "the positive one" in reasons["sensitivity"]


@pytest.mark.parametrize("kind", ["patients", "unknown", "linked", "lone", "one class", "perfect"])
def test_the_auc_interval_alone_is_that_among_all_metrics(kind):
    y_true, y_score = scored(7, n=90)
    patient_id = [f"p{i // 3}" for i in range(90)]
    linked = np.arange(90) // 5 if kind == "linked" else None
    if kind in ("unknown", "linked"):
        patient_id = [""] * 90
    if kind == "lone":
        patient_id = ["sick" if label else each for label, each in zip(y_true, patient_id, strict=True)]
    if kind == "one class":
        y_true = np.zeros(90, dtype=int)
    if kind == "perfect":
        y_score = 0.1 + 0.8 * y_true
    found = auc_interval(y_true, y_score, patient_id, linked=linked, level=0.9)
    intervals, reasons = metric_intervals(y_true, y_score, 0.5, patient_id, linked=linked, seed=5, level=0.9)
    if "auc" in intervals:
        assert found == intervals["auc"]
    else:
        assert kind in ("lone", "one class", "perfect")
        assert (found["low"], found["high"], found["reason"]) == (None, None, reasons["auc"])
        assert found["value"] == (None if kind == "one class" else pytest.approx(stats_auc(y_true, y_score)))


def stats_auc(y_true, y_score):
    """By comparing all pairs."""
    return delong(y_true, y_score)[0][0]


def test_linked_images_of_unknown_patients_are_drawn_together():
    y_true, y_score = scored(1, n=80)
    once, _ = metric_intervals(y_true, y_score, 0.5)
    frames = {"linked": np.repeat(np.arange(80), 5) + 1000}
    repeated = np.repeat(y_true, 5), np.repeat(y_score, 5)
    clustered, _ = metric_intervals(*repeated, 0.5, **frames)
    for name in ("auc", *DRAWN):
        assert clustered[name]["low"] == pytest.approx(once[name]["low"], abs=1e-12), name
        assert clustered[name]["high"] == pytest.approx(once[name]["high"], abs=1e-12), name
    assert clustered["auc"]["method"].startswith("DeLong over 80 sets of linked images (patients unknown)")
    other = np.repeat(np.roll(y_score, 1), 5)
    margin = paired_difference(*repeated, other, **frames)
    alone = paired_difference(y_true, y_score, np.roll(y_score, 1))
    assert margin["low"] == pytest.approx(alone["low"], abs=1e-12)
    block = evaluate_scores(*repeated, 0.5, **frames)
    assert block["intervals"]["auc"] == clustered["auc"]
    assert (block["patients"], block["by_patient"]) == (None, None)


def test_known_patients_stay_as_they_are_whatever_is_linked():
    y_true, y_score = scored(2, n=120)
    patient_id = [f"p{i // 2}" if i < 100 else "" for i in range(120)]
    linked = np.where(np.arange(120) < 100, 0, np.arange(120) // 4)
    alone = auc_interval(y_true, y_score, patient_id)
    together = auc_interval(y_true, y_score, patient_id, linked=linked)
    assert "(20 images without a patient each on its own)" in alone["method"]
    assert "(20 images without a patient in 5 sets of linked ones)" in together["method"]
    known = [each or "q" for each in patient_id]
    assert auc_interval(y_true, y_score, known, linked=linked) == auc_interval(y_true, y_score, known)


def test_frames_of_unknown_patients_cover_the_truth_once_they_are_linked():
    """Forty files of 25 frames: by frame the interval holds the truth in a third of the cases."""
    truth = stats.norm.cdf(1 / np.sqrt(2 * 1.25))
    y_true, file = np.repeat([0, 1], 500), np.repeat(np.arange(40), 25)
    held = {True: 0, False: 0}
    for seed in range(60):
        rng = np.random.default_rng([29, seed])
        noise = rng.normal(size=40)[file] + 0.5 * rng.normal(size=1000)
        y_score = stats.norm.cdf((y_true + noise) / 2)
        for link in (True, False):
            found = auc_interval(y_true, y_score, linked=file if link else None)
            held[link] += found["low"] <= truth <= found["high"]
    assert held[True] >= 51
    assert held[False] <= 36


def test_what_is_linked_must_be_told_for_each_image():
    with pytest.raises(DataError, match="linked must hold one number for each of the 2 labels"):
        auc_interval([0, 1], [0.1, 0.9], linked=np.arange(3))


def test_nothing_called_wrong_is_not_certainty():
    y_true = np.array([0, 1] * 20)
    intervals, reasons = metric_intervals(y_true, 0.1 + 0.8 * y_true, 0.5)
    for name in ("auc", *DRAWN):
        assert reasons[name].startswith("it is the same in nearly every draw"), name
    for name in set(SCALAR_METRICS) - {"auc", *DRAWN}:  # 40 or 20 right of as many
        assert intervals[name]["low"] < 0.92 < intervals[name]["high"] == 1, name


def test_draws_without_a_value_are_counted():
    # One of 40 images is called positive, so a third of the draws hold none and the PPV has no value there.
    y_true = np.array([0, 1] * 20)
    y_score = np.linspace(0.05, 0.3, 40)
    y_score[1] = 0.9
    pairs = [f"p{i // 4}" for i in range(40)]
    _, reasons = metric_intervals(y_true, y_score, 0.5, pairs)
    assert reasons["ppv"].startswith("it has no value in 687 of 2000 draws")
    # With five of them (two right) the draws without any are few: left out, and said so.
    y_score[[3, 4, 6, 8]] = 0.8
    intervals, _ = metric_intervals(y_true, y_score, 0.5, pairs)
    assert "undefined" in intervals["ppv"]["method"]
    assert "undefined" not in intervals["brier"]["method"]


def test_a_class_missing_leaves_what_needs_no_class():
    rng = np.random.default_rng(0)
    intervals, reasons = metric_intervals(np.zeros(50, int), rng.random(50), 0.5)
    assert set(intervals) == {"accuracy", "specificity", "brier"}
    assert reasons["auc"] == "the figure itself has no value"


@pytest.mark.parametrize("seed", range(3))
def test_paired_difference_is_delongs(seed):
    y_true, score_a = scored(seed)
    noise = np.random.default_rng(seed + 50).normal(size=300)
    score_b = np.clip(score_a + 0.1 * noise, 0, 1)
    found = paired_difference(y_true, score_a, score_b)
    areas, covariance = delong(y_true, score_a, score_b)
    half = stats.t(119).ppf(0.975) * np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert found["value"] == pytest.approx(areas[0] - areas[1], abs=1e-12)
    assert found["low"] == pytest.approx(found["value"] - half, abs=1e-10)
    assert found["high"] == pytest.approx(found["value"] + half, abs=1e-10)
    assert found["method"] == "DeLong over images (patients unknown), paired"
    # Pairing is worth something: the scores agree on who is difficult.
    unpaired = 2 * stats.norm.ppf(0.975) * np.sqrt(covariance[0, 0] + covariance[1, 1])
    assert width(found) < 0.7 * unpaired


def test_paired_difference_turns_round_with_its_scores():
    y_true, score_a = scored(1)
    _, score_b = scored(2)
    patient_id = [f"p{i // 3}" for i in range(300)]
    forth = paired_difference(y_true, score_a, score_b, patient_id)
    back = paired_difference(y_true, score_b, score_a, patient_id)
    assert forth["value"] == pytest.approx(-back["value"], abs=1e-12)
    assert forth["low"] == pytest.approx(-back["high"], abs=1e-12)


def test_scores_that_rank_all_images_alike_differ_by_nothing():
    y_true, y_score = scored(0)
    same = paired_difference(y_true, y_score, y_score**2)
    assert (same["value"], same["low"], same["high"], same["p_value"]) == (0.0, 0.0, 0.0, 1.0)
    assert same["reason"] == "both rank all images alike"
    lone = paired_difference([0, 0, 1], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3])
    assert lone["low"] is None, "a class of one patient is not known to be ranked alike elsewhere"


def test_paired_difference_without_an_answer_says_why():
    # both without a wrong pair, which says nothing of other patients
    for other in ([0.2, 0.4, 0.1, 0.3], [0.1, 0.4, 0.2, 0.3]):
        perfect = paired_difference([0, 1, 0, 1], [0.1, 0.4, 0.2, 0.3], other)
        assert (perfect["value"], perfect["low"], perfect["p_value"]) == (0.0, None, None)
        assert "nearly every draw" in perfect["reason"]
    lacking = paired_difference([0, 0], [0.1, 0.4], [0.2, 0.3])
    assert (lacking["value"], lacking["low"], lacking["reason"]) == (
        None,
        None,
        "the figure itself has no value",
    )


def test_paired_difference_checks_both_scores():
    with pytest.raises(DataError, match="y_score must lie between 0 and 1, got 2"):
        paired_difference([0, 1], [0.1, 0.2], [0.1, 2.0])


@pytest.mark.parametrize("options", [{"draws": 0}, {"level": 0.0}, {"level": 1.0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match="draws must be at least 1"):
        metric_intervals([0, 1], [0.1, 0.9], 0.5, **options)


def test_a_thousand_images_take_less_than_two_seconds():
    y_true, y_score = scored(0, n=1000)
    patient_id = [f"p{i // 2}" for i in range(1000)]
    start = time.process_time()
    metric_intervals(y_true, y_score, 0.5, patient_id)
    assert time.process_time() - start < 2.0
