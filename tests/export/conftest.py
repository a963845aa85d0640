"""A small saved model with the parts of a real one: scaling, convolutions, the head, and more outputs than a score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from breastlens.config import ImageRecipe, LabelMap
from breastlens.models.bundle import Bundle, BundleCard, save_bundle
from breastlens.models.engine import convert

SIDE = 32
_CARD = BundleCard(
    created="2026-01-02T03:04:05+00:00",
    backbone="mobilenet:0.25",
    image=ImageRecipe(image_size=SIDE),
    labels=LabelMap(positive=("sick",), negative=("healthy", "benign")),
    categories=("benign", "healthy", "sick", "unsure"),
    threshold=0.375,
    threshold_rule="largest balanced accuracy, chosen on validation",
    data_fingerprint="ab" * 32,
    versions={"breastlens": "0.1.0"},
)


@pytest.fixture(scope="session")
def card() -> BundleCard:
    """What is said of that model."""
    return _CARD


@pytest.fixture(scope="session")
def network() -> Any:
    """A Keras classifier whose scores spread."""
    keras = pytest.importorskip("keras")
    layers = keras.layers
    keras.utils.set_random_seed(1)
    image = keras.Input((SIDE, SIDE, 3), dtype="uint8", name="image")
    scaled = keras.ops.flip(keras.ops.cast(image, "float32"), axis=-1) / 127.5 - 1.0
    seen = layers.Conv2D(16, 3, strides=2, activation="relu", bias_initializer="uniform")(scaled)
    seen = layers.DepthwiseConv2D(3, activation="relu6", bias_initializer="uniform")(seen)
    pooled = [layers.GlobalAveragePooling2D()(seen), layers.GlobalMaxPooling2D()(seen)]
    features = layers.Concatenate(name="features")(pooled)
    dense = layers.Dense(1, activation="sigmoid", name="score", kernel_initializer="random_normal")
    model = keras.Model(image, {"score": dense(features), "features": features})
    kernel, bias = dense.get_weights()
    dense.set_weights([20 * kernel, bias])
    return model


@pytest.fixture(scope="session")
def squares() -> np.ndarray:
    """Twenty squares of noise, from dark to bright."""
    random = np.random.default_rng(2)
    levels = np.linspace(20, 235, 20)[:, None, None, None]
    return np.clip(random.normal(levels, 40, (20, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def bundle(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """That network as a bundle; to be read only."""
    return save_bundle(tmp_path_factory.mktemp("small") / "model", network, convert(network), _CARD)
