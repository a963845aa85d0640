"""The operating point against a search over all thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breastlens.errors import DataError
from breastlens.evaluation import Rule, choose_operating_point, evaluate_scores

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
