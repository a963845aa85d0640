"""The trainings that a run consists of, each a unit of work: what it needs, and what is kept of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from breastlens.config import TrainingRecipe
from breastlens.evaluation.by_patient import PatientPoint
from breastlens.evaluation.calibration import Calibration
from breastlens.evaluation.thresholds import OperatingPoint
from breastlens.models.backbones import Backbone
from breastlens.models.cut import FrozenPart
from breastlens.models.head import Head
from breastlens.models.weight_files import load_keras_file
from breastlens.progress import Progress
from breastlens.training.ensemble import Ensemble
from breastlens.training.fit import fit_model
from breastlens.training.fitted import Fit, TrainingImages, in_parts
from breastlens.training.precision import Choice, Timed
from breastlens.training.probe import Probe, Trial
from breastlens.work.unit import content_key

Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Occluded:
    """The same images without the breast, for a trained model to look at.

    Attributes:
        hide: From squares uint8 (n, s, s, 3) to batches of them, occluded.
        features: Of all images, occluded, float32 (n, d).
    """

    hide: Callable[[NDArray[np.uint8]], Iterable[NDArray[np.uint8]]]
    features: NDArray[np.float32]


class GroundFiles(Protocol):
    """A ground on disk."""

    @staticmethod
    def read(files: Any) -> Ground:
        """Read it, once a process."""


@dataclass(frozen=True, eq=False)
class Ground:
    """What trainings start from, the same for many of them.

    Attributes:
        images: All images that are used.
        backbone: Which network; of several, only probes are made, which need no more than features.
        build_features_model: Makes a fresh features model with the starting weights.
        frozen_part: Gives the same network up to a stage.
        network_identity: What decides that network's features besides the pixels.
        occluded: By name, what the trained models are to score besides, without being trained again.
        progress: Where to tell how far a training is.
        files: Where another process finds all of this; None: it is for this process alone.
    """

    images: TrainingImages
    backbone: Backbone
    build_features_model: Callable[[], Any]
    frozen_part: Callable[[str], FrozenPart]
    network_identity: str
    occluded: Mapping[str, Occluded]
    progress: Progress
    files: GroundFiles | None = None

    def __reduce__(self) -> tuple[Callable[..., Ground], tuple[GroundFiles]]:
        """To another process only the paths go."""
        if self.files is None:
            raise TypeError("this ground was not written for other processes")
        return self.files.read, (self.files,)

    @cached_property
    def key(self) -> str:
        """All of this as one hash."""
        hidden = [part for name, each in sorted(self.occluded.items()) for part in (name, each.features)]
        return content_key(self.backbone.name, self.network_identity, self.images.content, *hidden)


@dataclass(frozen=True, eq=False)
class Task:
    """One training on given patients.

    Attributes:
        title: What people call it.
        recipe: How to train.
        train: Rows to learn from.
        validation: Rows to choose on; None: see ``fit_model``.
        scored: Rows to score, none of which it learns from.
        kept: Whether the model itself is wanted, not only its scores.
        choice: In which precision, where an earlier training of the same run has chosen it.
        tensorboard: Folder for TensorBoard's logs, if wanted.
    """

    title: str
    recipe: TrainingRecipe
    train: Rows
    validation: Rows | None
    scored: Rows
    kept: bool
    choice: Choice | None = None
    tensorboard: str | None = None

    def key(self, ground: Ground) -> str:
        """What decides its result, as one hash; the precision is decided by the rest."""
        return content_key(
            "training",
            ground.key,
            self.recipe.model_dump(mode="json", exclude={"weights"}),  # which the ground knows by content
            self.train,
            self.validation if self.validation is not None else "none",
            self.scored,
            self.kept,
        )


@dataclass(frozen=True, eq=False)
class Trained:
    """What is kept of a training.

    Attributes:
        y_score: Scores of the rows that were to be scored, (m,).
        raw_logit: The log-odds behind them before calibration, (m,).
        occluded: By occlusion, the scores of the same rows when these are occluded.
        fit: How its choices were made; the model itself only where it was wanted, and a network as ``network``.
        network: The trained classifier as the bytes of a ``.keras`` file, where one was wanted and kept.
        wall_s: What it took, in seconds.
        cpu_s: And on all processors together.
    """

    y_score: NDArray[np.float64]
    raw_logit: NDArray[np.float64]
    occluded: dict[str, NDArray[np.float64]]
    fit: Fit
    network: bytes | None
    wall_s: float
    cpu_s: float

    def whole_fit(self) -> Fit:
        """The fit with its network."""
        if self.network is None:
            return self.fit
        with tempfile.TemporaryDirectory(prefix="breastlens-") as folder:
            path = Path(folder) / "network.keras"
            path.write_bytes(self.network)
            return replace(self.fit, network=load_keras_file(path))


PARTS_OF_TRAINED = (
    Trained,
    Fit,
    OperatingPoint,
    Calibration,
    PatientPoint,
    Probe,
    Ensemble,
    Head,
    Trial,
    Choice,
    Timed,
)
"""The dataclasses that a ``Trained`` is made of."""


def do_training(ground: Ground, task: Task, checkpoints: Path) -> Trained:
    """Train, and score what was held out.

    Args:
        ground: What all trainings start from.
        task: This one.
        checkpoints: Folder for its state after each epoch, from which it goes on.

    Raises:
        SplitError: A part has one class only, or too few patients.
        DataError: The training diverged.
        OSError: A state cannot be written.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    images = ground.images
    fit = fit_model(
        images,
        task.train,
        task.validation,
        backbone=ground.backbone,
        build_features_model=ground.build_features_model,
        frozen_part=ground.frozen_part,
        recipe=task.recipe,
        progress=ground.progress,
        title=task.title,
        tensorboard=task.tensorboard,
        choice=task.choice,
        checkpoints=checkpoints,
    )
    if task.scored.size:
        y_score = fit.scores(images, task.scored)
        raw_logit = fit.raw_logits(images, task.scored, y_score)
        occluded = _score_occluded(fit, images, task.scored, ground.occluded)
    else:
        y_score, raw_logit, occluded = np.empty(0), np.empty(0), {}
    network = _to_bytes(fit.network) if task.kept and fit.network is not None else None
    told = replace(fit, network=None, probe=fit.probe if task.kept else None)
    return Trained(
        y_score,
        raw_logit,
        occluded,
        told,
        network,
        wall_s=time.perf_counter() - wall,
        cpu_s=time.process_time() - cpu,
    )


def _score_occluded(
    fit: Fit, images: TrainingImages, rows: Rows, occluded: Mapping[str, Occluded]
) -> dict[str, NDArray[np.float64]]:
    return {
        name: fit.score(
            each.features[rows],
            (batch for part in in_parts(rows) for batch in each.hide(images.pixels[part])),
        )
        for name, each in occluded.items()
    }


def _to_bytes(network: Any) -> bytes:
    with tempfile.TemporaryDirectory(prefix="breastlens-") as folder:
        path = Path(folder) / "network.keras"
        network.save(path)
        return path.read_bytes()
