"""Training of the network itself with Keras: from the probe upwards, or from random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.config import TrainingRecipe
from breastlens.evaluation.calibration import Calibration, choose_calibration, fit_calibration
from breastlens.models._keras import import_keras
from breastlens.models.backbones import Backbone
from breastlens.progress import Progress
from breastlens.training.batches import training_batches
from breastlens.training.callbacks import HeldOut, show_progress, write_history
from breastlens.training.checkpoint import Checkpoint, keep_state, newest_checkpoint
from breastlens.training.learner import Learner
from breastlens.training.precision import Choice
from breastlens.training.probe import Probe, inner_folds
from breastlens.training.views import Shown

LEAST_SPREAD = 0.01
"""Standard deviation of log-odds below which a network tells images apart by rounding alone."""


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A classifier that was trained with Keras.

    Attributes:
        network: With the weights of the best epoch, averaged with its probe, calibrated.
        history: A row an epoch.
        epochs: How many epochs the kept weights have seen.
        calibration: What made the network's log-odds those of probabilities.
        choice: In which precision it was trained, and why.
    """

    network: Any
    history: list[dict[str, Any]]
    epochs: int
    calibration: Calibration
    choice: Choice


def train_network(
    build_features_model: Callable[[], Any],
    backbone: Backbone,
    probe: Probe | None,
    shown: Shown,
    labels: NDArray[np.integer],
    train: NDArray[np.integer],
    validation: NDArray[np.integer],
    *,
    groups: NDArray[np.integer] | None = None,
    recipe: TrainingRecipe,
    progress: Progress,
    title: str,
    tensorboard: str | None = None,
    choice: Choice | None = None,
    checkpoints: Path | None = None,
) -> TrainedNetwork:
    """Train with AdamW, warm-up and cosine decay, stopping when the validation AUC no longer rises.

    From a probe, the head and the top stages learn and batch normalisation stays in inference mode; without one
    everything learns, batch normalisation too. The classes weigh the same in the loss. Only epochs of the second half
    are candidates: before it the learning rate is high, and scores on few validation images jump. The weights of the
    candidate with the best validation AUC are restored.

    The log-odds of a fine-tuned network are averaged with those of the probe that it started from: the two err on
    different images. So are those that the validation AUC is of. They are calibrated on validation
    (`choose_calibration`).

    Args:
        build_features_model: Makes a fresh features model with the starting weights.
        backbone: Which network.
        probe: Where to start; None for an untrained head with everything learning.
        shown: What the network is shown of each image.
        labels: 0 or 1, (n,), of all images.
        train: Rows to learn from; they alone are augmented.
        validation: Rows to stop and calibrate on.
        groups: What must stay together, (n,), while the calibration is chosen; None: every image is its own.
        recipe: Epochs, rates, batch size, patience, augmentation, seed.
        progress: Where to tell how far it is.
        title: What to call this training there.
        tensorboard: Folder for TensorBoard's logs, if wanted.
        choice: In which precision, where an earlier training of the same run has chosen it; None: as the recipe says.
        checkpoints: Folder for the state after each epoch; where there is one, the training goes on from it. None: no
            state is kept.

    Raises:
        OSError: A state cannot be written.
        DataError: The training diverged, or the backbone has fewer stages than are to be trained.
    """
    batches = training_batches(shown, labels, train, recipe)
    earlier = newest_checkpoint(checkpoints, shown)
    choice = choice if earlier is None else earlier.choice
    learner = Learner.prepare(
        build_features_model, backbone, probe, shown, recipe, batches, recipe.epochs, choice
    )
    keras = import_keras()
    history: list[dict[str, Any]] = []
    # the network has not moved yet: what it says now is what the probe says
    before = None if probe is None else learner.logits(shown, validation)
    held_out = HeldOut(shown, validation, labels[validation], before)
    phase = "scratch" if probe is None else "finetune"
    stopping = keras.callbacks.EarlyStopping(
        monitor="val_auc",
        mode="max",
        patience=recipe.patience,
        restore_best_weights=True,
        start_from_epoch=recipe.epochs // 2,
    )
    with progress.task(title, learner.steps) as advance:
        callbacks = [
            write_history(learner, history, phase, held_out),
            stopping,
            *_keep_state(learner, history, stopping, checkpoints, shown, earlier),
            show_progress(advance, len(batches)),
        ]
        if tensorboard is not None:
            callbacks.append(keras.callbacks.TensorBoard(tensorboard))
        _fit(learner, batches, recipe.epochs, callbacks, earlier)
    together = validation if groups is None else groups[validation]
    calibration = _calibrate(held_out.logits(learner), held_out.labels, together, recipe.seed)
    best = max(history[recipe.epochs // 2 :], key=lambda row: row["val_auc"])
    return TrainedNetwork(
        learner.finished(calibration), history, int(best["epoch"]) + 1, calibration, learner.choice
    )


def train_again(
    build_features_model: Callable[[], Any],
    backbone: Backbone,
    probe: Probe | None,
    shown: Shown,
    labels: NDArray[np.integer],
    train: NDArray[np.integer],
    first: TrainedNetwork,
    *,
    recipe: TrainingRecipe,
    progress: Progress,
    title: str,
    checkpoints: Path | None = None,
) -> TrainedNetwork:
    """Train as a first training turned out best, on more rows and without a validation part of their own.

    The network learns for as many epochs as the first one's best weights had seen, with warm-up and decay over exactly
    these, and takes over its precision and its calibration.

    Args:
        build_features_model: Makes a fresh features model with the starting weights.
        backbone: Which network.
        probe: Where to start, fitted to the same rows; None as in the first training.
        shown: What the network is shown of each image.
        labels: 0 or 1, (n,), of all images.
        train: Rows to learn from: those of the first training and its validation rows.
        first: That training.
        recipe: The same.
        progress: Where to tell how far it is.
        title: What to call this training there.
        checkpoints: As in the first training, another folder.

    Raises:
        OSError: A state cannot be written.
        DataError: The training diverged.
    """
    batches = training_batches(shown, labels, train, recipe)
    earlier = newest_checkpoint(checkpoints, shown)
    learner = Learner.prepare(
        build_features_model, backbone, probe, shown, recipe, batches, first.epochs, first.choice
    )
    history: list[dict[str, Any]] = []
    with progress.task(title, learner.steps) as advance:
        callbacks = [
            write_history(learner, history, "again", held_out=None),
            *_keep_state(learner, history, None, checkpoints, shown, earlier),
            show_progress(advance, len(batches)),
        ]
        _fit(learner, batches, first.epochs, callbacks, earlier)
    return TrainedNetwork(
        learner.finished(first.calibration), history, first.epochs, first.calibration, learner.choice
    )


def _keep_state(
    learner: Learner,
    history: list[dict[str, Any]],
    stopping: Any | None,
    checkpoints: Path | None,
    shown: Shown,
    earlier: Checkpoint | None,
) -> list[Any]:
    return (
        [] if checkpoints is None else [keep_state(learner, history, stopping, checkpoints, shown, earlier)]
    )


def _fit(
    learner: Learner, batches: Any, epochs: int, callbacks: list[Any], earlier: Checkpoint | None
) -> None:
    """Train what is left: nothing, where the training had ended and only what follows had not."""
    begun = 0 if earlier is None else earlier.epochs
    ended = earlier is not None and earlier.stopped
    learner.fit(batches, begun if ended else epochs, callbacks, begun=begun)


def _calibrate(
    logits: NDArray[np.float64], labels: NDArray[np.integer], groups: NDArray[np.integer], seed: int
) -> Calibration:
    """The best calibration; of logits that hardly differ only a shift.

    A network that has learnt next to nothing would get a slope of thousands, which says nothing about another network
    that is trained in the same way.
    """
    if logits.std() < LEAST_SPREAD:
        return fit_calibration("platt", np.full_like(logits, logits.mean()), labels)
    both = np.unique(labels).size == 2
    return choose_calibration(logits, labels, groups, inner_folds(labels, groups, seed) if both else None)
