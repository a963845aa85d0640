"""DeLong's variance against all pairs compared one by one, against R's pROC, and with patients taken together."""

from __future__ import annotations

import numpy as np
import pytest

from breastlens.evaluation.delong import estimate_aucs
from breastlens.evaluation.inputs import find_units

OVARIAN = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1  3.8 5.7 5 1
3.7 6.7 6 1   3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0
4.0 6.6 6 0   3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1
4.3 6.5 4 1   3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1
2.9 5.7 9 0   2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1  3.6 6.6 5 1
"""
"""Albumin, total protein, K-G score, outcome: the complete patients of DeLong, DeLong and Clarke-Pearson (1988), as
listed in the documentation of SAS/STAT, PROC LOGISTIC, Comparing receiver operating characteristic curves."""

PROC_AUC = (0.73655913978495, 0.64784946236559, 0.72580645161290)
PROC_COVARIANCE = (
    (0.0085922417900826, 0.0077445292764622, 0.0050370598107331),
    (0.0077445292764622, 0.0100094773611943, 0.0048192972913316),
    (0.0050370598107331, 0.0048192972913316, 0.0105722832732458),
)
"""Of albumin, total protein and 10 less the K-G score, by R's pROC 1.18.0: auc, and cov with method "delong"."""


def by_pairs(labels, scores, unit):
    """AUCs and covariance after Obuchowski (1997), each pair compared and each sum written out."""
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    won = (scores[:, positive, None] > scores[:, None, negative]) + 0.5 * (
        scores[:, positive, None] == scores[:, None, negative]
    )
    areas = won.mean(axis=(1, 2))
    names = np.unique(unit)
    ahead, behind = np.zeros((len(scores), names.size)), np.zeros((len(scores), names.size))
    for place, name in enumerate(names):
        own_positive, own_negative = unit[positive] == name, unit[negative] == name
        ahead[:, place] = (won.mean(axis=2)[:, own_positive] - areas[:, None]).sum(axis=1)
        behind[:, place] = (won.mean(axis=1)[:, own_negative] - areas[:, None]).sum(axis=1)
    with_positive, with_negative = np.unique(unit[positive]).size, np.unique(unit[negative]).size
    m, n, i = positive.size, negative.size, names.size
    covariance = np.empty((len(scores), len(scores)))
    for a in range(len(scores)):
        for b in range(len(scores)):
            covariance[a, b] = (
                with_positive / (with_positive - 1) * ahead[a] @ ahead[b] / m**2
                + with_negative / (with_negative - 1) * behind[a] @ behind[b] / n**2
                + i / (i - 1) * (ahead[a] @ behind[b] + behind[a] @ ahead[b]) / (m * n)
            )
    return areas, covariance


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("mixed", [False, True])
def test_it_is_what_comparing_all_pairs_gives(images, mixed):
    rng = np.random.default_rng(images)
    patient = np.repeat(np.arange(40), images)
    labels = rng.integers(0, 2, patient.size) if mixed else rng.integers(0, 2, 40)[patient]
    shared = rng.normal(size=40)[patient]
    scores = np.stack(
        [np.round(shared + labels + rng.normal(size=patient.size), digits) for digits in (0, 1, 8)]
    )
    areas, covariance = by_pairs(labels, scores, patient)
    units = find_units([f"p{number:02d}" for number in patient], patient.size)
    found = estimate_aucs(labels, scores, units)
    np.testing.assert_allclose(found.values, areas, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.covariance, covariance, rtol=0, atol=1e-12)


def test_the_published_example_is_what_another_program_makes_of_it():
    table = np.array(OVARIAN.split(), dtype=float).reshape(43, 4)
    scores, labels = np.stack([table[:, 0], table[:, 1], 10 - table[:, 2]]), table[:, 3].astype(np.int64)
    found = estimate_aucs(labels, scores, find_units(None, 43))
    np.testing.assert_allclose(found.values, PROC_AUC, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.covariance, PROC_COVARIANCE, rtol=0, atol=1e-10)


def test_patients_with_several_images_count_as_one_degree_of_freedom_each():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(30), 4)
    labels = (patient < 12).astype(np.int64)
    found = estimate_aucs(labels, rng.normal(size=(1, 120)), find_units([f"p{n}" for n in patient], 120))
    assert found.degrees == 11


def test_the_p_value_is_where_the_interval_reaches_zero():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 80)
    scores = np.stack([labels + rng.normal(size=80), labels + 2 * rng.normal(size=80)])
    found = estimate_aucs(labels, scores, find_units(None, 80))
    low, high = found.difference(0, 1, 1 - found.p_value(0, 1))
    assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-10)
    assert found.p_value(0, 0) == 1.0


def test_fewer_than_two_patients_of_a_class_are_refused():
    with pytest.raises(ValueError, match=r"two units .* received \[1, 3\]"):
        estimate_aucs(np.array([1, 1, 0, 0, 0]), np.zeros((1, 5)), find_units(["a", "a", "b", "c", "d"], 5))
