"""The operating point against a search over all thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breastlens.errors import DataError
from breastlens.evaluation import Rule, choose_operating_point, evaluate_scores
from breastlens.evaluation.thresholds import choose_operating_points

score = st.one_of(st.sampled_from([i / 8 for i in range(9)]), st.floats(0, 1))
cases = st.lists(st.tuples(st.integers(0, 1), score), min_size=2, max_size=25).filter(
    lambda case: {label for label, _ in case} == {0, 1}
)
targets = st.one_of(st.none(), st.sampled_from([0.5, 0.7, 0.9, 0.95, 1.0]))


def every_point(y_true, y_score):
    """Sensitivity and specificity at each threshold that calls at least one image positive."""
    for threshold in np.unique(y_score):
        called = y_score >= threshold
        yield called[y_true == 1].mean(), (~called)[y_true == 0].mean()


@settings(max_examples=200, deadline=None)
@given(cases, targets)
def test_no_threshold_does_better_and_the_point_is_what_it_says(case, target):
    y_true, y_score = (np.array(column) for column in zip(*case, strict=True))
    point = choose_operating_point(y_true, y_score, Rule(sensitivity=target))

    called = y_score >= point.threshold
    assert point.sensitivity == called[y_true == 1].mean()
    assert point.specificity == (~called)[y_true == 0].mean()
    assert 0 <= point.threshold <= 1
    points = list(every_point(y_true, y_score))
    if target is None:
        best = max(sensitivity + specificity for sensitivity, specificity in points)
        assert point.sensitivity + point.specificity == pytest.approx(best, abs=1e-12)
        equals = [
            sensitivity for sensitivity, specificity in points if sensitivity + specificity > best - 1e-9
        ]
    else:
        assert point.sensitivity >= target
        reaching = [each for each in points if each[0] >= target]
        assert point.specificity == max(specificity for _, specificity in reaching)
        equals = [sensitivity for sensitivity, specificity in reaching if specificity == point.specificity]
    assert point.sensitivity == max(equals)


def test_largest_balanced_accuracy_lies_midway():
    point = choose_operating_point([0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.6, 0.9])
    # 0.5 (sensitivity 2/3, specificity 1) and 0.25 (1 and 2/3) are equal: the lower one is taken.
    assert point.threshold == pytest.approx(0.25)
    assert (point.sensitivity, point.specificity) == (1.0, pytest.approx(2 / 3))
    assert point.rule == "largest balanced accuracy"


def test_target_takes_the_most_specific_point_that_reaches_it():
    y_true = [0] * 5 + [1] * 20
    y_score = [0.05, 0.15, 0.25, 0.35, 0.45, 0.1] + [0.4] + [0.5 + i / 100 for i in range(18)]
    reached = choose_operating_point(y_true, y_score, Rule(sensitivity=0.95))
    # 19 of 20 is exactly 0.95, and all but the positive at 0.1 are called.
    assert reached.threshold == pytest.approx((0.35 + 0.4) / 2)
    assert (reached.sensitivity, reached.specificity) == (0.95, 0.8)
    assert reached.rule == "sensitivity of at least 0.95"
    every = choose_operating_point(y_true, y_score, Rule(sensitivity=1))
    assert every.threshold == pytest.approx((0.05 + 0.1) / 2)
    assert (every.sensitivity, every.specificity) == (1.0, 0.2)


def test_target_does_not_stop_where_sensitivity_is_free():
    point = choose_operating_point([0, 1, 1], [0.2, 0.6, 0.8], Rule(sensitivity=0.5))
    assert (point.threshold, point.sensitivity, point.specificity) == (pytest.approx(0.4), 1.0, 1.0)


def test_scores_rounded_in_a_file_are_called_the_same():
    rng = np.random.default_rng(0)
    y_true = np.arange(200) % 2
    y_score = np.clip(0.4 * y_true + 0.6 * rng.random(200), 0, 1)
    point = choose_operating_point(y_true, y_score)
    gap = np.abs(y_score - point.threshold).min()
    rounded = np.round(y_score, 1 - int(np.floor(np.log10(gap))))
    assert not np.array_equal(rounded, y_score)
    assert np.array_equal(rounded >= point.threshold, y_score >= point.threshold)


def test_neighbouring_floats_are_still_told_apart():
    low = 0.3
    high = float(np.nextafter(low, 1))
    point = choose_operating_point([0, 1], [low, high])
    assert (point.sensitivity, point.specificity) == (1.0, 1.0)
    assert low < point.threshold <= high


def test_scores_ranked_the_wrong_way_call_everything_positive():
    point = choose_operating_point([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9])
    assert (point.sensitivity, point.specificity) == (1.0, 0.0)


def test_point_gives_the_same_confusion_when_evaluated():
    y_true, y_score = [0, 1, 0, 1, 1], [0.2, 0.2, 0.4, 0.6, 0.4]
    point = choose_operating_point(y_true, y_score, Rule(sensitivity=0.6))
    block = evaluate_scores(y_true, y_score, point.threshold, draws=1)
    assert (block["sensitivity"], block["specificity"]) == (point.sensitivity, point.specificity)


@pytest.mark.parametrize(
    ("label", "target", "rule", "sensitivity", "specificity"),
    [
        (0, None, "0.5, as there was no positive image to choose by largest balanced accuracy", None, 0.75),
        (1, 0.9, "0.5, as there was no negative image to choose by sensitivity of at least 0.9", 0.25, None),
    ],
)
def test_one_class_missing_falls_back_and_says_so(label, target, rule, sensitivity, specificity):
    point = choose_operating_point([label] * 4, [0.1, 0.2, 0.5, 0.3], Rule(sensitivity=target))
    assert (point.threshold, point.rule) == (0.5, rule)
    assert (point.sensitivity, point.specificity) == (sensitivity, specificity)


@pytest.mark.parametrize("target", [0.0, -0.1, 1.1, float("nan")])
def test_impossible_target_is_refused(target):
    with pytest.raises(DataError, match="target sensitivity must be above 0 and up to 1"):
        choose_operating_point([0, 1], [0.1, 0.9], Rule(sensitivity=target))


@settings(max_examples=100, deadline=None)
@given(cases, st.sampled_from([0.3, 0.5, 0.9, 1.0]))
def test_a_target_specificity_is_reached_with_the_best_sensitivity(case, target):
    y_true, y_score = (np.array(column) for column in zip(*case, strict=True))
    point = choose_operating_point(y_true, y_score, Rule(specificity=target))
    called = y_score >= point.threshold
    assert point.sensitivity == pytest.approx(called[y_true == 1].mean())
    assert point.specificity == pytest.approx((~called)[y_true == 0].mean())
    reached = [point for point in every_point(y_true, y_score) if point[1] >= target - 1e-9]
    if not reached:
        assert point.rule == f"specificity of at least {target:g}, which no threshold reached"
        assert point.specificity == max(specificity for _, specificity in every_point(y_true, y_score))
        return
    best = max(reached)
    assert (point.sensitivity, point.specificity) == pytest.approx(best)


@settings(max_examples=100, deadline=None)
@given(cases, st.sampled_from([0.2, 1.0, 20.0]), st.sampled_from([None, 0.01, 0.6]))
def test_no_threshold_costs_less(case, ratio, prevalence):
    y_true, y_score = (np.array(column) for column in zip(*case, strict=True))
    point = choose_operating_point(y_true, y_score, Rule(cost_ratio=ratio, prevalence=prevalence))
    share = y_true.mean() if prevalence is None else prevalence

    def cost(sensitivity, specificity):
        return share * ratio * (1 - sensitivity) + (1 - share) * (1 - specificity)

    least = min(cost(*each) for each in every_point(y_true, y_score))
    assert cost(point.sensitivity, point.specificity) == pytest.approx(least, abs=1e-9)


def test_dear_misses_lower_the_threshold_and_rare_ones_raise_it():
    rng = np.random.default_rng(0)
    y_true = rng.integers(0, 2, 400)
    y_score = 1 / (1 + np.exp(-rng.normal(2 * y_true - 1, 1)))
    costs = [
        choose_operating_point(y_true, y_score, Rule(cost_ratio=ratio)).threshold for ratio in (0.1, 1, 10)
    ]
    assert costs == sorted(costs, reverse=True)
    rare = choose_operating_point(y_true, y_score, Rule(cost_ratio=10, prevalence=0.01))
    assert rare.threshold > costs[-1]
    assert rare.rule == "lowest cost, a missed positive costing 10 false alarms at a prevalence of 0.01"


def test_the_thresholds_interval_is_that_of_choosing_again_on_drawn_patients():
    rng = np.random.default_rng(1)
    y_true = np.repeat(rng.integers(0, 2, 40), 3)
    y_score = 1 / (1 + np.exp(-(rng.normal(2 * y_true - 1, 1) + np.repeat(rng.normal(0, 1, 40), 3))))
    patients = [f"P{number // 3}" for number in range(120)]
    point = choose_operating_point(y_true, y_score, patient_id=patients, seed=2, draws=400)
    again = []
    for _ in range(400):
        drawn = np.concatenate([rng.choice(np.flatnonzero(y_true[::3] == label), (y_true[::3] == label).sum())
                                for label in (0, 1)])  # fmt: skip
        rows = (3 * drawn[:, None] + np.arange(3)).ravel()
        again.append(choose_operating_point(y_true[rows], y_score[rows]).threshold)
    low, high = np.quantile(again, [0.025, 0.975])
    # chosen among the drawn scores alone, a threshold may lie anywhere between two of all
    assert point.low == pytest.approx(low, abs=0.06)
    assert point.high == pytest.approx(high, abs=0.06)
    assert point.low <= point.threshold <= point.high
    apart = choose_operating_point(y_true, y_score, seed=2, draws=400)
    assert apart.high - apart.low < point.high - point.low, "images of a patient are no independent evidence"


def test_a_class_of_one_patient_may_be_left_out_of_a_draw():
    point = choose_operating_point(
        [1, 0, 0, 0], [0.9, 0.1, 0.2, 0.4], patient_id=["a", "b", "c", "d"], draws=50
    )
    assert 0 <= point.low <= point.high <= 1


def test_the_point_in_use_comes_first_and_none_twice():
    y_true, y_score = np.array([0, 0, 1, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.9])
    alone = np.arange(6)
    usual = choose_operating_points(y_true, y_score, Rule(), linked=alone, seed=0)
    assert [point.rule for point in usual] == [
        "largest balanced accuracy",
        "sensitivity of at least 0.95",
        "specificity of at least 0.95",
    ]
    asked = choose_operating_points(y_true, y_score, Rule(specificity=0.6), linked=alone, seed=0)
    assert [point.rule for point in asked] == [
        "specificity of at least 0.6",
        "largest balanced accuracy",
        "sensitivity of at least 0.95",
    ]
    assert asked[0] == choose_operating_point(y_true, y_score, Rule(specificity=0.6), linked=alone, draws=500)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"specificity": 0.0}, "target specificity must be above 0 and up to 1"),
        ({"cost_ratio": 0.0}, "cost ratio must be a number above 0"),
        ({"prevalence": 1.0}, "prevalence must lie between 0 and 1"),
        ({"sensitivity": 0.9, "cost_ratio": 2.0}, "chosen by one of"),
    ],
)
def test_rules_that_make_no_sense_are_refused(given, message):
    with pytest.raises(DataError, match=message):
        Rule(**given)
