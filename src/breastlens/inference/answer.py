"""What a model answers to an image, and whether it should: decision, prediction set, and how novel the image is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

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
        # As for a probe: a second thread of linear algebra only waits, and takes a core from the network meanwhile.
        self._linear_algebra = ThreadpoolController()
        path = bundle.reference_path
        self._reference: Reference | None = None if path is None else read_reference(path)

    def answer(
        self,
        y_score: Sequence[float],
        features: Sequence[NDArray[np.float32]],
        pixels: Sequence[NDArray[np.uint8]],
        *,
        similar: int | None = None,
    ) -> list[Answer]:
        """Answer some images, each as if it were alone; several at once take less time than one after the other.

        Args:
            y_score: The model's own probabilities of positive, (n,).
            features: As its graph gives them, n of (d,).
            pixels: n of uint8 (s, s, 3).
            similar: How many similar training images to name; None for as many as always.
        """
        limits, reference = self._card.abstention, self._reference
        positive = [score >= self._card.threshold for score in y_score]
        if limits is None or reference is None or not positive:
            return [Answer("positive" if each else "negative") for each in positive]
        names = [SET_NAMES[each] for each in find_sets(y_score, limits.images)]
        together = np.stack(features)
        count = self._similar if similar is None else similar
        with self._linear_algebra.limit(limits=1, user_api="blas"):
            # To 32 bits: the last digits beyond are those of how many images there are.
            distances = measure_novelty(
                reference, limits.novelty.method, together, describe_layout(np.stack(pixels))
            ).astype(np.float32)
            found = find_similar(reference, together, count) if count else [()] * len(names)
        novel = [bool(each) for each in distances > limits.novelty.threshold]
        return [
            Answer(decide(name, positive=over, novel=strange), name, float(distance), strange, resembling)
            for name, over, strange, distance, resembling in zip(
                names, positive, novel, distances, found, strict=True
            )
        ]


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
