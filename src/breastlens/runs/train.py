"""One training from beginning to end: split, features, model, bundle, evaluation, report."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError

from breastlens.audit.findings import find_problems
from breastlens.audit.shortcuts import border_width, describe_control, keep_border, score_control
from breastlens.cohort.batches import LoadedImages, load_images
from breastlens.cohort.records import Cohort
from breastlens.cohort.splits import PARTS, split_folds, split_from_manifest, split_groups, split_holdout
from breastlens.config import TrainingRecipe
from breastlens.errors import DataError
from breastlens.evaluation.metrics import evaluate_scores
from breastlens.models.backbones import Backbone, get_backbone
from breastlens.models.bundle import BundleCard, save_bundle
from breastlens.models.classifier import build_features
from breastlens.models.engine import Engine
from breastlens.models.weights import resolve_weights
from breastlens.progress import Progress
from breastlens.report.page import write_report
from breastlens.runs.directory import FORMAT, Run, first_free, new_directory, write_json, write_table
from breastlens.runs.facts import (
    Stopwatch,
    describe_data,
    describe_machine,
    describe_split,
    describe_versions,
)
from breastlens.runs.pictures import draw_figures
from breastlens.runs.tables import records_table
from breastlens.training.fit import Fit, TrainingImages, fit_model, score_with

logger = logging.getLogger(__name__)

HISTORY_COLUMNS = (
    "epoch",
    "phase",
    "fold",
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
        final: The model that goes into the bundle.
        network: The same as one Keras network.
        scored: Rows with a held-out score.
        y_score: Their scores, (len(scored),).
        thresholds: The threshold that applies to each of them: its fold's own when cross-validating.
        held_out_from: For each held-out part, the rows trained on and the rows scored.
        history: history.csv.
        notes: Sentences for the reader.
    """

    final: Fit
    network: Any
    scored: NDArray[np.intp]
    y_score: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    held_out_from: list[tuple[NDArray[np.intp], NDArray[np.intp]]]
    history: pd.DataFrame
    notes: list[str]


def train(
    cohort: Cohort,
    *,
    out: str | Path | None = None,
    progress: Progress | None = None,
    command: Sequence[str] = (),
    tensorboard: str | Path | None = None,
    **settings: Any,
) -> Run:
    """Train, evaluate and report; leave a run directory.

    Args:
        cohort: The labelled images.
        out: The run directory to make; None: ``runs/BACKBONE-STRATEGY-N`` with the first free number.
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
        RunDirectoryError: The directory exists or cannot be written.
    """
    recipe = make_recipe(settings)
    backbone = get_backbone(recipe.backbone)
    stem = f"{backbone.name.replace(':', '-')}-{recipe.strategy}"
    out = first_free(Path("runs"), stem) if out is None else Path(out)
    watch = Stopwatch()
    with new_directory(out) as unfinished:
        _train_into(
            unfinished,
            cohort,
            recipe,
            backbone,
            watch,
            progress or Progress(),
            tuple(command),
            None if tensorboard is None else str(tensorboard),
        )
    return Run.read(out)


def make_recipe(settings: dict[str, Any]) -> TrainingRecipe:
    """Check the settings of a training.

    Raises:
        DataError: One is unknown or out of range; the message names it.
    """
    try:
        return TrainingRecipe(**settings)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, one['loc'])) or 'settings'}: {one['msg']}" for one in error.errors())
        raise DataError("; ".join(problems)) from error


def _train_into(
    directory: Path,
    cohort: Cohort,
    recipe: TrainingRecipe,
    backbone: Backbone,
    watch: Stopwatch,
    progress: Progress,
    command: tuple[str, ...],
    tensorboard: str | None,
) -> None:
    used = cohort.included
    groups = split_groups(used)
    kind, split = _split(used, groups, recipe)
    used = used.assign(split=split)
    split_facts = describe_split(kind, used)
    starting = "none" if recipe.strategy == "scratch" else recipe.weights
    weights = resolve_weights(starting, backbone)

    def build() -> Any:
        return build_features(
            backbone, image_size=cohort.image.image_size, weights=starting, seed=recipe.seed
        )

    with watch.phase("read images"), progress.task("read images", len(used)) as advance:
        loaded = load_images(cohort, used, on_progress=lambda done, _: advance(done))
    with watch.phase("build network"):
        features_model = build()
        engine = Engine.from_keras(features_model)
    with watch.phase("features"):
        features = (
            None if recipe.strategy == "scratch" else _features(engine, loaded.pixels, "features", progress)
        )
    images = TrainingImages(loaded.pixels, features, used["label"].to_numpy(), groups)

    with watch.phase("train"):
        outcome = _fit_parts(
            images,
            used["split"].to_numpy(),
            kind,
            backbone,
            build,
            features_model,
            recipe,
            progress,
            tensorboard,
        )
    with watch.phase("negative control"):
        controls = _controls(engine, images, used, outcome, recipe, progress)
    with watch.phase("save model"):
        _save_model(directory / "model", cohort, recipe, backbone, outcome)
    with watch.phase("evaluate"):
        predictions = _predictions(used, outcome)
        metrics = _evaluate(predictions, outcome, kind) | {"controls": controls}
        _write_tables(directory, cohort, used, loaded, predictions, outcome)
        write_json(directory / "metrics.json", metrics)
    with watch.phase("figures"):
        draw_figures(
            directory,
            cohort.labels,
            metrics,
            predictions,
            outcome.history,
            lambda rows: loaded.pixels[outcome.scored[rows.index]],
        )
    facts = {
        "format": FORMAT,
        "kind": "training",
        "status": "complete",
        "command": list(command),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "recipe": recipe.model_dump(mode="json"),
        "image": cohort.image.model_dump(mode="json"),
        "labels": cohort.labels.model_dump(mode="json"),
        "backbone": {
            "name": backbone.name,
            "title": backbone.title,
            "parameters": int(outcome.network.count_params()),
            "weights": weights.description,
            "weights_sha256": weights.sha256,
            "licence": backbone.weights_licence,
            "paper": backbone.paper,
        },
        "data": describe_data(cohort),
        "findings": [finding.model_dump(mode="json") for finding in find_problems(cohort)],
        "split": split_facts,
        "operating_point": {
            "rule": outcome.final.operating_point.rule,
            "threshold": outcome.final.operating_point.threshold,
            "chosen_on": outcome.final.chosen_on,
        },
        "kept": outcome.final.kept,
        "notes": outcome.notes,
        "versions": describe_versions(),
        "machine": describe_machine(),
        "phases": watch.phases,
    }
    write_json(directory / "run.json", facts)
    write_report(directory)


def _split(
    used: pd.DataFrame, groups: NDArray[np.int64], recipe: TrainingRecipe
) -> tuple[str, NDArray[np.str_]]:
    labels = used["label"].to_numpy()
    if recipe.folds is not None:
        return "folds", split_folds(labels, groups, recipe.folds, recipe.seed).astype(str)
    if "split" in used:
        return "manifest", split_from_manifest(used)
    return "holdout", split_holdout(labels, groups, recipe.split, recipe.seed)


def _features(
    engine: Engine, pixels: NDArray[np.uint8], title: str, progress: Progress
) -> NDArray[np.float32]:
    with progress.task(title, len(pixels)) as advance:
        return engine.run(pixels, on_done=lambda done: advance(done))["features"]


def _fit_parts(
    images: TrainingImages,
    split: NDArray[np.str_],
    kind: str,
    backbone: Backbone,
    build: Callable[[], Any],
    features_model: Any,
    recipe: TrainingRecipe,
    progress: Progress,
    tensorboard: str | None,
) -> Outcome:
    def fit(train: NDArray[np.intp], validation: NDArray[np.intp] | None, title: str) -> Fit:
        logs = None if tensorboard is None else str(Path(tensorboard) / title.replace(" ", "-"))
        return fit_model(
            images,
            train,
            validation,
            backbone=backbone,
            build_features_model=build,
            recipe=recipe,
            progress=progress,
            title=title,
            tensorboard=logs,
        )

    if kind == "folds":
        return _fit_folds(images, split, fit, features_model, recipe)
    train, validation, test = (np.flatnonzero(split == part) for part in PARTS)
    final = fit(train, validation, recipe.strategy)
    network = final.to_network(features_model)
    scored = np.concatenate([validation, test])
    return Outcome(
        final=final,
        network=network,
        scored=scored,
        y_score=score_with(network, images.pixels[scored]),
        thresholds=np.full(scored.size, final.operating_point.threshold),
        held_out_from=[(train, scored)],
        history=_history([(None, final)]),
        notes=final.notes,
    )


def _fit_folds(
    images: TrainingImages,
    split: NDArray[np.str_],
    fit: Callable[[NDArray[np.intp], NDArray[np.intp] | None, str], Fit],
    features_model: Any,
    recipe: TrainingRecipe,
) -> Outcome:
    count = split.size
    y_score, thresholds = np.empty(count), np.empty(count)
    parts, fits, notes = [], [], []
    folds = sorted(set(split), key=int)
    for fold in folds:
        inside, outside = np.flatnonzero(split != fold), np.flatnonzero(split == fold)
        one = fit(inside, None, f"{recipe.strategy} fold {int(fold) + 1} of {len(folds)}")
        y_score[outside] = one.scores(images, outside)
        thresholds[outside] = one.operating_point.threshold
        parts.append((inside, outside))
        fits.append((fold, one))
        notes += [f"Fold {fold}: {note}" for note in one.notes]
    final = fit(np.arange(count), None, f"{recipe.strategy} on everyone")
    notes += [f"The model that was saved is trained on everyone. {note}" for note in final.notes or [""]]
    return Outcome(
        final=final,
        network=final.to_network(features_model),
        scored=np.arange(count),
        y_score=y_score,
        thresholds=thresholds,
        held_out_from=parts,
        history=_history([*fits, ("everyone", final)]),
        notes=[note.strip() for note in notes],
    )


def _history(fits: Sequence[tuple[str | None, Fit]]) -> pd.DataFrame:
    rows = [{"fold": fold} | row for fold, one in fits for row in one.history]
    return pd.DataFrame(rows, columns=list(HISTORY_COLUMNS))


def _controls(
    engine: Engine,
    images: TrainingImages,
    used: pd.DataFrame,
    outcome: Outcome,
    recipe: TrainingRecipe,
    progress: Progress,
) -> dict[str, Any]:
    """The border control, judged on the held-out images that the real model is judged on."""
    width = border_width(engine.image_size)
    ring = _features(engine, keep_border(images.pixels, width), "negative control", progress)
    scores = score_control(ring, images.labels, images.groups, outcome.held_out_from, seed=recipe.seed)
    judged = used["split"].to_numpy()[outcome.scored] != "validation"
    rows = outcome.scored[judged]
    what = f"Only a border of {width} pixels was shown, the rest was black"
    patients = used["patient_id"].iloc[rows].tolist()
    return {
        "border": describe_control(what, images.labels[rows], outcome.y_score[judged], scores[rows], patients)
    }


def _predictions(used: pd.DataFrame, outcome: Outcome) -> pd.DataFrame:
    rows = used.iloc[outcome.scored]
    return pd.DataFrame(
        {
            "path": rows["path"].to_numpy(),
            "patient_id": rows["patient_id"].to_numpy(),
            "split": rows["split"].to_numpy(),
            "y_true": rows["label"].to_numpy(),
            "y_score": outcome.y_score,
            "y_pred": (outcome.y_score >= outcome.thresholds).astype(int),
        }
    )


def _evaluate(predictions: pd.DataFrame, outcome: Outcome, kind: str) -> dict[str, Any]:
    def block(rows: NDArray[np.bool_]) -> dict[str, Any]:
        part = predictions[rows]
        return evaluate_scores(
            part["y_true"].to_numpy(),
            part["y_score"].to_numpy(),
            outcome.thresholds[rows],
            part["patient_id"].tolist(),
        )

    split = predictions["split"].to_numpy()
    if kind == "folds":
        return {"out_of_fold": block(np.ones(len(split), dtype=bool))}
    return {"test": block(split == "test"), "validation": block(split == "validation")}


def _save_model(
    directory: Path, cohort: Cohort, recipe: TrainingRecipe, backbone: Backbone, outcome: Outcome
) -> None:
    point = outcome.final.operating_point
    card = BundleCard(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        backbone=backbone.name,
        image=cohort.image,
        labels=cohort.labels,
        categories=cohort.categories,
        threshold=point.threshold,
        threshold_rule=f"{point.rule}, chosen on {outcome.final.chosen_on}",
        data_fingerprint=cohort.fingerprint,
        versions=describe_versions(),
    )
    save_bundle(directory, outcome.network, card)


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
