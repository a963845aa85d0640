"""A network small enough to be fine-tuned in a second, with everything that larger ones have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from breastlens.config import Augmentation, TrainingRecipe
from breastlens.models.backbones import Backbone

SIDE = 16
STAGES = ("stage1_out", "stage2_out", "stage3_out")


@pytest.fixture(scope="session")
def tiny_backbone() -> Backbone:
    """Three stages of convolution, batch normalisation and ReLU; the last two give features."""
    return Backbone(
        name="tiny",
        title="Tiny",
        keras_name="Tiny",
        keras_module="tiny",
        scaling="tf",
        alpha=None,
        stages=STAGES,
        probe_stages=STAGES[1:],
        feature_width=6,
        weights_licence="none",
        weights_origin="random",
        paper="none",
    )


@pytest.fixture(scope="session")
def build_tiny() -> Callable[[], Any]:
    """Builds its features model, with the same random weights each time."""
    keras = pytest.importorskip("keras")

    def build() -> Any:
        image = keras.Input((SIDE, SIDE, 3), dtype="uint8", name="image")
        signal = keras.ops.cast(image, "float32") / 127.5 - 1.0
        pooled = []
        for number, name in enumerate(STAGES):
            start = keras.initializers.GlorotUniform(seed=number)
            signal = keras.layers.Conv2D(6, 3, strides=2, kernel_initializer=start, name=f"conv{number}")(
                signal
            )
            signal = keras.layers.BatchNormalization(name=f"norm{number}")(signal)
            signal = keras.layers.ReLU(name=name)(signal)
            if name != STAGES[0]:
                pooled.append(keras.layers.GlobalAveragePooling2D()(signal))
                pooled.append(keras.layers.GlobalMaxPooling2D()(signal))
        return keras.Model(image, keras.layers.Concatenate(name="features")(pooled), name="Tiny_features")

    return build


@pytest.fixture(scope="session")
def pictures() -> tuple[np.ndarray, np.ndarray]:
    """120 noisy images (120, 16, 16, 3), of which every third is positive and a little brighter in the middle."""
    generator = np.random.default_rng(4)
    labels = (np.arange(120) % 3 == 0).astype(np.int64)
    pixels = generator.normal(110, 40, (120, SIDE, SIDE, 3))
    pixels[:, 5:11, 5:11] += 14.0 * labels[:, None, None, None]
    return np.clip(pixels, 0, 255).astype(np.uint8), labels


@pytest.fixture(scope="session")
def recipe() -> Callable[..., TrainingRecipe]:
    """A recipe without augmentation, a few epochs long unless told otherwise."""

    def make(**changes: Any) -> TrainingRecipe:
        still: dict[str, Any] = {
            "augmentation": Augmentation(),
            "epochs": 3,
            "batch_size": 16,
            "strategy": "finetune",
            "training_precision": "float32",
        }
        return TrainingRecipe(**still | changes)

    return make
