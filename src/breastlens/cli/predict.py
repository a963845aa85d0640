"""The command that uses a model: predict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from breastlens.cli.options import AsJson, ModelPath, PatientPattern, Place, Prevalence, Quiet
from breastlens.cli.show import choose_progress
from breastlens.errors import DataError, RunDirectoryError, WorkerError
from breastlens.progress import Progress
from breastlens.work.places import HERE, choose_place

if TYPE_CHECKING:
    from breastlens.inference.predictor import Prediction
    from breastlens.models.bundle import Bundle
    from breastlens.work.run import Place as WorkPlace

_OTHER_MAPS = "choose another --maps"


def predict(
    model: ModelPath,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Image files and folders; or addresses such as s3://...",
            show_default=False,
        ),
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
    patients: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", help="New file for a row a patient; needs --patient-pattern or --manifest."
        ),
    ] = None,
    patient_pattern: PatientPattern = None,
    manifest: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Columns path, patient_id: whose image each is.")
    ] = None,
    prevalence: Prevalence = None,
    on: Place = HERE,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score images with a saved model; an unreadable file gets a row with its error."""
    from breastlens.evaluation.prevalence import rebase_scores
    from breastlens.inference.inputs import is_remote
    from breastlens.inference.map_picture import MapFolder
    from breastlens.inference.patients import (
        name_patients,
        name_patients_by_manifest,
        patients_table,
        predict_patients,
        require_rebasing,
    )
    from breastlens.inference.predictor import (
        find_images,
        load,
        predictions_table,
        require_training_prevalence,
    )
    from breastlens.runs.directory import explained_write_errors, write_table

    apart = on != HERE or any(map(is_remote, names))
    for option, path in (("--out", None if apart else out), ("--patients", patients)):
        refuse_file(option, path)
    places = [path.resolve() for path in (out, patients, maps) if path is not None]
    if len(set(places)) < len(places):
        raise DataError("--out, --patients and --maps each need a place of their own")
    named = [option for option in (patient_pattern, manifest) if option is not None]
    if len(named) != (patients is not None):
        raise DataError(
            "--patients CSV goes with --patient-pattern REGEX or with --manifest CSV: where to write, and who is who"
        )
    place = choose_place(on)
    predictor = load(model, similar=similar)
    progress = choose_progress(quiet=quiet)
    rebase, rebased = None, None
    if prevalence is not None:
        trained_at = require_training_prevalence(predictor.bundle.card, prevalence)
        if patients is not None:
            require_rebasing(predictor.bundle.card)
        rebase, rebased = (
            partial(rebase_scores, trained_at=trained_at, prevalence=prevalence),
            (trained_at, prevalence),
        )
        progress.say(
            f"y_score_at_prevalence is y_score for a prevalence of {prevalence:g} instead of {trained_at:.3g}, as in "
            "training; y_pred is the same"
        )
    if apart:
        asked = {"--maps": maps, "--patients": patients, "--json": as_json or None}
        _predict_apart(
            predictor.bundle, names, out, place, progress, similar=similar, rebased=rebased, asked=asked
        )
        return
    paths = [Path(name) for name in names]
    files = find_images(paths, manifest)
    patient_id: list[str] = []
    if patient_pattern is not None:
        patient_id = name_patients(map(str, files), patient_pattern)
    elif manifest is not None:
        patient_id = name_patients_by_manifest(files, manifest, paths)
    pictures, stopped = None, None
    if maps is not None:
        with explained_write_errors(maps, _OTHER_MAPS):
            pictures = MapFolder.make(maps, paths)
    predictions: list[Prediction] = []
    try:
        with explained_write_errors(maps or Path(), _OTHER_MAPS):
            predictions.extend(predictor.predict_files(files, progress, pictures))
    except RunDirectoryError as error:  # what was scored until then is not lost
        error.add_note(
            f"The tables hold the {len(predictions)} of {len(files)} images that were scored until then"
        )
        stopped = error
    table = predictions_table(predictions, rebase, similar=similar > 0, maps=maps is not None)
    if out is not None:
        with explained_write_errors(out):
            write_table(out, table)
    if patients is not None:
        by_patient = predict_patients(predictions, patient_id[: len(predictions)], predictor.bundle.card)
        with explained_write_errors(patients, "choose another --patients"):
            write_table(patients, patients_table(by_patient, rebase))
    if as_json:
        shown = set(table)
        rows = [{name: value for name, value in asdict(one).items() if name in shown} for one in predictions]
        if rebase is not None:
            for row in rows:
                row["y_score_at_prevalence"] = row["y_score"] and float(rebase(row["y_score"]))
        print(json.dumps(rows))
    elif out is None:
        print(table.to_csv(index=False), end="")
    if stopped is not None:
        raise stopped
    _say_left_out(
        progress,
        len(predictions),
        unread=sum(one.error != "" for one in predictions),
        novel=sum(one.novel is True for one in predictions),
    )


def _predict_apart(
    bundle: Bundle,
    names: list[str],
    out: Path | None,
    place: WorkPlace,
    progress: Progress,
    *,
    similar: int,
    rebased: tuple[float, float] | None,
    asked: Mapping[str, object],
) -> None:
    """Score in parts that may be done elsewhere."""
    from breastlens.cli.interrupt import ends_soon
    from breastlens.inference.shards import Scoring
    from breastlens.runs.scoring import lacks_scores, score_to_csv

    for option, value in asked.items():
        if value is not None:
            raise DataError(f"{option} goes with --on here and files of this machine alone")
    if out is None:
        raise DataError("--on and addresses need --out CSV: rows come in parts, which are put in order there")
    scoring = Scoring.of(bundle, similar=similar, rebased=rebased)
    if not lacks_scores(out, names, scoring):
        refuse_file("--out", out)
        if out.exists():
            raise RunDirectoryError(
                f"--out {out}: expected a new file, not a device, where rows come in parts"
            )
    with ends_soon("what was scored is kept; the same command goes on with it"):
        counts = score_to_csv(names, out, scoring, place, progress)
    _say_left_out(progress, counts.images, unread=counts.unread, novel=counts.novel)
    if counts.set_aside:
        raise WorkerError(
            f"{counts.set_aside} of {counts.images} images could not be scored; their rows in {out} say why. The same "
            "command tries them again; what was scored is kept until then"
        )


def _say_left_out(progress: Progress, images: int, *, unread: int, novel: int) -> None:
    if unread:
        progress.say(f"{unread} of {images} files could not be read; see the error column")
    if novel:
        progress.say(
            f"{novel} of {images} images are unlike those of training and were refused; their scores say nothing"
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
