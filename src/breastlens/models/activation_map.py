"""Where a classifier finds its evidence: Grad-CAM on the last stage, as one graph that OpenVINO can run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.models._keras import import_keras
from breastlens.models.backbones import Backbone
from breastlens.models.head import COMPRESSION_OFFSET
from breastlens.models.joint_features import MEMBER, show_views, split_views
from breastlens.models.views import AS_IT_IS, View, mirror

_AVERAGED = ("finetuned", "probe")
"""The layers of a network from ``average_classifiers`` that are classifiers themselves, in the order of its head."""


def build_activation_map(
    network: Any, backbones: Backbone | Sequence[Backbone], views: Sequence[View] = (AS_IT_IS,)
) -> Any:
    """Build the network from an image to a map of how strongly each place speaks for either answer.

    Grad-CAM (Selvaraju et al., ICCV 2017) on the last probe stage: its activations are added up, each channel with a
    weight, which is the mean over all places of the derivative of the log-odds of positive.

    Grad-CAM then sets negative values to zero and so shows what speaks for one class; with the sign turned it is the
    paper's counterfactual explanation. With two classes the log-odds of one are minus those of the other, so these two
    are the maps of positive and of negative. What is given here is their sum, the absolute value: what speaks for
    positive alone would leave the map of a healthy image all but empty.

    The map shows what the last stage adds to the log-odds. Evidence that the head takes from earlier stages is not in
    it, and an activation depends on pixels well beyond its own place.

    Args:
        network: From ``build_classifier`` or ``average_classifiers``. It stays as it is, and what changes in its head
            afterwards does not reach the map.
        backbones: Which backbone it is made of, or which of an ensemble.
        views: What it is shown of each image; a map is turned back before it is added.

    Returns:
        ``keras.Model`` from uint8 ``image`` (n, s, s, 3), RGB, to float32 ``activation_map`` (n, h, w), 0 or more, in
        log-odds; h and w are those of the last stage.
    """
    keras = import_keras()
    ops = keras.ops
    members = (backbones,) if isinstance(backbones, Backbone) else tuple(backbones)
    if len(members) * len(views) == 1:
        image, parts = weigh_channels(network, members[0])
        seen = [AS_IT_IS] * len(parts)
    else:
        image, parts, seen = _weigh_members(network, members, views)
    # the log-odds of an averaged network are a sum over its parts, and so is its map before the sign is dropped
    maps = [ops.sum(activations * weights[:, None, None, :], axis=-1) for activations, weights in parts]
    side = max(one.shape[1] for one in maps)
    evidence = sum(_turned_back(one, view, side) for one, view in zip(maps, seen, strict=True))
    shown = keras.layers.Identity(name="activation_map")(ops.abs(evidence))
    return keras.Model(image, shown, name=f"{network.name}_activation_map")


def with_activation_map(
    network: Any, backbones: Backbone | Sequence[Backbone], views: Sequence[View] = (AS_IT_IS,)
) -> Any:
    """Add the map to what a classifier gives, so that one pass through the network makes all of it.

    Args:
        network: From ``build_classifier`` or ``average_classifiers``. It stays as it is.
        backbones: As for ``build_activation_map``.
        views: The same.

    Returns:
        ``keras.Model`` with the outputs of the classifier and ``activation_map``, as from ``build_activation_map``.
    """
    shown = build_activation_map(network, backbones, views).output
    return import_keras().Model(network.input, {**network.output, "activation_map": shown}, name=network.name)


def weigh_channels(network: Any, backbone: Backbone) -> tuple[Any, list[tuple[Any, Any]]]:
    """Give the last stage's activations and the weight that Grad-CAM gives each of its channels.

    The log-odds are a weighted sum of the compressed means and maxima of the channels. The derivative of a mean adds up
    to 1 over all places, and so does that of a maximum, wherever it is reached and however often. So the mean
    derivative over ``h * w`` places is that by the mean plus that by the maximum, over ``h * w``. The slope of the
    compression ``sign(f) * (sqrt(|f| + c) - sqrt(c))`` is ``0.5 / sqrt(|f| + c)``, taken as 0 where f is.

    Args:
        network: From ``build_classifier`` or ``average_classifiers``.
        backbone: Which backbone it is made of.

    Returns:
        The network's input, and for each classifier that it is made of two Keras tensors: activations (n, h, w, c) and
        weights (n, c) in log-odds per unit of activation. Those of an averaged network are halved already.
    """
    keras = import_keras()
    ops = keras.ops
    stage = backbone.probe_stages[-1]
    ends = (stage, f"{stage}_average", f"{stage}_maximum")
    names = {layer.name for layer in network.layers}
    if names.issuperset(_AVERAGED):
        classifiers = [network.get_layer(name) for name in _AVERAGED]
        outputs = [
            keras.Model(one.input, [one.get_layer(end).output for end in ends])(network.input)
            for one in classifiers
        ]
    else:
        classifiers = [network]
        outputs = [[network.get_layer(end).output for end in ends]]

    kernel = np.asarray(network.get_layer("score").get_weights()[0], dtype=np.float64)[:, 0]
    parts = []
    for one, own, (activations, average, maximum) in zip(
        classifiers, np.split(kernel, len(classifiers)), outputs, strict=True
    ):
        _, height, width, channels = activations.shape
        gain = own * np.asarray(one.get_layer("standardised").scale, dtype=np.float64) / (height * width)
        by_average, by_maximum = _as_row(gain[-2 * channels : -channels]), _as_row(gain[-channels:])
        # tensor first: NumPy on the left would take the product for its own
        weights = _slope(average, ops) * by_average + _slope(maximum, ops) * by_maximum
        parts.append((activations, weights))
    return network.input, parts


def _weigh_members(
    network: Any, backbones: Sequence[Backbone], views: Sequence[View]
) -> tuple[Any, list[tuple[Any, Any]], list[View]]:
    """As ``weigh_channels``, for a network of several members or views; and the view of each part."""
    keras = import_keras()
    ops = keras.ops
    kernel = np.asarray(network.get_layer("score").get_weights()[0], dtype=np.float64)[:, 0]
    gain = kernel * np.asarray(network.get_layer("standardised").scale, dtype=np.float64) / len(views)
    shown = show_views(network.input, views)
    parts, seen, end = [], [], 0
    for number, backbone in enumerate(backbones):
        member = network.get_layer(MEMBER.format(number))
        end += member.output.shape[-1]
        stage = backbone.probe_stages[-1]
        ends = [member.get_layer(name).output for name in (stage, f"{stage}_average", f"{stage}_maximum")]
        _, height, width, channels = ends[0].shape
        own = gain[end - 2 * channels : end] / (height * width)
        by_average, by_maximum = _as_row(own[:channels]), _as_row(own[channels:])
        activations, average, maximum = keras.Model(member.input, ends)(shown)
        weights = _slope(average, ops) * by_average + _slope(maximum, ops) * by_maximum
        parts += zip(split_views(activations, len(views)), split_views(weights, len(views)), strict=True)
        seen += views
    return network.input, parts, seen


def _turned_back(shown: Any, view: View, side: int) -> Any:
    """A map (n, h, w) of a view as one of the image itself, (n, side, side)."""
    keras = import_keras()
    if shown.shape[1] != side:
        scale = (shown.shape[1] / side) ** 2
        shown = (
            keras.ops.image.resize(shown[..., None], (side, side), interpolation="bilinear")[..., 0] * scale
        )
    return mirror(shown, axis=2) if view.mirrored else shown


def _slope(pooled: Any, ops: Any) -> Any:
    """The derivative of the head's compression at pooled activations (n, c).

    None at zero itself: there the activation function before it is flat (ReLU, hard swish), no small change of the
    image moves the pooled value, and differentiation by Keras gives nothing either.
    """
    return 0.5 * ops.abs(ops.sign(pooled)) / ops.sqrt(ops.abs(pooled) + COMPRESSION_OFFSET)


def _as_row(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return values.astype(np.float32)[None, :]
