"""A run from its data to its directory, in two steps between which its trainings are done, wherever that is."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.cohort.records import Cohort
from breastlens.config import TrainingRecipe
from breastlens.errors import RunDirectoryError
from breastlens.models.activation_map import with_activation_map
from breastlens.models.backbones import Backbone, get_backbone
from breastlens.models.engine import convert
from breastlens.models.feature_cache import FeatureCache
from breastlens.models.quantise import require_quantisation
from breastlens.progress import Progress
from breastlens.report.page import write_report
from breastlens.runs.directory import explained_write_errors, write_json, write_table
from breastlens.runs.doubts import doubt_model
from breastlens.runs.facts import Stopwatch, describe_split
from breastlens.runs.judging import judge_outcome
from breastlens.runs.learning_curve import measure_learning_curve
from breastlens.runs.material import Material, compute_features, starting_network
from breastlens.runs.outcome import Outcome, conclude
from breastlens.runs.patients import patients_table
from breastlens.runs.pictures import draw_figures
from breastlens.runs.plans import Plan, plan_split
from breastlens.runs.precision import choose_precision
from breastlens.runs.preparation import Prepared, prepare, prove_pairs
from breastlens.runs.repeats import describe_repeats, plan_repeats
from breastlens.runs.saving import save_model, teach_abstention, training_prevalence
from breastlens.runs.splitting import refuse_unsplittable, split_records
from breastlens.runs.subgroups import subgroup_metrics
from breastlens.runs.tables import predictions_table, records_table
from breastlens.runs.training_facts import describe_training
from breastlens.runs.trainings import Trained
from breastlens.runs.workplace import Workplace
from breastlens.work.run import Failed


@dataclass(frozen=True, eq=False)
class Begun:
    """A run whose data was looked at and divided, and whose trainings are planned.

    Attributes:
        material: What it trains on.
        split: What run.json is to say of the split.
        plans: Its trainings, those of the first repeat first.
        tensorboard: Where logs are wanted.
        watch: What took how long.
    """

    material: Material
    split: dict[str, Any]
    plans: list[Plan]
    tensorboard: Path | None
    watch: Stopwatch


def begin(
    cohort: Cohort | Prepared, recipe: TrainingRecipe, workplace: Workplace, tensorboard: Path | None
) -> Begun:
    """Do all of a run that comes before its trainings.

    Args:
        cohort: The labelled images.
        recipe: How to train.
        workplace: Where to train.
        tensorboard: Folder for TensorBoard's logs, if wanted.

    Raises:
        DataError: The cohort cannot be split as asked (``SplitError``), or a file has gone.
        WeightsError: The weights are unreachable or do not fit.
        MissingDependencyError: Keras is not installed, or NNCF and int8 was asked for.
        RunDirectoryError: The folder of logs cannot be made.
        OSError: What other processes are to read cannot be written.
    """
    if recipe.precision == "int8":
        require_quantisation()
    watch = Stopwatch()
    logs = None if tensorboard is None else _new_log_folder(tensorboard.absolute(), recipe)
    backbones = tuple(get_backbone(name) for name in recipe.backbones)
    material, split = _gather(cohort, recipe, backbones, workplace.cache, workplace.progress, watch)
    material = workplace.settle(material)
    ground = workplace.ground(material, material.network, recipe, controls=True)
    plan = plan_split(ground, material.split, material.kind, recipe=recipe, tensorboard=logs)
    return Begun(material, split, [plan, *plan_repeats(material, workplace)], logs, watch)


def finish(
    begun: Begun,
    trained: list[list[Trained]] | Failed,
    directory: Path,
    progress: Progress,
    command: Sequence[str],
) -> None:
    """Do all of a run that comes after its trainings, and fill its directory.

    Args:
        begun: The run.
        trained: What its trainings came to.
        directory: To write to.
        progress: Where to tell how far it is.
        command: The command line.

    Raises:
        Exception: What a training that failed has raised.
        OSError: A file cannot be written.
    """
    if isinstance(trained, Failed):
        raise trained.error
    material, watch = begun.material, begun.watch
    recipe = material.recipe
    for one in itertools.chain.from_iterable(trained):
        watch.add("train", one.wall_s, one.cpu_s)
    with watch.phase("train"):
        outcome = conclude(begun.plans[0], trained[0], material.network.model)
    repeats = None
    if recipe.repeats > 1:
        with watch.phase("repeats"):
            others = list(zip(begun.plans, trained, strict=True))[1:]
            repeats = describe_repeats(material, outcome, others)
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with watch.phase("precision"):
        chosen = choose_precision(
            recipe.precision,
            convert(
                with_activation_map(
                    outcome.network, material.backbones, material.network.views, recipe.pooling
                )
            ),
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
        begun.split if repeats is None else begun.split | {"repeats": repeats.splits},
        command=command,
        created=created,
        tensorboard=begun.tensorboard,
        watch=watch,
    )
    write_json(directory / "run.json", facts)
    write_report(directory)


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
