"""Prediction sets: the limits that crepes' p-values say, and sets that hold the truth as often as was promised."""

import numpy as np
import pytest
from crepes import ConformalClassifier
from hypothesis import given, settings
from hypothesis import strategies as st

from breastlens.errors import DataError
from breastlens.evaluation.conformal import (
    SET_NAMES,
    SetLimits,
    draw_one_each,
    find_sets,
    fit_set_limits,
    holds,
    largest_conforming,
    score_units,
)


def simulate(random, count, separation=1.5, prevalence=0.4):
    labels = (random.random(count) < prevalence).astype(np.int64)
    return labels, 1 / (1 + np.exp(-random.normal(separation * (2 * labels - 1) / 2, 1)))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=40),
    st.lists(st.integers(0, 8), min_size=1, max_size=40),
    st.sampled_from([0.5, 0.8, 0.9, 0.95]),
)
def test_two_limits_say_what_crepes_says_of_every_score(negative, positive, coverage):
    labels = np.repeat([0, 1], [len(negative), len(positive)])
    scores = np.array([*negative, *positive]) / 8
    limits = fit_set_limits(labels, scores, coverage)
    new = np.linspace(0, 1, 17)
    conformal = ConformalClassifier().fit(np.where(labels == 1, -scores, scores), bins=labels)
    for label, strangeness in ((0, new), (1, -new)):
        expected = conformal.predict_set(
            strangeness, bins=np.full(new.size, label), confidence=coverage - 1e-9, smoothing=False
        )
        np.testing.assert_array_equal(
            holds(find_sets(new, limits), np.full(new.size, label)), expected.astype(bool)
        )


def test_the_limit_is_a_known_order_statistic():
    # the p-value of the 18th of 20 is 4/21, of the 19th 3/21, of the 20th 2/21; only the last is below 0.1
    assert largest_conforming(np.arange(1.0, 21.0), 0.9) == 19.0
    assert largest_conforming(np.arange(1.0, 11.0), 0.9) == 10.0
    assert largest_conforming(np.arange(1.0, 9.0), 0.9) is None, (
        "8 values promise 90 % of nothing less than all"
    )
    with pytest.raises(DataError, match="a coverage lies between 0 and 1, received 1"):
        largest_conforming(np.arange(3.0), 1.0)


@pytest.mark.parametrize("tenths", [5, 8, 9])
@pytest.mark.parametrize("count", [4, 8, 9, 10, 18, 19, 20, 29, 39, 99, 199])
def test_the_limit_is_that_of_the_textbook_also_where_ranks_are_whole(count, tenths):
    """The ceil((n + 1) * coverage)-th of n (Lei and others, 2018), in whole numbers, which nothing rounds."""
    rank = -(-(count + 1) * tenths // 10)
    found = largest_conforming(np.arange(1.0, count + 1.0), tenths / 10)
    assert found == (rank if rank <= count else None)


def test_with_too_few_of_a_class_every_set_holds_it():
    labels = np.array([0] * 30 + [1] * 5)
    limits = fit_set_limits(labels, np.linspace(0, 1, 35), 0.9)
    assert limits.positive_from == 0.0
    assert limits.negative_up_to < 1.0
    assert (limits.negatives, limits.positives) == (30, 5)


def test_sets_are_named_by_what_they_hold():
    apart = SetLimits(negative_up_to=0.3, positive_from=0.6, negatives=1, positives=1)
    across = SetLimits(negative_up_to=0.6, positive_from=0.3, negatives=1, positives=1)
    assert [SET_NAMES[one] for one in find_sets([0.2, 0.3, 0.5, 0.6], apart)] == [
        "negative", "negative", "none", "positive",
    ]  # fmt: skip
    assert [SET_NAMES[one] for one in find_sets([0.2, 0.5, 0.7], across)] == ["negative", "both", "positive"]


def test_each_class_is_covered_as_promised_over_200_splits():
    held = {0: [], 1: []}
    for seed in range(200):
        random = np.random.default_rng(seed)
        limits = fit_set_limits(*simulate(random, 150), 0.9)
        labels, scores = simulate(random, 400)
        right = holds(find_sets(scores, limits), labels)
        for label in held:
            held[label].append(right[labels == label].mean())
    for label in held:
        assert abs(np.mean(held[label]) - 0.9) < 0.02


def test_one_image_a_patient_and_label_is_drawn_by_seed():
    units, labels = np.array([5, 5, 5, 2, 2, 9]), np.array([0, 0, 1, 1, 1, 0])
    drawn = draw_one_each(units, labels, seed=0)
    assert [(units[row], labels[row]) for row in drawn] in ([(5, 0), (5, 1), (2, 1), (9, 0)],)
    assert np.array_equal(drawn, draw_one_each(units, labels, seed=0))
    assert len({tuple(draw_one_each(units, labels, seed)) for seed in range(20)}) > 1


def test_a_patients_score_is_the_mean_and_mixed_labels_have_none():
    names, labels, means = score_units([7, 3, 7, 4, 4], [1, 0, 1, 0, 1], [0.2, 0.1, 0.6, 0.5, 0.5])
    assert (names.tolist(), labels.tolist()) == ([3, 7], [0, 1])
    np.testing.assert_allclose(means, [0.1, 0.4])
