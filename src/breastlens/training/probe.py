"""The probe: regularised logistic regression on frozen features, its strength chosen inside the training patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from breastlens.cohort.splits import split_folds
from breastlens.errors import SplitError
from breastlens.evaluation.calibration import Calibration, choose_calibration
from breastlens.evaluation.metrics import auc
from breastlens.evaluation.platt import fit_platt
from breastlens.models.head import Head, compress
from breastlens.training.logistic import fit_logistic

STRENGTHS = tuple(float(10.0**exponent) for exponent in np.arange(-4.0, 0.6, 0.5))
"""Inverse L2 penalties tried (scikit-learn's C), from strongly to weakly regularised."""

INNER_FOLDS = 5
INNER_REPEATS = 2
ENOUGH_IMAGES = 2_000
"""Above this many training images one shuffling of the inner folds is steady enough."""

_FALLBACK_STRENGTH = 1e-2


LEAST_SPREAD = 1e-4
"""A feature with less spread than this share of its mean counts as constant. ReLU6 holds some channels at their
ceiling: on 288 thermograms one spread by a millionth of its mean and gave log-odds of 740, the next by a thousandth."""


@dataclass(frozen=True)
class Trial:
    """One regularisation strength and how it did on the inner folds (means over the repeats)."""

    strength: float
    auc: float
    log_loss: float


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        head: What makes log-odds of the features, the line of the calibration included, but not its bends.
        calibration: From raw log-odds, those of the regularised fit at the training prevalence, to calibrated ones.
        strength: The chosen inverse L2 penalty.
        trials: Every strength tried; empty where there were too few patients to try any.
        inner_logits: Out-of-fold logits of the training images at the chosen strength, calibrated, shape (n,);
            None where there were too few patients.
    """

    head: Head
    calibration: Calibration
    strength: float
    trials: tuple[Trial, ...]
    inner_logits: NDArray[np.float64] | None

    def scores(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probability of positive, shape (n,), from features of shape (n, d)."""
        return sigmoid(self.calibration.bend(self.head.logits(features)))

    def raw_logits(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Log-odds before calibration, shape (n,), from features of shape (n, d)."""
        return (self.head.logits(features) - self.calibration.intercept) / self.calibration.slope


def fit_probe(
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    *,
    seed: int,
    strengths: tuple[float, ...] = STRENGTHS,
) -> Probe:
    """Fit the probe on training images, choosing its strength on inner folds that share no group.

    Features are compressed and standardised; the classes weigh the same in the fit; the strength is the one whose
    inner out-of-fold logits, after Platt calibration, have the lowest log loss, averaged over two shufflings of the
    folds. The calibration with the lowest log loss on inner folds (`choose_calibration`) is then part of the probe, so
    that scores are probabilities at the training prevalence and probes of different strengths (other folds) stand on
    one scale.

    Args:
        features: Pooled activations as the network gives them, shape (n, d).
        labels: 0 or 1, shape (n,), both present.
        groups: What must stay together (patients joined with duplicates), shape (n,).
        seed: Decides the inner folds.
        strengths: Inverse L2 penalties to try.

    Raises:
        SplitError: Only one class is present.
    """
    labels = np.asarray(labels)
    if np.unique(labels).size < 2:
        raise SplitError(f"training needs both classes, but all {labels.size} images have label {labels[0]}")
    from threadpoolctl import threadpool_limits

    # Hundreds of small fits: a second linear-algebra thread costs more in waiting than it gives, many times over
    # when the machine is busy, and one thread adds up in the same order every time.
    with threadpool_limits(limits=1, user_api="blas"):
        inputs = compress(features)
        mean, scale = _standardisation(inputs)
        rotated, axes = _rotate((inputs - mean) / scale)

        chosen, trials, inner, folds = _choose_strength(rotated, labels, groups, strengths, seed)
        weights, intercept = _fit(rotated, labels, np.ones((labels.size, 1), dtype=bool), (chosen,))
        shift = _prevalence_shift(labels)
        calibration = (
            Calibration() if inner is None else choose_calibration(inner + shift, labels, groups, folds)
        )
        head = Head(
            mean,
            scale,
            weight=calibration.slope * (axes @ weights[:, 0]),
            bias=calibration.slope * (float(intercept[0]) + shift) + calibration.intercept,
        )
        calibrated = None if inner is None else calibration.apply(inner + shift)
        return Probe(head, calibration, chosen, trials, calibrated)


def _standardisation(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mean = features.mean(axis=0)
    scale = features.std(axis=0)
    # A feature that hardly moves in training would be blown up by any small change in use.
    constant = scale < np.maximum(LEAST_SPREAD * np.abs(mean), 1e-6)
    return mean, np.where(constant, 1.0, scale)


def _rotate(standardised: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotate n images of d features into at most n coordinates; L2-penalised fits are the same in either space.

    The penalised solution lies in the span of the images (representer theorem; Kimeldorf and Wahba 1971), so that
    nothing is lost, and a fit costs n x n instead of n x d.
    """
    count, width = standardised.shape
    if width <= count:
        return standardised, np.eye(width)
    values, vectors = np.linalg.eigh(standardised @ standardised.T)
    if values[-1] <= 0:  # every image has the same features: one coordinate on which nothing differs
        return np.zeros((count, 1)), np.zeros((width, 1))
    kept = values > values[-1] * 1e-12
    lengths = np.sqrt(values[kept])
    axes = standardised.T @ (vectors[:, kept] / lengths)
    return vectors[:, kept] * lengths, axes


def _choose_strength(
    rotated: NDArray[np.float64],
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    strengths: tuple[float, ...],
    seed: int,
) -> tuple[float, tuple[Trial, ...], NDArray[np.float64] | None, NDArray[np.integer] | None]:
    """The strength, what was tried, the inner logits at that strength, and the first folds that they came from."""
    repeats = []
    for repeat in range(INNER_REPEATS if labels.size <= ENOUGH_IMAGES else 1):
        folds = inner_folds(labels, groups, seed + repeat)
        if folds is None:
            return _FALLBACK_STRENGTH, (), None, None
        repeats.append(folds)
    logits = _inner_logits(rotated, labels, repeats, strengths)
    trials = tuple(
        Trial(
            strength=strength,
            auc=float(np.mean([auc(labels, sigmoid(one)) for one in logits[:, index]])),
            log_loss=float(np.mean([_calibrated_log_loss(labels, one) for one in logits[:, index]])),
        )
        for index, strength in enumerate(strengths)
    )
    best = min(range(len(trials)), key=lambda index: trials[index].log_loss)
    return strengths[best], trials, logits[:, best].mean(axis=0), repeats[0]


def inner_folds(
    labels: NDArray[np.integer], groups: NDArray[np.integer], seed: int
) -> NDArray[np.integer] | None:
    """As many inner folds as the rarer class has groups, at most five; None when there are not even two."""
    available = min(np.unique(groups[labels == label]).size for label in (0, 1))
    for folds in range(min(INNER_FOLDS, available), 1, -1):
        try:
            return split_folds(labels, groups, folds, seed)
        except SplitError:
            continue
    return None


def _inner_logits(
    rotated: NDArray[np.float64],
    labels: NDArray[np.integer],
    repeats: Sequence[NDArray[np.integer]],
    strengths: tuple[float, ...],
) -> NDArray[np.float64]:
    """Out-of-fold logits of every image for every strength, shape (repeats, strengths, n)."""
    held = [folds == fold for folds in repeats for fold in np.unique(folds)]
    weights, intercepts = _fit(rotated, labels, ~np.stack(held, axis=1), strengths)
    every = (rotated @ weights + intercepts).reshape(labels.size, len(held), len(strengths))
    logits = np.empty((len(repeats), len(strengths), labels.size))
    repeat_of = [number for number, folds in enumerate(repeats) for _ in np.unique(folds)]
    for number, (repeat, outside) in enumerate(zip(repeat_of, held, strict=True)):
        logits[repeat][:, outside] = every[outside, number].T
    return logits


def _fit(
    features: NDArray[np.float64],
    labels: NDArray[np.integer],
    inside: NDArray[np.bool_],
    strengths: tuple[float, ...],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit every strength to every choice of images, in which the two classes weigh the same.

    Args:
        features: (n, d).
        labels: 0 or 1, (n,).
        inside: Which images each fit learns from, (n, k).
        strengths: Inverse L2 penalties, m of them.

    Returns:
        Coefficients (d, k * m) and intercepts (k * m,), the strengths of the first choice first.
    """
    count, positives = inside.sum(axis=0), inside[labels == 1].sum(axis=0)
    weights = inside * np.where(
        labels[:, None] == 1, count / (2 * positives), count / (2 * (count - positives))
    )
    return fit_logistic(
        features, labels, np.repeat(weights, len(strengths), axis=1), np.tile(strengths, inside.shape[1])
    )


def _calibrated_log_loss(labels: NDArray[np.integer], logits: NDArray[np.float64]) -> float:
    """Mean log loss after Platt calibration.

    From the log-odds, not by scikit-learn: checking its arguments took three quarters of a probe on 90 images.
    """
    slope, offset = fit_platt(logits, labels)
    calibrated = slope * logits + offset
    return float(np.mean(np.logaddexp(0.0, calibrated) - labels * calibrated))


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds to probability, (n,) to (n,)."""
    from scipy.special import expit

    return np.asarray(expit(logits), dtype=np.float64)


def _prevalence_shift(labels: NDArray[np.integer]) -> float:
    """What turns log-odds of a balanced fit into log-odds at the prevalence of these labels."""
    positives = int(labels.sum())
    return float(np.log(positives / (labels.size - positives)))
