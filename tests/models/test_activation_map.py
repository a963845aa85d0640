"""The map of what makes the log-odds: exact sums on every family of networks, each place's part by two other ways."""

from __future__ import annotations

import gc
import itertools
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.special import logit

from breastlens.models._keras import import_keras
from breastlens.models.activation_map import build_activation_map, enlarge, with_activation_map
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


def open_up(network, backbone, images):
    """Of each classifier in a network, float64: activations by stage, and log-odds for each unit of compressed feature.

    Also the log-odds of the whole, and the constant that they have where no channel is active.
    """
    keras = import_keras()
    parts = [layer for layer in network.layers if layer.name in ("finetuned", "probe")] or [network]
    parts.sort(key=lambda part: part.name != "finetuned")
    kernel, bias = (np.asarray(one, np.float64) for one in network.get_layer("score").get_weights())
    log_odds, constant, opened = bias[0], bias[0], []
    for part, own in zip(parts, np.split(kernel[:, 0], len(parts)), strict=True):
        ends = [part.get_layer(stage).output for stage in backbone.probe_stages]
        *stages, features = keras.Model(part.input, [*ends, part.get_layer("features").output])(
            images, training=False
        )
        standardised = part.get_layer("standardised")
        gains = own * np.asarray(standardised.scale)
        log_odds = log_odds + compress(np.asarray(features)) @ gains + own @ np.asarray(standardised.offset)
        constant = constant + own @ np.asarray(standardised.offset)
        opened.append(([np.asarray(stage, np.float64) for stage in stages], gains))
    score = np.asarray(network(images, training=False)["score"], np.float64)[:, 0]
    np.testing.assert_allclose(log_odds, logit(score), rtol=1e-3, atol=1e-3)
    return opened, log_odds, constant


def map_of(network, backbone, images):
    found = build_activation_map(network, backbone)(images)
    return np.asarray(found["activation_map"]), np.asarray(found["activation_constant"])


def assert_close(found, expected, tolerance=1e-4):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("kind", ["probe", "tuned", "averaged"])
def test_all_places_and_the_constant_add_up_to_the_log_odds(trained, kind):
    network = trained.network(kind)
    _, log_odds, constant = open_up(network, trained.backbone, trained.images)
    shown, told = map_of(network, trained.backbone, trained.images)
    assert shown.dtype == told.dtype == np.float32
    assert shown.shape[:2] == (len(trained.images), len(trained.backbone.probe_stages))
    assert told.shape == (len(trained.images), 1)
    np.testing.assert_allclose(told[:, 0], constant, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(shown.sum(axis=(1, 2, 3)) + told[:, 0], log_odds, rtol=0, atol=1e-4)
    assert np.ptp(log_odds) > 0.05, "images that are all alike would prove little"
    assert (shown < 0).any(axis=(1, 2, 3)).all()
    assert (shown > 0).any(axis=(1, 2, 3)).all()


def test_openvino_gives_score_features_and_map_in_one_pass(trained):
    kinds = (
        ("probe", "averaged") if trained.backbone.name == QUICK else ("probe",)
    )  # to convert two takes minutes
    for kind in kinds:
        network = trained.network(kind)
        model = with_activation_map(network, trained.backbone)
        assert (model.input.name, model.input.dtype) == ("image", "uint8")
        assert model.input.shape == (None, SIZE, SIZE, 3)
        expected, constant = map_of(network, trained.backbone, trained.images)
        alone, whole = Engine.from_keras(network), Engine.from_keras(model)
        found = whole.run(trained.images)
        assert whole.outputs == ("activation_constant", "activation_map", "features", "score")
        assert_close(found["activation_map"], expected, 1e-3)
        np.testing.assert_allclose(found["activation_constant"], constant, rtol=1e-6)
        explained = found["activation_map"].sum(axis=(1, 2, 3)) + found["activation_constant"][:, 0]
        score = found["score"][:, 0].astype(np.float64)
        np.testing.assert_allclose(explained, logit(score), rtol=0, atol=1e-4)
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
    map_of(trained.averaged, trained.backbone, trained.images)
    assert [layer.name for layer in trained.averaged.layers] == layers
    assert all(map(np.array_equal, weights, trained.averaged.get_weights()))
    for name, value in trained.averaged(trained.images).items():
        assert np.array_equal(np.asarray(value), before[name])


one_network = pytest.mark.parametrize("trained", [QUICK], indirect=True)
"""For what does not hang on the family of networks."""


def integrate_gradients(activations, by_average, by_maximum):
    """By TensorFlow: integrated gradients of a stage's terms from activations of zero, added up over channels."""
    import tensorflow as tf

    whole, offset = tf.constant(activations), 1e-4
    total = np.zeros_like(activations)
    # the slope of the root is steep near zero: equal steps in the fourth root of the way
    ends = np.linspace(0, 1, 257) ** 4
    for low, high in itertools.pairwise(ends):
        at = tf.constant((low + high) / 2 * activations)
        with tf.GradientTape() as tape:
            tape.watch(at)
            pooled = tf.reduce_mean(at, axis=(1, 2)), tf.reduce_max(at, axis=(1, 2))
            roots = [tf.sign(one) * (tf.sqrt(tf.abs(one) + offset) - offset**0.5) for one in pooled]
            terms = tf.reduce_sum(roots[0] * by_average + roots[1] * by_maximum)
        total += (high - low) * tape.gradient(terms, at).numpy()
    return (whole.numpy() * total).sum(axis=-1)


@one_network
def test_each_place_gets_the_integrated_gradient_of_its_stage(trained):
    network = trained.averaged
    opened, _, _ = open_up(network, trained.backbone, trained.images)
    shown, _ = map_of(network, trained.backbone, trained.images)
    _, _, height, width = shown.shape
    for number in range(len(trained.backbone.probe_stages)):
        expected = 0.0
        for stages, gains in opened:
            widths = [2 * stage.shape[-1] for stage in stages]
            by_average, by_maximum = np.split(np.split(gains, np.cumsum(widths)[:-1])[number], 2)
            expected = expected + integrate_gradients(stages[number], by_average, by_maximum)
        assert_close(shown[:, number], enlarge(expected, height, width), 2e-3)


@one_network
def test_a_calibration_scales_map_and_constant_and_an_offset_joins_the_constant(trained):
    network = trained.tuned
    before, constant = map_of(network, trained.backbone, trained.images)
    for slope, offset in ((2.5, 3.0), (-1.0, 0.3)):
        rescale_head(network, slope, offset)
        try:
            after, told = map_of(network, trained.backbone, trained.images)
        finally:
            rescale_head(network, 1 / slope, -offset / slope)
        assert_close(after, slope * before, 1e-5)
        np.testing.assert_allclose(told, slope * constant + offset, rtol=1e-5)


@one_network
def test_an_untrained_head_is_influenced_by_nothing(trained):
    model = build_features(trained.backbone, image_size=SIZE, weights="none", seed=0)
    untrained = build_classifier(model, Head.untrained(model.output.shape[-1]))
    found, constant = map_of(untrained, trained.backbone, trained.images)
    assert not found.any()
    assert not constant.any()


@one_network
def test_each_stage_shows_its_own_features_only(trained):
    model = build_features(trained.backbone, image_size=SIZE, weights="none", seed=0)
    width, last = model.output.shape[-1], 2 * trained.backbone.feature_width
    weight = np.zeros(width)
    weight[-last:] = 1
    network = build_classifier(model, Head(np.zeros(width), np.ones(width), weight, 0.0))
    found, _ = map_of(network, trained.backbone, trained.images)
    assert not found[:, :-1].any()
    assert found[:, -1].all(axis=(1, 2)).all()


@one_network
def test_a_maximum_reached_twice_or_nowhere(trained):
    """MobileNet's activations lie between 0 and 6: the last normalisation can bring channels to the ends of that."""
    network = trained.probe
    norm = network.get_layer("conv_pw_13_bn")
    gamma, beta = np.array(norm.gamma), np.array(norm.beta)
    norm.gamma.assign(20 * gamma)
    norm.beta.assign(np.where(np.arange(beta.size) % 4 == 0, -1000, beta))
    try:
        (((*_, activations), gains),), log_odds, constant = open_up(network, trained.backbone, trained.images)
        shown, _ = map_of(network, trained.backbone, trained.images)
    finally:
        norm.gamma.assign(gamma)
        norm.beta.assign(beta)
    top = activations.max(axis=(1, 2), keepdims=True)
    assert (((activations == top) & (top > 0)).sum(axis=(1, 2)) > 1).mean() > 0.3, "reached twice"
    assert (top == 0).mean() == 0.25, "reached nowhere"
    np.testing.assert_allclose(shown.sum(axis=(1, 2, 3)) + constant, log_odds, rtol=0, atol=1e-4)

    by_average, by_maximum = gains[-2 * top.shape[-1] : -top.shape[-1]], gains[-top.shape[-1] :]
    total = activations.sum(axis=(1, 2), keepdims=True)
    share = np.divide(activations, total, out=np.zeros_like(activations), where=total > 0)
    reached = activations == top
    by_hand = share * by_average * compress(activations.mean(axis=(1, 2), keepdims=True))
    by_hand += reached / reached.sum(axis=(1, 2), keepdims=True) * by_maximum * compress(top)
    _, _, height, width = shown.shape
    assert_close(shown[:, -1], enlarge(by_hand.sum(axis=-1), height, width))


@one_network
def test_a_saved_classifier_gives_the_same_map(trained, tmp_path):
    keras = import_keras()
    for kind in ("probe", "averaged"):
        network = trained.network(kind)
        network.save(tmp_path / f"{kind}.keras")
        loaded = keras.models.load_model(tmp_path / f"{kind}.keras", compile=False, safe_mode=True)
        expected, constant = map_of(network, trained.backbone, trained.images)
        found, told = map_of(loaded, trained.backbone, trained.images)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(told, constant)


def test_a_map_is_enlarged_as_opencv_does_and_keeps_its_sum():
    maps = np.random.default_rng(0).normal(size=(3, 4, 5))
    found = enlarge(maps, 32, 40)
    expected = [cv2.resize(one, (40, 32), interpolation=cv2.INTER_LINEAR) / 64 for one in maps]
    np.testing.assert_allclose(found, expected, atol=1e-7)
    uneven = enlarge(maps, 11, 13)
    np.testing.assert_allclose(uneven.sum(axis=(1, 2)), maps.sum(axis=(1, 2)), atol=1e-6)
    np.testing.assert_allclose(
        np.asarray(enlarge(import_keras().ops.convert_to_tensor(maps, "float32"), 11, 13)), uneven, atol=1e-6
    )
    assert np.array_equal(enlarge(maps, 4, 5), maps)
    with pytest.raises(ValueError, match="5 places cannot be enlarged to 4"):
        enlarge(maps, 4, 4)
