from __future__ import annotations

import random

import numpy as np
import pytest
from scipy.special import logit

from breastlens.errors import DataError
from breastlens.models._keras import import_keras
from breastlens.models.backbones import get_backbone
from breastlens.models.classifier import average_classifiers, build_classifier, build_features, set_trainable
from breastlens.models.engine import Engine
from breastlens.models.head import Head
from breastlens.models.weight_files import layer_arrays

BACKBONE = get_backbone("mobilenet:0.25")
SIZE = 32


def features_model(seed=0):
    return build_features(BACKBONE, image_size=SIZE, weights="none", seed=seed)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).integers(0, 256, (6, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture
def classifier(images):
    keras = import_keras()
    model = features_model()
    # with batch normalisation as Keras initialises it, the signal of a random network dies on its way up
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)
    width = model.output.shape[-1]
    source = np.random.default_rng(4)
    head = Head(
        mean=source.normal(0, 1, width),
        scale=source.uniform(0.1, 2, width),
        weight=source.normal(0, 1, width) / np.sqrt(width),
        bias=-0.3,
    )
    return build_classifier(model, head), head


def test_features_are_named_typed_and_as_wide_as_the_stages():
    model = features_model()
    assert model.output_names == ["features"]
    assert (model.input.name, model.input.dtype, model.input.shape) == (
        "image",
        "uint8",
        (None, SIZE, SIZE, 3),
    )
    channels = [model.get_layer(stage).output.shape[-1] for stage in BACKBONE.probe_stages]
    assert model.output.shape == (None, 2 * sum(channels))


def test_random_weights_come_from_the_seed_alone():
    first = layer_arrays(features_model(seed=1))
    random.seed(99)
    again = layer_arrays(features_model(seed=1))
    other = layer_arrays(features_model(seed=2))
    kernels = [name for name in first if first[name][0].ndim == 4]
    assert all(np.array_equal(first[name][0], again[name][0]) for name in kernels)
    assert not any(np.array_equal(first[name][0], other[name][0]) for name in kernels)
    assert len({first[name][0].flat[0] for name in kernels}) == len(kernels)


def test_global_generators_are_left_alone():
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002 - it is the global generator that must not move
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    features_model(seed=3)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002


def test_score_is_the_heads_formula(classifier, images):
    model, head = classifier
    out = {name: np.asarray(value) for name, value in model(images).items()}
    expected = 1 / (1 + np.exp(-head.logits(out["features"])))
    assert out["score"].shape == (6, 1)
    np.testing.assert_allclose(out["score"][:, 0], expected, rtol=1e-5)


def test_an_average_has_the_mean_log_odds_and_the_features_that_training_did_not_shape(
    classifier, images, tmp_path
):
    first, _ = classifier
    plain = features_model(seed=7)
    second = build_classifier(plain, Head.untrained(plain.output.shape[-1]))
    second.get_layer("score").set_weights(
        [np.full((plain.output.shape[-1], 1), 0.01, np.float32), np.array([0.7], np.float32)]
    )
    both = average_classifiers(first, second)
    out = {name: np.asarray(value) for name, value in both(images).items()}
    logits = [logit(np.asarray(one(images)["score"], np.float64)) for one in (first, second)]
    assert np.ptp(logits[0] - logits[1]) > 0.01, "the two must differ for this to say anything"
    np.testing.assert_allclose(logit(out["score"].astype(np.float64)), np.mean(logits, axis=0), atol=1e-5)
    np.testing.assert_array_equal(out["features"], np.asarray(second(images)["features"]))
    both.save(tmp_path / "both.keras")
    again = import_keras().saving.load_model(tmp_path / "both.keras")
    np.testing.assert_array_equal(np.asarray(again(images)["score"]), out["score"])
    np.testing.assert_allclose(Engine.from_keras(both).run(images)["score"], out["score"], atol=1e-4)


def test_a_head_for_other_features_is_refused():
    model = features_model()
    with pytest.raises(
        ValueError, match=f"the head is for 7 features, the network gives {model.output.shape[-1]}"
    ):
        build_classifier(model, Head.untrained(7))


@pytest.mark.parametrize("stages", [-1, 6])
def test_more_stages_than_there_are_is_refused(classifier, stages):
    with pytest.raises(
        DataError, match=f"mobilenet:0.25 has 5 stages, cannot train the top {stages} of them"
    ):
        set_trainable(classifier[0], BACKBONE, stages)


@pytest.mark.parametrize("stages", range(6))
def test_each_further_stage_adds_its_layers(classifier, stages):
    model, _ = classifier
    set_trainable(model, BACKBONE, stages)
    first_block = (14, 12, 6, 4, 2, 0)[stages]
    convolutions = {
        f"conv_{kind}_{block}" for block in range(max(first_block, 1), 14) for kind in ("dw", "pw")
    }
    if stages == 5:
        convolutions.add("conv1")
    assert {layer.name for layer in model.layers if layer.trainable_weights} == {*convolutions, "score"}


@pytest.mark.parametrize("stages", [0, 2])
def test_fit_moves_what_learns_and_nothing_else(classifier, images, stages):
    keras = import_keras()
    model, _ = classifier
    set_trainable(model, BACKBONE, stages)
    learning = {layer.name for layer in model.layers if layer.trainable_weights}
    before = layer_arrays(model)
    trained = keras.Model(model.input, model.output["score"])
    trained.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    trained.fit(images, np.array([0, 1, 0, 1, 1, 0]), epochs=1, verbose=0)
    moved = {
        name for name, now in layer_arrays(model).items() if not all(map(np.array_equal, now, before[name]))
    }
    assert moved == learning


def test_trainable_flags_can_be_set_again(classifier):
    model, _ = classifier
    set_trainable(model, BACKBONE, 5, batch_norm_learns=True)
    assert all(layer.trainable for layer in model.layers)
    set_trainable(model, BACKBONE, 0)
    assert [layer.name for layer in model.layers if layer.trainable_weights] == ["score"]
