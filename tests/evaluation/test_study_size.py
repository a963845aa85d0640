"""How many patients a study needs: held against published figures, other libraries and simulated studies."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest, multivariate_normal, norm

from breastlens.errors import DataError
from breastlens.evaluation.intervals import auc_interval
from breastlens.evaluation.study_size import (
    Cluster,
    auc_variance,
    expected_auc_interval,
    expected_proportion_interval,
    plan_study,
)


def test_for_exponential_scores_the_variance_is_that_of_simulated_studies() -> None:
    generator = np.random.default_rng(3)
    ratio, positives, negatives = 9.0, 12, 60  # of the means, so that the AUC is 9 / (1 + 9)
    high = generator.exponential(ratio, (4000, positives, 1))
    low = generator.exponential(1.0, (4000, 1, negatives))
    areas = (high > low).mean(axis=(1, 2))
    assert areas.mean() == pytest.approx(0.9, abs=0.004)
    assert auc_variance(0.9, positives, negatives, "exponential") == pytest.approx(areas.var(), rel=0.08)
    assert auc_variance(0.9, negatives, positives, "exponential") != pytest.approx(areas.var(), rel=0.2)


@pytest.mark.parametrize("auc", [0.6, 0.85, 0.97])
def test_for_normal_scores_it_is_the_bivariate_normal_probability(auc: float) -> None:
    edge = norm.ppf(auc)
    both = multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]]).cdf([edge, edge])
    wanted = (auc * (1 - auc) + (30 - 1) * (both - auc**2) + (50 - 1) * (both - auc**2)) / (30 * 50)
    assert auc_variance(auc, 30, 50) == pytest.approx(wanted, rel=1e-4)


def test_a_proportion_has_the_interval_of_wilson() -> None:
    wanted = binomtest(45, 50).proportion_ci(0.9, method="wilson")
    assert expected_proportion_interval(0.9, 50, level=0.9) == pytest.approx((wanted.low, wanted.high))


@pytest.mark.parametrize(
    ("auc", "width", "prevalence"), list(itertools.product([0.7, 0.85, 0.95], [0.05, 0.15], [0.1, 0.5]))
)
def test_the_study_is_the_smallest_that_reaches_the_width(
    auc: float, width: float, prevalence: float
) -> None:
    found = plan_study(auc, width, prevalence, sensitivity=0.9, specificity=0.8)
    assert [each.figure for each in found] == ["auc", "sensitivity", "specificity"]
    for each in found:
        assert each.positives + each.negatives == each.patients
        assert each.positives == pytest.approx(prevalence * each.patients, abs=0.5)
        assert each.high - each.low <= width
    auc_study, sensitivity_study, _ = found
    fewer = (auc_study.positives - 1, auc_study.negatives - 1)
    low, high = expected_auc_interval(auc, *fewer)
    assert high - low > width
    low, high = expected_proportion_interval(0.9, sensitivity_study.positives - 1)
    assert high - low > width


def test_several_images_of_a_patient_count_for_less_than_patients() -> None:
    def patients(images: int, correlation: float) -> int:
        (found,) = plan_study(0.85, 0.1, 0.4, images_per_patient=images, intraclass_correlation=correlation)
        return found.patients

    alone = patients(1, 0.5)
    assert patients(5, 1.0) == alone  # copies
    assert (
        patients(5, 0.5) < plan_study(0.85, 0.1, 0.4, images_per_patient=5, scores="exponential")[0].patients
    )
    assert patients(5, 0.0) == pytest.approx(alone / 5, rel=0.15)  # t has fewer degrees of freedom
    assert alone / 5 < patients(5, 0.5) < alone
    assert Cluster(5, 0.5).worth == pytest.approx(5 / 3)


@pytest.mark.parametrize(("images", "prevalence"), [(1, 0.4), (1, 0.15), (4, 0.4)])
def test_simulated_studies_of_the_planned_size_have_intervals_of_the_wanted_width(
    images: int, prevalence: float
) -> None:
    (found,) = plan_study(0.85, 0.12, prevalence, images_per_patient=images, intraclass_correlation=0.5)
    labels = np.repeat(np.r_[np.ones(found.positives, int), np.zeros(found.negatives, int)], images)
    patient_id = [str(number) for number in np.repeat(np.arange(found.patients), images)]
    generator = np.random.default_rng(7)
    widths = []
    for _ in range(120):
        shared = np.repeat(generator.standard_normal(found.patients), images)
        own = generator.standard_normal(labels.size)
        score = np.sqrt(0.5) * (shared + own) if images > 1 else own
        judged = auc_interval(labels, norm.cdf(score + labels * np.sqrt(2) * norm.ppf(0.85)), patient_id)
        widths.append(judged["high"] - judged["low"])
    assert np.mean(widths) == pytest.approx(0.12, rel=0.03)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"auc": 0.5}, "AUC must lie above 0.5"),
        ({"auc": 1.0}, "below 1, received 1"),
        ({"width": 0.0}, "the width must lie above 0"),
        ({"prevalence": 1.0}, "the prevalence must lie"),
        ({"level": 95.0}, "the level must lie above 0 and below 1, received 95"),
        ({"sensitivity": 1.0}, "the sensitivity must"),
        ({"images_per_patient": 0}, "at least 1 image"),
        ({"intraclass_correlation": -0.1}, "intraclass correlation must"),
        ({"scores": "uniform"}, "one of normal, exponential, received 'uniform'"),
        ({"width": 1e-6}, "no study of up to 10,000,000 patients gives an AUC of 0.85"),
        ({"auc": float("nan")}, "received nan"),
    ],
)
def test_what_cannot_be_planned_is_refused(changed: dict[str, float], said: str) -> None:
    with pytest.raises(DataError, match=said):
        plan_study(**{"auc": 0.85, "width": 0.1, "prevalence": 0.4} | changed)  # type: ignore[arg-type]
