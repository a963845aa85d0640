"""The head on top of the features: what it computes, and how it is changed in a finished network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def untrained_head(features_model: Any) -> tuple[NDArray[np.float64], float]:
    """Weights of a head that says 0.5 to everything."""
    return np.zeros(features_model.output.shape[-1]), 0.0


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
