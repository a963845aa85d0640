"""Training images in batches: augmented anew each epoch, with class weights, in an order of their own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.config import Augmentation, TrainingRecipe
from breastlens.imaging.augment import augment
from breastlens.models._keras import import_keras


def augmented_batches(
    pixels: NDArray[np.uint8],
    labels: NDArray[np.integer],
    records: NDArray[np.integer],
    recipe: TrainingRecipe,
) -> Any:
    """Batches of augmented images with class weights, in an order drawn anew each epoch from (seed, epoch)."""
    keras = import_keras()
    weights = labels.size / (2.0 * np.bincount(labels, minlength=2))

    class AugmentedBatches(keras.utils.PyDataset):  # type: ignore[misc, name-defined]
        """Keras asks for batch after batch; the epoch is counted here."""

        def __init__(self) -> None:
            super().__init__(workers=1)
            self._epoch = 0
            self._order = self._shuffled()

        def __len__(self) -> int:
            return math.ceil(labels.size / recipe.batch_size)

        def __getitem__(
            self, index: int
        ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
            chosen = self._order[index * recipe.batch_size : (index + 1) * recipe.batch_size]
            images = _augment_all(
                pixels[chosen], records[chosen], recipe.augmentation, recipe.seed, self._epoch
            )
            return images, labels[chosen, None].astype(np.float32), weights[labels[chosen]].astype(np.float32)

        def on_epoch_end(self) -> None:
            self._epoch += 1
            self._order = self._shuffled()

        def _shuffled(self) -> NDArray[np.intp]:
            return np.random.default_rng([recipe.seed, self._epoch]).permutation(labels.size)

    return AugmentedBatches()


def _augment_all(
    pixels: NDArray[np.uint8], records: NDArray[np.integer], augmentation: Augmentation, seed: int, epoch: int
) -> NDArray[np.uint8]:
    return np.stack(
        [
            augment(image, augmentation, seed=seed, epoch=epoch, record=int(record))
            for image, record in zip(pixels, records, strict=True)
        ]
    )
