from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from breastlens.evaluation.inputs import find_units
from breastlens.evaluation.significance import holm, mcnemar, sign_flip_p_value


@given(st.lists(st.integers(-4, 4), max_size=9))
def test_it_is_the_share_of_all_throws(differences):
    numbers = np.array(differences, dtype=np.int64)
    sums = [abs(np.dot(signs, numbers)) for signs in itertools.product((-1, 1), repeat=numbers.size)]
    expected = np.mean(np.array(sums) >= abs(numbers.sum()))
    assert sign_flip_p_value(numbers) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("first_alone", "second_alone"), [(0, 0), (1, 0), (9, 2), (25, 31), (0, 12)])
def test_with_one_image_a_patient_it_is_the_binomial_test(first_alone, second_alone):
    first = np.r_[np.ones(first_alone), np.zeros(second_alone), np.ones(20), np.zeros(7)].astype(bool)
    second = np.r_[np.zeros(first_alone), np.ones(second_alone), np.ones(20), np.zeros(7)].astype(bool)
    found = mcnemar(first, second, find_units(None, first.size))
    total = first_alone + second_alone
    expected = 1.0 if total == 0 else stats.binomtest(first_alone, total).pvalue
    assert found["p_value"] == pytest.approx(expected, abs=1e-12)
    assert (found["images"], found["only_first"], found["only_second"]) == (
        total + 27,
        first_alone,
        second_alone,
    )
    assert found["method"] == "exact McNemar"


def test_five_copies_of_an_image_prove_no_more_than_one():
    rng = np.random.default_rng(0)
    first, second = rng.random(40) < 0.8, rng.random(40) < 0.5
    once = mcnemar(first, second, find_units(None, 40))
    patients = [f"p{number // 5}" for number in range(200)]
    repeated = mcnemar(np.repeat(first, 5), np.repeat(second, 5), find_units(patients, 200))
    assert repeated["p_value"] == pytest.approx(once["p_value"], abs=1e-12)
    assert repeated["only_first"] == 5 * once["only_first"]
    assert repeated["method"].endswith("all images of a patient change places together")
    pretended = mcnemar(np.repeat(first, 5), np.repeat(second, 5), find_units(None, 200))
    assert pretended["p_value"] < once["p_value"] / 100


def test_it_holds_its_level_where_images_of_a_patient_agree():
    """Neither model is better; in 400 studies of 30 patients with six images each, 5 % at most may say so."""
    patients = [f"p{number // 6:02d}" for number in range(180)]
    units = find_units(patients, 180)
    called = 0
    for seed in range(400):
        rng = np.random.default_rng([7, seed])
        easy = rng.normal(size=(2, 30))[:, np.arange(180) // 6]
        right = easy + 0.5 * rng.normal(size=(2, 180)) > -0.5
        called += mcnemar(right[0], right[1], units)["p_value"] < 0.05
    assert called <= 32  # 20 expected; a standard error is 4.4


def test_holm_corrects_in_the_order_given():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.5]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
