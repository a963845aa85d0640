"""Platt scaling: from a model's raw logit to a probability that means what it says."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import ArrayLike, NDArray

from breastlens.evaluation.inputs import check_labels, check_numbers

logger = logging.getLogger(__name__)

_MAX_STEPS = 100
_GRADIENT_TOLERANCE = 1e-12


def fit_platt(logit: ArrayLike, y_true: ArrayLike) -> tuple[float, float]:
    """Fit ``P(positive) = 1 / (1 + exp(-(slope * logit + intercept)))`` by maximum likelihood.

    The targets are Platt's smoothed ones, (N+ + 1) / (N+ + 2) for positives and 1 / (N- + 2) for negatives
    (Platt, 1999, "Probabilistic outputs for support vector machines"), which keep the fit finite when the
    logits separate the classes; the minimum is found by Newton steps with backtracking (Lin, Lin and Weng,
    2007, "A note on Platt's probabilistic outputs for support vector machines") on standardised logits.

    The slope is always positive, so calibration never changes the order of the scores. Where the best slope
    would not be, because positives do not have the larger mean logit, the slope is 1 and only the intercept
    is fitted: turning the scores round would hide that the model is worse than chance, or labels flipped.

    Args:
        logit: Raw logits of images that the model was not fitted on, (n,).
        y_true: Labels 0 / 1, (n,).

    Returns:
        Slope (above 0) and intercept. With a class missing nothing can be calibrated: (1.0, 0.0), which
        leaves the scores as they are, and a logged warning.

    Raises:
        DataError: Lengths differ, a label is not 0 or 1, or a logit is not finite.
    """
    labels = check_labels(y_true)
    logits = check_numbers("logit", logit, labels.size)
    positives = int(labels.sum())
    negatives = labels.size - positives
    if positives == 0 or negatives == 0:
        logger.warning(
            "scores are not calibrated: %d positive and %d negative images, one of each class is needed",
            positives,
            negatives,
        )
        return 1.0, 0.0
    targets = smooth_targets(labels)
    centre, scale = float(logits.mean()), float(logits.std())
    lift = float(logits[labels == 1].mean() - logits[labels == 0].mean())
    # The loss is convex, so the best slope has the sign of its gradient at slope 0, which is that of the
    # difference of the class means. A difference of rounding size carries no slope.
    if lift <= 1e-12 * max(1.0, abs(centre), scale):
        logger.info("positives do not score higher than negatives on average: scores are only shifted")
        return 1.0, _fit_intercept(logits, float(targets.mean()))
    slope, intercept = _fit_line((logits - centre) / scale, targets)
    return slope / scale, intercept - slope * centre / scale


def smooth_targets(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Platt's targets: (N+ + 1) / (N+ + 2) for positives and 1 / (N- + 2) for negatives, (n,) to (n,)."""
    positives = int(labels.sum())
    return np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (labels.size - positives + 2))


def apply_platt(logit: ArrayLike, slope: float, intercept: float) -> NDArray[np.float64]:
    """Turn logits into calibrated probabilities, without overflow for any finite logit.

    Args:
        logit: Raw logits, any shape.
        slope: From `fit_platt`.
        intercept: From `fit_platt`.

    Returns:
        Probabilities in [0, 1], float64 of the same shape.
    """
    return _sigmoid(slope * np.asarray(logit, dtype=np.float64) + intercept)


def _fit_line(standard: NDArray[np.float64], targets: NDArray[np.float64]) -> tuple[float, float]:
    """Minimise the mean cross-entropy of ``sigmoid(slope * standard + intercept)`` against soft targets."""
    design = np.stack([standard, np.ones_like(standard)], axis=1)

    def loss_at(weights: NDArray[np.float64]) -> float:
        activation = design @ weights
        return float(np.mean(np.logaddexp(0.0, activation) - targets * activation))

    weights = np.zeros(2)
    for _ in range(_MAX_STEPS):
        probability = _sigmoid(design @ weights)
        gradient = design.T @ (probability - targets) / targets.size
        if np.abs(gradient).max() < _GRADIENT_TOLERANCE:
            break
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design / targets.size
        # The ridge of Lin, Lin and Weng keeps the step finite where all probabilities are close to 0 or 1.
        step = np.linalg.solve(curvature + 1e-12 * np.eye(2), gradient)
        loss, descent, size = loss_at(weights), float(gradient @ step), 1.0
        # The slack is the loss's own rounding error: without it the last steps would be refused.
        while size > 1e-10 and loss_at(weights - size * step) > loss * (1 + 1e-15) - 1e-4 * size * descent:
            size /= 2
        weights = weights - size * step
    return float(weights[0]), float(weights[1])


def _fit_intercept(logits: NDArray[np.float64], mean_target: float) -> float:
    """The shift after which the mean probability is the mean target, the likelihood's only maximum."""
    from scipy.optimize import brentq

    # Moved so far that even the largest (smallest) logit stays below (above) the target.
    aim = np.log(mean_target / (1 - mean_target))
    lowest, highest = aim - logits.max() - 1, aim - logits.min() + 1
    return float(brentq(lambda shift: _sigmoid(logits + shift).mean() - mean_target, lowest, highest))


def _sigmoid(activation: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-np.logaddexp(0.0, -activation))
