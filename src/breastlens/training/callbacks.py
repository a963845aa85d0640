"""What is noted, judged and told while Keras trains."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.errors import DataError
from breastlens.evaluation.metrics import auc
from breastlens.models._keras import import_keras
from breastlens.training.learner import Learner
from breastlens.training.views import Shown

_FIGURES = frozenset({"loss", "auc", "val_loss", "val_auc"})


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Validation images, and what the probe that fine-tuning starts from says of them.

    Attributes:
        shown: What the network is shown of an image.
        rows: Which images these are, (n,).
        labels: 0 or 1, of each, (n,).
        probe_logits: Log-odds by the probe, (n,); None where training starts from nothing.
    """

    shown: Shown
    rows: NDArray[np.integer]
    labels: NDArray[np.integer]
    probe_logits: NDArray[np.float64] | None

    def logits(self, learner: Learner) -> NDArray[np.float64]:
        """Log-odds of the model as it would be kept, (n,): the network's, averaged with the probe's."""
        own = learner.logits(self.shown, self.rows)
        return own if self.probe_logits is None else (own + self.probe_logits) / 2


def write_history(
    learner: Learner, history: list[dict[str, Any]], phase: str, held_out: HeldOut | None
) -> Any:
    """A callback that adds a row of history an epoch.

    Args:
        learner: What is being trained.
        history: Where the rows go.
        phase: What they call this training.
        held_out: Judged after each epoch, exactly (Keras's own AUC is binned); ``val_auc`` and ``val_loss`` also join
            the logs that the later callbacks read. None for none.
    """
    keras = import_keras()

    class WriteHistory(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        """Judges the epoch and notes it down."""

        def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            self._start = perf_counter()

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            logs = {} if logs is None else logs
            if held_out is not None:
                logs.update(_judge(held_out.logits(learner), held_out.labels))
            if not all(map(math.isfinite, logs.values())):
                raise DataError(
                    f"training diverged in epoch {epoch}: the scores are no longer numbers; "
                    "choose a smaller --learning-rate"
                )
            history.append(
                {"epoch": epoch, "phase": phase}
                | {name: float(value) for name, value in logs.items() if name in _FIGURES}
                | {
                    "learning_rate": learner.learning_rate,
                    "seconds": perf_counter() - self._start,
                }
            )

    return WriteHistory()


def _judge(logits: NDArray[np.float64], labels: NDArray[np.integer]) -> dict[str, float]:
    from scipy.special import expit
    from sklearn.metrics import log_loss

    if not np.isfinite(logits).all():
        return {"val_loss": math.nan, "val_auc": math.nan}
    scores = expit(logits)
    return {
        "val_loss": float(log_loss(labels, scores, labels=(0, 1))),
        "val_auc": auc(labels, scores) or 0.0,
    }


def show_progress(advance: Callable[..., None], steps_an_epoch: int) -> Any:
    """A callback that tells how many steps are done, with loss and AUC."""
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
