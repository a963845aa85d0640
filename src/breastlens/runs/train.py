"""One training from beginning to end: split, features, model, bundle, evaluation, report."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.finding import most_severe_first
from breastlens.audit.shortcuts import hidden
from breastlens.cohort.batches import LoadedImages
from breastlens.cohort.records import Cohort
from breastlens.config import TrainingRecipe
from breastlens.errors import DataError, RunDirectoryError
from breastlens.evaluation.stratified import stratified_auc
from breastlens.models.activation_map import with_activation_map
from breastlens.models.backbones import JOINT, Backbone, get_backbone
from breastlens.models.bundle import Bundle, BundleCard, save_bundle, shorten_hashes
from breastlens.models.engine import Engine, convert
from breastlens.models.feature_cache import FeatureCache
from breastlens.models.feature_network import FeatureNetwork
from breastlens.models.joint_features import JointFeatures
from breastlens.models.quantise import require_quantisation
from breastlens.models.views import VIEWS
from breastlens.progress import Progress
from breastlens.report.page import write_report
from breastlens.runs.abstention import Abstaining, set_abstention
from breastlens.runs.directory import (
    Run,
    explained_write_errors,
    first_free,
    new_directory,
    write_json,
    write_table,
)
from breastlens.runs.doubts import chosen_occlusions, doubt_model
from breastlens.runs.facts import Stopwatch, describe_run, describe_split, describe_versions
from breastlens.runs.judging import judge
from breastlens.runs.learning_curve import measure_learning_curve
from breastlens.runs.outcome import Occluded, Outcome, fit_split
from breastlens.runs.pictures import draw_figures
from breastlens.runs.precision import Chosen, choose_precision
from breastlens.runs.preparation import Prepared, prepare, prove_pairs
from breastlens.runs.repeats import repeat_folds
from breastlens.runs.settings import checked
from breastlens.runs.splitting import refuse_unsplittable, say_unused, split_records
from breastlens.runs.subgroups import subgroup_metrics
from breastlens.runs.tables import predictions_table, records_table
from breastlens.training.ensemble import fit_members
from breastlens.training.fit import TrainingImages, in_parts

OF_EPOCHS = (
    "epochs",
    "batch_size",
    "learning_rate",
    "weight_decay",
    "patience",
    "trainable_stages",
    "views",
    "training_precision",
    "augmentation",
)
"""Settings that a probe has no use for."""


def train(
    cohort: Cohort | Prepared,
    *,
    out: str | Path | None = None,
    cache: FeatureCache | None = None,
    progress: Progress | None = None,
    command: Sequence[str] = (),
    tensorboard: str | Path | None = None,
    **settings: Any,
) -> Run:
    """Train, evaluate and report; leave a run directory.

    Args:
        cohort: The labelled images; or what ``prepare`` made of them, where several trainings share it.
        out: The run directory to make; None: ``runs/BACKBONE-STRATEGY-N`` with the first free number.
        cache: Where features are kept for later; None: in the user's cache folder.
        progress: Where to tell how far it is.
        command: The command line, for run.json and the report.
        tensorboard: Folder for TensorBoard's logs, if wanted.
        **settings: Fields of ``TrainingRecipe``, such as ``backbone="densenet121"`` or ``folds=5``.

    Returns:
        The run; ``run.metrics["test"]["auc"]`` is its AUC on the test part, and with folds
        ``run.metrics["out_of_fold"]["auc"]``.

    Raises:
        DataError: A setting is not valid, or the cohort cannot be split as asked (``SplitError``).
        WeightsError: The weights are unreachable or do not fit.
        MissingDependencyError: Keras is not installed, or NNCF and int8 was asked for.
        RunDirectoryError: The directory exists or cannot be written. An error after the model was saved leaves it, and
            says where.
    """
    recipe = checked(TrainingRecipe, settings)
    if recipe.precision == "int8":
        require_quantisation()
    if "backbone" in settings and recipe.ensemble:
        raise DataError("backbone and ensemble both say which networks to train; give one of them")
    backbones = tuple(get_backbone(name) for name in recipe.backbones)
    stem = f"{_name(backbones).replace(':', '-')}-{recipe.strategy}"
    out = first_free(Path("runs"), stem) if out is None else Path(out)
    data = cohort.cohort.scanned if isinstance(cohort, Prepared) else cohort.scanned
    with new_directory(out, data=data, worth_keeping="model/bundle.json") as unfinished:
        _train_into(
            unfinished,
            cohort,
            recipe,
            backbones,
            cache=cache or FeatureCache(),
            progress=progress or Progress(),
            command=command,
            tensorboard=None if tensorboard is None else _new_log_folder(Path(tensorboard), recipe),
        )
    return Run.read(out)


def _name(backbones: Sequence[Backbone]) -> str:
    return JOINT.join(backbone.name for backbone in backbones)


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
    backbones: Sequence[Backbone],
    *,
    cache: FeatureCache,
    progress: Progress,
    command: Sequence[str],
    tensorboard: Path | None,
) -> None:
    watch = Stopwatch()
    given = cohort.cohort if isinstance(cohort, Prepared) else cohort
    starting = "none" if recipe.strategy == "scratch" else recipe.weights
    network = JointFeatures(
        [
            FeatureNetwork(
                backbone,
                image_size=given.image.image_size,
                weights=starting,
                seed=recipe.seed + number,
                cache=cache,
                pooling=recipe.pooling,
            )
            for number, backbone in enumerate(backbones)
        ],
        VIEWS[recipe.tta],
    )
    backbone = backbones[0]  # of several, only probes are made, which need no more than features
    if recipe.trainable_stages != "all" and recipe.trainable_stages > len(backbone.stages):
        raise DataError(
            f"--trainable-stages: {backbone.name} has {len(backbone.stages)} stages, received {recipe.trainable_stages}"
        )
    if isinstance(cohort, Prepared):
        prepared = cohort
    else:
        refuse_unsplittable(cohort, recipe)
        with watch.phase("look at the data"):
            prepared = prepare(cohort, audit=recipe.audit, seed=recipe.seed, progress=progress)
    cohort, seen = prepared.cohort, prepared.seen
    kind, split = split_records(seen.used, seen.groups, recipe)
    used = seen.used.assign(split=split)
    split_facts = describe_split(kind, used)
    split_facts["proof"] |= prove_pairs(seen, split)

    with watch.phase("build network"):
        network.require()
    with watch.phase("features"):
        features, occluded = _features(network, prepared, recipe, progress)
    images = TrainingImages(
        seen.loaded.pixels,
        None if recipe.strategy == "scratch" else features,
        used["label"].to_numpy(),
        seen.groups,
        network.widths,
    )
    fit = partial(fit_members, widths=network.widths, weights=recipe.ensemble_weights)
    with watch.phase("train"):
        outcome = fit_split(
            images,
            used["split"].to_numpy(),
            kind,
            backbone=backbone,
            build_features_model=network.build,
            frozen_part=network.frozen_part,
            features_model=network.model,
            occluded=occluded,
            recipe=recipe,
            progress=progress,
            tensorboard=tensorboard,
        )
    repeats = None
    if recipe.repeats > 1:
        with watch.phase("repeats"):
            repeats = repeat_folds(
                used,
                seen,
                images,
                outcome,
                network,
                backbone=backbone,
                recipe=recipe,
                cache=cache,
                progress=progress,
            )
            split_facts["repeats"] = repeats.splits
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with watch.phase("precision"):
        chosen = choose_precision(
            recipe.precision,
            convert(with_activation_map(outcome.network, backbones, network.views, recipe.pooling)),
            seen.loaded.pixels,
            used["label"].to_numpy(),
            used["split"].to_numpy(),
            outcome.final.operating_point.threshold,
            progress,
        )
    for note in chosen.notes:
        progress.say(note)
    with watch.phase("abstention"):
        abstaining = _set_abstention(prepared, used, network, features, outcome, chosen, recipe)
    with watch.phase("save model"):
        bundle = _save_model(
            directory / "model", cohort, used, backbones, outcome, chosen, abstaining, created
        )
    with watch.phase("negative controls"):
        doubts = doubt_model(prepared, used, features, occluded, outcome, bundle, fit, recipe, progress)
    curve = None
    if recipe.learning_curve:
        with watch.phase("learning curve"):
            judged = outcome.scored[used["split"].to_numpy()[outcome.scored] != "validation"]
            curve = measure_learning_curve(
                features,
                images.labels,
                seen.groups,
                outcome.held_out_from,
                judged,
                used["patient_id"].iloc[judged].tolist(),
                seed=recipe.seed,
                progress=progress,
                fit=fit,
            )
    with watch.phase("evaluate"):
        predictions = predictions_table(
            used.iloc[outcome.scored], outcome.y_score, outcome.thresholds, outcome.raw_logit
        )
        predictions = predictions.assign(**abstaining.columns)
        trained_at = _training_prevalence(used, outcome.final.kept)
        metrics = _evaluate(predictions, outcome, seen.groups, kind, recipe, trained_at)
        metrics |= doubts.metrics | abstaining.metrics
        if repeats is not None:
            metrics["repeats"] = repeats.metrics
            write_table(directory / "repeats.csv", repeats.table)
        if curve is not None:
            metrics["learning_curve"] = curve
        judged = np.flatnonzero((predictions["split"] == "test") | (kind == "folds"))
        metrics |= subgroup_metrics(
            used,
            outcome.scored[judged],
            outcome.y_score[judged],
            outcome.thresholds[judged],
            recipe.subgroups,
            seed=recipe.seed,
            linked=seen.groups,
        )
        _write_tables(directory, cohort, used, seen.loaded, predictions, outcome)
        write_json(directory / "metrics.json", metrics)
    with watch.phase("figures"):
        draw_figures(
            directory,
            cohort.labels,
            metrics,
            predictions,
            outcome.history,
            lambda rows: seen.loaded.pixels[outcome.scored[rows.index]],
            bundle.engine,
        )
    facts = describe_run(
        "training",
        cohort,
        backbones,
        command=command,
        created=created,
        findings=most_severe_first([*seen.findings, *doubts.findings]),
        split=split_facts,
        weights={
            "parameters": int(network.model.count_params()),
            "weights": ", ".join(dict.fromkeys(each.weights.description for each in network.members)),
            "weights_sha256": " ".join(filter(None, (each.weights.sha256 for each in network.members)))
            or None,
        },
        phases=watch.phases,
        recipe=recipe.model_dump(mode="json"),
        audit={"done": prepared.audited, "changes": list(prepared.changes)},
        operating_point=asdict(outcome.final.operating_point) | {"chosen_on": outcome.final.chosen_on},
        calibration=_describe_calibration(outcome),
        patient_score=outcome.final.patient_point and asdict(outcome.final.patient_point),
        kept=outcome.final.kept,
        execution=outcome.final.choice and outcome.final.choice.describe(),
        precision=chosen.describe(),
        notes=[
            *_unused_settings(recipe, tensorboard),
            *say_unused(kind, cohort, recipe),
            *outcome.notes,
            *chosen.notes,
        ],
    )
    write_json(directory / "run.json", facts)
    write_report(directory)


def _describe_calibration(outcome: Outcome) -> dict[str, Any]:
    """Of the saved model, and the method of each model that was judged, with the log losses that chose it."""
    return {
        "saved": asdict(outcome.final.calibration),
        "judged": [{"method": one.method, "log_loss": dict(one.log_loss)} for one in outcome.calibrations],
    }


def _unused_settings(recipe: TrainingRecipe, tensorboard: Path | None) -> list[str]:
    """What was asked for and a probe has no use for."""
    if recipe.strategy != "probe":
        return []
    named = [name for name in OF_EPOCHS if name in recipe.model_fields_set]
    if tensorboard is not None:
        named.append("tensorboard")
    if not named:
        return []
    said = ", ".join(name.replace("_", " ") for name in named)
    return [f"A probe is not trained by epochs, so these settings were not used: {said}."]


def _features(
    network: JointFeatures, prepared: Prepared, recipe: TrainingRecipe, progress: Progress
) -> tuple[NDArray[np.float32], dict[str, Occluded]]:
    """Features of whole images, and of the same images without the breast."""
    pixels = prepared.seen.loaded.pixels
    looks = len(pixels) * network.passes
    with progress.task("features", looks) as advance:
        whole = network.run(
            lambda: (pixels[part] for part in in_parts(np.arange(len(pixels)))), on_done=advance
        )
    occluded = {}
    for occlusion in chosen_occlusions(prepared.cohort.image, audit=prepared.audited):
        hide = partial(hidden, occlusion=occlusion, seed=recipe.seed)
        with progress.task(f"features, {occlusion.name} only", looks) as advance:
            seen = network.run(partial(hide, pixels), on_done=advance)
        occluded[occlusion.name] = Occluded(hide, seen)
    return whole, occluded


def _evaluate(
    predictions: pd.DataFrame,
    outcome: Outcome,
    groups: NDArray[np.int64],
    kind: str,
    recipe: TrainingRecipe,
    trained_at: float,
) -> dict[str, Any]:
    def block(rows: NDArray[np.bool_]) -> dict[str, Any]:
        part = predictions[rows]
        return judge(
            part["y_true"].to_numpy(),
            part["y_score"].to_numpy(),
            outcome.raw_logit[rows],
            outcome.operating_points[:, rows],
            outcome.final.operating_points,
            part["patient_id"].tolist(),
            linked=groups[outcome.scored][rows],
            prevalence=recipe.prevalence,
            trained_at=trained_at,
            patient_points=[outcome.patient_points[row] for row in np.flatnonzero(rows)],
            seed=recipe.seed,
        )

    split = predictions["split"].to_numpy()
    if kind == "folds":
        within = stratified_auc(
            predictions["y_true"].to_numpy(),
            predictions["y_score"].to_numpy(),
            split.tolist(),
            predictions["patient_id"].tolist(),
            linked=groups[outcome.scored],
            seed=recipe.seed,
        )
        return {"out_of_fold": block(np.ones(len(split), dtype=bool)), "within_folds": within}
    return {"test": block(split == "test"), "validation": block(split == "validation")}


def _set_abstention(
    prepared: Prepared,
    used: pd.DataFrame,
    network: JointFeatures,
    features: NDArray[np.float32],
    outcome: Outcome,
    chosen: Chosen,
    recipe: TrainingRecipe,
) -> Abstaining:
    """When the model does not answer, from features as the saved graph gives them."""
    pixels = prepared.seen.loaded.pixels

    def features_of(squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        return network.run(lambda: [squares])

    own_features = outcome.final.kept == "scratch" or chosen.used != "fp32"
    if own_features:  # else they are those of the network that the training started from
        by_graph = partial(_features_by, Engine.from_graph(chosen.graph, precision=chosen.arithmetic))
        features = by_graph(pixels)
    table = prepared.cohort.table.reset_index(drop=True)
    places = {key: row for row, key in enumerate(zip(table["path"], table["frame"], strict=True), start=1)}
    return set_abstention(
        used,
        np.array([places[key] for key in zip(used["path"], used["frame"], strict=True)]),
        prepared.seen.groups,
        pixels,
        features,
        by_graph if own_features else features_of,
        outcome,
        recipe,
    )


def _features_by(engine: Engine, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return engine.run(pixels)["features"]


def _training_prevalence(used: pd.DataFrame, kept: str) -> float:
    """The share of positives that scores are made for: that of the images the calibration was fitted on."""
    split = used["split"].to_numpy()
    if "validation" not in split:
        return float(used["label"].mean())
    return float(used.loc[split == ("train" if kept == "probe" else "validation"), "label"].mean())


def _save_model(
    directory: Path,
    cohort: Cohort,
    used: pd.DataFrame,
    backbones: Sequence[Backbone],
    outcome: Outcome,
    chosen: Chosen,
    abstaining: Abstaining,
    created: str,
) -> Bundle:
    point, patient = outcome.final.operating_point, outcome.final.patient_point
    card = BundleCard(
        created=created,
        backbone=_name(backbones),
        image=cohort.image,
        labels=cohort.labels,
        categories=cohort.categories,
        precision=chosen.used,
        threshold=point.threshold,
        threshold_rule=f"{point.rule}, chosen on {outcome.final.chosen_on}",
        abstention=abstaining.card,
        operating_points=outcome.final.operating_points,
        calibration=outcome.final.calibration,
        training_prevalence=_training_prevalence(used, outcome.final.kept),
        patient_rule="mean" if patient is None else patient.rule,
        patient_threshold=None if patient is None else patient.threshold,
        data_fingerprint=cohort.fingerprint,
        learnt_from=shorten_hashes(used.loc[used["split"] != "test", "pixels_sha256"]),
        versions=describe_versions(),
    )
    return save_bundle(directory, outcome.network, chosen.graph, card, abstaining.reference)


def _write_tables(
    directory: Path,
    cohort: Cohort,
    used: pd.DataFrame,
    loaded: LoadedImages,
    predictions: pd.DataFrame,
    outcome: Outcome,
) -> None:
    write_table(directory / "records.csv", records_table(cohort, used, loaded))
    write_table(directory / "predictions.csv", predictions)
    write_table(directory / "history.csv", outcome.history)
