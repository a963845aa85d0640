"""A saved model on other labelled images: an external test set, at the stored threshold."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from breastlens.audit.finding import Finding, name_records
from breastlens.audit.findings import find_problems
from breastlens.cohort.batches import LoadedImages, prepare_each
from breastlens.cohort.records import Cohort
from breastlens.config import LabelMap
from breastlens.errors import DataError
from breastlens.evaluation.thresholds import OperatingPoint
from breastlens.imaging.preprocess import PreparedImage
from breastlens.inference.answer import Answer
from breastlens.inference.predictor import Predictor, load, require_training_prevalence
from breastlens.models.backbones import get_backbones
from breastlens.models.bundle import BundleCard, shorten_hashes
from breastlens.progress import Progress
from breastlens.report.page import write_report
from breastlens.runs.answers import answer_columns, judge_answers, say_refused
from breastlens.runs.directory import Run, first_free, new_directory, write_json, write_table
from breastlens.runs.facts import Stopwatch, describe_run, describe_split
from breastlens.runs.judging import judge
from breastlens.runs.patients import patients_table
from breastlens.runs.pictures import draw_figures
from breastlens.runs.subgroups import check_subgroups, subgroup_metrics
from breastlens.runs.tables import predictions_table, records_table

PART = "external"


def evaluate(
    model: Predictor | str | Path,
    cohort: Cohort,
    *,
    out: str | Path | None = None,
    subgroups: Sequence[str] = (),
    prevalence: float | None = None,
    progress: Progress | None = None,
    command: Sequence[str] = (),
) -> Run:
    """Score every image of a cohort and judge the scores; leave a run directory without a model.

    Args:
        model: A loaded model, or the run or bundle directory to load it from.
        cohort: Labelled images; they are brought to the network's size as the model's training images were, whatever
            the cohort's own recipe says.
        out: The directory to make; None: ``runs/evaluation-N`` with the first free number.
        subgroups: Columns in whose strata the scores are judged again, such as ``"acquired:year"``.
        prevalence: Of those to be screened, between 0 and 1: probabilities, predictive values and the decision curve
            are re-based to it. None leaves that out.
        progress: Where to tell how far it is.
        command: The command line, for run.json and the report.

    Returns:
        The run; its figures stand under ``metrics["external"]``.

    Raises:
        BundleError: The directory holds no model that is whole.
        DataError: A category stands on the other side than in training, so that every figure would be turned round;
            a column makes no subgroups; the prevalence is not between 0 and 1, or the model does not know at which it
            was trained.
        RunDirectoryError: The directory exists or cannot be written.
    """
    progress = progress or Progress()
    predictor = load(model) if isinstance(model, str | Path) else model
    card = predictor.bundle.card
    if prevalence is not None:
        require_training_prevalence(card, prevalence)
    cohort.require_used()
    check_subgroups(cohort.included, subgroups)
    _refuse_turned_labels(card.labels, cohort.labels)
    watch = Stopwatch()
    cohort = replace(cohort, image=card.image, table=cohort.table.assign(image_size=card.image.size_label))
    out = first_free(Path("runs"), "evaluation") if out is None else Path(out)
    findings = find_problems(cohort)
    findings = [*_find_training_images(cohort.included, card), *findings]
    for finding in findings:
        progress.say(f"{finding.severity} {finding.code}: {finding.what}")
    with new_directory(out, data=cohort.scanned) as directory:
        used = cohort.included.assign(split=PART)
        with watch.phase("read and score"), progress.task("read and score", len(used)) as advance:
            scores: list[float] = []
            answers: list[Answer] = []

            def scored() -> Iterator[PreparedImage]:
                for image, score, answer in predictor.answer_each(prepare_each(cohort, used)):
                    scores.append(score)
                    answers.append(answer)
                    advance(len(scores))
                    yield image

            loaded = LoadedImages.collect(scored(), len(used), card.image.image_size)
            y_score = np.array(scores)
        with watch.phase("evaluate"):
            predictions = predictions_table(
                used, y_score, card.threshold, card.calibration.raw_logits(y_score)
            )
            predictions = predictions.assign(**answer_columns(answers))
            points = card.operating_points or (
                OperatingPoint(card.threshold, card.threshold_rule, None, None),
            )
            block = judge(
                used["label"].to_numpy(),
                y_score,
                predictions["raw_logit"].to_numpy(),
                np.tile([[point.threshold] for point in points], len(used)),
                [points],
                used["patient_id"].tolist(),
                linked=cohort.groups(),
                prevalence=prevalence,
                trained_at=card.training_prevalence,
                patient_points=[card.patient_point] * len(used),
            )
            metrics = {PART: block} | subgroup_metrics(
                used,
                np.arange(len(used)),
                y_score,
                card.threshold,
                subgroups,
                seed=0,
                linked=cohort.groups(),
            )
            metrics |= judge_answers(card, predictions, cohort.groups(), answers)
            refused = say_refused(answers)
            for note in refused:
                progress.say(note)
            write_table(directory / "records.csv", records_table(cohort, used, loaded))
            write_table(directory / "predictions.csv", predictions)
            limits = None if card.abstention is None else card.abstention.patients
            count = len(used)
            patients = patients_table(
                predictions, [card.threshold] * count, [card.patient_point] * count, [limits] * count
            )
            if patients is not None:
                write_table(directory / "patients.csv", patients)
            write_json(directory / "metrics.json", metrics)
        with watch.phase("figures"):
            draw_figures(
                directory,
                cohort.labels,
                metrics,
                predictions,
                None,
                lambda rows: loaded.pixels[rows.index.to_numpy()],
                predictor.bundle.engine,
            )
        facts = describe_run(
            "evaluation",
            cohort,
            get_backbones(card.backbone),
            command=command,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            findings=findings,
            split=describe_split("external", used),
            weights={"weights": f"bundle of {card.created}"},
            phases=watch.phases,
            recipe={} if prevalence is None else {"prevalence": prevalence},
            model=card.model_dump(mode="json"),
            operating_point={
                "rule": card.threshold_rule,
                "threshold": card.threshold,
                "chosen_on": "the training run",
            },
            notes=refused,
        )
        write_json(directory / "run.json", facts)
        write_report(directory)
    return Run.read(out)


def _refuse_turned_labels(trained: LabelMap, given: LabelMap) -> None:
    turned = sorted({*trained.positive} & {*given.negative} | {*trained.negative} & {*given.positive})
    if turned:
        raise DataError(
            f"{', '.join(turned)} would stand on the other side than in training; the model was trained with "
            f"{trained.describe()}, and this asks for {given.describe()}"
        )


def _find_training_images(used: pd.DataFrame, card: BundleCard) -> list[Finding]:
    known = set(card.learnt_from)
    seen = used[[bool(known & {*shorten_hashes([value])}) for value in used["pixels_sha256"]]]
    if seen.empty:
        return []
    return [
        Finding(
            code="evaluated-on-training-images",
            severity="error",
            what=f"{len(seen)} of {len(used)} images are among those that the model was trained on, so the figures say "
            "nothing about other patients.",
            count=len(seen),
            records=name_records(seen["path"]),
            advice="Read the training run's own held-out figures, or evaluate on images of other patients.",
        )
    ]
