"""Figures within strata: held against scikit-learn, the intervals of the whole, and Cochran's Q written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2
from sklearn.metrics import recall_score, roc_auc_score

from breastlens.errors import DataError
from breastlens.evaluation.intervals import auc_interval
from breastlens.evaluation.subgroups import evaluate_strata

RNG = np.random.default_rng(4)
COUNT = 240
Y_TRUE = RNG.integers(0, 2, COUNT)
Y_SCORE = 1 / (1 + np.exp(-RNG.normal(1.2 * (2 * Y_TRUE - 1), 1.5)))
CUTS = np.where(np.arange(COUNT) % 2, 0.4, 0.6)
STRATA = np.array(["10", "9", "b", ""])[RNG.integers(0, 4, COUNT)]


def test_each_stratum_has_the_figures_of_its_own_images_at_their_own_thresholds() -> None:
    found = evaluate_strata(Y_TRUE, Y_SCORE, CUTS, STRATA.tolist(), draws=50)
    assert [each["stratum"] for each in found["strata"]] == ["9", "10", "b"]
    assert found["images_left_out"] == (STRATA == "").sum()
    for each in found["strata"]:
        rows = each["stratum"] == STRATA
        called = (Y_SCORE >= CUTS)[rows]
        assert each["n"] == rows.sum()
        assert each["patients"] is None
        assert each["auc"]["value"] == pytest.approx(roc_auc_score(Y_TRUE[rows], Y_SCORE[rows]))
        assert each["sensitivity"]["value"] == pytest.approx(recall_score(Y_TRUE[rows], called))
        assert each["specificity"]["value"] == pytest.approx(recall_score(1 - Y_TRUE[rows], ~called))
        assert each["sensitivity"]["method"].startswith("Wilson")
        assert each["auc"] | {"reason": ""} == auc_interval(Y_TRUE[rows], Y_SCORE[rows]) | {"reason": ""}


def test_patients_are_counted_by_class_and_few_are_warned_of() -> None:
    y_true = np.array([1] * 20 + [0] * 24)
    y_score = np.linspace(0.9, 0.1, 44)
    patients = [f"p{row // 2}" for row in range(20)] + [f"h{row // 4}" for row in range(24)]
    one = evaluate_strata(y_true, y_score, 0.5, ["all"] * 44, patients, draws=50)["strata"][0]
    assert (one["patients"], one["positive_patients"], one["negative_patients"]) == (16, 10, 6)
    assert one["warning"] == "only 6 negative patients"


def test_a_stratum_without_a_class_says_so() -> None:
    names = np.where(Y_TRUE == 1, "sick only", "both")
    names[:20] = "both"
    one = evaluate_strata(Y_TRUE, Y_SCORE, 0.5, names.tolist(), draws=50)["strata"][1]
    assert one["stratum"] == "sick only"
    assert one["auc"]["value"] is None
    assert one["auc"]["reason"] == "no negative image in this stratum"
    assert one["specificity"]["low"] is None
    assert one["sensitivity"]["value"] is not None


def test_the_test_of_one_auc_is_cochrans_q_of_the_log_odds() -> None:
    found = evaluate_strata(Y_TRUE, Y_SCORE, 0.5, STRATA.tolist(), draws=50)
    log_odds, variances = [], []
    for name in ("9", "10", "b"):
        positive = Y_SCORE[(name == STRATA) & (Y_TRUE == 1)]
        negative = Y_SCORE[(name == STRATA) & (Y_TRUE == 0)]
        wins = (positive[:, None] > negative).astype(float)
        auc = wins.mean()
        variance = (
            wins.mean(axis=1).var(ddof=1) / positive.size + wins.mean(axis=0).var(ddof=1) / negative.size
        )
        log_odds.append(np.log(auc / (1 - auc)))
        variances.append(variance / (auc * (1 - auc)) ** 2)
    weights = 1 / np.array(variances)
    centre = (weights * log_odds).sum() / weights.sum()
    statistic = (weights * (log_odds - centre) ** 2).sum()
    assert found["same_auc"]["statistic"] == pytest.approx(statistic)
    assert found["same_auc"]["p_value"] == pytest.approx(chi2.sf(statistic, 2))
    assert found["same_auc"]["degrees"] == 2


def test_a_stratum_without_variance_is_named_and_not_left_out_of_the_test() -> None:
    """Perfect in one year, guessing in the others: left out, the year that differs most would be silent."""
    y_true = np.tile([0, 1], 60)
    strata = np.repeat(["2019", "2020", "2021"], 40)
    y_score = np.where(strata == "2019", 0.2 + 0.6 * y_true, RNG.random(120))
    test = evaluate_strata(y_true, y_score, 0.5, strata.tolist(), draws=20)["same_auc"]
    assert test["p_value"] is test["statistic"] is test["degrees"] is None
    assert test["reason"] == "the AUC has no variance in 2019 (1.000)"
    ties = evaluate_strata(y_true, np.where(strata == "2020", 0.5, RNG.random(120)), 0.5, strata, draws=20)
    assert ties["same_auc"]["reason"] == "the AUC has no variance in 2020 (0.500)"


def test_a_stratum_with_one_of_a_class_is_left_out_of_the_test_by_name() -> None:
    strata = STRATA.copy()
    strata[np.flatnonzero((strata == "b") & (Y_TRUE == 1))[1:]] = ""
    found = evaluate_strata(Y_TRUE, Y_SCORE, 0.5, strata.tolist(), draws=20)["same_auc"]
    assert (found["degrees"], found["left_out"]) == (1, ["b"])


def test_few_patients_are_named_where_the_test_may_miss_a_difference() -> None:
    many, few = np.tile([0, 1], 20), np.tile([0, 1], 19)
    y_true = np.concatenate([many, few])
    strata = ["many"] * many.size + ["few"] * few.size
    found = evaluate_strata(y_true, RNG.random(y_true.size), 0.5, strata, draws=20)["same_auc"]
    assert found["warning"] == "fewer than 20 images of a class in few"
    assert found["p_value"] is not None


def test_strata_that_share_patients_are_not_tested() -> None:
    patients = [f"p{row // 3}" for row in range(COUNT)]
    test = evaluate_strata(Y_TRUE, Y_SCORE, 0.5, STRATA.tolist(), patients, draws=50)["same_auc"]
    assert test["p_value"] is None
    assert test["reason"] == "some patients have images in several strata"


def test_too_few_labels_or_strata_are_refused() -> None:
    with pytest.raises(ValueError, match="a stratum for each of 240 images, got 2"):
        evaluate_strata(Y_TRUE, Y_SCORE, 0.5, ["a", "b"])
    with pytest.raises(DataError, match="y_score"):
        evaluate_strata(Y_TRUE, Y_SCORE[:-1], 0.5, STRATA.tolist())
