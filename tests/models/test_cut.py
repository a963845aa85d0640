"""A network in two parts is the whole network, and its lower part runs once for an image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from breastlens.models._keras import import_keras
from breastlens.models.backbones import Backbone, get_backbone
from breastlens.models.classifier import build_classifier, build_features, set_trainable
from breastlens.models.cut import FrozenPart, build_lower, build_upper
from breastlens.models.engine import Engine
from breastlens.models.feature_cache import FeatureCache
from breastlens.models.head import Head

SIZE = 32
IMAGES = np.random.default_rng(1).integers(0, 256, (6, SIZE, SIZE, 3), dtype=np.uint8)


def build(backbone: Backbone) -> Any:
    """A features model whose signal does not die on its way up, as it would with Keras's own batch normalisation."""
    keras = import_keras()
    model = build_features(backbone, image_size=SIZE, weights="none", seed=0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(IMAGES, training=True)
    return model


def classifier_of(model: Any) -> Any:
    width = model.output.shape[-1]
    source = np.random.default_rng(4)
    return build_classifier(
        model, Head(np.zeros(width), np.ones(width), source.normal(0, 3, width) / np.sqrt(width), 0.1)
    )


@pytest.fixture(scope="module")
def mobilenet() -> tuple[Backbone, Any]:
    backbone = get_backbone("mobilenet:0.25")
    return backbone, classifier_of(build(backbone))


@pytest.mark.parametrize("index", range(5))
def test_the_two_parts_are_the_whole_wherever_it_is_cut(mobilenet: tuple[Backbone, Any], index: int) -> None:
    backbone, classifier = mobilenet
    stage = backbone.stages[index]
    row = np.asarray(build_lower(classifier, backbone, stage)(IMAGES))
    height, width, channels = classifier.get_layer(stage).output.shape[1:]
    pooled = sum(
        2 * classifier.get_layer(name).output.shape[-1]
        for name in backbone.probe_stages
        if name in backbone.stages[:index]
    )
    assert row.shape == (6, height * width * channels + pooled)
    scores = np.asarray(build_upper(classifier, backbone, stage)(row))
    whole = np.asarray(classifier(IMAGES)["score"])
    assert np.ptp(whole) > 0.01, "images must differ for this to say anything"
    np.testing.assert_allclose(scores, whole, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["mobilenetv2:0.35", "mobilenetv3small", "resnet50v2", "densenet121", "vgg16"]
)
def test_so_it_is_where_branches_and_blocks_meet(name: str) -> None:
    backbone = get_backbone(name)
    classifier = classifier_of(build(backbone))
    whole = np.asarray(classifier(IMAGES)["score"])
    for stage in backbone.stages:
        row = build_lower(classifier, backbone, stage)(IMAGES)
        scores = np.asarray(build_upper(classifier, backbone, stage)(row))
        np.testing.assert_allclose(scores, whole, atol=1e-5, err_msg=stage)


def test_what_the_layers_above_never_see_is_not_kept() -> None:
    backbone = get_backbone("vgg16")
    classifier = classifier_of(build(backbone))
    row = build_lower(classifier, backbone, "block3_conv3").output
    assert row.shape[-1] == 4 * 4 * 256 + 2 * 256, "the maxima of 8 by 8, and the features of the stage"


def test_what_the_upper_part_learns_the_whole_has_learnt(mobilenet: tuple[Backbone, Any]) -> None:
    keras = import_keras()
    backbone = mobilenet[0]
    classifier = classifier_of(build(backbone))
    set_trainable(classifier, backbone, 1)
    stage = backbone.stages[-2]
    row = np.asarray(build_lower(classifier, backbone, stage)(IMAGES))
    upper = build_upper(classifier, backbone, stage)
    before = np.asarray(classifier(IMAGES)["score"])
    upper.compile(keras.optimizers.SGD(0.05), "binary_crossentropy")
    upper.fit(row, np.array([0, 1, 0, 1, 1, 0]), epochs=2, verbose=0)
    after = np.asarray(classifier(IMAGES)["score"])
    assert np.abs(after - before).max() > 0.01
    np.testing.assert_allclose(np.asarray(upper(row)), after, atol=1e-6)


def test_rows_are_computed_once_and_found_by_another_process(
    mobilenet: tuple[Backbone, Any], tmp_path: Path
) -> None:
    backbone, classifier = mobilenet
    stage = backbone.stages[2]

    def part(build_model: Any, stage: str = stage) -> FrozenPart:
        cache = FeatureCache(tmp_path)
        return FrozenPart(build_model, backbone, stage, identity="mobilenet", cache=cache)

    def batches() -> Iterator[np.ndarray]:
        yield IMAGES[:4]
        yield IMAGES[4:]

    def never() -> Any:
        raise AssertionError("it was built though everything was known")

    first = part(lambda: classifier)
    rows = np.stack(first.rows(batches()))
    expected = Engine.from_keras(build_lower(classifier, backbone, stage)).run(IMAGES)["row"]
    np.testing.assert_array_equal(rows, expected)
    assert rows.nbytes == 6 * first.row_bytes
    np.testing.assert_array_equal(np.stack(part(never).rows(batches())), rows)
    with pytest.raises(AssertionError, match="it was built"):
        part(never, backbone.stages[1]).rows(batches())


def test_rows_may_lie_in_another_cache(mobilenet: tuple[Backbone, Any], tmp_path: Path) -> None:
    backbone, classifier = mobilenet
    usual = FrozenPart(
        lambda: classifier,
        backbone,
        backbone.stages[3],
        identity="mobilenet",
        cache=FeatureCache(tmp_path / "usual", limit_bytes=0),
    )
    other = FeatureCache(tmp_path / "other")
    rows = usual.rows([IMAGES], cache=other)
    np.testing.assert_array_equal(np.stack(rows), np.stack(usual.rows([IMAGES])))
    assert not (tmp_path / "usual").exists()
    assert other.use().rows == 6
