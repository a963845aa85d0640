"""The trainings that runs consist of: planned before any is done, so that all of them can be done at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.cohort.splits import PARTS
from breastlens.config import TrainingRecipe
from breastlens.progress import Progress
from breastlens.runs.trainings import Ground, Rows, Task, Trained, do_training
from breastlens.work.run import Failed, Place, try_units
from breastlens.work.store import UnitStore
from breastlens.work.unit import Unit

Chosen = tuple[Ground, Task]


@dataclass(frozen=True, eq=False)
class Plan:
    """The trainings that a split asks for.

    Attributes:
        ground: The images, and the network that is started from.
        split: The part of each image, (n,): train, validation and test, or fold numbers as text.
        folds: The fold numbers in order; empty where the split has the three parts.
        tasks: One training; or one a fold, in that order, and then perhaps one on everyone.
    """

    ground: Ground
    split: NDArray[np.str_]
    folds: tuple[str, ...]
    tasks: tuple[Task, ...]


def plan_split(
    ground: Ground,
    split: NDArray[np.str_],
    kind: str,
    *,
    recipe: TrainingRecipe,
    tensorboard: Path | None = None,
    everyone: bool = True,
    repeat: str = "",
) -> Plan:
    """Plan the trainings of a split.

    Args:
        ground: The images, and the network that is started from.
        split: The part of each image, (n,).
        kind: ``folds``, or anything else for the three parts.
        recipe: How to train.
        tensorboard: Folder for TensorBoard's logs, if wanted; each training gets its own below it.
        everyone: Whether, with folds, a model of everyone is trained too.
        repeat: Which repeat of the folds this is, in words, for titles.
    """

    def task(train: Rows, validation: Rows | None, scored: Rows, title: str, *, kept: bool) -> Task:
        title = f"{recipe.strategy}{repeat}{title}"
        logs = None if tensorboard is None else str(tensorboard / title.replace(" ", "-"))
        return Task(title, recipe, train, validation, scored, kept, tensorboard=logs)

    if kind != "folds":
        train, validation, test = (np.flatnonzero(split == part) for part in PARTS)
        only = task(train, validation, np.concatenate([validation, test]), "", kept=True)
        return Plan(ground, split, (), (only,))
    folds = tuple(sorted(set(split.tolist()), key=int))
    tasks = []
    for fold in folds:
        inside, outside = np.flatnonzero(split != fold), np.flatnonzero(split == fold)
        tasks.append(task(inside, None, outside, f" fold {int(fold) + 1} of {len(folds)}", kept=False))
    if everyone:
        tasks.append(task(np.arange(split.size), None, np.empty(0, np.intp), " on everyone", kept=True))
    return Plan(ground, split, folds, tuple(tasks))


def fit_runs(
    runs: Sequence[Sequence[Plan]], store: UnitStore, place: Place, progress: Progress | None = None
) -> list[list[list[Trained]] | Failed]:
    """Do the trainings of several runs, all at once where that can be.

    Where the precision is still to be chosen, the first training of each run goes ahead and chooses for its others.

    Args:
        runs: The plans of each, alike but for the split.
        store: Where results of trainings are kept; those that are there are not made again.
        place: Where trainings are done.
        progress: Where to tell how many are done, if each does not tell of itself.

    Returns:
        Of each run, and of each of its plans, what the trainings came to in their order; or what one that failed has
        raised: a part with one class or too few patients (``SplitError``), or a loss that is no number (``DataError``).
        The other runs go on then.

    Raises:
        OSError: A result cannot be written.
    """
    wanted = [[(plan.ground, task) for plan in plans for task in plan.tasks] for plans in runs]
    with (progress or Progress()).task("trainings", sum(map(len, wanted))) as advance:

        def do(chosen: list[list[Chosen]], before: int) -> list[list[Any]]:
            units = [_unit(ground, task, store) for each in chosen for ground, task in each]
            results = try_units(
                units, store, place, keep_going=len(runs) > 1, on_done=lambda done: advance(before + done)
            )
            rest = iter(results)
            return [[next(rest) for _ in each] for each in chosen]

        ahead = do([each[: 1 if _chooses_precision(each[0][1]) else None] for each in wanted], 0)
        left = [_as_chosen(each, done) for each, done in zip(wanted, ahead, strict=True)]
        then = do(left, sum(map(len, ahead)))
    return [_of_run(*each) for each in zip(runs, ahead, then, strict=True)]


def _unit(ground: Ground, task: Task, store: UnitStore) -> Unit:
    key = task.key(ground)
    title = f"{task.title} of {ground.backbone.name}"
    return Unit(title, key, do_training, (ground, task, store.checkpoints(key)))


def _chooses_precision(task: Task) -> bool:
    return task.recipe.strategy != "probe" and task.recipe.training_precision == "auto"


def _as_chosen(wanted: list[Chosen], ahead: list[Any]) -> list[Chosen]:
    """The trainings of a run that are left, in the precision that the first has chosen."""
    if len(ahead) == len(wanted) or not isinstance(ahead[0], Trained):
        return []
    choice = ahead[0].fit.choice
    return [(ground, replace(task, choice=choice)) for ground, task in wanted[len(ahead) :]]


def _of_run(plans: Sequence[Plan], ahead: list[Any], then: list[Any]) -> list[list[Trained]] | Failed:
    results = ahead + then
    for result in results:
        if isinstance(result, Failed):
            return result
    rest = iter(results)
    return [[next(rest) for _ in plan.tasks] for plan in plans]
