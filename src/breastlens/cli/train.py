"""The commands that make models: train, and demo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from breastlens.cli.interrupt import ends_soon
from breastlens.cli.options import (
    AsJson,
    CacheLimit,
    OptionalDataPath,
    Place,
    Prevalence,
    Quiet,
    Subgroups,
    command_line,
    gathers_options,
    open_cache,
    option_name,
    read_augmentation,
    read_names,
    read_split,
)
from breastlens.cli.reading import Source, read_cohort
from breastlens.cli.resume import resumable
from breastlens.cli.runs import log_trained, open_tracker
from breastlens.cli.show import choose_progress, print_verdict
from breastlens.config import DEFAULT_CACHE_GB, ImageRecipe, TrainingRecipe
from breastlens.errors import DataError
from breastlens.runs.settings import checked
from breastlens.work.places import HERE, choose_place


@resumable
@gathers_options
def train(
    data: OptionalDataPath = None,
    *,
    source: Source,
    image: ImageRecipe,
    backbone: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[,NAME]|all",
            help="As `breastlens backbones` lists them; several are compared on one split. [default: mobilenetv2]",
        ),
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
    thumbnails: Annotated[
        bool,
        typer.Option(
            "--thumbnails", help="Keep small pictures of training images in the model, for its users to see."
        ),
    ] = False,
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
    track: Annotated[
        str | None, typer.Option(metavar="TRACKER", help="Log the finished run there: mlflow.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="Run directory to make.")] = None,
    on: Place = HERE,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Go on with a training that ended before RUN was complete; needs nothing else.",
        ),
    ] = None,
    cache_limit: CacheLimit = DEFAULT_CACHE_GB,
    quiet: Quiet = False,
    as_json: AsJson = False,
    arguments: dict[str, Any],
) -> None:
    """Train a classifier, evaluate it, and leave a run directory with its report."""
    from breastlens.models._keras import require_keras
    from breastlens.models.backbones import get_backbone
    from breastlens.models.quantise import require_quantisation
    from breastlens.models.weights import resolve_weights
    from breastlens.report.comparison import comparison_lines
    from breastlens.runs.compare import train_all
    from breastlens.runs.directory import first_free, refuse_taken
    from breastlens.runs.job import how_to_go_on
    from breastlens.runs.train import default_out
    from breastlens.runs.train import train as train_run

    if data is None:
        raise DataError("DATA is missing: a folder with a subfolder a category")

    progress = choose_progress(quiet=quiet)
    settings: dict[str, Any] = {
        "ensemble": None if ensemble is None else read_names("--ensemble", ensemble),
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
        "thumbnails": thumbnails,
        "subgroups": tuple(subgroups) if subgroups else None,
        "augmentation": read_augmentation(augment),
        "audit": not no_audit,
    }
    compared = _read_compared(backbone)
    if backbone is not None and not compared:
        settings["backbone"] = backbone
    settings = {name: value for name, value in settings.items() if value is not None}
    if backbone is not None and ensemble is not None:
        raise DataError("--backbone and --ensemble both say which networks to train; give one of them")
    # Refused here already, because reading thousands of images takes a while.
    require_keras()
    recipe = checked(TrainingRecipe, settings, option_name)
    place = choose_place(on)
    if recipe.precision == "int8":
        require_quantisation()
    cache = open_cache(cache_limit)
    for name in () if backbone == "all" else compared or recipe.backbones:
        resolve_weights(recipe.weights, get_backbone(name))
    if out is None:
        out = first_free(Path("runs"), "all") if compared else default_out(recipe)
    how = f"what was finished is kept; go on with: {how_to_go_on(out)}"
    refuse_taken(out, None if source.manifest else data)
    tracker = None if track is None else open_tracker(track)
    cohort = read_cohort(data, source, image, progress)
    options: dict[str, Any] = {
        "out": out,
        "cache": cache,
        "progress": progress,
        "command": command_line(),
        "tensorboard": tensorboard,
        "on": place,
        "resume": resume is not None,
        "arguments": arguments,
    }
    if compared:
        with ends_soon(how):
            page = train_all(cohort, backbones=compared, **options, **settings)
        if as_json:
            print(json.dumps({"comparison": str(page)}))
        else:
            print("\n".join([*comparison_lines(page), f"Comparison: {page}"]))
        if tracker is not None:
            log_trained(tracker, page.parent, progress)
        return
    with ends_soon(how):
        run = train_run(cohort, **options, **settings)
    if as_json:
        print(json.dumps({"run": str(run.directory), "metrics": run.metrics}))
    else:
        print_verdict(run.directory)
    if tracker is not None:
        log_trained(tracker, run.directory, progress)


def _read_compared(backbone: str | None) -> tuple[str, ...]:
    """The networks to compare; empty where there is but one."""
    from breastlens.models.backbones import ALL_COMPARED

    if backbone == "all":
        return ALL_COMPARED
    if backbone is None or "," not in backbone:
        return ()
    names = read_names("--backbone", backbone)
    if len(set(names)) < len(names):
        raise DataError(f"--backbone names one network twice: {backbone}")
    return names


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="New folder for images and run.")] = Path("demo"),
    quiet: Quiet = False,
) -> None:
    """Simulate a cohort, look at it, train on it without any download, and write the report."""
    from breastlens.runs.demo import run_demo

    run = run_demo(out, progress=choose_progress(quiet=quiet), command=command_line())
    print_verdict(run.directory)
