"""The whole state of a Keras training after an epoch on disk, so that another process goes on as if nothing had been.

Keras's own BackupAndRestore keeps weights, optimizer and the number of the epoch. What stops early would begin to count
anew, what was best would be lost, and so would the history; all of these are kept here.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from breastlens.models._keras import import_keras
from breastlens.training.precision import Choice, Timed
from breastlens.whole_files import new_whole_directory

if TYPE_CHECKING:
    from breastlens.training.learner import Learner

logger = logging.getLogger(__name__)

_STATE, _VARIABLES, _BEST = "state.json", "variables.npz", "best.npz"
_COUNTERS = ("wait", "best", "best_epoch", "stopped_epoch")
"""What Keras's EarlyStopping counts, besides its best weights."""


class Checkpoint:
    """The newest state of one training, in a folder of its own.

    Attributes:
        epochs: How many epochs it has seen.
        choice: In which precision it is trained.
        stopped: Whether it has ended early.
        shown: What it was shown of images.
    """

    def __init__(self, folder: Path) -> None:
        self._state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        self.epochs = int(self._state["epoch"]) + 1
        self.stopped = bool(self._state["stopped"])
        self.shown = self._state["shown"]
        self._variables = _read_arrays(folder / _VARIABLES)
        self._best = _read_arrays(folder / _BEST) if (folder / _BEST).exists() else None
        choice = self._state["choice"]
        self.choice = Choice(
            choice["precision"],
            choice["steps"],
            {precision: Timed(**timed) for precision, timed in choice["measured"].items()},
        )

    def restore(self, learner: Learner, history: list[dict[str, Any]], stopping: Any | None) -> None:
        """Make everything as it was after the last epoch.

        Args:
            learner: Built as it was built then.
            history: Gets the rows so far.
            stopping: Keras's EarlyStopping, where there is one.
        """
        network = learner.trained
        network.optimizer.build(network.trainable_variables)
        variables = [*network.variables, *network.optimizer.variables]
        for variable, value in zip(variables, self._variables, strict=True):
            variable.assign(value)
        history[:] = self._state["history"]
        if stopping is not None:
            for name, value in self._state["stopping"].items():
                setattr(stopping, name, value)
            if self._best is not None:
                stopping.best_weights = self._best


def newest_checkpoint(folder: Path | None, shown: Any) -> Checkpoint | None:
    """The state that a training was last in.

    Args:
        folder: Where it is kept; None: nowhere. What is of no use there is removed.
        shown: What the network is shown of images now; a state that came of anything else is of no use.

    Returns:
        None where there is none.
    """
    if folder is None:
        return None
    found = sorted(folder.glob("epoch-*/"))
    if not found:
        return None
    try:
        newest = Checkpoint(found[-1])
        if newest.shown == _describe_shown(shown):
            return newest
        logger.warning("there is room for another number of views now: the training begins anew")
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        logger.warning("%s is damaged (%s): the training begins anew", found[-1], error)
    for state in found:
        shutil.rmtree(state, ignore_errors=True)
    return None


def keep_state(
    learner: Learner,
    history: list[dict[str, Any]],
    stopping: Any | None,
    folder: Path,
    shown: Any,
    earlier: Checkpoint | None,
) -> Any:
    """A callback that keeps the state after each epoch, and begins with an earlier one.

    A state is a directory that is written whole, synced, and takes its name only then; the one before stays until then.

    Args:
        learner: What is being trained.
        history: Its rows so far.
        stopping: Keras's EarlyStopping, where there is one; it must come before this among the callbacks.
        folder: Where states are kept, of this training alone.
        shown: What the network is shown of images.
        earlier: Where to begin.
    """
    keras = import_keras()

    class KeepState(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        """Restores the state when the training begins and writes it when an epoch ends."""

        _of_best: tuple[int, Path] | None = None
        """Which epoch was the best, and where its weights lie."""

        def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
            if earlier is not None:
                earlier.restore(learner, history, stopping)

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            network, path = learner.trained, folder / f"epoch-{epoch:05}"
            best = None if stopping is None else stopping.best_weights
            state = {
                "epoch": epoch,
                "stopped": bool(network.stop_training),
                "choice": learner.choice.describe(),
                "shown": _describe_shown(shown),
                "history": history,
                "stopping": {} if stopping is None else {name: _plain(stopping, name) for name in _COUNTERS},
            }
            with new_whole_directory(path) as new:
                (new / _STATE).write_text(json.dumps(state), encoding="utf-8")
                np.savez(
                    new / _VARIABLES,
                    *(variable.numpy() for variable in [*network.variables, *network.optimizer.variables]),
                )
                if stopping is not None and best is not None:
                    self._write_best(new / _BEST, best, stopping.best_epoch)
            if stopping is not None and best is not None:
                self._of_best = (stopping.best_epoch, path / _BEST)
            for old in folder.glob("epoch-*/"):
                if old != path:
                    shutil.rmtree(old, ignore_errors=True)

        def _write_best(self, path: Path, best: list[Any], best_epoch: int) -> None:
            """Most epochs are not the best: the file of the state before will do."""
            if self._of_best is not None and self._of_best[0] == best_epoch:
                try:
                    os.link(self._of_best[1], path)
                except OSError:  # the file system has no second names
                    shutil.copyfile(self._of_best[1], path)
            else:
                np.savez(path, *best)

    return KeepState()


def _plain(stopping: Any, name: str) -> Any:
    value = getattr(stopping, name)
    return value if value is None or isinstance(value, int) else float(value)


def _describe_shown(shown: Any) -> list[Any]:
    return [shown.stage, shown.views]


def _read_arrays(path: Path) -> list[Any]:
    with np.load(path, allow_pickle=False) as held:
        return [held[f"arr_{number}"] for number in range(len(held.files))]
