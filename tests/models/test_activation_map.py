"""The map of where a classifier looks: the same as Grad-CAM by TensorFlow's differentiation, on every family."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.special import logit

from breastlens.models._keras import import_keras
from breastlens.models.activation_map import build_activation_map, weigh_channels, with_activation_map
from breastlens.models.backbones import Backbone, get_backbone
from breastlens.models.classifier import average_classifiers, build_classifier, build_features
from breastlens.models.engine import Engine
from breastlens.models.head import Head, compress, rescale_head

SIZE = 96
QUICK = "mobilenet:0.25"
OTHERS = (
    "resnet50",
    "resnet50v2",
    "vgg16",
    "mobilenetv2:0.35",
    "mobilenetv3small",
    "densenet121",
    "efficientnetv2b0",
)


@dataclass(frozen=True)
class Trained:
    """Classifiers that could have been trained: a head with a range of weights, calibrated, and images."""

    backbone: Backbone
    probe: Any
    tuned: Any
    averaged: Any
    images: np.ndarray

    def network(self, kind: str) -> Any:
        return getattr(self, kind)


@pytest.fixture(
    scope="module", params=[QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def trained(request):
    keras = import_keras()
    backbone = get_backbone(request.param)
    source = np.random.default_rng(3)
    images = source.integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8)
    images[1] //= 8
    images[2, 20:60, 10:50] = 255
    images[3] = 90
    probe = classifier(backbone, images, source, moved=0.0)
    tuned = classifier(backbone, images, source, moved=0.1)
    averaged = average_classifiers(tuned, probe)
    rescale_head(averaged, 1.7, -0.2)
    yield Trained(backbone, probe, tuned, averaged, images)
    keras.backend.clear_session(free_memory=True)
    gc.collect()


def classifier(backbone, images, source, *, moved):
    """A head fitted to nothing on a random network; ``moved`` changes convolutions as fine-tuning would."""
    keras = import_keras()
    model = build_features(backbone, image_size=SIZE, weights="none", seed=5)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        # as Keras initialises it, the signal of a random network dies on its way up, or rounding errors grow on theirs
        layer.gamma.assign(source.uniform(0.5, 1.5, layer.gamma.shape[0]))
        layer.beta.assign(source.normal(1, 0.2, layer.beta.shape[0]))
        layer.momentum = 0.0
    model(images, training=True)
    for variable in model.trainable_variables:
        if moved and len(variable.shape) == 4:
            drawn = source.normal(1, moved, variable.shape)
            variable.assign(np.asarray(variable) * drawn.astype(np.float32))
    compressed = compress(np.asarray(model(images, training=False)))
    spread, width = compressed.std(axis=0), compressed.shape[1]
    head = Head(
        mean=compressed.mean(axis=0),
        scale=np.where(spread > 1e-3, spread, 1),
        weight=source.normal(0, 1, width) / np.sqrt(width),
        bias=-0.4,
    )
    return build_classifier(model, head)


def differentiate(network, backbone, images):
    """By TensorFlow: for each part of a network the last stage's activations and the gradient of the log-odds."""
    import tensorflow as tf

    keras = import_keras()
    stage = backbone.probe_stages[-1]
    parts = [layer for layer in network.layers if layer.name in ("finetuned", "probe")] or [network]
    parts.sort(key=lambda part: part.name != "finetuned")
    taps = [
        keras.Model(part.input, [part.get_layer(stage).output, part.get_layer("standardised").output])
        for part in parts
    ]
    kernel, bias = network.get_layer("score").get_weights()
    with tf.GradientTape() as tape:
        tapped = [tap(images, training=False) for tap in taps]
        standardised = tf.concat([inputs for _, inputs in tapped], axis=1)
        log_odds = standardised @ kernel + bias
    gradients = tape.gradient(log_odds, [activations for activations, _ in tapped])
    score = np.asarray(network(images, training=False)["score"], np.float64)
    np.testing.assert_allclose(np.asarray(log_odds), logit(score), rtol=1e-3, atol=1e-3)
    return [
        (np.asarray(activations, np.float64), np.asarray(gradient, np.float64))
        for (activations, _), gradient in zip(tapped, gradients, strict=True)
    ]


def assert_close(found, expected, tolerance=1e-4):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("kind", ["probe", "tuned", "averaged"])
def test_channel_weights_and_map_are_those_of_differentiation(trained, kind):
    keras = import_keras()
    network = trained.network(kind)
    expected = differentiate(network, trained.backbone, trained.images)

    image, parts = weigh_channels(network, trained.backbone)
    assert len(parts) == len(expected) == (2 if kind == "averaged" else 1)
    for (own, weights), (activations, gradient) in zip(parts, expected, strict=True):
        found_activations, found = (
            np.asarray(one) for one in keras.Model(image, [own, weights])(trained.images)
        )
        assert_close(found_activations, activations)
        assert (np.abs(found) > 0).mean() > 0.5
        assert_close(found, gradient.mean(axis=(1, 2)))

    by_hand = np.abs(
        sum((gradient.mean(axis=(1, 2), keepdims=True) * own).sum(axis=-1) for own, gradient in expected)
    )
    found = np.asarray(build_activation_map(network, trained.backbone)(trained.images))
    assert found.dtype == np.float32
    assert (by_hand.max(axis=(1, 2)) > 2 * by_hand.min(axis=(1, 2))).any(), "a flat map would say nothing"
    assert_close(found, by_hand)


def test_openvino_gives_score_features_and_map_in_one_pass(trained):
    kinds = (
        ("probe", "averaged") if trained.backbone.name == QUICK else ("probe",)
    )  # to convert two takes minutes
    for kind in kinds:
        network = trained.network(kind)
        model = with_activation_map(network, trained.backbone)
        assert (model.input.name, model.input.dtype) == ("image", "uint8")
        assert model.input.shape == (None, SIZE, SIZE, 3)
        expected = np.asarray(build_activation_map(network, trained.backbone)(trained.images))
        assert min(expected.shape[1:]) > 1
        alone, whole = Engine.from_keras(network), Engine.from_keras(model)
        found = whole.run(trained.images)
        assert whole.outputs == ("activation_map", "features", "score")
        assert_close(found["activation_map"], expected)
        assert found["activation_map"].shape == expected.shape
        for name, value in alone.run(trained.images).items():
            assert np.array_equal(found[name], value)
        assert convolutions(whole) == convolutions(alone) > 0


def convolutions(engine):
    """How many the compiled network runs for one image."""
    kinds = [
        op.get_rt_info()["layerType"].astype(str) for op in engine._compiled.get_runtime_model().get_ops()
    ]
    return kinds.count("Convolution")


def test_the_classifier_itself_stays_as_it_is(trained):
    before = {name: np.asarray(value) for name, value in trained.averaged(trained.images).items()}
    weights = [weight.copy() for weight in trained.averaged.get_weights()]
    layers = [layer.name for layer in trained.averaged.layers]
    build_activation_map(trained.averaged, trained.backbone)(trained.images)
    assert [layer.name for layer in trained.averaged.layers] == layers
    assert all(map(np.array_equal, weights, trained.averaged.get_weights()))
    for name, value in trained.averaged(trained.images).items():
        assert np.array_equal(np.asarray(value), before[name])


one_network = pytest.mark.parametrize("trained", [QUICK], indirect=True)
"""For what does not hang on the family of networks."""


@one_network
def test_both_answers_count_alike(trained):
    """With the answer turned round, the evidence is where it was; plain Grad-CAM would show the rest."""
    network = trained.probe
    before = np.asarray(build_activation_map(network, trained.backbone)(trained.images))
    rescale_head(network, -1.0, 0.3)
    try:
        after = np.asarray(build_activation_map(network, trained.backbone)(trained.images))
    finally:
        rescale_head(network, -1.0, 0.3)
    assert_close(after, before, 1e-6)


@one_network
def test_a_calibration_scales_the_map_and_the_bias_does_not(trained):
    network = trained.tuned
    before = np.asarray(build_activation_map(network, trained.backbone)(trained.images))
    rescale_head(network, 2.5, 3.0)
    try:
        after = np.asarray(build_activation_map(network, trained.backbone)(trained.images))
    finally:
        rescale_head(network, 1 / 2.5, -3.0 / 2.5)
    assert_close(after, 2.5 * before, 1e-5)


@one_network
def test_an_untrained_head_looks_nowhere(trained):
    model = build_features(trained.backbone, image_size=SIZE, weights="none", seed=0)
    untrained = build_classifier(model, Head.untrained(model.output.shape[-1]))
    found = np.asarray(build_activation_map(untrained, trained.backbone)(trained.images))
    assert np.array_equal(found, np.zeros_like(found))


@one_network
def test_only_the_last_stage_counts(trained):
    """Weights of earlier stages move the score and leave the map."""
    model = build_features(trained.backbone, image_size=SIZE, weights="none", seed=0)
    width, last = model.output.shape[-1], 2 * trained.backbone.feature_width
    weight = np.ones(width)
    weight[-last:] = 0
    head = Head(np.zeros(width), np.ones(width), weight, 0.0)
    earlier = build_classifier(model, head)
    assert not np.asarray(build_activation_map(earlier, trained.backbone)(trained.images)).any()


@one_network
def test_a_maximum_reached_twice_or_nowhere(trained):
    """MobileNet's activations lie between 0 and 6: the last normalisation can bring channels to the ends of that."""
    keras = import_keras()
    network = trained.probe
    norm = network.get_layer("conv_pw_13_bn")
    gamma, beta = np.array(norm.gamma), np.array(norm.beta)
    norm.gamma.assign(20 * gamma)
    norm.beta.assign(np.where(np.arange(beta.size) % 4 == 0, -1000, beta))
    try:
        ((activations, gradient),) = differentiate(network, trained.backbone, trained.images)
        found = np.asarray(build_activation_map(network, trained.backbone)(trained.images))
        image, ((_, weights),) = weigh_channels(network, trained.backbone)
        weighed = np.asarray(keras.Model(image, weights)(trained.images))
    finally:
        norm.gamma.assign(gamma)
        norm.beta.assign(beta)
    top = activations.max(axis=(1, 2), keepdims=True)
    assert (((activations == top) & (top > 0)).sum(axis=(1, 2)) > 1).mean() > 0.3, "reached twice"
    assert (top == 0).mean() == 0.25, "reached nowhere"
    assert_close(weighed, gradient.mean(axis=(1, 2)))
    assert_close(found, np.abs((gradient.mean(axis=(1, 2), keepdims=True) * activations).sum(axis=-1)))


@one_network
def test_a_saved_classifier_gives_the_same_map(trained, tmp_path):
    keras = import_keras()
    for kind in ("probe", "averaged"):
        network = trained.network(kind)
        network.save(tmp_path / f"{kind}.keras")
        loaded = keras.models.load_model(tmp_path / f"{kind}.keras", compile=False, safe_mode=True)
        expected = np.asarray(build_activation_map(network, trained.backbone)(trained.images))
        found = np.asarray(build_activation_map(loaded, trained.backbone)(trained.images))
        np.testing.assert_array_equal(found, expected)
