"""From predictions of images to one of each patient."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from breastlens.cohort.manifest import read_patients
from breastlens.errors import DataError
from breastlens.evaluation.by_patient import PatientRule, score_patients
from breastlens.evaluation.conformal import SetLimits
from breastlens.inference.answer import Decision, decide, name_set
from breastlens.inference.predictor import Prediction, with_rebased
from breastlens.models.bundle import BundleCard

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PatientPrediction:
    """What a model says of one patient.

    Attributes:
        patient_id: Who; "" where unknown.
        images: How many files the patient has here.
        unreadable: How many of them could not be read.
        refused: How many of them are unlike the training images; they count for nothing.
        y_score: Joint score of the others, by the bundle's rule; None where there are none.
        y_pred: 1 where that reaches the bundle's threshold for patients, else 0; None where there is none.
        category: The name of that side.
        decision: ``negative``, ``positive``, ``refer`` or, where all images were refused, ``refused``; None where none
            could be read.
        prediction_set: Of the joint score: ``negative``, ``positive``, ``both`` or ``none``; None where there is none,
            or the bundle knows no limits.
    """

    patient_id: str
    images: int
    unreadable: int
    refused: int
    y_score: float | None
    y_pred: int | None
    category: str | None
    decision: str | None
    prediction_set: str | None


@dataclass(frozen=True)
class JointAnswer:
    """What the scores of a patient's images say together.

    Attributes:
        y_score: Joint score.
        positive: Whether it reaches the threshold for patients.
        prediction_set: Of the joint score, by name; None where no limits are known.
        decision: ``negative``, ``positive`` or ``refer``.
    """

    y_score: float
    positive: bool
    prediction_set: str | None
    decision: Decision


def answer_patient(
    scores: Sequence[float], rule: PatientRule, threshold: float, limits: SetLimits | None
) -> JointAnswer:
    """Join the scores of a patient's images that were not refused.

    Args:
        scores: Theirs, at least one.
        rule: From them to one.
        threshold: A joint score at or above it is called positive.
        limits: Of the prediction sets of joint scores; None where there are none, so that the threshold decides alone.
    """
    joint = float(score_patients(scores, np.zeros(len(scores), dtype=np.int64), rule)[0])
    positive = joint >= threshold
    if limits is None:
        return JointAnswer(joint, positive, None, "positive" if positive else "negative")
    held = name_set(joint, limits)
    return JointAnswer(joint, positive, held, decide(held, positive=positive))


def name_patients(paths: Iterable[str], pattern: str) -> list[str]:
    """The patient of each path, by a regular expression searched in it.

    Args:
        paths: Of the images.
        pattern: With a group named ``patient_id``.

    Raises:
        DataError: It is no regular expression, has no such group, or does not match a path.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DataError(f"--patient-pattern {pattern!r} is no regular expression: {error}") from error
    if "patient_id" not in compiled.groupindex:
        raise DataError(f"--patient-pattern {pattern!r} needs a group named patient_id: (?P<patient_id>...)")
    found = [(path, compiled.search(path)) for path in paths]
    lost = [path for path, match in found if match is None or not match["patient_id"]]
    if lost:
        raise DataError(
            f"--patient-pattern {pattern!r} finds no patient in {len(lost)} of {len(found)} paths, such as {lost[0]}"
        )
    return [match["patient_id"] for _, match in found if match is not None]


def name_patients_by_manifest(paths: Iterable[Path], manifest: Path, given: Sequence[Path]) -> list[str]:
    """The patient of each path, by a manifest.

    Args:
        paths: Of the images.
        manifest: With the columns ``path`` and ``patient_id``.
        given: What was asked for: one folder, which the manifest's paths are relative to.

    Raises:
        DataError: More than a folder was given, the manifest cannot be read, or it does not name a file's patient.
    """
    if len(given) != 1 or not given[0].is_dir():
        raise DataError("--manifest names images relative to one folder: give that folder, and nothing else")
    known = read_patients(manifest, given[0])
    found = [(path, known.get(path, "")) for path in paths]
    lost = [path for path, patient in found if not patient]
    if lost:
        raise DataError(
            f"{manifest} names no patient for {len(lost)} of {len(found)} images, such as {lost[0]}"
        )
    return [patient for _, patient in found]


def require_rebasing(card: BundleCard) -> None:
    """Refuse to re-base scores of patients that are no probabilities.

    Raises:
        DataError: The model does not score a patient by the mean.
    """
    if card.patient_rule != "mean":
        raise DataError(
            f"--prevalence re-bases probabilities, and this model scores a patient by {card.patient_rule} of the "
            "images, which is none; leave out --patients or --prevalence"
        )


def predict_patients(
    predictions: Sequence[Prediction], patient_id: Sequence[str], card: BundleCard
) -> list[PatientPrediction]:
    """Say of each patient what the scores of their images say together, by the model's rule, without refused images.

    Args:
        predictions: Of images.
        patient_id: Who each of them shows; "" where unknown: such an image stands alone.
        card: Of the model.

    Returns:
        One a patient, in order of first appearance.
    """
    own: dict[tuple[str, int | None], list[Prediction]] = {}
    for number, (name, prediction) in enumerate(zip(patient_id, predictions, strict=True)):
        own.setdefault((name, None if name else number), []).append(prediction)
    return [_predict_patient(name, images, card) for (name, _), images in own.items()]


def _predict_patient(name: str, images: Sequence[Prediction], card: BundleCard) -> PatientPrediction:
    unreadable = sum(one.y_score is None for one in images)
    refused = sum(one.novel is True for one in images)
    scores = [one.y_score for one in images if one.y_score is not None and not one.novel]
    if not scores:
        return PatientPrediction(
            name, len(images), unreadable, refused, None, None, None, "refused" if refused else None, None
        )
    point, limits = card.patient_point, card.abstention
    joint = answer_patient(
        scores,
        card.patient_rule,
        card.threshold if point is None else point.threshold,
        None if limits is None else limits.patients,
    )
    return PatientPrediction(
        name,
        len(images),
        unreadable,
        refused,
        joint.y_score,
        int(joint.positive),
        card.labels.positive_name if joint.positive else card.labels.negative_name,
        joint.decision,
        joint.prediction_set,
    )


def patients_table(
    predictions: Sequence[PatientPrediction],
    rebase: Callable[[ArrayLike], NDArray[np.float64]] | None = None,
) -> pd.DataFrame:
    """A row a patient, a column a field of ``PatientPrediction``; what there is none of is empty.

    Args:
        predictions: A row each.
        rebase: Gives the scores at another prevalence, for a column ``y_score_at_prevalence`` after ``y_score``.
    """
    import pandas as pd

    names = [one.name for one in fields(PatientPrediction)]
    table = pd.DataFrame([[getattr(one, name) for name in names] for one in predictions], columns=names)
    return with_rebased(table.astype({"y_score": "float64", "y_pred": "Int64"}), rebase)
