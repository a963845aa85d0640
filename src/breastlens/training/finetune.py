"""Training of the network itself with Keras: from the probe upwards, or from random weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.config import TrainingRecipe
from breastlens.evaluation.calibration import fit_platt
from breastlens.models._keras import import_keras
from breastlens.models.backbones import Backbone
from breastlens.models.classifier import average_classifiers, build_classifier, set_trainable
from breastlens.models.head import Head, rescale_head
from breastlens.progress import Progress
from breastlens.training.batches import augmented_batches
from breastlens.training.callbacks import HeldOut, predict_logits, show_progress, write_history
from breastlens.training.probe import Probe

WARM_UP_SHARE = 0.1
"""Share of all steps over which the learning rate rises from zero to its peak."""

LEAST_SPREAD = 0.01
"""Standard deviation of log-odds below which a network tells images apart by rounding alone."""


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A classifier that was trained with Keras.

    Attributes:
        network: With the weights of the best epoch, averaged with its probe, calibrated.
        history: A row an epoch.
        epochs: How many epochs the kept weights have seen.
        calibration: Slope and offset that made the network's logits those of probabilities.
    """

    network: Any
    history: list[dict[str, Any]]
    epochs: int
    calibration: tuple[float, float]


def train_network(
    build_features_model: Callable[[], Any],
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
    candidate with the best validation AUC are restored.

    The log-odds of a fine-tuned network are averaged with those of the probe that it started from: the two err on
    different images. So are those that the validation AUC is of. They are calibrated on validation (Platt 1999).

    Args:
        build_features_model: Makes a fresh features model with the starting weights.
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
    batches = augmented_batches(pixels[train], labels[train], train, recipe)
    steps = recipe.epochs * len(batches)
    learner = _Learner.prepare(build_features_model, backbone, probe, recipe, steps)
    keras = import_keras()
    history: list[dict[str, Any]] = []
    # the network has not moved yet: what it says now is what the probe says
    before = None if probe is None else predict_logits(learner.network, pixels[validation])
    held_out = HeldOut(pixels[validation], labels[validation], before)
    phase = "scratch" if probe is None else "finetune"
    with progress.task(title, steps) as advance:
        callbacks = [
            write_history(learner.network, learner.schedule, history, phase, held_out),
            keras.callbacks.EarlyStopping(
                monitor="val_auc",
                mode="max",
                patience=recipe.patience,
                restore_best_weights=True,
                start_from_epoch=recipe.epochs // 2,
            ),
            show_progress(advance, len(batches)),
        ]
        if tensorboard is not None:
            callbacks.append(keras.callbacks.TensorBoard(tensorboard))
        learner.network.fit(batches, epochs=recipe.epochs, verbose=0, callbacks=callbacks, shuffle=False)
    calibration = _calibrate(held_out.logits(learner.network), held_out.labels)
    best = max(history[recipe.epochs // 2 :], key=lambda row: row["val_auc"])
    return TrainedNetwork(learner.finished(calibration), history, int(best["epoch"]) + 1, calibration)


def train_again(
    build_features_model: Callable[[], Any],
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
        build_features_model: Makes a fresh features model with the starting weights.
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
    batches = augmented_batches(pixels[train], labels[train], train, recipe)
    steps = first.epochs * len(batches)
    learner = _Learner.prepare(build_features_model, backbone, probe, recipe, steps)
    history: list[dict[str, Any]] = []
    with progress.task(title, steps) as advance:
        callbacks = [
            write_history(learner.network, learner.schedule, history, "again", held_out=None),
            show_progress(advance, len(batches)),
        ]
        learner.network.fit(batches, epochs=first.epochs, verbose=0, callbacks=callbacks, shuffle=False)
    return TrainedNetwork(learner.finished(first.calibration), history, first.epochs, first.calibration)


def _calibrate(logits: NDArray[np.float64], labels: NDArray[np.integer]) -> tuple[float, float]:
    """Platt's slope and offset; of logits that hardly differ only the offset.

    A network that has learnt next to nothing would get a slope of thousands, which says nothing about another network
    that is trained in the same way.
    """
    if logits.std() < LEAST_SPREAD:
        logits = np.full_like(logits, logits.mean())
    return fit_platt(logits, labels)


@dataclass(frozen=True, eq=False)
class _Learner:
    """A classifier that is ready for Keras's ``fit``: what may learn is set, and how.

    Attributes:
        classifier: What learns.
        network: The same with its score alone, compiled.
        schedule: The learning rate by step.
        probe: The classifier that it starts from and is averaged with; None from scratch.
    """

    classifier: Any
    network: Any
    schedule: Any
    probe: Any

    @classmethod
    def prepare(
        cls,
        build_features_model: Callable[[], Any],
        backbone: Backbone,
        probe: Probe | None,
        recipe: TrainingRecipe,
        steps: int,
    ) -> _Learner:
        keras = import_keras()
        features_model = build_features_model()
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
        start = None if probe is None else build_classifier(build_features_model(), probe.head)
        return cls(classifier, network, schedule, start)

    def finished(self, calibration: tuple[float, float]) -> Any:
        """The classifier that is kept: averaged with its probe and calibrated."""
        kept = self.classifier if self.probe is None else average_classifiers(self.classifier, self.probe)
        rescale_head(kept, *calibration)
        return kept


def _make_deterministic(seed: int) -> None:
    """Same seed, same result on one machine: TensorFlow offers this only for the whole process."""
    import_keras().utils.set_random_seed(seed)
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
