"""Which places of an image make its log-odds: a signed map a stage whose sum is exact, as one graph for OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.config import Pooling
from breastlens.models._keras import import_keras
from breastlens.models.backbones import Backbone
from breastlens.models.head import COMPRESSION_OFFSET
from breastlens.models.joint_features import MEMBER, show_views, split_views
from breastlens.models.pooling import find_pooled, half_ranges
from breastlens.models.views import AS_IT_IS, View, mirror

_AVERAGED = ("finetuned", "probe")
"""The layers of a network from ``average_classifiers`` that are classifiers themselves, in the order of its head."""


def build_activation_map(
    network: Any,
    backbones: Backbone | Sequence[Backbone],
    views: Sequence[View] = (AS_IT_IS,),
    pooling: Pooling = "global",
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
        pooling: What its features are made of.

    Returns:
        ``keras.Model`` from uint8 ``image`` (n, s, s, 3), RGB, to ``activation_map``, float32 (n, stages, h, w) in
        log-odds, above 0 where a place speaks for positive, and ``activation_constant``, float32 (n, 1): the log-odds
        of an image whose activations are all zero, the same for each. Stages are in the order of ``probe_stages``,
        those of an ensemble's backbones added up; h and w are the largest, to which ``enlarge`` brings the others.
    """
    keras = import_keras()
    ops = keras.ops
    members = (backbones,) if isinstance(backbones, Backbone) else tuple(backbones)
    parts, constant = _split_head(network, members, views, pooling)
    maps = [
        [
            mirror(one, axis=2) if view.mirrored else one
            for one in (_map_stage(stage, pooling) for stage in stages)
        ]
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
    network: Any,
    backbones: Backbone | Sequence[Backbone],
    views: Sequence[View] = (AS_IT_IS,),
    pooling: Pooling = "global",
) -> Any:
    """Add the map to what a classifier gives, so that one pass through the network makes all of it.

    Args:
        network: From ``build_classifier`` or ``average_classifiers``. It stays as it is.
        backbones: As for ``build_activation_map``.
        views: The same.
        pooling: The same.

    Returns:
        ``keras.Model`` with the outputs of the classifier and those of ``build_activation_map``.
    """
    shown = build_activation_map(network, backbones, views, pooling).output
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


@dataclass(frozen=True, eq=False)
class _Stage:
    """What one stage adds to the log-odds.

    Attributes:
        activations: Keras tensor (n, h, w, c).
        pooled: What ``pool`` made of them, Keras tensors (n, c).
        gains: Log-odds for each unit of a compressed pooled activation, (c,) for each of ``pooled``.
    """

    activations: Any
    pooled: Sequence[Any]
    gains: Sequence[NDArray[np.float64]]


def _map_stage(stage: _Stage, pooling: Pooling) -> Any:
    """Share out what one stage adds to the log-odds over its places, (n, h, w)."""
    weights = [
        _compressed_over_plain(pooled) * _as_row(gain)
        for pooled, gain in zip(stage.pooled, stage.gains, strict=True)
    ]
    if pooling == "global":
        return _share_out(stage.activations, stage.pooled[1], *weights)
    return _map_sides(stage.activations, weights)


def _map_sides(activations: Any, weights: Sequence[Any]) -> Any:
    """The same where left is held against right: a difference is what one side has, less what the other has."""
    ops = import_keras().ops
    _, height, width, _ = activations.shape
    added: Any = 0.0
    for number, (top, bottom) in enumerate(half_ranges(height)):
        by_apart, by_mean, by_peaks_apart, by_peak = weights[4 * number : 4 * number + 4]
        sides = [activations[:, top:bottom, start:end] for start, end in half_ranges(width)]
        means = [ops.mean(side, axis=(1, 2)) for side in sides]
        peaks = [ops.max(side, axis=(1, 2)) for side in sides]
        apart, peaks_apart = ops.sign(means[0] - means[1]), ops.sign(peaks[0] - peaks[1])
        for turn, side, peak, (start, end) in zip((1, -1), sides, peaks, half_ranges(width), strict=True):
            of_mean = turn * apart * by_apart + by_mean / 2
            # the larger of both maxima is that of one side, or half of each
            of_peak = turn * peaks_apart * by_peaks_apart + (1 + turn * peaks_apart) / 2 * by_peak
            own = _share_out(side, peak, of_mean, of_peak)
            added += ops.pad(own, ((0, 0), (top, height - bottom), (start, width - end)))
    return added


def _share_out(activations: Any, maximum: Any, by_average: Any, by_maximum: Any) -> Any:
    """Share a mean and a maximum out over the places that they were taken from.

    Args:
        activations: Keras tensor (n, h, w, c).
        maximum: Its maxima, (n, c).
        by_average: Log-odds for each unit of the mean, (n, c).
        by_maximum: The same for the maximum, (n, c).

    Returns:
        Keras tensor (n, h, w).
    """
    ops = import_keras().ops
    _, height, width, _ = activations.shape
    slope = by_average / (height * width)
    reached = ops.cast(ops.equal(activations, maximum[:, None, None, :]), activations.dtype)
    share = maximum * by_maximum / ops.maximum(ops.sum(reached, axis=(1, 2)), 1.0)
    return ops.sum(activations * slope[:, None, None, :] + reached * share[:, None, None, :], axis=-1)


def _compressed_over_plain(pooled: Any) -> Any:
    """What ``head.compress`` makes of pooled activations (n, c), divided by them.

    ``(sqrt(|f| + c) - sqrt(c)) / |f|``, written so that it neither divides by zero nor loses digits near it.
    """
    ops = import_keras().ops
    return 1.0 / (ops.sqrt(ops.abs(pooled) + COMPRESSION_OFFSET) + COMPRESSION_OFFSET**0.5)


def _split_head(
    network: Any, backbones: Sequence[Backbone], views: Sequence[View], pooling: Pooling
) -> tuple[list[tuple[View, list[_Stage]]], float]:
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
    joint = len(backbones) * len(views) > 1
    for head, own in zip(heads, np.split(kernel[:, 0], len(heads)), strict=True):
        standardised = head.get_layer("standardised")
        constant += float(own @ np.asarray(standardised.offset, dtype=np.float64))
        gains = own * np.asarray(standardised.scale, dtype=np.float64) / len(views)
        for number, backbone in enumerate(backbones):
            member = head.get_layer(MEMBER.format(number)) if joint else head
            activations = [member.get_layer(stage).output for stage in backbone.probe_stages]
            pooled = [find_pooled(member, stage, pooling) for stage in backbone.probe_stages]
            # features: member by member, of each stage what was pooled
            *own_gains, gains = np.split(
                gains, np.cumsum([each.shape[-1] for stage in pooled for each in stage])
            )
            ends = [*activations, *(each for stage in pooled for each in stage)]
            if member is not network:
                ends = keras.Model(member.input, ends)(show_views(network.input, views))
            by_view = zip(*(split_views(end, len(views)) for end in ends), strict=True)
            for view, seen in zip(views, by_view, strict=True):
                parts.append((view, _group_stages(seen, own_gains, len(activations))))
    return parts, constant


def _group_stages(ends: Sequence[Any], gains: Sequence[NDArray[np.float64]], count: int) -> list[_Stage]:
    """The stages of one pass: activations of all of them come first, then what was pooled of each."""
    many = len(gains) // count
    return [
        _Stage(
            ends[number],
            ends[count + many * number : count + many * (number + 1)],
            gains[many * number : many * (number + 1)],
        )
        for number in range(count)
    ]


def _as_row(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return values.astype(np.float32)[None, :]
