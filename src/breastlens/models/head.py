"""The head on top of the features: what it computes, in NumPy, and how it is changed in a finished network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """Logistic regression on compressed, standardised features, calibration included.

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
