"""From image files to calibrated scores with a saved model; needs neither Keras nor TensorFlow."""

from __future__ import annotations

import logging
import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from breastlens.cohort.folder import TEXT_SUFFIXES, printable, visible_files
from breastlens.cohort.parallel import map_in_order
from breastlens.config import ReadingLimits
from breastlens.errors import DataError, DecodeError, StoreError
from breastlens.imaging.decode import IMAGE_SUFFIXES
from breastlens.imaging.preprocess import PreparedImage, preprocess
from breastlens.inference.activation_map import Explanation, explain_row
from breastlens.inference.answer import Answer, Answerer
from breastlens.inference.inputs import NOT_SCORED, read_input, until_outage
from breastlens.inference.map_picture import MapFolder
from breastlens.inference.novelty import Similar
from breastlens.models.bundle import Bundle, BundleCard, load_bundle
from breastlens.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

Read = TypeVar("Read", bound=PreparedImage | str)
Row = dict[str, NDArray[np.float32]]
"""What the network gives for one image, by name."""

_MOST_UNREAD = 256
_ANSWERED_TOGETHER = 32


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one image.

    Attributes:
        path: The file, as it was given or found; bytes that are no UTF-8 are written as escapes.
        y_score: Calibrated probability of positive in [0, 1], or None where the file could not be read. It stays where
            the image is refused, and then says nothing.
        y_pred: 1 where ``y_score`` reaches the bundle's threshold, else 0; None where there is no score or the image is
            refused.
        category: The name of the predicted side, for example ``sick``; None where ``y_pred`` is.
        error: Why there is no score, after ``NOT_SCORED`` where a store failed; empty where there is one.
        decision: ``negative`` or ``positive`` where the prediction set holds that side alone, ``refer`` where it does
            not, ``refused`` where the image is unlike those of training; None where there is no score.
        prediction_set: ``negative``, ``positive``, ``both`` or ``none``: the sides that the score leaves open at the
            bundle's coverage; None where there is no score, the image is refused, or the bundle knows no limits.
        distance: From the training images: of those themselves, when held out, half are nearer than 0 and nine in ten
            nearer than 1. None where the bundle cannot tell.
        novel: Whether that is too far for an answer; None where there is no distance.
        similar: The most similar training images, where these were asked for.
        map: Name of the picture of what influenced the score, in the folder of maps; empty where none was asked for.
    """

    path: str
    y_score: float | None
    y_pred: int | None
    category: str | None
    error: str = ""
    decision: str | None = None
    prediction_set: str | None = None
    distance: float | None = None
    novel: bool | None = None
    similar: tuple[Similar, ...] = ()
    map: str = ""


class Predictor:
    """A loaded bundle, ready to score images."""

    def __init__(self, bundle: Bundle, limits: ReadingLimits | None = None, *, similar: int = 0) -> None:
        self.bundle = bundle
        self._limits = limits or ReadingLimits()
        self._answerer = Answerer(bundle, similar=similar)

    def predict(self, path: str | Path) -> Prediction:
        """Score one image file.

        Raises:
            DecodeError: The file cannot be read as an image.
        """
        prediction = next(self.predict_files([Path(path)]))
        if prediction.error:
            raise DecodeError(path, prediction.error)
        return prediction

    def explain(self, path: str | Path) -> Explanation:
        """Tell which places of one image file influenced its score, as exact parts of its log-odds.

        Raises:
            DecodeError: The file cannot be read as an image.
            BundleError: The model was saved by an earlier version and gives no such map.
        """
        image = self._read(Path(path))
        if isinstance(image, str):
            raise DecodeError(path, image)
        return explain_row(
            image, self.bundle.card.image, next(self.bundle.engine.stream(image.pixels[np.newaxis]))
        )

    def predict_files(
        self,
        paths: Sequence[Path | str],
        progress: Progress | None = None,
        maps: MapFolder | None = None,
    ) -> Generator[Prediction]:
        """Score many image files in order; a file that cannot be read gives a row with its error, and the rest go on.

        The next files are read in threads while the network computes. Only a few images are held at once, however many
        there are, and the threads end with the iterator, also where it is given up halfway.

        Args:
            paths: The files; as text also addresses in a remote store, see ``read_input``.
            progress: Where to tell how far it is.
            maps: Where a picture of what influenced each score is written, if wanted.

        Raises:
            StoreError: A store failed for several in a row.
        """
        with (
            (progress or Progress()).task("predict", len(paths)) as advance,
            closing(map_in_order(self._read, paths)) as images,
            closing(self._answer_each(until_outage(images))) as answers,
        ):
            for done, (path, (image, row, answer)) in enumerate(zip(paths, answers, strict=True), start=1):
                advance(done)
                name = printable(str(path))
                if isinstance(image, str) or answer is None:
                    yield Prediction(name, y_score=None, y_pred=None, category=None, error=str(image))
                    continue
                prediction = self._conclude(name, row, answer)
                if maps is not None:
                    shown = maps.write(done, Path(path), explain_row(image, self.bundle.card.image, row))
                    prediction = replace(prediction, map=shown)
                yield prediction

    def score_each(self, images: Iterable[Read]) -> Generator[tuple[Read, float]]:
        """Score prepared images one after the other, taking the next few while the network computes.

        Args:
            images: What is to be scored; a text stands for an image that could not be read.

        Yields:
            Each image and its calibrated probability of positive, in order; each text and nan.
        """
        with closing(self._run_each(images)) as rows:
            for image, row in rows:
                yield image, row["score"].item() if row else math.nan

    def answer_each(self, images: Iterable[PreparedImage]) -> Generator[tuple[PreparedImage, float, Answer]]:
        """As `score_each`, and what the model answers to each."""
        with closing(self._answer_each(images)) as answers:
            for image, row, answer in answers:
                if answer is not None:
                    yield image, row["score"].item(), answer

    def conclude(
        self, images: Sequence[PreparedImage], rows: Sequence[Row], *, similar: int | None = None
    ) -> list[Prediction]:
        """Say what follows from what the network gave for some images, which get no names.

        Args:
            images: What the network saw.
            rows: Its outputs for each.
            similar: How many similar training images to name; None for as many as this predictor always names.
        """
        answers = self._answer(images, rows, similar)
        return [self._conclude("", row, answer) for row, answer in zip(rows, answers, strict=True)]

    def _answer_each(self, images: Iterable[Read]) -> Generator[tuple[Read, Row, Answer | None]]:
        """Each image, what the network gives for it and the answer, in order; each text, nothing and None."""
        with closing(self._run_each(images)) as rows:
            while part := list(islice(rows, _ANSWERED_TOGETHER)):
                readable = [(image, row) for image, row in part if isinstance(image, PreparedImage)]
                answers = iter(self._answer([image for image, _ in readable], [row for _, row in readable]))
                for image, row in part:
                    yield image, row, next(answers) if row else None

    def _run_each(self, images: Iterable[Read]) -> Generator[tuple[Read, Row]]:
        """Each image and what the network gives for it, in order; each text and nothing."""
        source = iter(images)
        waiting: deque[Read] = deque()

        def next_pixels() -> Iterator[NDArray[np.uint8]]:
            for image in source:
                waiting.append(image)
                if isinstance(image, PreparedImage):
                    yield image.pixels[np.newaxis]
                elif len(waiting) >= _MOST_UNREAD:  # they are told before more are read
                    return

        while True:
            with closing(self.bundle.engine.stream(next_pixels())) as rows:
                for row in rows:
                    while not isinstance(waiting[0], PreparedImage):
                        yield waiting.popleft(), {}
                    yield waiting.popleft(), row
            if not waiting:
                return
            while waiting:
                yield waiting.popleft(), {}

    def score_pixels(
        self, images: NDArray[np.uint8], *, on_done: Callable[[int], None] | None = None
    ) -> NDArray[np.float64]:
        """Score prepared images.

        Args:
            images: uint8 (n, s, s, 3), RGB.
            on_done: Told after each image how many are finished.

        Returns:
            Calibrated probabilities of positive, (n,).
        """
        scores = self.bundle.engine.run(images, on_done=on_done)["score"]
        return np.asarray(scores, dtype=np.float64).reshape(len(images))

    def _read(self, path: Path | str) -> PreparedImage | str:
        """The image as the network takes it, or why there is none."""
        try:
            return preprocess(read_input(str(path), self._limits), self.bundle.card.image)
        except DecodeError as error:
            logger.info("not scored: %s", error)
            return error.reason
        except StoreError as error:
            return f"{NOT_SCORED}{error}"

    def _answer(
        self, images: Sequence[PreparedImage], rows: Sequence[Row], similar: int | None = None
    ) -> list[Answer]:
        return self._answerer.answer(
            [row["score"].item() for row in rows],
            [row["features"] for row in rows],
            [image.pixels for image in images],
            similar=similar,
        )

    def _conclude(self, name: str, row: Row, answer: Answer) -> Prediction:
        y_score, card = row["score"].item(), self.bundle.card
        positive = y_score >= card.threshold
        category = card.labels.positive_name if positive else card.labels.negative_name
        return Prediction(
            name,
            y_score=y_score,
            y_pred=None if answer.novel else int(positive),
            category=None if answer.novel else category,
            decision=answer.decision,
            prediction_set=None if answer.novel else answer.prediction_set,
            distance=answer.distance,
            novel=answer.novel,
            similar=answer.similar,
        )


def load(model: str | Path, *, similar: int = 0) -> Predictor:
    """Load a saved model.

    Args:
        model: A bundle directory, or a run directory that holds one.
        similar: How many similar training images each prediction is to name.

    Raises:
        BundleError: It is missing, damaged, altered or of a newer format; Keras's own file need not be there.
    """
    return Predictor(load_bundle(Path(model), keras_model=False), similar=similar)


def require_training_prevalence(card: BundleCard, prevalence: float) -> float:
    """The prevalence that a model's scores are made for, so that they can be re-based to another.

    Raises:
        DataError: The other one does not lie between 0 and 1, or the model does not say for which its scores are made.
    """
    if not 0 < prevalence < 1:
        raise DataError(
            f"--prevalence: expected a share between 0 and 1, such as 0.006, received {prevalence:g}"
        )
    if card.training_prevalence is None:
        raise DataError(
            "--prevalence: this model does not say at which prevalence it was trained, so that its scores cannot be "
            "re-based; train it anew"
        )
    return card.training_prevalence


def find_images(paths: Sequence[str | Path], manifest: Path | None = None) -> list[Path]:
    """Files as given, and for each folder the images anywhere below it, sorted by path; hidden ones are passed over.

    What is given twice is taken once.

    Text files directly in a folder whose images lie in subfolders are a manifest or notes, as in training, and are
    passed over too.

    Args:
        paths: Files and folders.
        manifest: A file that says whose the images are; where it lies in a folder, it is no image and no surprise.

    Raises:
        DataError: A path does not exist, a folder cannot be listed, or no image is found at all.
    """
    missing = [printable(str(path)) for path in paths if not os.path.lexists(path)]
    if missing:
        raise DataError(f"{len(missing)} of {len(paths)} paths do not exist: {', '.join(missing[:5])}")
    found: list[Path] = []
    for path in map(Path, paths):
        found += _images_below(path, manifest) if path.is_dir() else [path]
    if not found:
        raise DataError(f"no image file was found in {', '.join(printable(str(path)) for path in paths)}")
    once = list({path.absolute(): path for path in found}.values())
    if len(once) < len(found):
        logger.warning("files that were given twice are taken once: %d", len(found) - len(once))
    return once


def _images_below(folder: Path, manifest: Path | None) -> list[Path]:
    images = [name for name in visible_files(folder) if _suffix(name) in IMAGE_SUFFIXES]
    if manifest is not None:
        known = manifest.resolve()
        images = [
            name
            for name in images
            if _suffix(name) not in TEXT_SUFFIXES or (folder / name).resolve() != known
        ]
    if any("/" in name for name in images):
        beside = [name for name in images if "/" not in name and _suffix(name) in TEXT_SUFFIXES]
        for name in beside:
            logger.warning("%s lies beside folders of images and is not taken for one", folder / name)
        images = [name for name in images if name not in beside]
    return [folder / name for name in images]


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()


def predictions_table(
    predictions: Iterable[Prediction],
    rebase: Callable[[ArrayLike], NDArray[np.float64]] | None = None,
    *,
    similar: bool = False,
    maps: bool = False,
) -> pd.DataFrame:
    """Predictions as a table, a column a field of ``Prediction``; what there is none of is empty.

    Args:
        predictions: A row each.
        rebase: Gives the scores at another prevalence, for a column ``y_score_at_prevalence`` after ``y_score``.
        similar: Whether there is a column ``similar``: text, the nearest first, each with its number, true label and
            distance.
        maps: Whether there is a column ``map``.
    """
    import pandas as pd

    left_out = {name for name, asked in (("similar", similar), ("map", maps)) if not asked}
    names = [one.name for one in fields(Prediction) if one.name not in left_out]
    rows = [
        {name: getattr(one, name) for name in names} | {"similar": _similar_text(one.similar)}
        for one in predictions
    ]
    table = pd.DataFrame(rows, columns=names)
    table = table.astype({"y_score": "float64", "y_pred": "Int64", "distance": "float64", "novel": "boolean"})
    return with_rebased(table, rebase)


def with_rebased(
    table: pd.DataFrame, rebase: Callable[[ArrayLike], NDArray[np.float64]] | None
) -> pd.DataFrame:
    """The table with a column ``y_score_at_prevalence`` after ``y_score``, where scores are to be re-based."""
    if rebase is not None:
        table.insert(
            list(table.columns).index("y_score") + 1, "y_score_at_prevalence", rebase(table["y_score"])
        )
    return table


def _similar_text(similar: Sequence[Similar]) -> str:
    return "; ".join(
        f"{one.number} {'positive' if one.label else 'negative'} {one.distance:.3g}" for one in similar
    )
