"""Commands about models: train, evaluate, predict, demo."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from breastlens.cli.options import (
    AsJson,
    CacheLimit,
    DataPath,
    EveryFrame,
    ExcludeWhen,
    ManifestPath,
    ModelNegative,
    ModelPath,
    ModelPositive,
    Negative,
    PatientPattern,
    Positive,
    Prevalence,
    Quiet,
    Subgroups,
    command_line,
    open_cache,
    option_name,
    prepares_images,
    read_augmentation,
    read_names,
    read_split,
)
from breastlens.cli.show import choose_progress, print_verdict
from breastlens.config import DEFAULT_CACHE_GB, ImageRecipe, TrainingRecipe
from breastlens.errors import DataError, RunDirectoryError
from breastlens.progress import Progress
from breastlens.runs.settings import checked


@prepares_images
def train(
    data: DataPath,
    *,
    manifest: ManifestPath = None,
    patient_pattern: PatientPattern = None,
    positive: Positive = None,
    negative: Negative = None,
    exclude_when: ExcludeWhen = None,
    every_frame: EveryFrame = False,
    image: ImageRecipe,
    backbone: Annotated[
        str | None,
        typer.Option(help="A name that `breastlens backbones` lists, or all. [default: mobilenetv2]"),
    ] = None,
    ensemble: Annotated[
        str | None,
        typer.Option(
            metavar="A,B[,C]", help="Several backbones in place of one: the mean of their log-odds."
        ),
    ] = None,
    ensemble_weights: Annotated[
        str, typer.Option(help="equal, or learnt on images that the members did not learn from.")
    ] = "equal",
    tta: Annotated[
        str,
        typer.Option(
            help="Show each image also mirrored or moved a little: none, flip, shift or flip-shift."
        ),
    ] = "none",
    pooling: Annotated[
        str,
        typer.Option(help="global, or sides for pictures of both breasts: left held against right."),
    ] = "global",
    weights: Annotated[
        str, typer.Option(help="imagenet, none, a weights file or a folder of them.")
    ] = "imagenet",
    strategy: Annotated[str, typer.Option(help="probe, finetune or scratch.")] = "probe",
    folds: Annotated[
        int | None, typer.Option(help="Cross-validation with K folds instead of one split.")
    ] = None,
    repeats: Annotated[
        int, typer.Option(metavar="R", help="Deal the folds so often, each time by another seed.")
    ] = 1,
    learning_curve: Annotated[
        bool, typer.Option("--learning-curve", help="Also judge probes that learnt from fewer patients.")
    ] = False,
    split: Annotated[
        str | None, typer.Option(help="Shares of training, validation and test. [default: 0.6,0.2,0.2]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides the split and everything random.")] = 0,
    sensitivity: Annotated[
        float | None, typer.Option(help="Operating point: reach this sensitivity on validation.")
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            help="Of each class, the share whose prediction set is to hold the truth. [default: 0.9]"
        ),
    ] = None,
    false_alarms: Annotated[
        float | None,
        typer.Option(help="Of images like those of training, the share refused as novel. [default: 0.05]"),
    ] = None,
    specificity: Annotated[
        float | None, typer.Option(help="Operating point: reach this specificity on validation.")
    ] = None,
    cost_ratio: Annotated[
        float | None,
        typer.Option(help="Operating point: lowest cost, a missed positive costing so many false alarms."),
    ] = None,
    prevalence: Prevalence = None,
    patient_score: Annotated[
        str,
        typer.Option(
            help="Of a patient with several images: mean, max, noisy-or or auto, chosen on validation."
        ),
    ] = "mean",
    precision: Annotated[
        str, typer.Option(help="Of the saved model: fp32, bf16, int8 or auto, if it decides like fp32.")
    ] = "fp32",
    epochs: Annotated[int | None, typer.Option(help="At most so many epochs of fine-tuning.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a training step.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate. [default: 3e-4 finetune, 3e-3 scratch]")
    ] = None,
    patience: Annotated[int | None, typer.Option(help="Epochs without a better validation AUC.")] = None,
    trainable_stages: Annotated[
        str | None,
        typer.Option(metavar="N", help="How many top stages fine-tuning moves, or all. [default: 2]"),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(help="Augmented views of each image where lower stages are frozen. [default: 8]"),
    ] = None,
    training_precision: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or auto: what Keras trains in. [default: auto]")
    ] = None,
    subgroups: Subgroups = None,
    augment: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Augmentation by ImageDataGenerator's names; repeatable."),
    ] = None,
    no_audit: Annotated[
        bool, typer.Option("--no-audit", help="Neither look at the data nor set anything right first.")
    ] = False,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write TensorBoard logs there.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="Run directory to make.")] = None,
    cache_limit: CacheLimit = DEFAULT_CACHE_GB,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a classifier, evaluate it, and leave a run directory with its report."""
    from breastlens.models._keras import require_keras
    from breastlens.models.backbones import get_backbone
    from breastlens.models.quantise import require_quantisation
    from breastlens.models.weights import resolve_weights
    from breastlens.report.comparison import comparison_lines
    from breastlens.runs.compare import train_all
    from breastlens.runs.directory import refuse_taken
    from breastlens.runs.train import train as train_run

    progress = choose_progress(quiet=quiet)
    settings: dict[str, Any] = {
        "ensemble": None if ensemble is None else read_names(ensemble),
        "ensemble_weights": ensemble_weights,
        "tta": tta,
        "pooling": pooling,
        "weights": weights,
        "strategy": strategy,
        "folds": folds,
        "repeats": repeats,
        "learning_curve": learning_curve,
        "split": None if split is None else read_split(split),
        "seed": seed,
        "target_sensitivity": sensitivity,
        "coverage": coverage,
        "false_alarms": false_alarms,
        "target_specificity": specificity,
        "cost_ratio": cost_ratio,
        "prevalence": prevalence,
        "patient_score": patient_score,
        "precision": precision,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "patience": patience,
        "trainable_stages": trainable_stages,
        "views": views,
        "training_precision": training_precision,
        "subgroups": tuple(subgroups) if subgroups else None,
        "augmentation": read_augmentation(augment),
        "audit": not no_audit,
    }
    if backbone is not None and backbone != "all":
        settings["backbone"] = backbone
    settings = {name: value for name, value in settings.items() if value is not None}
    if backbone is not None and ensemble is not None:
        raise DataError("--backbone and --ensemble both say which networks to train; give one of them")
    # Refused here already, because reading thousands of images takes a while.
    require_keras()
    recipe = checked(TrainingRecipe, settings, option_name)
    if recipe.precision == "int8":
        require_quantisation()
    cache = open_cache(cache_limit)
    if backbone != "all":
        for name in recipe.backbones:
            resolve_weights(recipe.weights, get_backbone(name))
    if out is not None:
        refuse_taken(out, None if manifest else data)
    cohort = read_cohort(
        data,
        progress,
        manifest=manifest,
        patient_pattern=patient_pattern,
        positive=positive or ("sick",),
        negative=negative or (),
        exclude_when=exclude_when or (),
        every_frame=every_frame,
        image=image,
    )
    options: dict[str, Any] = {
        "out": out,
        "cache": cache,
        "progress": progress,
        "command": command_line(),
        "tensorboard": tensorboard,
    }
    if backbone == "all":
        page = train_all(cohort, **options, **settings)
        if as_json:
            print(json.dumps({"comparison": str(page)}))
        else:
            print("\n".join([*comparison_lines(page), f"Comparison: {page}"]))
        return
    run = train_run(cohort, **options, **settings)
    if as_json:
        print(json.dumps({"run": str(run.directory), "metrics": run.metrics}))
    else:
        print_verdict(run.directory)


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories.", show_default=False)
    ],
    margin: Annotated[
        float | None,
        typer.Option(help="Also ask whether an AUC is not worse than another's by more than this."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides the bootstrap.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Directory to make.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare runs, every two of them, on the patients that all of them judged."""
    from breastlens.report.comparison import JSON_NAME, comparison_lines
    from breastlens.runs.compare import compare_runs

    page = compare_runs(runs, out=out, margin=margin, seed=seed)
    if as_json:
        print(page.with_name(JSON_NAME).read_text(encoding="utf-8"), end="")
    else:
        print("\n".join([*comparison_lines(page), f"Comparison: {page}"]))


def evaluate(
    model: ModelPath,
    data: DataPath,
    manifest: ManifestPath = None,
    patient_pattern: PatientPattern = None,
    positive: ModelPositive = None,
    negative: ModelNegative = None,
    exclude_when: ExcludeWhen = None,
    every_frame: EveryFrame = False,
    subgroups: Subgroups = None,
    prevalence: Prevalence = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Run directory to make.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate a saved model on other labelled images, at its stored threshold."""
    from breastlens.inference.predictor import load, require_training_prevalence
    from breastlens.runs.directory import refuse_taken
    from breastlens.runs.evaluate import evaluate as evaluate_run

    progress = choose_progress(quiet=quiet)
    if out is not None:
        refuse_taken(out, None if manifest else data)
    predictor = load(model)
    card = predictor.bundle.card
    if prevalence is not None:
        require_training_prevalence(card, prevalence)
    cohort = read_cohort(
        data,
        progress,
        manifest=manifest,
        patient_pattern=patient_pattern,
        positive=positive or card.labels.positive,
        negative=negative or (),
        labels=None if positive or negative else card.labels,
        exclude_when=exclude_when or (),
        every_frame=every_frame,
        image=card.image,
    )
    run = evaluate_run(
        predictor,
        cohort,
        out=out,
        subgroups=tuple(subgroups or ()),
        progress=progress,
        prevalence=prevalence,
        command=command_line(),
    )
    if as_json:
        print(json.dumps({"run": str(run.directory), "metrics": run.metrics}))
    else:
        print_verdict(run.directory)


def predict(
    model: ModelPath,
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Image files and folders.", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="CSV", help="New file to write to instead of to the terminal.")
    ] = None,
    maps: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="New folder for a picture an image: what influenced its score."),
    ] = None,
    similar: Annotated[
        int, typer.Option(min=0, help="Name so many of the most similar training images for each.")
    ] = 0,
    patient_pattern: PatientPattern = None,
    patients: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="New file for a row a patient; needs --patient-pattern."),
    ] = None,
    prevalence: Prevalence = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score images with a saved model; an unreadable file gets a row with its error."""
    from breastlens.evaluation.prevalence import rebase_scores
    from breastlens.inference.map_picture import MapFolder
    from breastlens.inference.patients import name_patients, patients_table, predict_patients
    from breastlens.inference.predictor import (
        find_images,
        load,
        predictions_table,
        require_training_prevalence,
    )
    from breastlens.runs.directory import explained_write_errors, write_table

    for option, path in (("--out", out), ("--patients", patients)):
        refuse_file(option, path)
    if (patients is None) != (patient_pattern is None):
        raise DataError(
            "--patients CSV and --patient-pattern REGEX go together: where to write, and who is who"
        )
    predictor = load(model, similar=similar)
    progress = choose_progress(quiet=quiet)
    rebase = None
    if prevalence is not None:
        trained_at = require_training_prevalence(predictor.bundle.card, prevalence)
        rebase = partial(rebase_scores, trained_at=trained_at, prevalence=prevalence)
        progress.say(
            f"y_score_at_prevalence is y_score for a prevalence of {prevalence:g} instead of {trained_at:.3g}, as in "
            "training; y_pred is the same"
        )
    files = find_images(paths)
    patient_id = name_patients(map(str, files), patient_pattern) if patient_pattern else []
    with explained_write_errors(maps) if maps is not None else nullcontext():
        pictures = None if maps is None else MapFolder.make(maps, paths)
        predictions = list(predictor.predict_files(files, progress, pictures))
    table = predictions_table(predictions, rebase, similar=similar > 0, maps=maps is not None)
    if out is not None:
        with explained_write_errors(out):
            write_table(out, table)
    if patients is not None:
        by_patient = predict_patients(predictions, patient_id, predictor.bundle.card)
        with explained_write_errors(patients):
            write_table(patients, patients_table(by_patient))
    if as_json:
        shown = set(table)
        rows = [{name: value for name, value in asdict(one).items() if name in shown} for one in predictions]
        if rebase is not None:
            for row in rows:
                row["y_score_at_prevalence"] = row["y_score"] and float(rebase(row["y_score"]))
        print(json.dumps(rows))
    elif out is None:
        print(table.to_csv(index=False), end="")
    failed = sum(one.error != "" for one in predictions)
    if failed:
        progress.say(f"{failed} of {len(predictions)} files could not be read; see the error column")
    novel = sum(one.novel is True for one in predictions)
    if novel:
        progress.say(
            f"{novel} of {len(predictions)} images are unlike those of training and were refused; "
            "their scores say nothing"
        )


def refuse_file(option: str, path: Path | None) -> None:
    """Refuse to write where something is already, or where there is no folder.

    A device such as /dev/stdout may be written to; a file may be somebody's manifest.

    Raises:
        RunDirectoryError: It is so.
    """
    if path is None:
        return
    if path.is_dir() or not path.parent.is_dir():
        raise RunDirectoryError(f"{option} {path}: expected the name of a file in a folder that exists")
    if path.is_file() and not path.is_relative_to("/dev"):
        raise RunDirectoryError(f"{path} exists already: choose another {option}, or move it away first")


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="New folder for images and run.")] = Path("demo"),
    quiet: Quiet = False,
) -> None:
    """Simulate a cohort, look at it, train on it without any download, and write the report."""
    from breastlens.runs.demo import run_demo

    run = run_demo(out, progress=choose_progress(quiet=quiet), command=command_line())
    print_verdict(run.directory)


def read_cohort(data: Path, progress: Progress, **options: Any) -> Any:
    """Read and label the images, and tell how many there are."""
    from breastlens.cohort.records import Cohort

    with progress.task("read files") as advance:
        cohort = Cohort.read(data, on_progress=lambda done, total: advance(done, total=total), **options)
    left_out = int((cohort.table["excluded"] != "").sum())
    progress.say(f"{len(cohort.table)} images, {left_out} left out, {len(cohort.patients)} patients")
    progress.say(cohort.labels.describe())
    return cohort
