"""One training from beginning to end: split, features, model, bundle, evaluation, report."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.cohort.records import Cohort
from breastlens.config import TrainingRecipe
from breastlens.errors import DataError, RunDirectoryError
from breastlens.models.activation_map import with_activation_map
from breastlens.models.backbones import Backbone, get_backbone, joint_name
from breastlens.models.engine import convert
from breastlens.models.feature_cache import FeatureCache
from breastlens.models.quantise import require_quantisation
from breastlens.progress import Progress
from breastlens.report.page import write_report
from breastlens.runs.directory import (
    Run,
    explained_write_errors,
    first_free,
    new_directory,
    write_json,
    write_table,
)
from breastlens.runs.doubts import doubt_model
from breastlens.runs.facts import Stopwatch, describe_split
from breastlens.runs.job import open_job, purpose_of, read_purpose
from breastlens.runs.judging import judge_outcome
from breastlens.runs.learning_curve import measure_learning_curve
from breastlens.runs.material import Material, compute_features, starting_network
from breastlens.runs.outcome import Outcome, plan_split
from breastlens.runs.patients import patients_table
from breastlens.runs.pictures import draw_figures
from breastlens.runs.precision import choose_precision
from breastlens.runs.preparation import Prepared, prepare, prove_pairs
from breastlens.runs.repeats import repeat_folds
from breastlens.runs.saving import save_model, teach_abstention, training_prevalence
from breastlens.runs.settings import checked
from breastlens.runs.splitting import refuse_unsplittable, split_records
from breastlens.runs.subgroups import subgroup_metrics
from breastlens.runs.tables import predictions_table, records_table
from breastlens.runs.training_facts import describe_training
from breastlens.runs.workplace import Workplace
from breastlens.work.places import choose_place


def train(
    cohort: Cohort | Prepared,
    *,
    out: str | Path | None = None,
    cache: FeatureCache | None = None,
    progress: Progress | None = None,
    command: Sequence[str] = (),
    tensorboard: str | Path | None = None,
    on: str = "here",
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
        on: Where trainings are done: ``here``, ``processes`` or ``processes:N`` on this machine; see ``choose_place``.
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
        MissingDependencyError: Keras is not installed, or NNCF and int8 was asked for.
        RunDirectoryError: The directory exists or cannot be written; or there is nothing to go on with, or it was begun
            otherwise, which the message names.
    """
    recipe = checked(TrainingRecipe, settings)
    if recipe.precision == "int8":
        require_quantisation()
    if "backbone" in settings and recipe.ensemble:
        raise DataError("backbone and ensemble both say which networks to train; give one of them")
    backbones = tuple(get_backbone(name) for name in recipe.backbones)
    out = default_out(recipe) if out is None else Path(out)
    progress = progress or Progress()
    images = cohort.cohort if isinstance(cohort, Prepared) else cohort
    purpose = purpose_of(images, recipe, arguments=arguments, command=command)
    if resume:
        command = read_purpose(out).command
    logs = None if tensorboard is None else _new_log_folder(Path(tensorboard).absolute(), recipe)
    with (
        open_job(out, images, purpose, resume=resume, progress=progress, keep=keep_unfinished) as job,
        new_directory(out, data=images.scanned) as unfinished,
    ):
        _train_into(
            unfinished,
            cohort,
            recipe,
            backbones,
            command=command,
            tensorboard=logs,
            workplace=Workplace(job, choose_place(on), cache or FeatureCache(), progress),
        )
    return Run.read(out)


def default_out(recipe: TrainingRecipe) -> Path:
    """The run directory of a training that was given none: ``runs/BACKBONE-STRATEGY-N`` with the first free number."""
    name = joint_name(tuple(get_backbone(each) for each in recipe.backbones))
    return first_free(Path("runs"), f"{name.replace(':', '-')}-{recipe.strategy}")


def _new_log_folder(folder: Path, recipe: TrainingRecipe) -> Path:
    if recipe.strategy == "probe":  # has nothing to log
        return folder
    with explained_write_errors(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise RunDirectoryError(
                f"--tensorboard {folder}: {error.filename} is a file, not a folder"
            ) from error
    return folder


def _train_into(
    directory: Path,
    cohort: Cohort | Prepared,
    recipe: TrainingRecipe,
    backbones: tuple[Backbone, ...],
    *,
    command: Sequence[str],
    tensorboard: Path | None,
    workplace: Workplace,
) -> None:
    progress = workplace.progress
    watch = Stopwatch()
    material, split_facts = _gather(cohort, recipe, backbones, workplace.cache, progress, watch)
    with watch.phase("train"):
        plan = plan_split(
            workplace.ground(material, material.network, recipe, controls=True),
            material.split,
            material.kind,
            recipe=recipe,
            features_model=material.network.model,
            tensorboard=tensorboard,
        )
        (outcome,) = workplace.fit([plan])
    repeats = None
    if recipe.repeats > 1:
        with watch.phase("repeats"):
            repeats = repeat_folds(material, outcome, workplace)
            split_facts["repeats"] = repeats.splits
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with watch.phase("precision"):
        chosen = choose_precision(
            recipe.precision,
            convert(with_activation_map(outcome.network, backbones, material.network.views, recipe.pooling)),
            material.pixels,
            material.labels,
            material.split,
            outcome.final.operating_point.threshold,
            progress,
        )
    for note in chosen.notes:
        progress.say(note)
    with watch.phase("abstention"):
        abstaining = teach_abstention(material, outcome, chosen)
    with watch.phase("save model"):
        bundle = save_model(directory / "model", material, outcome, chosen, abstaining, created)
    with watch.phase("negative controls"):
        doubts = doubt_model(material, outcome, bundle.engine, progress)
    curve = None
    if recipe.learning_curve:
        with watch.phase("learning curve"):
            curve = _draw_learning_curve(material, outcome, progress)
    with watch.phase("evaluate"):
        predictions = predictions_table(
            material.used.iloc[outcome.scored], outcome.y_score, outcome.thresholds, outcome.raw_logit
        ).assign(**abstaining.columns)
        metrics = judge_outcome(material, outcome, predictions, training_prevalence(material, outcome))
        metrics |= doubts.metrics | abstaining.metrics
        if repeats is not None:
            metrics["repeats"] = repeats.metrics
            write_table(directory / "repeats.csv", repeats.table)
        if curve is not None:
            metrics["learning_curve"] = curve
        metrics |= _judge_subgroups(material, outcome)
        write_table(
            directory / "records.csv",
            records_table(material.prepared.cohort, material.used, material.seen.loaded),
        )
        write_table(directory / "predictions.csv", predictions)
        patients = patients_table(
            predictions, outcome.thresholds.tolist(), outcome.patient_points, abstaining.patient_limits
        )
        if patients is not None:
            write_table(directory / "patients.csv", patients)
        write_table(directory / "history.csv", outcome.history)
        write_json(directory / "metrics.json", metrics)
    with watch.phase("figures"):
        draw_figures(
            directory,
            material.prepared.cohort.labels,
            metrics,
            predictions,
            outcome.history,
            lambda rows: material.pixels[outcome.scored[rows.index]],
            bundle.engine,
        )
    facts = describe_training(
        material,
        outcome,
        chosen,
        doubts,
        split_facts,
        command=command,
        created=created,
        tensorboard=tensorboard,
        watch=watch,
    )
    write_json(directory / "run.json", facts)
    write_report(directory)


def _gather(
    cohort: Cohort | Prepared,
    recipe: TrainingRecipe,
    backbones: tuple[Backbone, ...],
    cache: FeatureCache,
    progress: Progress,
    watch: Stopwatch,
) -> tuple[Material, dict[str, Any]]:
    """Look at the data, divide it, prove that nothing crosses the parts, and show it to the starting network."""
    image = (cohort.cohort if isinstance(cohort, Prepared) else cohort).image
    network = starting_network(backbones, image.image_size, recipe, cache)
    if isinstance(cohort, Prepared):
        prepared = cohort
    else:
        refuse_unsplittable(cohort, recipe)
        with watch.phase("look at the data"):
            prepared = prepare(cohort, audit=recipe.audit, seed=recipe.seed, progress=progress)
    kind, split = split_records(prepared.seen.used, prepared.seen.groups, recipe)
    used = prepared.seen.used.assign(split=split)
    split_facts = describe_split(kind, used)
    split_facts["proof"] |= prove_pairs(prepared.seen, split)
    with watch.phase("build network"):
        network.require()
    with watch.phase("features"):
        features, occluded = compute_features(network, prepared, recipe, progress)
    material = Material(recipe, backbones, prepared, kind, used, network, features, occluded)
    return material, split_facts


def _draw_learning_curve(material: Material, outcome: Outcome, progress: Progress) -> dict[str, Any]:
    judged = _judged(material, outcome)
    return measure_learning_curve(
        material.features,
        material.labels,
        material.groups,
        outcome.held_out_from,
        outcome.scored[judged],
        material.used["patient_id"].iloc[outcome.scored[judged]].tolist(),
        seed=material.recipe.seed,
        progress=progress,
        fit=material.fit_probe,
    )


def _judge_subgroups(material: Material, outcome: Outcome) -> dict[str, Any]:
    judged = _judged(material, outcome)
    return subgroup_metrics(
        material.used,
        outcome.scored[judged],
        outcome.y_score[judged],
        outcome.thresholds[judged],
        material.recipe.subgroups,
        seed=material.recipe.seed,
        linked=material.groups,
    )


def _judged(material: Material, outcome: Outcome) -> NDArray[np.bool_]:
    """Which of the held-out scores say how good the model is: those that nothing was chosen on, (len(scored),)."""
    return np.asarray(material.split[outcome.scored] != "validation")
