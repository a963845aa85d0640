"""Re-basing and predictive values against Bayes' theorem counted out, and what must not change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from breastlens.errors import DataError
from breastlens.evaluation.prevalence import predictive_values, rebase_scores

shares = st.floats(0.01, 0.99)


def test_predictive_values_of_a_population_counted_out():
    # 1,000 people, 8 of them sick: 7 found, 70 false alarms (the mammography question of Gigerenzer)
    ppv, npv = predictive_values(np.array([7 / 8]), np.array([1 - 70 / 992]), 0.008)
    assert ppv[0] == pytest.approx(7 / 77)
    assert npv[0] == pytest.approx(922 / 923)


@given(st.floats(0.001, 0.999), shares, shares)
def test_the_odds_are_multiplied_by_the_ratio_of_the_prior_odds_and_come_back(score, old, new):
    found = float(rebase_scores(score, old, new))
    ratio = (new / (1 - new)) / (old / (1 - old))
    assert found / (1 - found) == pytest.approx(ratio * score / (1 - score), rel=1e-9)
    assert float(rebase_scores(found, new, old)) == pytest.approx(score, rel=1e-9)


def test_a_population_of_another_mix_gets_its_own_probabilities():
    """Normal classes of known density: the posterior at the other prevalence, by Bayes' theorem itself."""
    x = np.linspace(-3, 4, 50)
    positive, negative = np.exp(-((x - 1) ** 2) / 2), np.exp(-(x**2) / 2)

    def posterior(prevalence):
        return prevalence * positive / (prevalence * positive + (1 - prevalence) * negative)

    np.testing.assert_allclose(rebase_scores(posterior(0.4), 0.4, 0.01), posterior(0.01), rtol=1e-12)


def test_order_and_calls_stay():
    rng = np.random.default_rng(0)
    scores, labels = rng.random(300), rng.integers(0, 2, 300)
    moved = rebase_scores(scores, 0.4, 0.006)
    assert roc_auc_score(labels, moved) == roc_auc_score(labels, scores)
    np.testing.assert_array_equal(scores >= 0.3, moved >= rebase_scores(0.3, 0.4, 0.006))
    np.testing.assert_array_equal(rebase_scores(np.array([0.0, 1.0]), 0.4, 0.006), [0.0, 1.0])


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, np.nan])
def test_a_prevalence_that_is_none_is_refused(prevalence):
    with pytest.raises(DataError, match="between 0 and 1"):
        rebase_scores([0.5], 0.4, prevalence)
