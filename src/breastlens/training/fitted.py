"""What training sees, and what a training comes to: a model that scores images, and how its choices were made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.config import Strategy
from breastlens.evaluation.by_patient import PatientPoint
from breastlens.evaluation.calibration import Calibration
from breastlens.evaluation.thresholds import OperatingPoint
from breastlens.models.classifier import build_classifier
from breastlens.models.engine import Engine
from breastlens.models.head import bend_head
from breastlens.training.ensemble import Ensemble
from breastlens.training.precision import Choice
from breastlens.training.probe import Probe
from breastlens.work.unit import content_key

Rows = NDArray[np.integer]
Images = NDArray[np.uint8]

_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """All images of a cohort as training sees them.

    Attributes:
        pixels: uint8 (n, s, s, 3) RGB.
        features: float32 (n, d) of the frozen backbone, or None for training from scratch.
        labels: 0 or 1, (n,).
        groups: What must stay together, (n,).
        widths: How many of the features are each member's of an ensemble; empty for one network.
    """

    pixels: NDArray[np.uint8]
    features: NDArray[np.float32] | None
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    widths: tuple[int, ...] = ()

    @cached_property
    def content(self) -> str:
        """All of this as one hash."""
        seen = [] if self.features is None else [self.features, list(self.widths)]
        return content_key(self.pixels, self.labels, self.groups, *seen)


@dataclass(frozen=True, eq=False)
class Fit:
    """A trained model and how its choices were made.

    Attributes:
        kept: Which model this is in the end.
        operating_points: Thresholds, chosen without any image that is held out; the first is the one in use.
        calibration: From the model's raw log-odds to calibrated ones, fitted without any image that is held out.
        chosen_on: Where: ``validation``, ``inner folds`` or ``validation patients inside the training folds``.
        history: Rows of history.csv.
        notes: Sentences for the reader.
        probe: The probe, where that was kept.
        network: The trained classifier (a ``keras.Model``), where that was kept.
        patient_point: How patients with several images are scored and called; None: by means.
        choice: In which precision it was trained and why; None where nothing was trained with Keras.
    """

    kept: Strategy
    operating_points: tuple[OperatingPoint, ...]
    calibration: Calibration
    chosen_on: str
    history: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    probe: Probe | None = None
    network: Any = None
    choice: Choice | None = None
    patient_point: PatientPoint | None = None

    @property
    def operating_point(self) -> OperatingPoint:
        """The threshold in use."""
        return self.operating_points[0]

    def scores(self, images: TrainingImages, rows: Rows) -> NDArray[np.float64]:
        """Calibrated probability of positive for some of the images, (len(rows),)."""
        features = None if images.features is None else images.features[rows]
        return self.score(features, (images.pixels[part] for part in in_parts(rows)))

    def raw_logits(
        self, images: TrainingImages, rows: Rows, y_score: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Log-odds before calibration: a probe's own; of a network those behind its scores, as far as 32 bits tell.

        Args:
            images: All images.
            rows: Some of them.
            y_score: Their scores, (len(rows),).
        """
        if self.probe is not None and images.features is not None:
            return self.probe.raw_logits(images.features[rows])
        return self.calibration.raw_logits(y_score)

    def score(
        self, features: NDArray[np.float32] | None, pixels: Images | Iterable[Images]
    ) -> NDArray[np.float64]:
        """Calibrated probability of positive, from whichever of the two the model takes.

        Args:
            features: Of the frozen backbone, (n, d); a probe scores these.
            pixels: The same images, uint8 (n, s, s, 3) or batches of them; a network scores these, a probe reads none.
        """
        if self.probe is not None and features is not None:
            return self.probe.scores(features)
        return score_with(self._engine, pixels)

    @cached_property
    def _engine(self) -> Engine:
        return Engine.from_keras(self.network)

    def to_network(self, features_model: Any) -> Any:
        """The classifier as one Keras network; for a probe, its head on the given frozen features model."""
        if self.probe is not None:
            return bend_head(build_classifier(features_model, self.probe.head), self.probe.calibration)
        return self.network


def in_parts(rows: Rows) -> Iterator[Rows]:
    """Rows in parts, so that no more than some of the images are copied at once."""
    return (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))


def score_with(network: Any, pixels: Images | Iterable[Images]) -> NDArray[np.float64]:
    """Score images with a Keras classifier, through the same engine that later uses it.

    Args:
        network: The classifier, or the engine that was made of it.
        pixels: uint8 (n, s, s, 3), or batches of them.

    Returns:
        Probability of positive, (n,).
    """
    engine = network if isinstance(network, Engine) else Engine.from_keras(network)
    scores = engine.run(pixels)["score"]
    return np.asarray(scores, dtype=np.float64).reshape(len(scores))


def probe_history(probe: Probe) -> list[dict[str, Any]]:
    """A row a strength that was tried, for each member where there are several."""
    if isinstance(probe, Ensemble):
        return [
            row | {"member": number}
            for number, member in enumerate(probe.members)
            for row in probe_history(member)
        ]
    return [
        {
            "epoch": index,
            "phase": "probe",
            "strength": trial.strength,
            "val_loss": trial.log_loss,
            "val_auc": trial.auc,
        }
        for index, trial in enumerate(probe.trials)
    ]
