"""What a training on a split comes to: the model that is kept, and a score for every image that was held out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.cohort.splits import PARTS
from breastlens.config import TrainingRecipe
from breastlens.evaluation.by_patient import PatientPoint
from breastlens.evaluation.calibration import Calibration
from breastlens.evaluation.thresholds import OperatingPoint
from breastlens.models.backbones import Backbone
from breastlens.models.cut import FrozenPart
from breastlens.progress import Progress
from breastlens.training.fit import fit_model
from breastlens.training.fitted import Fit, TrainingImages, in_parts
from breastlens.training.precision import Choice

Rows = NDArray[np.intp]

HISTORY_COLUMNS = (
    "epoch",
    "phase",
    "fold",
    "member",
    "strength",
    "loss",
    "auc",
    "val_loss",
    "val_auc",
    "learning_rate",
    "seconds",
)


@dataclass(frozen=True, eq=False)
class Occluded:
    """The same images without the breast, for a trained model to look at.

    Attributes:
        hide: From squares uint8 (n, s, s, 3) to batches of them, occluded.
        features: Of all images, occluded, float32 (n, d).
    """

    hide: Callable[[NDArray[np.uint8]], Iterable[NDArray[np.uint8]]]
    features: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What was learnt, and the scores of the images that were held out.

    Attributes:
        final: The model that goes into the bundle; when cross-validating, it is trained on everyone.
        network: The same as one Keras network.
        scored: Rows with a held-out score.
        y_score: Their scores, (len(scored),).
        occluded: By occlusion, the scores that the same models give the same images when these are occluded.
        raw_logit: The log-odds behind them before calibration, (len(scored),).
        operating_points: For each operating point of ``final``, the first being the one in use, the threshold that
            applies to each of them, (points, len(scored)): its fold's own when cross-validating.
        chosen_points: Of each training that gave scores, in the order of ``held_out_from``, its operating points.
        calibrations: And its calibration.
        patient_points: How the patient of each of them is scored and called; None: by means.
        held_out_from: For each held-out part, the rows trained on and the rows scored.
        history: history.csv.
        notes: Sentences for the reader.
    """

    final: Fit
    network: Any
    scored: Rows
    y_score: NDArray[np.float64]
    raw_logit: NDArray[np.float64]
    occluded: dict[str, NDArray[np.float64]]
    operating_points: NDArray[np.float64]
    chosen_points: list[tuple[OperatingPoint, ...]]
    calibrations: list[Calibration]
    patient_points: list[PatientPoint | None]
    held_out_from: list[tuple[Rows, Rows]]
    history: pd.DataFrame
    notes: list[str]

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """Those of the operating point in use."""
        return np.asarray(self.operating_points[0])


def fit_split(
    images: TrainingImages,
    split: NDArray[np.str_],
    kind: str,
    *,
    backbone: Backbone,
    build_features_model: Callable[[], Any],
    frozen_part: Callable[[str], FrozenPart],
    features_model: Any,
    occluded: Mapping[str, Occluded],
    recipe: TrainingRecipe,
    progress: Progress,
    tensorboard: Path | None,
    everyone: Fit | None = None,
    repeat: str = "",
) -> Outcome:
    """Train on a split: once, or once a fold and then on everyone.

    Args:
        images: All images that are used.
        split: The part of each, (n,): train, validation and test, or fold numbers as text.
        kind: ``folds``, or anything else for the three parts.
        backbone: Which network.
        build_features_model: Makes a fresh features model with the starting weights.
        frozen_part: Gives the same network up to a stage.
        features_model: One such, which stays as it is.
        occluded: By name, what the trained models are to score besides, without being trained again.
        recipe: How to train.
        progress: Where to tell how far it is.
        tensorboard: Folder for TensorBoard's logs, if wanted; each training gets its own below it.
        everyone: With folds, the model of everyone where that was trained before; None: it is trained here.
        repeat: Which repeat of the folds this is, in words, for titles.

    Raises:
        SplitError: A part has one class only, or too few patients.
    """
    choice: Choice | None = None if everyone is None else everyone.choice

    def fit(train: Rows, validation: Rows | None, title: str) -> Fit:
        nonlocal choice  # of the first training, so that all of a run are trained alike
        title = f"{recipe.strategy}{repeat}{title}"
        one = fit_model(
            images,
            train,
            validation,
            backbone=backbone,
            build_features_model=build_features_model,
            frozen_part=frozen_part,
            recipe=recipe,
            progress=progress,
            title=title,
            tensorboard=None if tensorboard is None else str(tensorboard / title.replace(" ", "-")),
            choice=choice,
        )
        choice = one.choice
        return one

    if kind == "folds":
        return _fit_folds(images, split, fit, features_model, occluded, everyone)
    train, validation, test = (np.flatnonzero(split == part) for part in PARTS)
    final = fit(train, validation, "")
    network = final.to_network(features_model)
    scored = np.concatenate([validation, test])
    y_score = final.scores(images, scored)
    return Outcome(
        final=final,
        network=network,
        scored=scored,
        y_score=y_score,
        raw_logit=final.raw_logits(images, scored, y_score),
        occluded=_score_occluded(final, images, scored, occluded),
        operating_points=np.tile(_thresholds(final.operating_points), scored.size),
        chosen_points=[final.operating_points],
        calibrations=[final.calibration],
        patient_points=[final.patient_point] * scored.size,
        held_out_from=[(train, scored)],
        history=_history([(None, final.history)]),
        notes=final.notes,
    )


def _fit_folds(
    images: TrainingImages,
    split: NDArray[np.str_],
    fit: Callable[[Rows, Rows | None, str], Fit],
    features_model: Any,
    occluded: Mapping[str, Occluded],
    everyone: Fit | None,
) -> Outcome:
    count = split.size
    y_score, raw_logit = np.empty(count), np.empty(count)
    chosen_points: list[tuple[OperatingPoint, ...]] = []
    calibrations: list[Calibration] = []
    unseen = {name: np.empty(count) for name in occluded}
    patient_points: list[PatientPoint | None] = [None] * count
    parts: list[tuple[Rows, Rows]] = []
    histories: list[tuple[str | None, list[dict[str, Any]]]] = []
    notes: list[str] = []
    folds = sorted(set(split.tolist()), key=int)
    for fold in folds:
        inside, outside = np.flatnonzero(split != fold), np.flatnonzero(split == fold)
        one = fit(inside, None, f" fold {int(fold) + 1} of {len(folds)}")
        y_score[outside] = one.scores(images, outside)
        raw_logit[outside] = one.raw_logits(images, outside, y_score[outside])
        chosen_points.append(one.operating_points)
        calibrations.append(one.calibration)
        for row in outside:
            patient_points[row] = one.patient_point
        for name, scores in _score_occluded(one, images, outside, occluded).items():
            unseen[name][outside] = scores
        parts.append((inside, outside))
        histories.append((fold, one.history))
        notes += [f"Fold {fold}: {note}" for note in one.notes]
    final = everyone or fit(np.arange(count), None, " on everyone")
    operating_points = np.empty((len(chosen_points[0]), count))
    for (_, outside), points in zip(parts, chosen_points, strict=True):
        operating_points[:, outside] = _thresholds(points)
    return Outcome(
        final=final,
        network=final.to_network(features_model),
        scored=np.arange(count),
        y_score=y_score,
        raw_logit=raw_logit,
        occluded=unseen,
        operating_points=operating_points,
        chosen_points=chosen_points,
        calibrations=calibrations,
        patient_points=patient_points,
        held_out_from=parts,
        history=_history([*histories, ("everyone", final.history)]),
        notes=[
            *notes,
            " ".join(["The model that was saved is trained on the patients of all folds.", *final.notes]),
        ],
    )


def _thresholds(points: Sequence[OperatingPoint]) -> NDArray[np.float64]:
    """Those of all operating points, as a column."""
    return np.array([[point.threshold] for point in points])


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


def _history(trainings: Sequence[tuple[str | None, list[dict[str, Any]]]]) -> pd.DataFrame:
    rows = [{"fold": fold} | row for fold, history in trainings for row in history]
    return pd.DataFrame(rows, columns=list(HISTORY_COLUMNS))
