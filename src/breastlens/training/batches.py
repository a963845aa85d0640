"""Training images in batches: in an order drawn anew each epoch, with class weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.config import TrainingRecipe
from breastlens.models._keras import import_keras
from breastlens.training.views import Shown


def training_batches(
    shown: Shown, labels: NDArray[np.integer], rows: NDArray[np.integer], recipe: TrainingRecipe
) -> Any:
    """Batches of augmented images with class weights, in an order drawn anew each epoch from (seed, epoch).

    Whoever trains tells it which epoch begins: Keras asks for batches of its own before the first one, and whether it
    calls that an epoch depends on what was compiled already.

    Args:
        shown: What the network is shown of an image.
        labels: 0 or 1, of all images.
        rows: Those to learn from.
        recipe: Batch size and seed.
    """
    keras = import_keras()
    weights = rows.size / (2.0 * np.bincount(labels[rows], minlength=2))

    class TrainingBatches(keras.utils.PyDataset):  # type: ignore[misc, name-defined]
        """Keras asks for batch after batch."""

        def __init__(self) -> None:
            super().__init__(workers=1)
            self.begin_epoch(0)

        def begin_epoch(self, epoch: int) -> None:
            self._epoch = epoch
            self._order = rows[np.random.default_rng([recipe.seed, epoch]).permutation(rows.size)]

        def __len__(self) -> int:
            return math.ceil(rows.size / recipe.batch_size)

        def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.float32]]:
            chosen = self._order[index * recipe.batch_size : (index + 1) * recipe.batch_size]
            learnt = labels[chosen]
            return (
                shown.augmented(chosen, self._epoch),
                learnt[:, None].astype(np.float32),
                weights[learnt].astype(np.float32),
            )

    return TrainingBatches()
