"""Several probes as one: log-odds, shares, calibration."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from breastlens.evaluation.metrics import auc
from breastlens.training.ensemble import Ensemble, fit_members, join_heads, learn_shares
from breastlens.training.probe import fit_probe

Arrays = tuple[NDArray[np.float64], NDArray[np.int64]]
WIDTHS = (4, 9)


@pytest.fixture(scope="module")
def study() -> Arrays:
    """Two members that each see the label through noise of their own; the second has nine features of it."""
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 2, 160)
    features = generator.normal(0, 1, (160, sum(WIDTHS)))
    features[:, 0] += 1.2 * labels
    features[:, 4] += 1.2 * labels
    return features, labels


def test_one_member_is_its_probe(study: Arrays) -> None:
    features, labels = study
    groups = np.arange(labels.size)
    alone = fit_probe(features, labels, groups, seed=1)
    for widths in ((), (13,)):
        found = fit_members(features, labels, groups, seed=1, widths=widths)
        assert np.array_equal(found.head.weight, alone.head.weight)


def test_log_odds_are_a_straight_line_of_the_mean_of_the_members(study: Arrays) -> None:
    features, labels = study
    found = fit_members(features, labels, np.arange(labels.size), seed=1, widths=WIDTHS)
    assert isinstance(found, Ensemble)
    first, second = (member.head for member in found.members)
    mean = (first.logits(features[:, :4]) + second.logits(features[:, 4:])) / 2
    joint = found.head.logits(features)
    slope, offset = np.polyfit(mean, joint, 1)
    assert joint == pytest.approx(slope * mean + offset)
    assert slope > 1, "a mean of log-odds that err apart is too cautious"
    assert found.shares == (0.5, 0.5)


def test_the_joint_is_calibrated_on_inner_folds(study: Arrays) -> None:
    features, labels = study
    found = fit_members(features, labels, np.arange(labels.size), seed=1, widths=WIDTHS)
    assert found.inner_logits is not None
    again = LogisticRegression(C=1e6).fit(found.inner_logits[:, None], labels)
    assert again.coef_[0, 0] == pytest.approx(1, abs=0.1)
    assert again.intercept_[0] == pytest.approx(0, abs=0.1)


def test_two_members_with_noise_of_their_own_are_better_than_either(study: Arrays) -> None:
    features, labels = study
    train, test = np.arange(80), np.arange(80, 160)
    found = fit_members(features[train], labels[train], train, seed=0, widths=WIDTHS)
    assert isinstance(found, Ensemble)
    alone = [
        auc(labels[test], member.scores(block))
        for member, block in zip(found.members, np.split(features[test], [WIDTHS[0]], axis=1), strict=True)
    ]
    joint = auc(labels[test], found.scores(features[test]))
    assert joint is not None
    assert joint > max(one for one in alone if one is not None) + 0.02


def test_learnt_shares_leave_out_noise_and_are_the_best_there_are() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 400)
    good, fair = (2 * labels - 1 + generator.normal(0, spread, 400) for spread in (1.0, 2.0))
    noise = generator.normal(0, 1, 400)
    logits = np.stack([good, fair, noise])
    shares = learn_shares(logits, labels)
    assert shares.sum() == pytest.approx(1)
    assert shares[0] > shares[1] > shares[2]
    assert shares[2] < 0.1

    def loss(weights: NDArray[np.float64]) -> float:
        line = LogisticRegression(C=1e6).fit((weights @ logits)[:, None], labels)
        return float(log_loss(labels, line.predict_proba((weights @ logits)[:, None])))

    for _ in range(20):
        assert loss(shares) <= loss(generator.dirichlet(np.ones(3))) + 1e-6


def test_shares_are_never_negative_and_equal_where_nothing_is_told() -> None:
    labels = np.array([0, 1] * 50)
    against = np.stack([1.0 - 2 * labels, 1.0 - 2 * labels])
    assert learn_shares(against, labels).tolist() == [0.5, 0.5]


def test_few_patients_are_averaged_without_a_choice() -> None:
    features = np.random.default_rng(0).normal(0, 1, (6, 13))
    labels = np.array([0, 0, 0, 1, 1, 1])
    found = fit_members(features, labels, labels, seed=0, widths=WIDTHS, weights="learnt")
    assert isinstance(found, Ensemble)
    assert found.inner_logits is None
    assert found.shares == (0.5, 0.5)
    heads = [member.head for member in found.members]
    assert found.head.weight == pytest.approx(join_heads(heads, np.array([0.5, 0.5]), 0.0).weight)


def test_widths_that_do_not_fit_are_refused(study: Arrays) -> None:
    features, labels = study
    with pytest.raises(ValueError, match="12 features were given 13"):
        fit_members(features, labels, labels, seed=0, widths=(4, 8))
