"""What the trainings of a split come to: a score for every image that was held out, and the model that is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.evaluation.by_patient import PatientPoint
from breastlens.evaluation.calibration import Calibration
from breastlens.evaluation.thresholds import OperatingPoint
from breastlens.runs.plans import Plan
from breastlens.runs.trainings import Rows, Trained
from breastlens.training.fitted import Fit

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
class HeldOut:
    """Scores of images, each by a model that had not seen it.

    Attributes:
        scored: Rows with such a score.
        y_score: Their scores, (len(scored),).
        raw_logit: The log-odds behind them before calibration, (len(scored),).
        occluded: By occlusion, the scores that the same models give the same images when these are occluded.
        operating_points: For each operating point, the first being the one in use, the threshold that applies to each
            of them, (points, len(scored)): its fold's own when cross-validating.
        chosen_points: Of each training that gave scores, in the order of ``held_out_from``, its operating points.
        calibrations: And its calibration.
        patient_points: How the patient of each of them is scored and called; None: by means.
        held_out_from: For each held-out part, the rows trained on and the rows scored.
    """

    scored: Rows
    y_score: NDArray[np.float64]
    raw_logit: NDArray[np.float64]
    occluded: dict[str, NDArray[np.float64]]
    operating_points: NDArray[np.float64]
    chosen_points: list[tuple[OperatingPoint, ...]]
    calibrations: list[Calibration]
    patient_points: list[PatientPoint | None]
    held_out_from: list[tuple[Rows, Rows]]

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """Those of the operating point in use."""
        return np.asarray(self.operating_points[0])


@dataclass(frozen=True, eq=False)
class Outcome(HeldOut):
    """These, and the model that goes into the bundle.

    Attributes:
        final: That model; when cross-validating, it is trained on everyone.
        network: The same as one Keras network.
        history: history.csv.
        notes: Sentences for the reader.
    """

    final: Fit
    network: Any
    history: pd.DataFrame
    notes: list[str]


def hold_out(plan: Plan, trained: Sequence[Trained]) -> HeldOut:
    """Put the scores of all trainings together, each image's from the one that had not seen it.

    Args:
        plan: The trainings.
        trained: What each came to, in order.
    """
    judges = list(zip(plan.tasks, trained, strict=True))[: len(plan.folds) or 1]
    scored = np.arange(plan.split.size) if plan.folds else plan.tasks[0].scored
    position = np.empty(plan.split.size, np.intp)
    position[scored] = np.arange(scored.size)
    y_score, raw_logit = np.empty(scored.size), np.empty(scored.size)
    occluded = {name: np.empty(scored.size) for name in trained[0].occluded}
    patient_points: list[PatientPoint | None] = [None] * scored.size
    operating_points = np.empty((len(trained[0].fit.operating_points), scored.size))
    for task, one in judges:
        at = position[task.scored]
        y_score[at], raw_logit[at] = one.y_score, one.raw_logit
        operating_points[:, at] = [[point.threshold] for point in one.fit.operating_points]
        for name, scores in one.occluded.items():
            occluded[name][at] = scores
        for row in at:
            patient_points[row] = one.fit.patient_point
    return HeldOut(
        scored=scored,
        y_score=y_score,
        raw_logit=raw_logit,
        occluded=occluded,
        operating_points=operating_points,
        chosen_points=[one.fit.operating_points for _, one in judges],
        calibrations=[one.fit.calibration for _, one in judges],
        patient_points=patient_points,
        held_out_from=[(task.train, task.scored) for task, _ in judges],
    )


def conclude(plan: Plan, trained: Sequence[Trained], features_model: Any) -> Outcome:
    """The same with the model that is kept, which is that of the last training.

    Args:
        plan: The trainings.
        trained: What each came to, in order.
        features_model: From ``plan.ground.build_features_model``, one that stays as it is.
    """
    held_out = hold_out(plan, trained)
    final = trained[-1].whole_fit()
    histories: list[tuple[str | None, list[dict[str, Any]]]] = [(None, final.history)]
    notes = final.notes
    if plan.folds:
        by_fold = list(zip(plan.folds, trained, strict=False))
        histories = [*((fold, one.fit.history) for fold, one in by_fold), ("everyone", final.history)]
        notes = [f"Fold {fold}: {note}" for fold, one in by_fold for note in one.fit.notes]
        notes.append(
            " ".join(["The model that was saved is trained on the patients of all folds.", *final.notes])
        )
    return Outcome(
        **{each.name: getattr(held_out, each.name) for each in fields(held_out)},
        final=final,
        network=final.to_network(features_model),
        history=_history(histories),
        notes=notes,
    )


def _history(trainings: Sequence[tuple[str | None, list[dict[str, Any]]]]) -> pd.DataFrame:
    rows = [{"fold": fold} | row for fold, history in trainings for row in history]
    return pd.DataFrame(rows, columns=list(HISTORY_COLUMNS))
