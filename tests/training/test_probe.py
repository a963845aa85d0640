"""The probe against scikit-learn, and at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from breastlens.errors import SplitError
from breastlens.training.probe import STRENGTHS, fit_probe


def _cohort(seed: int, images: int = 120, width: int = 300, shift: float = 0.6):
    generator = np.random.default_rng(seed)
    labels = (np.arange(images) % 3 == 0).astype(int)
    features = generator.gamma(2.0, 1.0, (images, width))
    features[:, :10] += shift * labels[:, None]
    return features.astype(np.float32), labels, np.arange(images) // 2


def test_it_is_scikit_learns_logistic_regression_on_standardised_compressed_features() -> None:
    features, labels, groups = _cohort(0)
    probe = fit_probe(features, labels, groups, seed=0, strengths=(0.01,))
    roots = np.sqrt(features.astype(np.float64) + 1e-4) - 1e-2
    standard = (roots - roots.mean(axis=0)) / roots.std(axis=0)
    reference = LogisticRegression(C=0.01, class_weight="balanced", tol=1e-8, max_iter=5000).fit(
        standard, labels
    )
    expected, received = reference.decision_function(standard), probe.head.logits(features)
    slope, offset = np.polyfit(expected, received, 1)
    assert slope > 0
    np.testing.assert_allclose(received, slope * expected + offset, atol=2e-4 * np.ptp(received))


def test_scores_are_probabilities_at_the_training_prevalence() -> None:
    features, labels, groups = _cohort(1, images=600, width=40)
    probe = fit_probe(features, labels, groups, seed=0)
    fresh, truth, _ = _cohort(2, images=3000, width=40)
    scores = probe.scores(fresh)
    assert abs(scores.mean() - truth.mean()) < 0.03
    slope = LogisticRegression(C=1e6).fit(logit(scores)[:, None], truth).coef_[0, 0]
    assert 0.75 < slope < 1.3


def test_an_isotonic_probe_is_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is chosen, the probe's own scores are those of head and bends, and its raw log-odds those of the fit."""
    from breastlens.evaluation.calibration import fit_calibration
    from breastlens.training import probe as room

    features, labels, groups = _cohort(12, images=400, width=40)
    platt = fit_probe(features, labels, groups, seed=0)
    assert set(platt.calibration.log_loss) == {"platt", "temperature", "isotonic"}
    raw = platt.calibration.undo(platt.head.logits(features))
    monkeypatch.setattr(
        room, "choose_calibration", lambda raw, labels, *_: fit_calibration("isotonic", raw, labels)
    )
    isotonic = fit_probe(features, labels, groups, seed=0)
    assert isotonic.calibration.knots
    np.testing.assert_allclose(isotonic.calibration.raw_logits(isotonic.scores(features)), raw, atol=1e-6)
    np.testing.assert_allclose(
        isotonic.inner_logits,
        isotonic.calibration.apply(platt.calibration.undo(platt.inner_logits)),
        atol=1e-9,
    )
    assert roc_auc_score(labels, isotonic.scores(features)) == roc_auc_score(labels, platt.scores(features))


def test_it_learns_what_is_there() -> None:
    features, labels, groups = _cohort(3, images=300, width=100, shift=1.0)
    fresh, truth, _ = _cohort(4, images=900, width=100, shift=1.0)
    assert roc_auc_score(truth, fit_probe(features, labels, groups, seed=0).scores(fresh)) > 0.8


def test_the_same_seed_gives_the_same_probe() -> None:
    features, labels, groups = _cohort(5)
    first, second = (fit_probe(features, labels, groups, seed=7) for _ in range(2))
    np.testing.assert_array_equal(first.head.weight, second.head.weight)
    assert first.trials == second.trials


def test_every_strength_is_tried_and_the_best_log_loss_chosen() -> None:
    features, labels, groups = _cohort(6)
    probe = fit_probe(features, labels, groups, seed=0)
    assert [trial.strength for trial in probe.trials] == list(STRENGTHS)
    assert probe.strength == min(probe.trials, key=lambda trial: trial.log_loss).strength


def test_a_feature_that_never_moves_in_training_has_no_say_later() -> None:
    features, labels, groups = _cohort(7)
    features[:, 20] = 3.0
    probe = fit_probe(features, labels, groups, seed=0)
    changed = features.copy()
    changed[:, 20] = 500.0
    np.testing.assert_allclose(probe.head.logits(changed), probe.head.logits(features), atol=1e-6)


def test_the_inner_folds_keep_groups_together() -> None:
    """Every image stands twice under one group: a leak would make the inner AUC perfect on pure noise."""
    features, labels, _ = _cohort(8, images=60, width=400, shift=0.0)
    features, labels, groups = (
        np.repeat(features, 2, axis=0),
        np.repeat(labels, 2),
        np.repeat(np.arange(60), 2),
    )
    probe = fit_probe(features, labels, groups, seed=0)
    assert max(trial.auc for trial in probe.trials) < 0.8


def test_two_patients_are_too_few_to_choose_on_but_enough_to_fit() -> None:
    features, labels, _ = _cohort(9, images=6)
    labels[:] = [0, 0, 0, 1, 1, 1]
    probe = fit_probe(features, labels, labels, seed=0)
    assert probe.trials == ()
    assert probe.inner_logits is None
    assert np.isfinite(probe.scores(features)).all()


def test_one_class_cannot_be_trained_on() -> None:
    features, labels, groups = _cohort(10)
    with pytest.raises(SplitError, match="both classes"):
        fit_probe(features, labels * 0, groups, seed=0)


def test_images_that_all_look_the_same_score_the_prevalence() -> None:
    _, labels, groups = _cohort(11, images=60)
    probe = fit_probe(np.zeros((60, 300), dtype=np.float32), labels, groups, seed=0)
    np.testing.assert_allclose(probe.scores(np.zeros((3, 300))), labels.mean(), atol=0.03)
