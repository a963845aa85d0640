"""What every backbone must do, checked on every backbone with random weights and shaken batch normalisation."""

from __future__ import annotations

import gc
import importlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytest

from breastlens.export.convert import score_network
from breastlens.export.formats import FORMATS
from breastlens.models._keras import import_keras
from breastlens.models.backbones import ALL_COMPARED, Backbone, get_backbone, list_backbones
from breastlens.models.classifier import (
    build_classifier,
    build_features,
    set_trainable,
)
from breastlens.models.engine import Engine, convert
from breastlens.models.head import Head, compress

IMAGE_SIZE = 64
QUICK = ("vgg16", "mobilenet:0.75")
NAMES = (*QUICK, "mobilenetv2:0.35", *(b.name for b in list_backbones() if b.name not in QUICK))


@dataclass(frozen=True)
class Built:
    backbone: Backbone
    classifier: Any
    images: np.ndarray
    features: np.ndarray
    score: np.ndarray

    @cached_property
    def graph(self) -> Any:
        return convert(self.classifier)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in NAMES],
)
def built(request):
    keras = import_keras()
    backbone = get_backbone(request.param)
    random = np.random.default_rng(7)
    features_model = build_features(backbone, image_size=IMAGE_SIZE, weights="none", seed=3)
    images = random.integers(0, 256, (4, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    images[1] //= 8
    images[2] = images[2] // 8 + 200
    images[3, 20:50, 10:40] = 255
    shake_batch_norm(features_model, images, random)
    compressed = compress(np.asarray(features_model(images, training=False)))
    width = compressed.shape[1]
    spread = compressed.std(axis=0)
    head = Head(
        mean=compressed.mean(axis=0),
        scale=np.where(spread > 1e-3, spread, 1),
        weight=random.normal(0, 1, width) / np.sqrt(width),
        bias=0.2,
    )
    classifier = build_classifier(features_model, head)
    out = classifier(images, training=False)
    yield Built(backbone, classifier, images, np.asarray(out["features"]), np.asarray(out["score"]))
    keras.backend.clear_session(free_memory=True)
    gc.collect()


def shake_batch_norm(model, images, random):
    """Give batch normalisation statistics that fit these images and scales of its own, as training would.

    As Keras initialises it, it does nothing. With any statistics the signal dies in a deep random network, and with
    means of zero before the activation rounding errors grow by a fifth a layer (Yang et al. 2019, "A mean field theory
    of batch normalization"), which says nothing about the code under test.
    """
    keras = import_keras()
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        width = layer.gamma.shape[0]
        layer.gamma.assign(random.uniform(0.5, 1.5, width))
        layer.beta.assign(random.normal(1, 0.2, width))
        layer.momentum = 0.0
    model(images, training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def test_random_scores_are_worth_comparing(built):
    assert np.isfinite(built.features).all()
    assert built.score.std() > 0.01
    assert ((built.score > 0.001) & (built.score < 0.999)).all()


def test_features_equal_preprocess_input_and_the_application(built):
    keras = import_keras()
    backbone = built.backbone
    options = {} if backbone.alpha is None else {"alpha": backbone.alpha}
    application = getattr(keras.applications, backbone.keras_name)(
        include_top=False, weights=None, input_shape=(IMAGE_SIZE, IMAGE_SIZE, 3), **options
    )
    for layer in application.layers:
        if layer.weights:
            layer.set_weights(built.classifier.get_layer(layer.name).get_weights())
    ends = [stage_output(application, stage) for stage in backbone.probe_stages]
    module = importlib.import_module(f"keras.applications.{backbone.keras_module}")
    scaled = module.preprocess_input(built.images.astype(np.float32))

    expected = []
    for activations in keras.Model(application.input, ends)(scaled, training=False):
        activations = np.asarray(activations, dtype=np.float64)
        expected += [activations.mean(axis=(1, 2)), activations.max(axis=(1, 2))]

    starts = np.cumsum([0, *(block.shape[1] for block in expected)])
    assert built.features.shape == (4, starts[-1])
    assert expected[-1].shape[1] == backbone.feature_width
    for start, block in zip(starts, expected, strict=False):
        found = built.features[:, start : start + block.shape[1]]
        assert np.abs(found - block).max() <= 1e-5 * np.abs(block).max()


def stage_output(application, stage):
    """The output of a stage in an application as Keras builds it, where MobileNetV3's activations have no name."""
    if not stage.endswith("_bn_activation"):
        return application.get_layer(stage).output
    normalised = application.get_layer(stage.removesuffix("_activation")).output
    (activation,) = (layer for layer in application.layers if layer.input is normalised)
    return activation.output


def test_top_of_the_network_is_the_last_stage(built):
    assert built.backbone.probe_stages[-1] == built.backbone.stages[-1]
    assert set(built.backbone.probe_stages) <= set(built.backbone.stages)


def test_gradients_reach_the_top_stage_and_nothing_below(built):
    keras = import_keras()
    set_trainable(built.classifier, built.backbone, 1)
    below = keras.Model(built.classifier.input, built.classifier.get_layer(built.backbone.stages[-2]).output)
    frozen = {layer.name for layer in below.layers}
    expected = {
        layer.name
        for layer in built.classifier.layers
        if layer.weights
        and layer.name not in frozen
        and not isinstance(layer, keras.layers.BatchNormalization)
    }
    statistics = batch_norm_weights(built.classifier)

    moved = layers_with_gradient(built.classifier, built.images)

    assert moved == expected
    assert "score" in moved
    assert len(moved) > 1
    assert_unmoved(built.classifier, statistics)


def test_batch_norm_does_not_move_when_everything_else_learns(built):
    keras = import_keras()
    set_trainable(built.classifier, built.backbone, len(built.backbone.stages))
    statistics = batch_norm_weights(built.classifier)

    moved = layers_with_gradient(built.classifier, built.images)

    assert moved == {
        layer.name
        for layer in built.classifier.layers
        if layer.weights and not isinstance(layer, keras.layers.BatchNormalization)
    }
    assert_unmoved(built.classifier, statistics)


def test_saved_and_loaded_scores_are_identical(built, tmp_path):
    keras = import_keras()
    built.classifier.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    out = loaded(built.images, training=False)
    assert np.array_equal(out["score"], built.score)
    assert np.array_equal(out["features"], built.features)


def test_openvino_agrees_with_keras(built):
    out = Engine.from_graph(built.graph).run(built.images)
    assert out["score"].shape == built.score.shape
    assert np.abs(out["score"] - built.score).max() <= 1e-4
    assert np.abs(out["features"] - built.features).max() <= 1e-4 * np.abs(built.features).max()


def test_exported_to_onnx_and_openvino_it_scores_the_same(built, tmp_path):
    """By the runtimes of both; the other formats are written of the same graph."""
    sources = {"onnx": score_network(built.classifier), "openvino": built.graph}
    for name, source in sources.items():
        FORMATS[name].write(source, tmp_path, None)
        scores = FORMATS[name].open(tmp_path).score(built.images, None)
        assert np.abs(scores - built.score[:, 0]).max() <= 1e-4, name


def test_exported_to_litert_and_saved_model_it_scores_the_same(built, tmp_path):
    if built.backbone.name not in ALL_COMPARED:
        pytest.skip("LiteRT and SavedModel are tried on the backbones that are compared by default")
    for name in ("litert", "savedmodel"):
        FORMATS[name].write(score_network(built.classifier), tmp_path, None)
        scores = FORMATS[name].open(tmp_path).score(built.images, None)
        assert np.abs(scores - built.score[:, 0]).max() <= 1e-4, name


def test_from_scratch_everything_learns_and_batch_norm_follows_the_batch(built):
    """Stands last: it moves the statistics that the other tests rely on."""
    set_trainable(built.classifier, built.backbone, len(built.backbone.stages), batch_norm_learns=True)
    statistics = batch_norm_weights(built.classifier)

    moved = layers_with_gradient(built.classifier, built.images // 2)

    assert moved == {layer.name for layer in built.classifier.layers if layer.weights}
    for name, before in statistics.items():
        mean, variance = built.classifier.get_layer(name).get_weights()[2:]
        assert not np.array_equal(mean, before[2]), name
        assert not np.array_equal(variance, before[3]), name


def batch_norm_weights(classifier):
    keras = import_keras()
    return {
        layer.name: layer.get_weights()
        for layer in classifier.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    }


def assert_unmoved(classifier, statistics):
    for name, before in statistics.items():
        after = classifier.get_layer(name).get_weights()
        assert all(np.array_equal(old, new) for old, new in zip(before, after, strict=True)), name


def layers_with_gradient(classifier, images):
    """Names of the layers that one training step would change; the forward pass is that of training."""
    import tensorflow as tf

    labels = np.array([[0.0], [1.0], [1.0], [0.0]], np.float32)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        variables = [weight.value for weight in classifier.trainable_weights]
        tape.watch(variables)
        score = classifier(images, training=True)["score"]
        loss = tf.reduce_mean(tf.keras.losses.binary_crossentropy(labels, score))
    gradients = tape.gradient(loss, variables)
    reached = {
        id(weight)
        for weight, gradient in zip(classifier.trainable_weights, gradients, strict=True)
        if gradient is not None and np.abs(gradient).max() > 0
    }
    return {
        layer.name for layer in classifier.layers if any(id(weight) in reached for weight in layer.weights)
    }
