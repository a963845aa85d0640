"""Standardised differences against their closed forms and against leaving out any one category."""

from __future__ import annotations

import math

import numpy as np
import pytest

from breastlens.evaluation.standardised_difference import difference_of_means, difference_of_shares


def test_means_are_divided_by_the_root_of_the_mean_variance() -> None:
    assert difference_of_means([1, 2, 3], [4, 6, 8]) == pytest.approx(4 / math.sqrt((1 + 4) / 2))
    assert difference_of_means([4, 6, 8], [1, 2, 3]) == difference_of_means([1, 2, 3], [4, 6, 8])


def test_means_without_spread_or_with_one_value_have_none() -> None:
    assert difference_of_means([1, 1], [1, 1]) == 0
    assert difference_of_means([1, 1], [2, 2]) is None
    assert difference_of_means([1], [2, 3]) is None


def test_two_shares_are_those_of_a_proportion() -> None:
    first, second = 0.3, 0.6
    expected = abs(first - second) / math.sqrt((first * 0.7 + second * 0.4) / 2)
    assert difference_of_shares([30, 70], [12, 8]) == pytest.approx(expected)


def test_many_shares_are_the_distance_with_any_one_category_left_out() -> None:
    counts = np.array([[12, 30, 8, 50], [20, 22, 30, 9]])
    shares = counts / counts.sum(axis=1, keepdims=True)
    for left_out in range(4):
        kept = [each for each in range(4) if each != left_out]
        one, other = shares[:, kept]
        covariance = (np.diag(one) - np.outer(one, one) + np.diag(other) - np.outer(other, other)) / 2
        expected = math.sqrt((one - other) @ np.linalg.solve(covariance, one - other))
        assert difference_of_shares(*counts) == pytest.approx(expected)


def test_a_category_that_neither_group_has_changes_nothing() -> None:
    assert difference_of_shares([3, 7, 0], [5, 5, 0]) == pytest.approx(difference_of_shares([3, 7], [5, 5]))


def test_groups_that_share_no_category_or_are_empty_have_none() -> None:
    assert difference_of_shares([5, 0], [0, 5]) is None
    assert difference_of_shares([0, 0], [1, 5]) is None
    assert difference_of_shares([2, 4], [1, 2]) == 0
