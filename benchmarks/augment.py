"""Images a second: breastlens's augmentation beside Keras's ImageDataGenerator, same recipe, same images, one run.

Run as ``python benchmarks/augment.py``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.config import Augmentation
from breastlens.imaging.augment import augment
from side_by_side import options, report, seconds, spread, take_turns

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

    def fill() -> None:
        for index in range(IMAGES):
            batch[index] = augmented(index)

    return IMAGES / seconds(fill)


def keras_image(generator: Any, images: NDArray[np.float32], index: int) -> NDArray[np.float32]:
    """Gives one image as Keras augments it."""
    return np.asarray(generator.random_transform(images[index]))


def our_image(recipe: Augmentation, images: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
    """Gives one image as breastlens augments it."""
    return augment(images[index], recipe, seed=0, epoch=0, record=index)


def main() -> None:
    """Prints one table over all recipes and sizes."""
    arguments = options(__doc__, repeats=7).parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    warnings.filterwarnings("ignore", "Please import `affine_transform`", DeprecationWarning)
    rows: list[list[str]] = []
    figures: list[dict[str, Any]] = []
    for side in (128, 224):
        pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, side, side, 3), dtype=np.uint8)
        floats = pixels.astype(np.float32)
        for name, recipe in RECIPES.items():
            by_keras = partial(keras_image, ImageDataGenerator(**recipe.model_dump()), floats)
            by_us = partial(our_image, recipe, pixels)
            taken = take_turns(
                {
                    "Keras": partial(images_a_second, by_keras, np.empty_like(floats)),
                    "breastlens": partial(images_a_second, by_us, np.empty_like(pixels)),
                },
                arguments.repeats,
            )
            theirs, ours = spread(taken["Keras"]), spread(taken["breastlens"])
            faster = ours.median / theirs.median
            rows.append([name, str(side), theirs.written(0), ours.written(0), f"{faster:.1f}"])
            figures.append(
                {"recipe": name, "side_px": side, "keras": theirs, "breastlens": ours, "faster": faster}
            )
    report(
        "augment",
        f"Augmented images a second, median (range) of {arguments.repeats}",
        ("recipe", "side", "Keras", "breastlens", "faster"),
        rows,
        arguments.out,
        arguments=vars(arguments),
        figures=figures,
    )


if __name__ == "__main__":
    main()
