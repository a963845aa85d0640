"""The registry of backbones: what is known about each ImageNet network, in one frozen dataclass each."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from breastlens.errors import DataError
from breastlens.models._keras import import_keras

Scaling = Literal["caffe", "tf", "torch", "none"]


@dataclass(frozen=True)
class Backbone:
    """Facts about one convolutional network of ``keras.applications`` (always without its ImageNet top).

    Attributes:
        name: The name on the command line, for example ``mobilenet:0.75``; a width of 1.0 is left out.
        title: The name in reports, for example ``MobileNet (alpha 0.75)``.
        keras_name: The function in ``keras.applications``, for example ``MobileNet``.
        keras_module: The module in ``keras.applications`` that holds its ``preprocess_input``.
        scaling: What that ``preprocess_input`` does to RGB grey levels 0..255: ``caffe`` (BGR minus the
            ImageNet means), ``tf`` ([-1, 1]), ``torch`` (ImageNet mean and standard deviation of [0, 1])
            or ``none`` (the network scales its input itself).
        alpha: Width multiplier, or None where the network has none.
        stages: Layers whose activations end a stage, from the input to the top. Everything that the
            network computes passes through each of them, so fine-tuning may cut there; the last one is
            the top of the network.
        probe_stages: The layers whose average- and max-pooled activations are the features.
        feature_width: Channels of the last stage.
        weights_licence: Licence under which the ImageNet weights were released.
        weights_origin: Who trained them.
        paper: Authors, title, venue and year.
    """

    name: str
    title: str
    keras_name: str
    keras_module: str
    scaling: Scaling
    alpha: float | None
    stages: tuple[str, ...]
    probe_stages: tuple[str, ...]
    feature_width: int
    weights_licence: str
    weights_origin: str
    paper: str


_RESNET = "He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016"
_RESNET_V2 = "He, Zhang, Ren, Sun: Identity mappings in deep residual networks, ECCV 2016"
_VGG = "Simonyan, Zisserman: Very deep convolutional networks for large-scale image recognition, ICLR 2015"
_MOBILENET = (
    "Howard et al.: MobileNets: efficient convolutional neural networks for mobile vision, arXiv 2017"
)
_MOBILENET_V2 = "Sandler et al.: MobileNetV2: inverted residuals and linear bottlenecks, CVPR 2018"
_MOBILENET_V3 = "Howard et al.: Searching for MobileNetV3, ICCV 2019"
_DENSENET = "Huang, Liu, van der Maaten, Weinberger: Densely connected convolutional networks, CVPR 2017"
_EFFICIENTNET_V2 = "Tan, Le: EfficientNetV2: smaller models and faster training, ICML 2021"


def _resnet(depth: int, blocks: tuple[int, int, int, int]) -> Backbone:
    ends = tuple(f"conv{stage}_block{count}_out" for stage, count in enumerate(blocks, start=2))
    return Backbone(
        name=f"resnet{depth}",
        title=f"ResNet{depth}",
        keras_name=f"ResNet{depth}",
        keras_module="resnet",
        scaling="caffe",
        alpha=None,
        stages=ends,
        probe_stages=ends[1:],
        feature_width=2048,
        weights_licence="MIT",
        weights_origin="Microsoft Research (Kaiming He), ported by Keras",
        paper=_RESNET,
    )


def _vgg(depth: int, last: int) -> Backbone:
    ends = ("block1_conv2", "block2_conv2", *(f"block{block}_conv{last}" for block in (3, 4, 5)))
    return Backbone(
        name=f"vgg{depth}",
        title=f"VGG{depth}",
        keras_name=f"VGG{depth}",
        keras_module=f"vgg{depth}",
        scaling="caffe",
        alpha=None,
        stages=ends,
        probe_stages=ends[2:],
        feature_width=512,
        weights_licence="CC BY 4.0",
        weights_origin="Visual Geometry Group, University of Oxford, ported by Keras",
        paper=_VGG,
    )


def _densenet(depth: int, width: int) -> Backbone:
    return Backbone(
        name=f"densenet{depth}",
        title=f"DenseNet{depth}",
        keras_name=f"DenseNet{depth}",
        keras_module="densenet",
        scaling="torch",
        alpha=None,
        stages=("pool2_relu", "pool3_relu", "pool4_relu", "relu"),
        probe_stages=("pool3_relu", "pool4_relu", "relu"),
        feature_width=width,
        weights_licence="BSD 3-Clause",
        weights_origin="Zhuang Liu, ported by Keras",
        paper=_DENSENET,
    )


def _mobilenet_v3(size: str, expands: tuple[int, int, int], width: int) -> Backbone:
    ends = (
        "conv_bn_activation",
        *(f"expanded_conv_{block}_expand_bn_activation" for block in expands),
        "conv_1_bn_activation",
    )
    return Backbone(
        name=f"mobilenetv3{size.lower()}",
        title=f"MobileNetV3 {size}",
        keras_name=f"MobileNetV3{size}",
        keras_module="mobilenet_v3",
        scaling="none",
        alpha=None,
        stages=ends,
        probe_stages=ends[2:],
        feature_width=width,
        weights_licence="Apache-2.0",
        weights_origin="Google, ported by Keras",
        paper=_MOBILENET_V3,
    )


def _width_suffix(alpha: float) -> tuple[str, str]:
    """How a width multiplier is written in a name and in a title; 1.0 is not."""
    return ("", "") if alpha == 1.0 else (f":{alpha:g}", f" (alpha {alpha:g})")


def _mobilenet(alpha: float) -> Backbone:
    in_name, in_title = _width_suffix(alpha)
    return Backbone(
        name=f"mobilenet{in_name}",
        title=f"MobileNet{in_title}",
        keras_name="MobileNet",
        keras_module="mobilenet",
        scaling="tf",
        alpha=alpha,
        stages=tuple(f"conv_pw_{block}_relu" for block in (1, 3, 5, 11, 13)),
        probe_stages=tuple(f"conv_pw_{block}_relu" for block in (5, 11, 13)),
        feature_width=int(1024 * alpha),
        weights_licence="Apache-2.0",
        weights_origin="Google, ported by Keras",
        paper=_MOBILENET,
    )


def _mobilenet_v2(alpha: float) -> Backbone:
    in_name, in_title = _width_suffix(alpha)
    ends = (*(f"block_{block}_expand_relu" for block in (1, 3, 6, 13)), "out_relu")
    return Backbone(
        name=f"mobilenetv2{in_name}",
        title=f"MobileNetV2{in_title}",
        keras_name="MobileNetV2",
        keras_module="mobilenet_v2",
        scaling="tf",
        alpha=alpha,
        stages=ends,
        probe_stages=ends[2:],
        feature_width=round(1280 * max(1.0, alpha)),
        weights_licence="Apache-2.0",
        weights_origin="Google, ported by Keras",
        paper=_MOBILENET_V2,
    )


ALL_COMPARED = ("resnet50", "vgg16", "mobilenetv2", "densenet121")
"""The backbones that ``--backbone all`` trains on the same split."""

JOINT = "+"
"""Stands between the names of the backbones of an ensemble."""

PUBLISHED_ALPHAS = {"mobilenet": (0.25, 0.5, 0.75, 1.0), "mobilenetv2": (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)}
"""The width multipliers for which ImageNet weights exist."""

_WITH_ALPHA = {"mobilenet": _mobilenet, "mobilenetv2": _mobilenet_v2}

_BACKBONES = {
    backbone.name: backbone
    for backbone in (
        _resnet(50, (3, 4, 6, 3)),
        _resnet(101, (3, 4, 23, 3)),
        _resnet(152, (3, 8, 36, 3)),
        Backbone(
            name="resnet50v2",
            title="ResNet50V2",
            keras_name="ResNet50V2",
            keras_module="resnet_v2",
            scaling="tf",
            alpha=None,
            stages=(*(f"conv{stage}_block1_preact_relu" for stage in (3, 4, 5)), "post_relu"),
            probe_stages=("conv4_block1_preact_relu", "conv5_block1_preact_relu", "post_relu"),
            feature_width=2048,
            weights_licence="Apache-2.0",
            weights_origin="Google (TensorFlow-Slim), ported by Keras",
            paper=_RESNET_V2,
        ),
        _vgg(16, 3),
        _vgg(19, 4),
        _mobilenet(1.0),
        _mobilenet_v2(1.0),
        _mobilenet_v3("Small", (1, 3, 8), 576),
        _mobilenet_v3("Large", (3, 6, 12), 960),
        _densenet(121, 1024),
        _densenet(169, 1664),
        _densenet(201, 1920),
        Backbone(
            name="efficientnetv2b0",
            title="EfficientNetV2 B0",
            keras_name="EfficientNetV2B0",
            keras_module="efficientnet_v2",
            scaling="none",
            alpha=None,
            stages=(
                "block1a_project_activation",
                "block4a_expand_activation",
                "block6a_expand_activation",
                "top_activation",
            ),
            probe_stages=("block4a_expand_activation", "block6a_expand_activation", "top_activation"),
            feature_width=1280,
            weights_licence="Apache-2.0",
            weights_origin="Google, ported by Keras",
            paper=_EFFICIENTNET_V2,
        ),
    )
}


def list_backbones() -> tuple[Backbone, ...]:
    """Every backbone once, at width 1.0 where it has widths (``PUBLISHED_ALPHAS`` lists the others)."""
    return tuple(_BACKBONES.values())


def get_backbone(name: str) -> Backbone:
    """Look up a backbone by the name used on the command line.

    Args:
        name: For example ``vgg16`` or, with a width multiplier, ``mobilenet:0.75``. Case does not matter.

    Raises:
        DataError: No backbone has that name, or no weights were published for that width.
    """
    family, colon, width = name.strip().lower().partition(":")
    if family not in _BACKBONES:
        close = difflib.get_close_matches(family, _BACKBONES, n=1)
        hint = f"; did you mean {close[0]}?" if close else "."
        raise DataError(f"no backbone is called {name!r}{hint} Known: {', '.join(_BACKBONES)}")
    if not colon:
        return _BACKBONES[family]
    if family not in _WITH_ALPHA:
        raise DataError(f"{name!r}: {family} comes in one width only; write {family}")
    known = PUBLISHED_ALPHAS[family]
    alpha = float(width) if re.fullmatch(r"\d+(\.\d+)?", width) else None
    if alpha not in known:
        listed = ", ".join(f"{value:g}" for value in known)
        raise DataError(f"{name!r}: {family} was published with alpha {listed}, not {width!r}")
    return _WITH_ALPHA[family](alpha)


def joint_name(backbones: Sequence[Backbone]) -> str:
    """What a bundle calls the network of one or several backbones: their names with ``+`` between them."""
    return JOINT.join(backbone.name for backbone in backbones)


def get_backbones(names: str) -> tuple[Backbone, ...]:
    """Look up the backbones of a model by its ``joint_name``.

    Raises:
        DataError: As `get_backbone`.
    """
    return tuple(get_backbone(name) for name in names.split(JOINT))


def build_network(backbone: Backbone, input_tensor: Any, *, image_size: int) -> Any:
    """Build the Keras application on a given input, without its ImageNet top and with random weights.

    Args:
        backbone: Which network.
        input_tensor: Keras tensor (n, image_size, image_size, 3) of already scaled images.
        image_size: Side in pixels.

    Returns:
        ``keras.Model`` from the source of ``input_tensor`` to the application's last layer. The
        activations that MobileNetV3 leaves to Keras's counter (``activation_17``) carry the name of the
        batch normalisation they follow, so that names do not depend on what was built before.
    """
    keras = import_keras()
    options = {} if backbone.alpha is None else {"alpha": backbone.alpha}
    network = getattr(keras.applications, backbone.keras_name)(
        include_top=False,
        weights=None,
        input_tensor=input_tensor,
        input_shape=(image_size, image_size, 3),
        **options,
    )
    normalised = {
        id(layer.output): layer.name
        for layer in network.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    for layer in network.layers:
        if re.fullmatch(r"(activation|re_lu)(_\d+)?", layer.name) and id(layer.input) in normalised:
            layer.name = f"{normalised[id(layer.input)]}_activation"
    return network
