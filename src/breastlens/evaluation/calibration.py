"""From a model's raw log-odds to those of a probability that means what it says: three methods, and the choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from breastlens.evaluation.inputs import check_labels, check_numbers
from breastlens.evaluation.platt import fit_platt, smooth_targets

Method = Literal["platt", "temperature", "isotonic"]
METHODS: tuple[Method, ...] = ("platt", "temperature", "isotonic")

SHARE_OF_LINE = 0.05
"""Of Platt's line in an isotonic calibration: so no stretch is so flat that two scores fall together in 32 bits."""

_ROUNDING_DIGITS = 9
"""Log-odds that agree in so many decimals are the same."""

LEAST_GAP = 0.05
"""Knots closer than this, in Platt's log-odds, become one: else a step could be so steep that rounding shows."""


LEAST_SCORE = 1e-7
"""Scores nearer to 0 or 1 than 32 bits can tell have log-odds of about 16."""


@dataclass(frozen=True)
class Calibration:
    """A strictly rising map of log-odds: a line and, where it is isotonic, bends on top of it.

    Attributes:
        method: ``platt``, ``temperature`` or ``isotonic``; ``none`` leaves log-odds as they are.
        slope: Of the line, above 0.
        intercept: Of the line.
        knots: Where the line's log-odds are bent, rising; empty for a line alone.
        values: The calibrated log-odds at the knots, rising; beyond the outermost ones it runs parallel to the line.
        log_loss: By method, the mean log loss on groups that it was not fitted on; empty where none was compared.
    """

    method: Method | Literal["none"] = "none"
    slope: float = 1.0
    intercept: float = 0.0
    knots: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    log_loss: Mapping[str, float] = field(default_factory=dict)

    def apply(self, raw: ArrayLike) -> NDArray[np.float64]:
        """Raw log-odds to calibrated ones, of any shape."""
        return self.bend(self.slope * np.asarray(raw, dtype=np.float64) + self.intercept)

    def bend(self, line: ArrayLike) -> NDArray[np.float64]:
        """What the bends make of the line's log-odds, of any shape."""
        return _interpolate(line, self.knots, self.values)

    def unbend(self, calibrated: ArrayLike) -> NDArray[np.float64]:
        """The line's log-odds behind calibrated ones, of any shape; the inverse of `bend`."""
        return _interpolate(calibrated, self.values, self.knots)

    def undo(self, calibrated: ArrayLike) -> NDArray[np.float64]:
        """Calibrated log-odds back to raw ones, of any shape; the inverse of `apply`."""
        return (self.unbend(calibrated) - self.intercept) / self.slope

    def raw_logits(self, y_score: ArrayLike) -> NDArray[np.float64]:
        """The raw log-odds behind calibrated probabilities of a network, of any shape.

        A score in 32 bits may be 0 or 1; they are taken as `LEAST_SCORE` from there, so that log-odds are finite. Those
        of scores that are nearer are not known: after a steep calibration they come out too small.
        """
        from scipy.special import logit

        return self.undo(logit(np.clip(np.asarray(y_score, dtype=np.float64), LEAST_SCORE, 1 - LEAST_SCORE)))


def fit_calibration(method: Method, raw: ArrayLike, y_true: ArrayLike) -> Calibration:
    """Fit one method on images that the model did not learn from.

    - ``platt``: slope and intercept; see `fit_platt`.
    - ``temperature``: a slope alone (Guo et al., ICML 2017, "On calibration of modern neural networks").
    - ``isotonic``: centred isotonic regression (Oron and Flournoy, Journal of Biopharmaceutical Statistics 27, 2017)
      of Platt's smoothed targets on Platt's log-odds: every level of the isotonic regression becomes a point at the
      mean log-odds of its images, and straight lines in log-odds lead from point to point. A twentieth of Platt's line
      is mixed in. So it rises everywhere and no two scores become equal.

    None of them ever turns the order round: where the best slope is not positive it is 1, as in `fit_platt`.

    Args:
        method: Which.
        raw: Log-odds, (n,).
        y_true: Labels 0 / 1, (n,). With a class missing nothing is changed.

    Raises:
        DataError: Lengths differ, a label is not 0 or 1, or a log-odds is not finite.
    """
    labels = check_labels(y_true)
    logits = check_numbers("raw", raw, labels.size)
    if method == "temperature":
        return Calibration(method, slope=_fit_temperature(logits, labels))
    slope, intercept = fit_platt(logits, labels)
    line = Calibration(method, slope, intercept)
    if method == "platt" or np.unique(labels).size < 2:
        return line
    knots, values = _fit_isotonic(slope * logits + intercept, labels)
    return replace(line, knots=knots, values=values)


def choose_calibration(
    raw: ArrayLike, y_true: ArrayLike, groups: NDArray[np.integer], folds: NDArray[np.integer] | None
) -> Calibration:
    """Fit the method that tells best about images of other groups, Platt's unless another is better beyond chance.

    Each method is fitted on all folds but one and judged on that one by its log loss. Another than Platt's is taken
    only if its log loss is lower by more than one standard error of the difference over groups (the one-standard-error
    rule of Breiman et al., Classification and regression trees, 1984, section 3.4.3): on few patients isotonic
    regression may win by luck, and then it fits worse elsewhere.

    Args:
        raw: Log-odds of images that the model did not learn from, (n,).
        y_true: Labels 0 / 1, (n,).
        groups: What belongs together, such as the images of a patient, (n,).
        folds: A number for each image, (n,), that keeps groups together. None, where there are too few groups: then it
            is Platt's.

    Raises:
        DataError: As `fit_calibration`.
    """
    labels = check_labels(y_true)
    logits = check_numbers("raw", raw, labels.size)
    splits = [] if folds is None else [folds != fold for fold in np.unique(folds)]
    if not splits or any(np.unique(labels[inside]).size < 2 for inside in splits):
        return fit_calibration("platt", logits, labels)
    losses: dict[Method, NDArray[np.float64]] = {}
    for method in METHODS:
        losses[method] = np.empty(labels.size)
        for inside in splits:
            fitted = fit_calibration(method, logits[inside], labels[inside])
            losses[method][~inside] = log_losses(labels[~inside], fitted.apply(logits[~inside]))
    best = min(METHODS, key=lambda method: losses[method].mean())
    gain = losses["platt"] - losses[best]
    by_group = np.bincount(np.unique(groups, return_inverse=True)[1], weights=gain - gain.mean())
    error = float(np.sqrt((by_group**2).sum())) / labels.size
    chosen: Method = best if gain.mean() > error else "platt"
    told = {str(method): float(each.mean()) for method, each in losses.items()}
    return replace(fit_calibration(chosen, logits, labels), log_loss=told)


def log_losses(labels: NDArray[np.integer], log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cross-entropy of each label and the probability that its log-odds stand for, (n,)."""
    return np.logaddexp(0.0, log_odds) - labels * log_odds


def _fit_temperature(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    from scipy.optimize import brentq
    from scipy.special import expit

    if np.unique(labels).size < 2:
        return 1.0
    targets = smooth_targets(labels)

    def gradient(slope: float) -> float:
        return float(np.mean((expit(slope * logits) - targets) * logits))

    # It rises with the slope, from below 0 if positives have the larger log-odds, and ends above 0, as no target is
    # 0 or 1.
    if gradient(0.0) >= 0:
        return 1.0
    high = 1.0
    while gradient(high) <= 0:
        high *= 2
    return float(brentq(gradient, 0.0, high))


def _fit_isotonic(
    line: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Knots and values of centred isotonic regression on log-odds, mixed with the line itself."""
    from sklearn.isotonic import isotonic_regression

    targets = smooth_targets(labels)
    # log-odds that differ by rounding alone are one: else the order of two equal scores would make a level
    _, place, images = np.unique(np.round(line, _ROUNDING_DIGITS), return_inverse=True, return_counts=True)
    fitted = isotonic_regression(np.bincount(place, targets) / images, sample_weight=images)
    _, level = np.unique(fitted[place], return_inverse=True)
    sizes = np.bincount(level)
    points: list[tuple[float, float, float]] = []  # images, their mean log-odds, their mean target
    for size, place, share in zip(
        sizes, np.bincount(level, line) / sizes, np.bincount(level, targets) / sizes, strict=True
    ):
        points.append((size, place, share))
        while len(points) > 1 and points[-1][1] - points[-2][1] < LEAST_GAP:
            points.append(_joined(points.pop(), points.pop()))
    knots = np.array([place for _, place, _ in points])
    shares = np.array([share for _, _, share in points])
    values = (1 - SHARE_OF_LINE) * np.log(shares / (1 - shares)) + SHARE_OF_LINE * knots
    return tuple(knots.tolist()), tuple(values.tolist())


def _joined(one: tuple[float, float, float], other: tuple[float, float, float]) -> tuple[float, float, float]:
    size = one[0] + other[0]
    place, share = ((one[0] * a + other[0] * b) / size for a, b in zip(one[1:], other[1:], strict=True))
    return size, place, share


def _interpolate(at: ArrayLike, knots: tuple[float, ...], values: tuple[float, ...]) -> NDArray[np.float64]:
    """Straight lines from knot to knot, of slope 1 beyond the outermost."""
    points = np.asarray(at, dtype=np.float64)
    if not knots:
        return points
    beyond = points - np.clip(points, knots[0], knots[-1])
    return np.asarray(np.interp(points, knots, values) + beyond, dtype=np.float64)
