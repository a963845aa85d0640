"""Whether labels contradict scores in the way that wrong labels do, or only as often as hard cases do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from breastlens.errors import DataError
from breastlens.evaluation.inputs import check_labels, check_scores, find_units
from breastlens.evaluation.scalars import Floats

SHARES = (0.05, 0.1, 0.2)
"""Shares of wrong labels that are held against none."""

_MAX_STEPS = 25
_MOST_CUTS = 8
_ROUNDING = 1e-9
_ENOUGH_GAIN = 1e-6
_LEAST_PROBABILITY = 1e-9
_LEAST_CURVATURE = 1e-6


@dataclass(frozen=True)
class LabelNoise:
    """How likely it is that labels were exchanged at random.

    Attributes:
        share: The likeliest of `SHARES`, or 0 where none is likelier than no wrong label.
        gain: Twice the logarithm of how much likelier; 0 or more.
        p_value: How often labels without a wrong one gain as much.
        draws: How many of these were drawn; 0 where there was nothing to gain.
    """

    share: float
    gain: float
    p_value: float
    draws: int


def fit_label_noise(
    y_true: ArrayLike,
    y_score: ArrayLike,
    patient_id: Sequence[str] | None = None,
    *,
    linked: NDArray[np.integer] | None = None,
    seed: int = 0,
    draws: int = 199,
) -> LabelNoise:
    """Test whether a share of the labels was exchanged at random, by the shape in which they follow the scores.

    The model is logistic regression with exchanged labels (Copas, 1988, "Binary regression models for contaminated
    data"): P(y = 1) = share + (1 - 2 share) / (1 + exp(-(a logit + b))). Hard cases become rare as scores become
    extreme, wrong labels do not: with them the curve ends above 0 and below 1. Both a and b are fitted, so that scores
    need not be calibrated. The p value is a parametric bootstrap (Efron and Tibshirani, 1993, chapter 16): labels are
    drawn from the fit without wrong labels and go through the same test.

    A patient's images of one label are one observation, at the mean of their logits, because they are hard together
    and labelled together.

    Two clusters of scores, one of them contradicted in a tenth of its patients, may as well be hard cases that look
    like the other class; what no curve can tell is not reported.

    Args:
        y_true: Labels 0 / 1, (n,), both present.
        y_score: Scores in [0, 1] by a model that has not seen the image, (n,).
        patient_id: Patient of each image, "" where unknown; None where no patient is known.
        linked: (n,) which images without a patient belong together, as `find_units` takes it.
        seed: Seed of the draws.
        draws: How many labellings are drawn.

    Raises:
        DataError: As `breastlens.evaluation.metrics.evaluate_scores`, or a class is missing.
    """
    labels = check_labels(y_true)
    scores = np.clip(check_scores(y_score, labels.size), _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    if np.unique(labels).size < 2:
        raise DataError("wrong labels can only be looked for where both classes are present")
    blocks = 2 * find_units(patient_id, labels.size, linked).index + labels
    sides, block = np.unique(blocks, return_inverse=True)
    logits = np.bincount(block, np.log(scores) - np.log1p(-scores)) / np.bincount(block)
    logits = (logits - logits.mean()) / (logits.std() or 1.0)
    observed = (sides % 2).astype(np.float64)[None]
    gain, likeliest, clean = _compare(logits, observed)
    if gain[0] <= _ENOUGH_GAIN:
        return LabelNoise(share=0.0, gain=0.0, p_value=1.0, draws=0)
    generator = np.random.default_rng(seed)
    drawn = (generator.random((draws, logits.size)) < clean).astype(np.float64)
    reached = int(np.count_nonzero(_compare(logits, drawn)[0] >= gain[0]))
    return LabelNoise(
        share=float(likeliest[0]),
        gain=float(gain[0]),
        p_value=(1 + reached) / (1 + draws),
        draws=draws,
    )


def _compare(logits: Floats, labels: Floats) -> tuple[Floats, Floats, Floats]:
    """For each row of labels the gain (rows,), the likeliest share (rows,), and P(y = 1) without wrong labels."""
    none, probability = _fit(logits, labels, 0.0)
    fits = np.stack([_fit(logits, labels, share)[0] for share in SHARES])
    gain = np.maximum(0.0, 2 * (fits.max(axis=0) - none))
    return gain, np.where(gain > 0, np.array(SHARES)[fits.argmax(axis=0)], 0.0), probability


def _fit(logits: Floats, labels: Floats, share: float) -> tuple[Floats, Floats]:
    """The largest log-likelihood of each row of labels (rows,), and its probabilities, by Fisher scoring."""
    slope, intercept = np.ones(len(labels)), np.zeros(len(labels))
    best, rate, steepness = _likelihood(logits, labels, share, slope, intercept)
    for _ in range(_MAX_STEPS):
        spread = rate * (1 - rate)
        pull, weight = (labels - rate) / spread * steepness, steepness**2 / spread
        first, second = pull @ logits, pull.sum(axis=1)
        # The ridge keeps the step finite where the scores separate the classes.
        slopes = weight @ logits**2 + _LEAST_CURVATURE
        cross, intercepts = weight @ logits, weight.sum(axis=1) + _LEAST_CURVATURE
        determinant = slopes * intercepts - cross**2
        steps = (
            (intercepts * first - cross * second) / determinant,
            (slopes * second - cross * first) / determinant,
        )
        size = np.ones(len(labels))
        for _ in range(_MOST_CUTS):
            tried = slope + size * steps[0], intercept + size * steps[1]
            reached = _likelihood(logits, labels, share, *tried)[0]
            worse = ~(reached >= best - _ROUNDING)
            if not worse.any():
                break
            size = np.where(worse, size / 4, size)
        size = np.where(worse, 0.0, size)
        slope, intercept = slope + size * steps[0], intercept + size * steps[1]
        gained = float(np.max(np.where(worse, 0.0, reached - best)))
        best, rate, steepness = _likelihood(logits, labels, share, slope, intercept)
        if gained < _ENOUGH_GAIN:
            break
    return best, rate


def _likelihood(
    logits: Floats, labels: Floats, share: float, slope: Floats, intercept: Floats
) -> tuple[Floats, Floats, Floats]:
    """Log-likelihood (rows,), P(y = 1) and its derivative by the linear predictor, both (rows, n)."""
    curve = np.exp(-np.logaddexp(0.0, -(slope[:, None] * logits + intercept[:, None])))
    rate = np.clip(share + (1 - 2 * share) * curve, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    likelihood = np.log(np.where(labels == 1, rate, 1 - rate)).sum(axis=1)
    return likelihood, rate, (1 - 2 * share) * curve * (1 - curve)
