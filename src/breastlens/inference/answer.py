"""What a model answers to an image, and whether it should: decision, prediction set, and how novel the image is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from breastlens.evaluation.conformal import SET_NAMES, SetLimits, find_sets
from breastlens.imaging.layout import describe_layout
from breastlens.inference.novelty import Reference, Similar, find_similar, measure_novelty
from breastlens.inference.reference_file import read_reference
from breastlens.models.bundle import Bundle

Decision = Literal["negative", "positive", "refer", "refused"]
"""A side where the prediction set holds that side alone; ``refer`` to somebody where it does not; ``refused`` where the
image is unlike those of training, so that its score says nothing."""


@dataclass(frozen=True)
class Answer:
    """What a model answers to one image.

    Attributes:
        decision: What to make of the score.
        prediction_set: ``negative``, ``positive``, ``both`` or ``none``; None where the bundle knows no limits.
        distance: From the training images: of those themselves, when held out, half are nearer than 0 and nine in ten
            nearer than 1. None where the bundle cannot tell.
        novel: Whether it is too far for an answer; None where the bundle cannot tell.
        similar: The most similar training images, as many as were asked for.
    """

    decision: Decision
    prediction_set: str | None = None
    distance: float | None = None
    novel: bool | None = None
    similar: tuple[Similar, ...] = ()


class Answerer:
    """What a bundle knows of when its model does not answer; for bundles without that, decisions at the threshold."""

    def __init__(self, bundle: Bundle, *, similar: int = 0) -> None:
        """Read what novelty is measured from.

        Args:
            bundle: The model.
            similar: How many similar training images each answer is to name.

        Raises:
            BundleError: It cannot be read.
        """
        self._card = bundle.card
        self._similar = similar
        path = bundle.reference_path
        self._reference: Reference | None = None if path is None else read_reference(path)

    def answer(
        self,
        y_score: float,
        features: NDArray[np.float32],
        pixels: NDArray[np.uint8],
        *,
        similar: int | None = None,
    ) -> Answer:
        """Answer one image.

        Args:
            y_score: The model's own probability of positive.
            features: As its graph gives them, (d,).
            pixels: uint8 (s, s, 3).
            similar: How many similar training images to name; None for as many as always.
        """
        limits, reference = self._card.abstention, self._reference
        positive = y_score >= self._card.threshold
        if limits is None or reference is None:
            return Answer("positive" if positive else "negative")
        name = name_set(y_score, limits.images)
        distance = float(
            measure_novelty(
                reference, limits.novelty.method, features[np.newaxis], describe_layout(pixels[np.newaxis])
            )[0]
        )
        novel = distance > limits.novelty.threshold
        count = self._similar if similar is None else similar
        found = find_similar(reference, features[np.newaxis], count)[0] if count else ()
        return Answer(decide(name, positive=positive, novel=novel), name, distance, novel, found)


def name_set(y_score: float, limits: SetLimits) -> str:
    """The prediction set of a score by name.

    Args:
        y_score: Of an image, or the joint score of a patient's.
        limits: Of scores of that kind.
    """
    return SET_NAMES[int(find_sets([y_score], limits)[0])]


def decide(prediction_set: str, *, positive: bool, novel: bool = False) -> Decision:
    """What follows from an answer: a side only where the prediction set holds it alone and the threshold says the same.

    Args:
        prediction_set: By name.
        positive: Whether the score reaches the threshold.
        novel: Whether the image is unlike those of training.
    """
    if novel:
        return "refused"
    if positive:
        return "positive" if prediction_set == "positive" else "refer"
    return "negative" if prediction_set == "negative" else "refer"
