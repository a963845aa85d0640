"""Training of the network itself with Keras: from the probe upwards, or from random weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.config import Augmentation, TrainingRecipe
from breastlens.errors import DataError
from breastlens.evaluation.calibration import fit_platt
from breastlens.evaluation.metrics import auc
from breastlens.imaging.augment import augment
from breastlens.models._keras import import_keras
from breastlens.models.backbones import Backbone
from breastlens.models.classifier import build_classifier, set_trainable
from breastlens.models.head import Head, rescale_head
from breastlens.progress import Progress
from breastlens.training.probe import Probe

_FIGURES = frozenset({"loss", "auc", "val_loss", "val_auc"})

WARM_UP_SHARE = 0.1
"""Share of all steps over which the learning rate rises from zero to its peak."""


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A classifier that was trained with Keras.

    Attributes:
        network: From ``build_classifier``, with the weights of the best epoch, calibrated.
        history: A row an epoch.
        epochs: How many epochs the kept weights have seen.
        calibration: Slope and offset that made the network's logits those of probabilities.
    """

    network: Any
    history: list[dict[str, Any]]
    epochs: int
    calibration: tuple[float, float]


def train_network(
    features_model: Any,
    backbone: Backbone,
    probe: Probe | None,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.integer],
    train: NDArray[np.integer],
    validation: NDArray[np.integer],
    *,
    recipe: TrainingRecipe,
    progress: Progress,
    title: str,
    tensorboard: str | None = None,
) -> TrainedNetwork:
    """Train with AdamW, warm-up and cosine decay, stopping when the validation AUC no longer rises.

    From a probe, the head and the top stages learn and batch normalisation stays in inference mode; without one
    everything learns, batch normalisation too. The classes weigh the same in the loss. Only epochs of the second half
    are candidates: before it the learning rate is high, and scores on few validation images jump. The weights of the
    candidate with the best validation AUC are restored and the scores calibrated on validation (Platt 1999).

    Args:
        features_model: Fresh, from ``build_features``; its weights are changed.
        backbone: Which network.
        probe: Where to start; None for an untrained head with everything learning.
        pixels: uint8 (n, s, s, 3), RGB.
        labels: 0 or 1, (n,).
        train: Rows to learn from; they alone are augmented.
        validation: Rows to stop and calibrate on.
        recipe: Epochs, rates, batch size, patience, augmentation, seed.
        progress: Where to tell how far it is.
        title: What to call this training there.
        tensorboard: Folder for TensorBoard's logs, if wanted.

    Raises:
        DataError: The training diverged, or the backbone has fewer stages than are to be trained.
    """
    _make_deterministic(recipe.seed)
    batches = _augmented_batches(pixels[train], labels[train], train, recipe)
    steps = recipe.epochs * len(batches)
    learner = _Learner.prepare(features_model, backbone, probe, recipe, steps)
    keras = import_keras()
    history: list[dict[str, Any]] = []
    held_out = (pixels[validation], labels[validation])
    with progress.task(title, steps) as advance:
        callbacks = [
            _history_callback(learner, history, "scratch" if probe is None else "finetune", held_out),
            keras.callbacks.EarlyStopping(
                monitor="val_auc",
                mode="max",
                patience=recipe.patience,
                restore_best_weights=True,
                start_from_epoch=recipe.epochs // 2,
            ),
            _progress_callback(advance, len(batches)),
        ]
        if tensorboard is not None:
            callbacks.append(keras.callbacks.TensorBoard(tensorboard))
        learner.network.fit(batches, epochs=recipe.epochs, verbose=0, callbacks=callbacks, shuffle=False)
    calibration = _platt(_predict(learner.network, held_out[0]), held_out[1])
    rescale_head(learner.classifier, *calibration)
    best = max(history[recipe.epochs // 2 :], key=lambda row: row["val_auc"])
    return TrainedNetwork(learner.classifier, history, int(best["epoch"]) + 1, calibration)


def train_again(
    features_model: Any,
    backbone: Backbone,
    probe: Probe | None,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.integer],
    train: NDArray[np.integer],
    first: TrainedNetwork,
    *,
    recipe: TrainingRecipe,
    progress: Progress,
    title: str,
) -> TrainedNetwork:
    """Train as a first training turned out best, on more rows and without a validation part of their own.

    The network learns for as many epochs as the first one's best weights had seen, with warm-up and decay over exactly
    these, and takes over its calibration.

    Args:
        features_model: Fresh, from ``build_features``; its weights are changed.
        backbone: Which network.
        probe: Where to start, fitted to the same rows; None as in the first training.
        pixels: uint8 (n, s, s, 3), RGB.
        labels: 0 or 1, (n,).
        train: Rows to learn from: those of the first training and its validation rows.
        first: That training.
        recipe: The same.
        progress: Where to tell how far it is.
        title: What to call this training there.

    Raises:
        DataError: The training diverged.
    """
    _make_deterministic(recipe.seed)
    batches = _augmented_batches(pixels[train], labels[train], train, recipe)
    steps = first.epochs * len(batches)
    learner = _Learner.prepare(features_model, backbone, probe, recipe, steps)
    history: list[dict[str, Any]] = []
    with progress.task(title, steps) as advance:
        callbacks = [
            _history_callback(learner, history, "again", held_out=None),
            _progress_callback(advance, len(batches)),
        ]
        learner.network.fit(batches, epochs=first.epochs, verbose=0, callbacks=callbacks, shuffle=False)
    rescale_head(learner.classifier, *first.calibration)
    return TrainedNetwork(learner.classifier, history, first.epochs, first.calibration)


@dataclass(frozen=True, eq=False)
class _Learner:
    """A classifier that is ready for Keras's ``fit``: what may learn is set, and how."""

    classifier: Any
    network: Any
    schedule: Any

    @classmethod
    def prepare(
        cls, features_model: Any, backbone: Backbone, probe: Probe | None, recipe: TrainingRecipe, steps: int
    ) -> _Learner:
        keras = import_keras()
        head = Head.untrained(features_model.output.shape[-1]) if probe is None else probe.head
        classifier = build_classifier(features_model, head)
        stages = len(backbone.stages)
        if probe is not None and recipe.trainable_stages is not None:
            stages = recipe.trainable_stages
        set_trainable(classifier, backbone, stages, batch_norm_learns=probe is None)
        network = keras.Model(classifier.input, classifier.output["score"])
        warm_up = math.ceil(WARM_UP_SHARE * steps)
        schedule = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0,
            decay_steps=max(1, steps - warm_up),
            warmup_target=recipe.peak_learning_rate,
            warmup_steps=warm_up,
        )
        network.compile(
            optimizer=keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay, clipnorm=1.0),
            loss=keras.losses.BinaryCrossentropy(),
            weighted_metrics=[keras.metrics.AUC(name="auc")],
            jit_compile=False,
        )
        return cls(classifier, network, schedule)


def _make_deterministic(seed: int) -> None:
    """Same seed, same result on one machine: TensorFlow offers this only for the whole process."""
    import_keras().utils.set_random_seed(seed)
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()


def _augmented_batches(
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


def _history_callback(
    learner: _Learner,
    history: list[dict[str, Any]],
    phase: str,
    held_out: tuple[NDArray[np.uint8], NDArray[np.integer]] | None,
) -> Any:
    """A row of history an epoch, with the exact validation AUC; Keras's own AUC is a binned approximation.

    Args:
        learner: What is being trained.
        history: Where the rows go.
        phase: What they call this training.
        held_out: Validation images and labels, whose ``val_auc`` and ``val_loss`` also join the logs that the later
            callbacks read; or None.
    """
    keras = import_keras()

    class WriteHistory(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        """Judges the epoch and notes it down."""

        def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            self._start = perf_counter()

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            logs = {} if logs is None else logs
            if held_out is not None:
                logs.update(_judge(learner.network, *held_out))
            if not all(map(math.isfinite, logs.values())):
                raise DataError(
                    f"training diverged in epoch {epoch}: the scores are no longer numbers; "
                    "choose a smaller --learning-rate"
                )
            history.append(
                {"epoch": epoch, "phase": phase}
                | {name: float(value) for name, value in logs.items() if name in _FIGURES}
                | {
                    "learning_rate": float(learner.schedule(int(learner.network.optimizer.iterations))),
                    "seconds": perf_counter() - self._start,
                }
            )

    return WriteHistory()


def _judge(network: Any, pixels: NDArray[np.uint8], labels: NDArray[np.integer]) -> dict[str, float]:
    from sklearn.metrics import log_loss

    scores = _predict(network, pixels)
    if not np.isfinite(scores).all():
        return {"val_loss": math.nan, "val_auc": math.nan}
    return {
        "val_loss": float(log_loss(labels, scores, labels=(0, 1))),
        "val_auc": auc(labels, scores) or 0.0,
    }


def _predict(network: Any, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Scores in inference mode, (n,); in batches of a size that bounds memory."""
    chunks = [network.predict_on_batch(pixels[start : start + 64]) for start in range(0, len(pixels), 64)]
    return np.concatenate(chunks).astype(np.float64)[:, 0]


def _progress_callback(advance: Any, steps_an_epoch: int) -> Any:
    keras = import_keras()

    class ShowProgress(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        """Passes loss and AUC on after each batch, and the validation AUC after each epoch."""

        def __init__(self) -> None:
            super().__init__()
            self._epoch = 0
            self._validation: dict[str, float] = {}

        def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            self._epoch = epoch

        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            figures = {name: float(value) for name, value in (logs or {}).items() if name in {"loss", "auc"}}
            advance(self._epoch * steps_an_epoch + batch + 1, **figures, **self._validation)

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            self._validation = {
                name: float(value) for name, value in (logs or {}).items() if name == "val_auc"
            }

    return ShowProgress()


def _platt(scores: NDArray[np.floating], labels: NDArray[np.integer]) -> tuple[float, float]:
    from scipy.special import logit

    return fit_platt(logit(np.clip(scores, 1e-7, 1 - 1e-7)), labels)
