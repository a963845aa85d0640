"""One training from beginning to end: split, features, model, bundle, evaluation, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from breastlens.cohort.records import Cohort
from breastlens.config import TrainingRecipe
from breastlens.errors import DataError
from breastlens.models.backbones import get_backbone, joint_name
from breastlens.models.feature_cache import FeatureCache
from breastlens.progress import Progress
from breastlens.runs.conduct import begin, finish
from breastlens.runs.directory import Run, first_free, new_directory
from breastlens.runs.job import open_job, purpose_of, read_purpose
from breastlens.runs.preparation import Prepared
from breastlens.runs.settings import checked
from breastlens.runs.workplace import Workplace
from breastlens.work.places import HERE, choose_place
from breastlens.work.run import Place


def train(
    cohort: Cohort | Prepared,
    *,
    out: str | Path | None = None,
    cache: FeatureCache | None = None,
    progress: Progress | None = None,
    command: Sequence[str] = (),
    tensorboard: str | Path | None = None,
    on: str | Place = HERE,
    resume: bool = False,
    arguments: Mapping[str, Any] | None = None,
    keep_unfinished: bool = True,
    **settings: Any,
) -> Run:
    """Train, evaluate and report; leave a run directory.

    Until that is complete, what was finished lies beside it: each training, and of one that has only begun the state
    after its last epoch. Whatever ends this process, ``resume`` goes on from there, and comes to the same.

    Args:
        cohort: The labelled images; or what ``prepare`` made of them, where several trainings share it.
        out: The run directory to make; None: ``runs/BACKBONE-STRATEGY-N`` with the first free number.
        cache: Where features are kept for later; None: in the user's cache folder.
        progress: Where to tell how far it is.
        command: The command line, for run.json and the report.
        tensorboard: Folder for TensorBoard's logs, if wanted.
        on: Where trainings are done, see ``choose_place``.
        resume: Go on with a training that was begun for ``out`` with the same data, settings and versions.
        arguments: What a command was given, for one that goes on by the name of the run alone.
        keep_unfinished: Whether to leave what was finished where the training ends otherwise.
        **settings: Fields of ``TrainingRecipe``, such as ``backbone="densenet121"`` or ``folds=5``.

    Returns:
        The run; ``run.metrics["test"]["auc"]`` is its AUC on the test part, and with folds
        ``run.metrics["out_of_fold"]["auc"]``.

    Raises:
        DataError: A setting is not valid, or the cohort cannot be split as asked (``SplitError``).
        WeightsError: The weights are unreachable or do not fit.
        MissingDependencyError: Keras is not installed, or NNCF and int8 was asked for, or Ray and ``on`` says so.
        RunDirectoryError: The directory exists or cannot be written; or there is nothing to go on with, or it was begun
            otherwise, which the message names.
    """
    recipe = checked(TrainingRecipe, settings)
    if "backbone" in settings and recipe.ensemble:
        raise DataError("backbone and ensemble both say which networks to train; give one of them")
    out = default_out(recipe) if out is None else Path(out)
    progress, place = progress or Progress(), choose_place(on)
    images = cohort.cohort if isinstance(cohort, Prepared) else cohort
    purpose = purpose_of(images, recipe, arguments=arguments, command=command)
    if resume:
        command = read_purpose(out).command
    with (
        open_job(out, images, purpose, resume=resume, progress=progress, keep=keep_unfinished) as job,
        new_directory(out, data=images.scanned) as unfinished,
    ):
        workplace = Workplace(job, place, cache or FeatureCache(), progress)
        begun = begin(cohort, recipe, workplace, None if tensorboard is None else Path(tensorboard))
        (trained,) = workplace.fit([begun.plans])
        finish(begun, trained, unfinished, progress, command)
    return Run.read(out)


def default_out(recipe: TrainingRecipe) -> Path:
    """The run directory of a training that was given none: ``runs/BACKBONE-STRATEGY-N`` with the first free number."""
    name = joint_name(tuple(get_backbone(each) for each in recipe.backbones))
    return first_free(Path("runs"), f"{name.replace(':', '-')}-{recipe.strategy}")
