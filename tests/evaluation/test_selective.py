"""Coverage of sets, and risk against the share answered: hand-made cases."""

import numpy as np
import pytest

from breastlens.evaluation.inputs import find_units
from breastlens.evaluation.selective import describe_sets, risk_coverage


def test_sets_are_counted_and_covered_by_class():
    sets = np.array([1, 1, 2, 3, 0, 2, 2, 1])
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    found = describe_sets(sets, labels, find_units(None, 8), draws=200)
    assert found["sets"] == {"none": 1, "negative": 3, "positive": 3, "both": 1}
    assert found["answered"] == 6 / 8
    assert found["right"] == 4 / 6
    assert found["coverage"]["value"] == 5 / 8
    assert found["coverage_negative"]["value"] == 3 / 4
    assert found["coverage_positive"]["value"] == 2 / 4
    assert found["coverage"]["low"] < 5 / 8 < found["coverage"]["high"]


def test_a_share_of_patients_with_one_image_has_wilsons_interval():
    """60 of 60: the low end is n / (n + z squared), 0.940."""
    found = describe_sets(np.tile([1, 2], 30), np.tile([0, 1], 30), find_units(None, 60), draws=20)
    for each in (found["coverage"], *found["intervals"].values()):
        assert (each["low"], each["high"]) == (pytest.approx(60 / (60 + 1.959964**2)), 1.0)
        assert each["method"].startswith("Wilson")
    assert found["coverage_positive"]["low"] == pytest.approx(30 / (30 + 1.959964**2))


def test_answered_and_right_are_drawn_over_patients_where_these_have_several_images():
    random = np.random.default_rng(0)
    sets, labels = random.integers(0, 4, 120), np.repeat([0, 1], 60)
    found = describe_sets(sets, labels, find_units([f"p{row // 3}" for row in range(120)], 120), draws=300)
    for name in ("answered", "right"):
        interval = found["intervals"][name]
        assert interval["value"] == found[name]
        assert interval["low"] < found[name] < interval["high"]
        assert interval["method"].startswith("bootstrap of patients")


def test_nothing_answered_has_no_share_of_right_answers():
    found = describe_sets(np.array([3, 3, 0, 3]), np.array([0, 0, 1, 1]), find_units(None, 4), draws=20)
    assert found["right"] is found["intervals"]["right"]["low"] is None
    assert found["intervals"]["right"]["reason"] == "the figure itself has no value"
    assert found["answered"] == 0


def test_a_class_of_one_patient_takes_no_interval_from_the_others():
    sets, labels = np.array([1, 1, 2, 1, 2, 2]), np.array([0, 0, 0, 0, 0, 1])
    found = describe_sets(sets, labels, find_units(None, 6), draws=50)
    assert found["coverage_positive"]["low"] is None
    assert found["coverage_negative"]["low"] == pytest.approx(0.2307, abs=1e-4)  # Wilson, 3 of 5
    assert found["coverage"]["low"] == pytest.approx(0.3000, abs=1e-4)  # and 4 of 6


def test_a_class_of_one_patient_has_a_coverage_without_an_interval():
    found = describe_sets(np.array([1, 1, 2]), np.array([0, 0, 1]), find_units(["a", "b", "c"], 3), draws=50)
    assert found["coverage_positive"]["value"] == 1.0
    assert found["coverage_positive"]["low"] is None
    assert "one patient only" in found["coverage_positive"]["reason"]


def test_the_surest_come_first():
    # sure of its call, as shares of the room on its side: 1, 0.8, 0.5, 0.25; the last two are wrong
    curve = risk_coverage([1, 0, 1, 0], [1.0, 0.1, 0.25, 0.625], 0.5)
    assert curve["answered"] == [0.25, 0.5, 0.75, 1.0]
    assert curve["accuracy"] == pytest.approx([1, 1, 2 / 3, 1 / 2])
    assert curve["area"] == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert curve["area"] == pytest.approx(curve["area_at_best"]), "both errors came last"
    assert curve["area_at_random"] == 0.5


def test_equally_sure_scores_are_answered_together():
    curve = risk_coverage([1, 1, 0, 0], [0.9, 0.1, 0.1, 0.9], 0.5)
    assert curve["answered"] == [1.0]
    assert curve["area"] == 0.5
