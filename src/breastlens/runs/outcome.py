"""What a training on a split comes to: the model that is kept, and a score for every image that was held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from breastlens.runs.trainings import Ground, Rows, Task, Trained, do_training
from breastlens.training.fitted import Fit
from breastlens.work.run import Place, run_units
from breastlens.work.store import UnitStore
from breastlens.work.unit import Unit

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


@dataclass(frozen=True, eq=False)
class Plan:
    """The trainings that a split asks for: one, or one a fold and then one on everyone.

    Attributes:
        ground: The images, and the network that is started from.
        split: The part of each image, (n,): train, validation and test, or fold numbers as text.
        tasks: The trainings, in the order of the folds.
        features_model: From ``ground.build_features_model``, one that stays as it is.
        everyone: With folds, the model of everyone where that was trained before; None: it is the last task.
    """

    ground: Ground
    split: NDArray[np.str_]
    tasks: list[Task]
    features_model: Any
    everyone: Fit | None

    def outcome(self, trained: Sequence[Trained]) -> Outcome:
        """What the trainings come to.

        Args:
            trained: Of each task, in order.
        """
        if self.everyone is not None or len(trained) > 1:
            return _of_folds(self, trained)
        (task,), (one,) = self.tasks, trained
        final = one.whole_fit()
        return Outcome(
            final=final,
            network=final.to_network(self.features_model),
            scored=task.scored,
            y_score=one.y_score,
            raw_logit=one.raw_logit,
            occluded=one.occluded,
            operating_points=np.tile(_thresholds(final.operating_points), task.scored.size),
            chosen_points=[final.operating_points],
            calibrations=[final.calibration],
            patient_points=[final.patient_point] * task.scored.size,
            held_out_from=[(task.train, task.scored)],
            history=_history([(None, final.history)]),
            notes=final.notes,
        )


def plan_split(
    ground: Ground,
    split: NDArray[np.str_],
    kind: str,
    *,
    recipe: TrainingRecipe,
    features_model: Any,
    tensorboard: Path | None = None,
    everyone: Fit | None = None,
    repeat: str = "",
) -> Plan:
    """Plan the trainings of a split.

    Args:
        ground: The images, and the network that is started from.
        split: The part of each image, (n,).
        kind: ``folds``, or anything else for the three parts.
        recipe: How to train.
        features_model: From ``ground.build_features_model``, one that stays as it is.
        tensorboard: Folder for TensorBoard's logs, if wanted; each training gets its own below it.
        everyone: With folds, the model of everyone where that was trained before; None: it is planned too.
        repeat: Which repeat of the folds this is, in words, for titles.
    """
    choice = None if everyone is None else everyone.choice

    def task(train: Rows, validation: Rows | None, scored: Rows, title: str, *, kept: bool) -> Task:
        title = f"{recipe.strategy}{repeat}{title}"
        logs = None if tensorboard is None else str(tensorboard / title.replace(" ", "-"))
        return Task(title, recipe, train, validation, scored, kept, choice, logs)

    if kind == "folds":
        folds = _folds(split)
        tasks = []
        for fold in folds:
            inside, outside = np.flatnonzero(split != fold), np.flatnonzero(split == fold)
            tasks.append(task(inside, None, outside, f" fold {int(fold) + 1} of {len(folds)}", kept=False))
        if everyone is None:
            tasks.append(task(np.arange(split.size), None, np.empty(0, np.intp), " on everyone", kept=True))
    else:
        train, validation, test = (np.flatnonzero(split == part) for part in PARTS)
        tasks = [task(train, validation, np.concatenate([validation, test]), "", kept=True)]
    return Plan(ground, split, tasks, features_model, everyone)


def fit_plans(plans: Sequence[Plan], store: UnitStore, place: Place) -> list[Outcome]:
    """Do the trainings of several plans, all at once where that can be.

    Where the precision is still to be chosen, the very first goes ahead and chooses for all.

    Args:
        plans: What to train, alike but for the split.
        store: Where results of trainings are kept; those that are there are not made again.
        place: Where trainings are done.

    Raises:
        SplitError: A part has one class only, or too few patients.
        OSError: A result cannot be written.
    """

    def do(some: Sequence[tuple[Ground, Task]]) -> list[Trained]:
        units = []
        for ground, task in some:
            key = task.key(ground)
            units.append(Unit(task.title, key, do_training, (ground, task, store.checkpoints(key))))
        return run_units(units, store, place)

    wanted = [(plan.ground, task) for plan in plans for task in plan.tasks]
    first = wanted[0][1]
    if (
        first.choice is None
        and first.recipe.strategy != "probe"
        and first.recipe.training_precision == "auto"
    ):
        ahead = do(wanted[:1])
        choice = ahead[0].fit.choice
        trained = ahead + do([(ground, replace(task, choice=choice)) for ground, task in wanted[1:]])
    else:
        trained = do(wanted)
    found = iter(trained)
    return [plan.outcome([next(found) for _ in plan.tasks]) for plan in plans]


def _folds(split: NDArray[np.str_]) -> list[str]:
    return sorted(set(split.tolist()), key=int)


def _of_folds(plan: Plan, trained: Sequence[Trained]) -> Outcome:
    """Put the scores of all folds together, each image's from the training that had not seen it."""
    folds = _folds(plan.split)
    final = trained[-1].whole_fit() if plan.everyone is None else plan.everyone
    trained = trained[: len(folds)]
    parts = [(task.train, task.scored) for task in plan.tasks[: len(folds)]]
    count = sum(outside.size for _, outside in parts)
    y_score, raw_logit = np.empty(count), np.empty(count)
    unseen = {name: np.empty(count) for name in trained[0].occluded}
    patient_points: list[PatientPoint | None] = [None] * count
    operating_points = np.empty((len(trained[0].fit.operating_points), count))
    for (_, outside), one in zip(parts, trained, strict=True):
        y_score[outside], raw_logit[outside] = one.y_score, one.raw_logit
        operating_points[:, outside] = _thresholds(one.fit.operating_points)
        for name, scores in one.occluded.items():
            unseen[name][outside] = scores
        for row in outside:
            patient_points[row] = one.fit.patient_point
    notes = [
        f"Fold {fold}: {note}" for fold, one in zip(folds, trained, strict=True) for note in one.fit.notes
    ]
    histories = [(fold, one.fit.history) for fold, one in zip(folds, trained, strict=True)]
    return Outcome(
        final=final,
        network=final.to_network(plan.features_model),
        scored=np.arange(count),
        y_score=y_score,
        raw_logit=raw_logit,
        occluded=unseen,
        operating_points=operating_points,
        chosen_points=[one.fit.operating_points for one in trained],
        calibrations=[one.fit.calibration for one in trained],
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


def _history(trainings: Sequence[tuple[str | None, list[dict[str, Any]]]]) -> pd.DataFrame:
    rows = [{"fold": fold} | row for fold, history in trainings for row in history]
    return pd.DataFrame(rows, columns=list(HISTORY_COLUMNS))
