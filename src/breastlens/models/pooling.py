"""From the activations of a stage to its features: over the whole image, or left held against right."""

from __future__ import annotations

from typing import Any

from breastlens.config import Pooling
from breastlens.models._keras import import_keras


def pool(activations: Any, stage: str, pooling: Pooling) -> list[Any]:
    """Pool one stage.

    - ``global``: the mean and then the maximum of each channel.
    - ``sides``: for pictures of both breasts. Of the upper and then of the lower half: the absolute difference between
      the means of left and right, the mean of both, the absolute difference between the maxima, the larger of both.
      Exchanging the activations of left and right changes nothing.

    Args:
        activations: Keras tensor (n, h, w, c).
        stage: Its name, after which layers are called.
        pooling: Which.

    Returns:
        Keras tensors (n, c): two, or eight.
    """
    keras = import_keras()
    if pooling == "global":
        return [
            keras.layers.GlobalAveragePooling2D(name=f"{stage}_average")(activations),
            keras.layers.GlobalMaxPooling2D(name=f"{stage}_maximum")(activations),
        ]
    return _pool_sides(activations)


def find_pooled(network: Any, stage: str, pooling: Pooling) -> list[Any]:
    """What ``pool`` made of a stage in a network that it is part of, Keras tensors (n, c)."""
    if pooling == "global":
        return [network.get_layer(f"{stage}_{kind}").output for kind in ("average", "maximum")]
    return _pool_sides(network.get_layer(stage).output)


def _pool_sides(activations: Any) -> list[Any]:
    ops = import_keras().ops
    pooled = []
    for half in halves(activations, axis=1):
        left, right = halves(half, axis=2)
        means = ops.mean(left, axis=(1, 2)), ops.mean(right, axis=(1, 2))
        maxima = ops.max(left, axis=(1, 2)), ops.max(right, axis=(1, 2))
        pooled += [ops.abs(means[0] - means[1]), (means[0] + means[1]) / 2]
        pooled += [ops.abs(maxima[0] - maxima[1]), ops.maximum(*maxima)]
    return pooled


def halves(activations: Any, axis: int) -> tuple[Any, Any]:
    """The two halves along an axis, as large as one another; a row or column in the middle is in both."""
    before = (slice(None),) * axis
    first, second = half_ranges(activations.shape[axis])
    return activations[(*before, slice(*first))], activations[(*before, slice(*second))]


def half_ranges(size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where the two halves of so many places begin and end."""
    return (0, (size + 1) // 2), (size // 2, size)
