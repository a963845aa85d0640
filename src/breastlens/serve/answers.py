"""What the service answers, as OpenAPI describes it, and how it is made of predictions."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from breastlens.inference.activation_map import CAPTION
from breastlens.inference.patients import predict_patients
from breastlens.inference.predictor import Prediction
from breastlens.models.bundle import RESEARCH_NOTICE
from breastlens.serve.models import ServedModel
from breastlens.serve.problems import Problem

_LEFT_OUT = {"learnt_from", "files"}


class Answer(BaseModel):
    """Base of all answers; what a function makes has these fields and no other, which tests see to."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ModelName(Answer):
    """Which model answered."""

    name: str = Field(description="what this service calls it", examples=["breast"])
    version: str = Field(
        description="names the model exactly: of the SHA-256 over everything it consists of",
        examples=["3f9c2a71b0de"],
    )
    created: str = Field(description="ISO 8601", examples=["2026-01-31T12:00:00+00:00"])
    data_fingerprint: str = Field(description="SHA-256 over the training data")
    positive: str = Field(description="what a score of 1 would mean", examples=["sick"])
    negative: str = Field(description="what a score of 0 would mean", examples=["healthy"])


class SimilarImage(Answer):
    """A training image that resembles the one asked about."""

    number: int = Field(description="its row in records.csv of the training run, from 1")
    label: Literal[0, 1] = Field(description="its true label, 1 for positive")
    distance: float = Field(description="in the space of features; only its order means something")


class Picture(Answer):
    """What a page shows of an image; pictures are PNG in base64."""

    preview: str = Field(description="the image itself in eight bits, as the model's window shows it")
    map: str | None = Field(
        description="colours for positive (orange) and against it (blue), with opacity, to be laid over the preview; "
        "None from a model that gives no maps"
    )
    map_limit: float | None = Field(description="log-odds per 1 % of the image that have the full colour")
    constant: float | None = Field(
        description="log-odds of an image in which nothing is active: with all places of the map they add up to those "
        "of the score before calibration's bends"
    )
    caption: str = CAPTION


class ImageAnswer(Answer):
    """What the model says of one file, or why it says nothing."""

    index: int = Field(description="place of the file in the request, from 0", examples=[0])
    decision: Literal["negative", "positive", "refer", "refused"] | None = Field(
        description="positive or negative where the prediction set holds that side alone; refer where it does not; "
        "refused where the image is unlike those of training; None where the file could not be read"
    )
    y_score: float | None = Field(description="calibrated probability of positive", examples=[0.93])
    y_pred: Literal[0, 1] | None = Field(description="1 where y_score reaches the threshold; None if refused")
    category: str | None = Field(description="the name of that side", examples=["sick"])
    prediction_set: Literal["negative", "positive", "both", "none"] | None = Field(
        description="the sides that the score leaves open at the model's coverage"
    )
    distance: float | None = Field(
        description="from the training images: half of those are nearer than 0 and nine in ten nearer than 1"
    )
    novel: bool | None = Field(description="whether that is too far for an answer")
    similar: list[SimilarImage] = Field(description="the training images that resemble it most")
    format: str | None = Field(description="what the file is", examples=["PNG"])
    width: int | None = Field(description="of the decoded image in px")
    height: int | None = Field(description="of the decoded image in px")
    picture: Picture | None = Field(default=None, description="with ?map=true")
    problem: Problem | None = Field(default=None, description="why there is no score")


class PatientAnswer(Answer):
    """What the model says of one patient, by its rule, without refused and unreadable files."""

    patient_id: str = Field(description="as it was sent", examples=["P-17"])
    images: int = Field(description="files of this patient")
    unreadable: int
    refused: int
    y_score: float | None
    y_pred: Literal[0, 1] | None
    category: str | None
    decision: Literal["negative", "positive", "refer", "refused"] | None
    prediction_set: Literal["negative", "positive", "both", "none"] | None


EXAMPLE: dict[str, Any] = {
    "request_id": "d59416a1f96d0e7c",
    "model": {
        "name": "breast",
        "version": "dbdb15b1c67e",
        "created": "2026-11-29T13:33:32+00:00",
        "data_fingerprint": "173cb9a42f38ef95fe09870ddb1a7a5b8904edbcb7ad3176269b3484647888be",
        "positive": "sick",
        "negative": "healthy",
    },
    "threshold": 0.33264712605420843,
    "notice": RESEARCH_NOTICE,
    "predictions": [
        {
            "index": 0,
            "decision": "positive",
            "y_score": 0.9831048250198364,
            "y_pred": 1,
            "category": "sick",
            "prediction_set": "positive",
            "distance": -0.1327507644891739,
            "novel": False,
            "similar": [{"number": 71, "label": 0, "distance": 37.981200989026696}],
            "format": "PNG",
            "width": 640,
            "height": 480,
            "picture": None,
            "problem": None,
        }
    ],
    "patients": [],
}
"""Of a model that was trained on simulated images, asked about another."""


class PredictionsAnswer(Answer):
    """What the model says of the files of a request."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    request_id: str
    model: ModelName
    threshold: float = Field(description="a score at or above it is called positive")
    distance_limit: float | None = Field(
        default=None, description="an image farther than that is refused; None from a model that refuses none"
    )
    notice: str = Field(examples=[RESEARCH_NOTICE])
    predictions: list[ImageAnswer] = Field(description="one a file, in the order they were sent")
    patients: list[PatientAnswer] = Field(description="one a patient; empty where no patient_id was sent")


class ModelAnswer(Answer):
    """What a model is, and how far it may be believed."""

    model: ModelName
    notice: str
    card: dict[str, Any] = Field(description="bundle.json, without anything about single training images")
    thumbnails: bool = Field(description="whether /v1/thumbnails has pictures of training images")
    figures: dict[str, Any] | None = Field(
        description="verdict, metrics with intervals and negative controls of the training run; None where not known"
    )


class ModelsAnswer(Answer):
    """Which models are served; the first is asked where none is named."""

    models: list[ModelName]


def name_model(model: ServedModel) -> dict[str, Any]:
    """A ``ModelName``."""
    card = model.bundle.card
    return {
        "name": model.name,
        "version": model.version,
        "created": card.created,
        "data_fingerprint": card.data_fingerprint,
        "positive": card.labels.positive_name,
        "negative": card.labels.negative_name,
    }


def describe_model(model: ServedModel) -> dict[str, Any]:
    """A ``ModelAnswer``."""
    card = model.bundle.card
    return {
        "model": name_model(model),
        "notice": RESEARCH_NOTICE,
        "card": card.model_dump(mode="json", exclude=_LEFT_OUT),
        "thumbnails": bool(model.thumbnails),
        "figures": model.figures,
    }


def answer_image(
    index: int,
    prediction: Prediction,
    *,
    format_: str,
    frame: tuple[int, int],
    picture: dict[str, Any] | None,
) -> dict[str, Any]:
    """An ``ImageAnswer`` of a file that was scored."""
    height, width = frame
    return {
        "index": index,
        "decision": prediction.decision,
        "y_score": prediction.y_score,
        "y_pred": prediction.y_pred,
        "category": prediction.category,
        "prediction_set": prediction.prediction_set,
        "distance": prediction.distance,
        "novel": prediction.novel,
        "similar": [
            {"number": one.number, "label": one.label, "distance": one.distance} for one in prediction.similar
        ],
        "format": format_,
        "width": width,
        "height": height,
        "picture": picture,
        "problem": None,
    }


def answer_problem(index: int, problem: dict[str, Any]) -> dict[str, Any]:
    """An ``ImageAnswer`` of a file that has no score."""
    nothing = dict.fromkeys(ImageAnswer.model_fields)
    return nothing | {"index": index, "similar": [], "problem": problem}


def answer_picture(
    preview: bytes, layer: bytes | None, limit: float | None, constant: float | None
) -> dict[str, Any]:
    """A ``Picture``."""
    return {
        "preview": base64.b64encode(preview).decode(),
        "map": None if layer is None else base64.b64encode(layer).decode(),
        "map_limit": limit,
        "constant": constant,
        "caption": CAPTION,
    }


def answer_patients(
    model: ServedModel, predictions: Sequence[Prediction], patient_ids: Sequence[str]
) -> list[dict[str, Any]]:
    """A ``PatientAnswer`` for each patient, in the order of their first image; none where no id was sent."""
    if not patient_ids:
        return []
    ids = list(patient_ids) * (len(predictions) if len(patient_ids) == 1 else 1)
    found = predict_patients(predictions, ids, model.bundle.card)
    return [vars(one) for one in found]
