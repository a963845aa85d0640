"""The head on top of the features: what it computes, in NumPy, and how it is changed in a finished network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.evaluation.calibration import Calibration
from breastlens.models._keras import import_keras

COMPRESSION_OFFSET = 1e-4
"""Keeps the slope of the square root finite at zero, where fine-tuning must pass a gradient."""


def compress(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Take the signed square root of pooled activations, (n, d) to (n, d).

    Activations are skewed: a few images respond strongly to a channel and most hardly at all. The root evens that out
    before a linear head, as it does for pooled image descriptors (Perronnin, Sanchez and Mensink, 2010, "Improving the
    Fisher kernel for large-scale image classification").
    """
    values = np.asarray(features, dtype=np.float64)
    root = np.sqrt(np.abs(values) + COMPRESSION_OFFSET) - np.sqrt(COMPRESSION_OFFSET)
    return np.asarray(np.sign(values) * root, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Head:
    """Logistic regression on compressed, standardised features, the line of its calibration included.

    The probability of positive is ``sigmoid(weight @ ((compress(features) - mean) / scale) + bias)``.

    Attributes:
        mean: Of the compressed features over the training images, (d,).
        scale: Their standard deviation, 1 where a feature is constant, (d,).
        weight: (d,).
        bias: Added to the weighted sum.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: float

    def logits(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Log-odds of positive, (n,), from features as the network gives them, (n, d)."""
        standardised = (compress(features) - self.mean) / self.scale
        return np.asarray(standardised @ self.weight + self.bias, dtype=np.float64)

    @classmethod
    def untrained(cls, width: int) -> Head:
        """A head that says 0.5 to everything.

        Its scale undoes the scaling to unit length of ``build_classifier``: there is no fitted head to keep steady, and
        a head that moves slowly would leave the network below it without a gradient.
        """
        return cls(np.zeros(width), np.full(width, 1 / np.sqrt(width)), np.zeros(width), 0.0)


def rescale_head(classifier: Any, slope: float, offset: float) -> None:
    """Turn a classifier's logit z into ``slope * z + offset``, in place.

    Args:
        classifier: From ``build_classifier``.
        slope: Positive, from Platt calibration.
        offset: From the same.
    """
    dense = classifier.get_layer("score")
    kernel, bias = dense.get_weights()
    dense.set_weights([slope * kernel, slope * bias + np.float32(offset)])


def bend_head(classifier: Any, calibration: Calibration) -> Any:
    """Put the bends of an isotonic calibration behind a classifier's head.

    The bends are a sum of terms, one a stretch between knots, which rise with the log-odds and stand still outside
    their stretch. Each rises in any arithmetic, and so does their sum: no rounding turns the order of two scores round.

    The dense layer ``score`` then gives log-odds before the bends, and its kernel is that of the linear head still.

    Args:
        classifier: From ``build_classifier`` or ``average_classifiers``; it stays as it is.
        calibration: Whose line is in the head already (``rescale_head``).

    Returns:
        ``keras.Model`` with the same layers below and the same outputs; the classifier itself where nothing is bent.
    """
    if not calibration.knots:
        return classifier
    keras = import_keras()
    ops = keras.ops
    given = classifier.get_layer("score")
    dense = keras.layers.Dense(1, name="score")
    line = dense(given.input)
    dense.set_weights(given.get_weights())
    knots, values = np.array(calibration.knots), np.array(calibration.values)
    widths = np.diff(knots)
    # below the first knot, between each two, and above the last; outside it runs parallel to the line
    starts = np.r_[knots[0], knots].astype(np.float32)
    lowest = np.r_[-_FAR, np.zeros(knots.size)].astype(np.float32)
    highest = np.r_[0.0, widths, _FAR].astype(np.float32)
    slopes = np.r_[1.0, np.diff(values) / widths, 1.0].astype(np.float32)
    steps = ops.minimum(ops.maximum(line - starts, lowest), highest) * slopes
    bent = ops.sum(steps, axis=-1, keepdims=True) + np.float32(values[0]).item()
    score = keras.layers.Activation("sigmoid", name="calibrated")(bent)
    return keras.Model(classifier.input, {**classifier.output, "score": score}, name=classifier.name)


def calibrate_head(classifier: Any, calibration: Calibration) -> Any:
    """Make a classifier give calibrated probabilities: the line goes into its head, bends behind it.

    Args:
        classifier: From ``build_classifier`` or ``average_classifiers``, of raw log-odds; its head is changed.
        calibration: What was fitted to these.

    Returns:
        As `bend_head`.
    """
    rescale_head(classifier, calibration.slope, calibration.intercept)
    return bend_head(classifier, calibration)


_FAR = 1e30
"""Farther than any log-odds in 32 bits that could still matter."""
