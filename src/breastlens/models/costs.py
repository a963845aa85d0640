"""What each backbone costs: written down for the list that people read, counted from the network for the tests."""

from __future__ import annotations

import math
from dataclasses import dataclass

from breastlens.models._keras import import_keras
from breastlens.models.backbones import Backbone, build_network


@dataclass(frozen=True)
class BackboneCosts:
    """What a backbone costs at one image size, counted from the built network.

    Attributes:
        parameters: Weights of the network without its ImageNet top, batch-norm statistics included.
        gflops: 1e9 floating-point operations of the convolutions for one image; a multiply-add is two.
            Normalisation, activations and pooling are left out, as in the papers.
    """

    parameters: int
    gflops: float


COSTS_AT_128 = {
    "resnet50": BackboneCosts(23_587_712, 2.518),
    "resnet101": BackboneCosts(42_658_176, 4.942),
    "resnet152": BackboneCosts(58_370_944, 7.367),
    "resnet50v2": BackboneCosts(23_564_800, 2.273),
    "vgg16": BackboneCosts(14_714_688, 10.022),
    "vgg19": BackboneCosts(20_024_384, 12.740),
    "mobilenet": BackboneCosts(3_228_864, 0.371),
    "mobilenet:0.25": BackboneCosts(218_544, 0.027),
    "mobilenet:0.5": BackboneCosts(829_536, 0.097),
    "mobilenet:0.75": BackboneCosts(1_832_976, 0.212),
    "mobilenetv2": BackboneCosts(2_257_984, 0.196),
    "mobilenetv2:0.35": BackboneCosts(410_208, 0.038),
    "mobilenetv2:0.5": BackboneCosts(706_224, 0.063),
    "mobilenetv2:0.75": BackboneCosts(1_382_064, 0.136),
    "mobilenetv2:1.3": BackboneCosts(3_766_048, 0.332),
    "mobilenetv2:1.4": BackboneCosts(4_363_712, 0.379),
    "mobilenetv3small": BackboneCosts(939_120, 0.036),
    "mobilenetv3large": BackboneCosts(2_996_352, 0.142),
    "densenet121": BackboneCosts(7_037_504, 1.850),
    "densenet169": BackboneCosts(12_642_880, 2.193),
    "densenet201": BackboneCosts(18_321_984, 2.801),
    "efficientnetv2b0": BackboneCosts(5_919_312, 0.470),
}
"""By backbone name, for images of 128x128 pixels: ``count_costs`` of each, so that a list needs no Keras."""


def count_costs(backbone: Backbone, image_size: int) -> BackboneCosts:
    """Count parameters and operations on the built network.

    Args:
        backbone: Which network.
        image_size: Side of the input in pixels.
    """
    keras = import_keras()
    network = build_network(backbone, keras.Input((image_size, image_size, 3)), image_size=image_size)
    operations = 0
    for layer in network.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
            _, height, width, _ = layer.output.shape
            # every kernel weight is multiplied and added once at every output position
            operations += 2 * math.prod(layer.kernel.shape) * height * width
    return BackboneCosts(parameters=network.count_params(), gflops=operations / 1e9)
