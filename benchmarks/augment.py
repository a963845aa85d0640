"""Images a second: breastlens's augmentation beside Keras's ImageDataGenerator, same recipe, same images, one run.

Run as ``python benchmarks/augment.py``.
"""

from __future__ import annotations

import os
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.config import Augmentation
from breastlens.imaging.augment import augment

ROUNDS = 7
IMAGES = 200
RECIPES = {
    "rotation": Augmentation(rotation_range=15),
    "flip": Augmentation(horizontal_flip=True),
    "geometry": Augmentation(
        rotation_range=15,
        width_shift_range=0.1,
        height_shift_range=0.1,
        shear_range=5,
        zoom_range=0.1,
        horizontal_flip=True,
    ),
    "everything": Augmentation(
        rotation_range=15,
        width_shift_range=0.1,
        height_shift_range=0.1,
        shear_range=5,
        zoom_range=0.1,
        channel_shift_range=10,
        brightness_range=(0.9, 1.1),
        horizontal_flip=True,
    ),
}


def images_a_second(augmented: Callable[[int], NDArray[Any]], batch: NDArray[Any]) -> float:
    """Times one pass over all images, each written into a batch as a training loop does."""
    started = time.perf_counter()
    for index in range(IMAGES):
        batch[index] = augmented(index)
    return IMAGES / (time.perf_counter() - started)


def keras_image(generator: Any, images: NDArray[np.float32], index: int) -> NDArray[np.float32]:
    """Gives one image as Keras augments it."""
    return generator.random_transform(images[index])


def our_image(recipe: Augmentation, images: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
    """Gives one image as breastlens augments it."""
    return augment(images[index], recipe, seed=0, epoch=0, record=index)


def main() -> None:
    """Prints one table: medians over rounds in which both sides take turns."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    warnings.filterwarnings("ignore", "Please import `affine_transform`", DeprecationWarning)
    print(f"{'recipe':<12} {'side':>5} {'Keras img/s':>12} {'breastlens img/s':>17} {'ratio':>7}")
    for side in (128, 224):
        pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, side, side, 3), dtype=np.uint8)
        floats = pixels.astype(np.float32)
        for name, recipe in RECIPES.items():
            keras_side, our_side = [], []
            generator = ImageDataGenerator(**recipe.model_dump())
            by_keras = partial(keras_image, generator, floats)
            by_us = partial(our_image, recipe, pixels)
            for _ in range(ROUNDS):
                keras_side.append(images_a_second(by_keras, np.empty_like(floats)))
                our_side.append(images_a_second(by_us, np.empty_like(pixels)))
            theirs, ours = statistics.median(keras_side), statistics.median(our_side)
            print(f"{name:<12} {side:>5} {theirs:>12.0f} {ours:>17.0f} {ours / theirs:>6.1f}x")


if __name__ == "__main__":
    main()
