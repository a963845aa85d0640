"""The trainings that runs consist of: planned before any is done, so that all of them can be done at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from breastlens.cohort.splits import PARTS
from breastlens.config import TrainingRecipe
from breastlens.progress import Progress
from breastlens.runs.trainings import Ground, Rows, Task, Trained, do_training
from breastlens.training.precision import Choice
from breastlens.work.run import Failed, Place, run_units
from breastlens.work.store import UnitStore
from breastlens.work.unit import Unit


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

    Where the precision is still to be chosen, the first training of a run goes ahead and chooses for its others. After
    one that failed no other of its run is begun.

    Args:
        runs: The plans of each, alike but for the split.
        store: Where results of trainings are kept; those that are there are not made again.
        place: Where trainings are done.
        progress: Where to tell how many are done, if each does not tell of itself.

    Returns:
        Of each run, and of each of its plans, what the trainings came to in their order; or what one that failed has
        raised: a part with one class or too few patients (``SplitError``), or a loss that is no number (``DataError``).

    Raises:
        OSError: Something cannot be read or written; no other training is begun then.
    """
    queues = [_Queue(plans, store, several=len(runs) > 1) for plans in runs]
    owners = {key: queue for queue in queues for key in queue.keys}
    broken: list[OSError] = []

    def units() -> Iterator[Unit | None]:
        while any(queue.left for queue in queues) and not broken:
            ready = next((queue for queue in queues if queue.left and not queue.waits), None)
            yield None if ready is None else ready.next_unit()

    with (progress or Progress()).task("trainings", len(owners)) as advance:

        def take(unit: Unit, result: Trained | Failed) -> None:
            owners[unit.key].take(unit, result)
            if isinstance(result, Failed) and isinstance(result.error, OSError):
                broken.append(result.error)
            advance(sum(len(queue.trained) for queue in queues))

        run_units(units(), store, place, take)
    if broken:
        raise broken[0]
    return [queue.outcome() for queue in queues]


class _Queue:
    """The trainings of one run: those that are left, and what came of the others."""

    def __init__(self, plans: Sequence[Plan], store: UnitStore, *, several: bool) -> None:
        self._plans = plans
        self._store = store
        self._several = several
        self.left = deque((plan.ground, task) for plan in plans for task in plan.tasks)
        self.keys = [task.key(ground) for ground, task in self.left]
        self.trained: dict[str, Trained] = {}
        self._failed: Failed | None = None
        first = self.left[0][1]
        self._chooses = first.recipe.strategy != "probe" and first.recipe.training_precision == "auto"
        self._choice: Choice | None = None

    @property
    def waits(self) -> bool:
        """Whether the first has begun, and not come back with the precision of the others."""
        return self._chooses and len(self.left) < len(self.keys) and not self.trained

    def next_unit(self) -> Unit:
        """The next that is left."""
        key = self.keys[-len(self.left)]
        ground, task = self.left.popleft()
        title = f"{task.title} of {ground.backbone.name}" if self._several else task.title
        chosen = replace(task, choice=self._choice)
        return Unit(title, key, do_training, (ground, chosen, self._store.checkpoints(key)))

    def take(self, unit: Unit, result: Trained | Failed) -> None:
        """Keep what came of one."""
        if isinstance(result, Failed):
            self._failed = self._failed or result
            self.left.clear()
        else:
            self.trained[unit.key] = result
            if self._chooses:
                self._choice = result.fit.choice

    def outcome(self) -> list[list[Trained]] | Failed:
        """What came of all, a list a plan; or of the first that failed."""
        if self._failed is not None:
            return self._failed
        keys = iter(self.keys)
        return [[self.trained[next(keys)] for _ in plan.tasks] for plan in self._plans]
