"""From raw image to score in one Keras graph, and which of its layers may learn."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from breastlens.config import Pooling, TrainingRecipe
from breastlens.errors import DataError
from breastlens.models._keras import import_keras
from breastlens.models.backbones import Backbone, build_network
from breastlens.models.head import COMPRESSION_OFFSET, Head
from breastlens.models.pooling import pool
from breastlens.models.weights import load_backbone_weights, resolve_weights

FEW_STEPS_MOMENTUM = 0.9
"""Of batch normalisation's running averages when training from scratch: the applications' 0.99 and 0.999 are made for
epochs of thousands of steps, and would still hold the starting values after an epoch of twenty."""

_IMAGENET_MEAN_RGB = (0.485, 0.456, 0.406)
_IMAGENET_STD_RGB = (0.229, 0.224, 0.225)
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


def build_features(
    backbone: Backbone, *, image_size: int, weights: str | Path, seed: int, pooling: Pooling = "global"
) -> Any:
    """Build the network from raw grey levels to features: scaling, backbone, pooled stages.

    Only layers and operations that Keras itself knows are used, so the saved model loads without
    BreastLens.

    Args:
        backbone: Which network.
        image_size: Side of the images in pixels.
        weights: ``imagenet``, ``none``, a file or a folder; see ``resolve_weights``.
        seed: For what is random: the weights under ``none``, and dropout where the backbone has it.
        pooling: What features are made of each probe stage; see ``pool``.

    Returns:
        ``keras.Model`` from uint8 ``image`` (n, image_size, image_size, 3), RGB, to float32 ``features``
        (n, d): for each probe stage what ``pool`` gives, such as the mean and then the maximum of every channel, stages
        from input to top.

    Raises:
        WeightsError: The weights are missing, unreachable or do not fit.
    """
    keras = import_keras()
    source = resolve_weights(weights, backbone)
    image = keras.Input((image_size, image_size, 3), dtype="uint8", name="image")
    with _seeded_initialisers(seed):
        network = build_network(backbone, _scaled(image, backbone), image_size=image_size)
    load_backbone_weights(network, backbone, source)
    pooled = []
    for stage in backbone.probe_stages:
        pooled += pool(network.get_layer(stage).output, stage, pooling)
    features = keras.layers.Concatenate(name="features")(pooled)
    return keras.Model(image, features, name=f"{backbone.keras_name}_features")


def _scaled(image: Any, backbone: Backbone) -> Any:
    """The backbone's ``preprocess_input`` as part of the graph: (n, s, s, 3) uint8 to float32.

    The same operations in the same order as in Keras, so that not even the rounding differs.
    """
    ops = import_keras().ops
    grey = ops.cast(image, "float32")
    match backbone.scaling:
        case "tf":
            return grey / 127.5 - 1.0
        case "torch":
            mean = np.array(_IMAGENET_MEAN_RGB, np.float32)
            return (grey / 255.0 - mean) / np.array(_IMAGENET_STD_RGB, np.float32)
        case "caffe":
            return ops.flip(grey, axis=-1) - np.array(_CAFFE_MEAN_BGR, np.float32)
        case "none":
            return grey


@contextlib.contextmanager
def _seeded_initialisers(seed: int) -> Iterator[None]:
    """Make Keras draw the seeds of its initialisers from ``seed``, and leave Python's generator as it was.

    An initialiser without a seed takes one from Python's global ``random`` when it is made; there is no
    argument for it in ``keras.applications``, and ``keras.utils.set_random_seed`` would also change NumPy
    and TensorFlow for good.
    """
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def build_classifier(features_model: Any, head: Head) -> Any:
    """Put a head on a features model; both share their layers.

    Args:
        features_model: From ``build_features``.
        head: What makes a score of the features.

    Returns:
        ``keras.Model`` from uint8 ``image`` (n, s, s, 3) to ``{"score": (n, 1) in [0, 1], "features": (n, d)}``.

    Raises:
        ValueError: The head is for another number of features.
    """
    keras = import_keras()
    ops = keras.ops
    features = features_model.output
    if head.weight.size != features.shape[-1]:
        raise ValueError(
            f"the head is for {head.weight.size} features, the network gives {features.shape[-1]}"
        )
    root = ops.sqrt(ops.abs(features) + COMPRESSION_OFFSET) - math.sqrt(COMPRESSION_OFFSET)
    compressed = ops.sign(features) * root
    # Adam moves every weight by about the learning rate: with thousands of inputs of unit variance one step would
    # overturn a head that was fitted exactly. Inputs of unit length, all together, keep the head as steady as the rest.
    unit = math.sqrt(head.weight.size)
    scale, offset = 1 / (unit * head.scale), -head.mean / (unit * head.scale)
    standardised = keras.layers.Rescaling(scale.tolist(), offset=offset.tolist(), name="standardised")(
        compressed
    )
    dense = keras.layers.Dense(1, activation="sigmoid", kernel_initializer="zeros", name="score")
    score = dense(standardised)
    kernel = (unit * head.weight).astype(np.float32)[:, None]
    dense.set_weights([kernel, np.array([head.bias], dtype=np.float32)])
    name = features_model.name.removesuffix("_features")
    return keras.Model(features_model.input, {"score": score, "features": features}, name=name)


def average_classifiers(tuned: Any, probe: Any) -> Any:
    """Make one classifier of two, whose log-odds are the mean of theirs.

    Args:
        tuned: From ``build_classifier``, after fine-tuning.
        probe: From ``build_classifier``, with the weights that fine-tuning started from.

    Returns:
        ``keras.Model`` as from ``build_classifier``, with the two as its layers ``finetuned`` and ``probe``; the
        features are those of the second, which no image of the training has shaped: by them an image can be told that
        is unlike those of training, and held-out images lie in them as new ones will.
    """
    keras = import_keras()
    image = keras.Input(tuned.input.shape[1:], dtype="uint8", name="image")
    parts = [
        keras.Model(part.input, [part.get_layer("standardised").output, part.output["features"]], name=name)(
            image
        )
        for part, name in ((tuned, "finetuned"), (probe, "probe"))
    ]
    joined = keras.layers.Concatenate(name="standardised")([standardised for standardised, _ in parts])
    dense = keras.layers.Dense(1, activation="sigmoid", name="score")
    score = dense(joined)
    heads = [part.get_layer("score").get_weights() for part in (tuned, probe)]
    dense.set_weights(
        [np.concatenate([kernel for kernel, _ in heads]) / 2, np.mean([bias for _, bias in heads], axis=0)]
    )
    return keras.Model(image, {"score": score, "features": parts[1][1]}, name=tuned.name)


def learning_stages(backbone: Backbone, recipe: TrainingRecipe) -> int:
    """How many of ``backbone.stages`` learn, counted from the top; from scratch all of them."""
    if recipe.strategy == "scratch" or recipe.trainable_stages == "all":
        return len(backbone.stages)
    return recipe.trainable_stages


def cut_below(backbone: Backbone, stages: int) -> str | None:
    """The last stage that stays frozen while the top stages learn; None where all of them learn.

    Args:
        backbone: Which backbone.
        stages: How many of ``backbone.stages`` learn, counted from the top.

    Raises:
        DataError: The backbone has fewer stages.
    """
    if not 0 <= stages <= len(backbone.stages):
        raise DataError(
            f"{backbone.name} has {len(backbone.stages)} stages, cannot train the top {stages} of them"
        )
    return backbone.stages[-stages - 1] if stages < len(backbone.stages) else None


def set_trainable(
    classifier: Any, backbone: Backbone, stages: int, *, batch_norm_learns: bool = False
) -> None:
    """Let the head and the top stages of the backbone learn, and freeze the rest; compile afterwards.

    Batch normalisation stays out of it: its layers keep their weights and statistics and run in inference
    mode, as they must with few images. Only training from scratch lets it learn.

    Args:
        classifier: From ``build_classifier``; its ``trainable`` flags are changed in place.
        backbone: Which backbone it is made of.
        stages: How many of ``backbone.stages`` learn, counted from the top; 0 trains the head alone. All
            of them includes the layers before the end of the first stage.
        batch_norm_learns: For training from scratch, with all stages: batch normalisation learns and uses
            the statistics of each batch.

    Raises:
        DataError: The backbone has fewer stages than asked for.
    """
    keras = import_keras()
    cut = cut_below(backbone, stages)
    frozen = cut is not None
    # layers come sorted by their distance from the output, and every path runs through the cut
    for layer in classifier.layers:
        is_head = layer.name == "score"
        batch_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = is_head or (not frozen and (batch_norm_learns or not batch_norm))
        if batch_norm and batch_norm_learns:
            layer.momentum = FEW_STEPS_MOMENTUM
        if layer.name == cut:
            frozen = False
