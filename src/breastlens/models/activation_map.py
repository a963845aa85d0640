"""Which places of an image make its log-odds: a signed map a stage whose sum is exact, as one graph for OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.models._keras import import_keras
from breastlens.models.backbones import Backbone
from breastlens.models.head import COMPRESSION_OFFSET
from breastlens.models.joint_features import MEMBER
from breastlens.models.views import AS_IT_IS, View, mirror

_AVERAGED = ("finetuned", "probe")
"""The layers of a network from ``average_classifiers`` that are classifiers themselves, in the order of its head."""


def build_activation_map(
    network: Any, backbones: Backbone | Sequence[Backbone], views: Sequence[View] = (AS_IT_IS,)
) -> Any:
    """Build the network from an image to the share that each place of each stage has in the log-odds.

    The log-odds are a constant and a weighted sum of compressed pooled activations. Each of these terms is shared out
    over the places of its own stage:

    - that of a mean in proportion to the activations, ``compress(f) / f * a / (h * w)`` at each place. The quotient is
      ``1 / (sqrt(|f| + c) + sqrt(c))``, finite everywhere, so this holds for activations of either sign;
    - that of a maximum to the place where it is reached, in equal parts where it is reached more than once.

    For a head without compression and maxima this is the class activation map (Zhou et al., CVPR 2016). In general it
    is the integrated gradient of the head along the straight line from activations of zero (Sundararajan, Taly and Yan,
    ICML 2017), which has this closed form. Sums over places of all stages and the constant are the log-odds that the
    last dense layer gives, before anything that may follow it.

    An activation depends on pixels well beyond its own place: that a place counts says where a network finds what
    influenced the score, not where a lesion is.

    Args:
        network: From ``build_classifier`` or ``average_classifiers``. It stays as it is, and what changes in its head
            afterwards does not reach the map.
        backbones: Which backbone it is made of, or which of an ensemble.
        views: What it is shown of each image. A map is mirrored back before it is added; that of a view moved by a few
            pixels stays where it is.

    Returns:
        ``keras.Model`` from uint8 ``image`` (n, s, s, 3), RGB, to ``activation_map``, float32 (n, stages, h, w) in
        log-odds, above 0 where a place speaks for positive, and ``activation_constant``, float32 (n, 1): the log-odds
        of an image whose activations are all zero, the same for each. Stages are in the order of ``probe_stages``,
        those of an ensemble's backbones added up; h and w are the largest, to which ``enlarge`` brings the others.
    """
    keras = import_keras()
    ops = keras.ops
    members = (backbones,) if isinstance(backbones, Backbone) else tuple(backbones)
    parts, constant = _split_head(network, members, views)
    maps = [
        [mirror(one, axis=2) if view.mirrored else one for one in (_map_stage(*stage) for stage in stages)]
        for view, stages in parts
    ]
    height, width = (max(stages[0].shape[axis] for stages in maps) for axis in (1, 2))
    # log-odds are a sum over parts of a network, and so are maps; every backbone has as many stages
    added = [sum(enlarge(one, height, width) for one in same) for same in zip(*maps, strict=True)]
    shown = ops.stack(added, axis=1)
    outputs = {
        "activation_map": keras.layers.Identity(name="activation_map")(shown),
        "activation_constant": keras.layers.Identity(name="activation_constant")(
            ops.full_like(shown[:, 0, 0, :1], constant)
        ),
    }
    return keras.Model(network.input, outputs, name=f"{network.name}_activation_map")


def with_activation_map(
    network: Any, backbones: Backbone | Sequence[Backbone], views: Sequence[View] = (AS_IT_IS,)
) -> Any:
    """Add the map to what a classifier gives, so that one pass through the network makes all of it.

    Args:
        network: From ``build_classifier`` or ``average_classifiers``. It stays as it is.
        backbones: As for ``build_activation_map``.
        views: The same.

    Returns:
        ``keras.Model`` with the outputs of the classifier and those of ``build_activation_map``.
    """
    shown = build_activation_map(network, backbones, views).output
    return import_keras().Model(network.input, {**network.output, **shown}, name=network.name)


def enlarge(maps: Any, height: int, width: int) -> Any:
    """Bring maps (n, h, w), NumPy's or Keras's, to (n, height, width), no smaller; each keeps its sum.

    Bilinear, centres on centres: the value of each place is spread over the places near it in shares that add up to 1.
    """
    _, rows, columns = maps.shape
    down, across = _spreading(rows, height), _spreading(columns, width)
    if isinstance(maps, np.ndarray):
        return np.asarray(down @ maps @ across.T)
    ops = import_keras().ops
    if rows != height:
        maps = ops.matmul(down[None], maps)
    return maps if columns == width else ops.matmul(maps, across.T[None])


def _spreading(small: int, large: int) -> NDArray[np.float32]:
    """The matrix (large, small) of bilinear interpolation between centres, each column scaled to a sum of 1."""
    if not small <= large:
        raise ValueError(f"a map of {small} places cannot be enlarged to {large}")
    centres = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
    weights = np.maximum(0.0, 1.0 - np.abs(centres[:, None] - np.arange(small)))
    return np.asarray(weights / weights.sum(axis=0), dtype=np.float32)


def _map_stage(activations: Any, average: Any, maximum: Any, by_average: Any, by_maximum: Any) -> Any:
    """Share out what one stage adds to the log-odds over its places.

    Args:
        activations: Keras tensor (n, h, w, c).
        average: Its means, (n, c).
        maximum: Its maxima, (n, c).
        by_average: Log-odds for each unit of a compressed mean, (c,).
        by_maximum: The same for a compressed maximum, (c,).

    Returns:
        Keras tensor (n, h, w).
    """
    ops = import_keras().ops
    _, height, width, _ = activations.shape
    # tensor first: NumPy on the left would take the product for its own
    slope = _compressed_over_plain(average) * _as_row(by_average / (height * width))
    term = maximum * _compressed_over_plain(maximum) * _as_row(by_maximum)
    reached = ops.cast(ops.equal(activations, maximum[:, None, None, :]), activations.dtype)
    share = term / ops.maximum(ops.sum(reached, axis=(1, 2)), 1.0)
    return ops.sum(activations * slope[:, None, None, :] + reached * share[:, None, None, :], axis=-1)


def _compressed_over_plain(pooled: Any) -> Any:
    """What ``head.compress`` makes of pooled activations (n, c), divided by them.

    ``(sqrt(|f| + c) - sqrt(c)) / |f|``, written so that it neither divides by zero nor loses digits near it.
    """
    ops = import_keras().ops
    return 1.0 / (ops.sqrt(ops.abs(pooled) + COMPRESSION_OFFSET) + COMPRESSION_OFFSET**0.5)


Stages = list[tuple[Any, ...]]
"""Of one part of a network what ``_map_stage`` takes, a stage each."""


def _split_head(
    network: Any, backbones: Sequence[Backbone], views: Sequence[View]
) -> tuple[list[tuple[View, Stages]], float]:
    """Take a network's head apart: the one place that reads what makes log-odds of features.

    Returns:
        For each pass through a backbone what it was shown and its stages, with their share where log-odds are a mean;
        and the constant: the bias, and what standardisation makes of zeros.
    """
    keras = import_keras()
    kernel, bias = (np.asarray(one, dtype=np.float64) for one in network.get_layer("score").get_weights())
    constant, parts = float(bias[0]), []
    names = {layer.name for layer in network.layers}
    heads = [network.get_layer(name) for name in _AVERAGED] if names.issuperset(_AVERAGED) else [network]
    for head, own in zip(heads, np.split(kernel[:, 0], len(heads)), strict=True):
        standardised = head.get_layer("standardised")
        constant += float(own @ np.asarray(standardised.offset, dtype=np.float64))
        gains = own * np.asarray(standardised.scale, dtype=np.float64)
        for number, backbone in enumerate(backbones):
            joint = len(backbones) * len(views) > 1
            member = head.get_layer(MEMBER.format(number)) if joint else head
            ends = [
                member.get_layer(f"{stage}{pooled}").output
                for stage in backbone.probe_stages
                for pooled in ("", "_average", "_maximum")
            ]
            # features: member by member, of each stage the means and then the maxima
            widths = [end.shape[-1] for place, end in enumerate(ends) if place % 3]
            *by_pooled, gains = np.split(gains, np.cumsum(widths))
            tap = keras.Model(member.input, ends)
            for view in views:
                seen = ends if member is network else tap(view.look(network.input))
                parts.append((view, _group_stages(seen, [one / len(views) for one in by_pooled])))
    return parts, constant


def _group_stages(ends: Sequence[Any], by_pooled: Sequence[NDArray[np.float64]]) -> Stages:
    """Activations, means and maxima of each stage, with log-odds for each unit of a mean and of a maximum."""
    return [
        (*ends[3 * stage : 3 * stage + 3], *by_pooled[2 * stage : 2 * stage + 2])
        for stage in range(len(ends) // 3)
    ]


def _as_row(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return values.astype(np.float32)[None, :]
