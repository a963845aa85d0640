"""A model with all that a training can put into its graph: members, views, sides, bends and 8-bit integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from breastlens.config import ImageRecipe
from breastlens.evaluation.calibration import fit_calibration
from breastlens.export.formats import FORMATS
from breastlens.export.model import export_model
from breastlens.models._keras import import_keras
from breastlens.models.backbones import get_backbone
from breastlens.models.bundle import Bundle, save_bundle
from breastlens.models.classifier import build_classifier, build_features
from breastlens.models.engine import convert
from breastlens.models.head import Head, calibrate_head, compress
from breastlens.models.joint_features import join_features
from breastlens.models.quantise import can_quantise, quantise
from breastlens.models.views import VIEWS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def combined(card: Any, squares: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Two networks, ten views, left against right, a bent calibration; in int8 where that can be made."""
    pytest.importorskip("keras")
    members = [
        build_features(
            get_backbone("mobilenet:0.25"), image_size=32, weights="none", seed=seed, pooling="sides"
        )
        for seed in (0, 1)
    ]
    for member in members:
        settle(member, squares)
    features = join_features(members, VIEWS["flip-shift"])
    compressed = compress(np.asarray(features(squares)))
    spread = compressed.std(axis=0)
    direction = np.random.default_rng(1).normal(0, 1, spread.size) / np.sqrt(spread.size)
    head = Head(compressed.mean(axis=0), np.where(spread > 1e-3, spread, 1), direction, 0.0)
    raw = head.logits(np.asarray(features(squares)))
    noisy = raw + np.random.default_rng(2).normal(0, raw.std(), raw.size)
    bent = fit_calibration("isotonic", raw, (noisy > np.median(noisy)).astype(int))
    assert bent.knots
    network = calibrate_head(build_classifier(features, head), bent)
    graph = convert(network)
    told = {"image": ImageRecipe(image_size=32, crop="body"), "calibration": bent}
    if can_quantise():
        graph, told = quantise(graph, squares), told | {"precision": "int8"}
    return save_bundle(
        tmp_path_factory.mktemp("combined") / "model", network, graph, card.model_copy(update=told)
    )


def settle(model, squares):
    """Give batch normalisation statistics of these images: without, a random network hardly tells them apart."""
    layers = [layer for layer in model.layers if isinstance(layer, import_keras().layers.BatchNormalization)]
    for layer in layers:
        layer.beta.assign(np.ones(layer.beta.shape))
        layer.momentum = 0.0
    model(squares, training=True)


@pytest.mark.parametrize("name", FORMATS)
def test_it_is_exported_whole(name, combined, tmp_path):
    told = export_model(combined.directory, name, out=tmp_path / "out").facts
    check = told["check"]
    assert check["source"].startswith("32 simulated thermograms and 32 squares of noise")
    assert check["largest_difference"] <= 1e-4
    quantised = combined.card.precision == "int8"
    assert told["precision"] == ("int8" if quantised and name == "openvino" else "fp32")
    if quantised and name != "openvino":
        assert check["held_to"] == "the network in 32 bits that the bundle's int8 was made of"
        assert check["largest_difference_from_bundle_in_use"] > check["largest_difference"]
    else:
        assert check["held_to"] == "the bundle"
    assert told["preprocessing"]["more_than_resizing"] == ["cropping to the body"]
