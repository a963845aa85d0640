"""What a bundle says of when its model does not answer: the limits of prediction sets and of novelty."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from breastlens.config import Settings
from breastlens.evaluation.conformal import SetLimits

Method = Literal["mahalanobis", "neighbours"]
"""How far an image is from those of training: by their spread, or from the nearest of them."""


class NoveltyLimit(Settings):
    """From which distance on an image is refused."""

    method: Method
    threshold: float = Field(description="an image farther away is refused")
    false_alarms: float = Field(
        gt=0, lt=1, description="the share of images like those of training that is refused at most"
    )
    asked_false_alarms: float = Field(
        gt=0, lt=1, description="what was asked for; fewer held-out patients than 1 / it can promise less"
    )
    units: int = Field(description="how many patients' held-out images decided the threshold")


class Abstention(Settings):
    """When a saved model does not answer."""

    coverage: float = Field(gt=0, lt=1, description="of each class, the share whose set is to hold the truth")
    chosen_on: str = Field(description="which scores and distances decided the limits, in words")
    images: SetLimits
    patients: SetLimits = Field(description="for the score of a patient, by the bundle's rule")
    novelty: NoveltyLimit
