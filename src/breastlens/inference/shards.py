"""A part of very many images, scored wherever there is a processor: names go there, rows come back."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from breastlens.cohort.apart import identify, require_some
from breastlens.cohort.folder import printable
from breastlens.errors import BundleError, StoreError
from breastlens.evaluation.prevalence import rebase_scores
from breastlens.inference.inputs import NOT_SCORED, is_remote
from breastlens.inference.predictor import Prediction, Predictor, load, predictions_table
from breastlens.inference.stores import DENIED
from breastlens.models.bundle import Bundle
from breastlens.work.unit import Unit, content_key

SHARD = 256
"""Images of a unit: some seconds of work for the smallest networks."""


@dataclass(frozen=True)
class Scoring:
    """How shards are scored, the same for all of a job.

    Attributes:
        model: The bundle's directory; every worker finds it under this path.
        version: ``Bundle.version``, which names it exactly.
        folder: That relative paths begin from.
        similar: How many similar training images each row names.
        rebased: From the prevalence of training to another, where asked for.
    """

    model: str
    version: str
    folder: str
    similar: int
    rebased: tuple[float, float] | None

    @classmethod
    def of(cls, bundle: Bundle, *, similar: int, rebased: tuple[float, float] | None) -> Scoring:
        """Settle it for a model."""
        return cls(str(bundle.directory.absolute()), bundle.version, str(Path.cwd()), similar, rebased)


@dataclass(frozen=True)
class ScoredShard:
    """What came of a shard.

    Attributes:
        rows: Of the CSV, with its line ends and without its header.
        images: How many.
        unread: How many of them could not be read.
        novel: How many were refused.
        set_aside: How many should be tried again.
    """

    rows: str
    images: int
    unread: int
    novel: int
    set_aside: int


class PartlyScored(Exception):  # noqa: N818  it has a result
    """Some images of a shard should be tried again, so that its rows are not kept.

    Attributes:
        shard: What came of it this time.
    """

    def __init__(self, shard: ScoredShard) -> None:
        super().__init__(shard)
        self.shard = shard

    def __str__(self) -> str:
        """How many they are."""
        return f"the store failed for {self.shard.set_aside} of {self.shard.images}"


def shards(names: Iterable[str], scoring: Scoring, size: int = SHARD) -> Iterator[Unit]:
    """Units that score files, in their order.

    Args:
        names: From ``list_inputs``.
        scoring: How.
        size: Images of a unit.
    """
    rest = iter(names)
    first = 1
    while part := tuple(islice(rest, size)):
        title = f"images {first} to {first + len(part) - 1}"
        files = [None if is_remote(name) else identify(Path(scoring.folder, name)) for name in part]
        key = content_key("scores", version("breastlens"), scoring, list(part), files)
        yield Unit(title, key, score_shard, (scoring, part, any(files)), size=len(part))
        first += len(part)


def score_shard(scoring: Scoring, names: Sequence[str], some_are_there: bool) -> ScoredShard:
    """Score the files of a shard.

    Args:
        scoring: How.
        names: The files.
        some_are_there: Whether, of those that are no addresses, some were there where the shard was handed out.

    Raises:
        BundleError: The model is not there, or another than was meant.
        WorkerError: None of those files is there.
        StoreError: A store failed for several images in a row, or did not give a single one.
        PartlyScored: A store failed for some.
    """
    if some_are_there:
        require_some(Path(scoring.folder, name) for name in names if not is_remote(name))
    paths = [name if is_remote(name) else str(Path(scoring.folder, name)) for name in names]
    found = _predictor(scoring).predict_files(paths)
    predictions = [replace(one, path=printable(name)) for one, name in zip(found, names, strict=True)]
    errors = [one.error for one, name in zip(predictions, names, strict=True) if is_remote(name)]
    if errors and all(error.startswith(NOT_SCORED) or DENIED in error for error in errors):
        raise StoreError(
            f"none of {len(errors)} could be had, the last: {errors[-1].removeprefix(NOT_SCORED)}"
        )
    shard = describe_shard(scoring, predictions)
    if shard.set_aside:
        raise PartlyScored(shard)
    return shard


def describe_shard(scoring: Scoring, predictions: Sequence[Prediction]) -> ScoredShard:
    """Predictions as rows of the CSV."""
    set_aside = sum(one.error.startswith(NOT_SCORED) for one in predictions)
    return ScoredShard(
        _csv(scoring, predictions, header=False),
        len(predictions),
        unread=sum(one.error != "" for one in predictions) - set_aside,
        novel=sum(one.novel is True for one in predictions),
        set_aside=set_aside,
    )


def header(scoring: Scoring) -> str:
    """The first line of the CSV."""
    return _csv(scoring, [], header=True)


def _csv(scoring: Scoring, predictions: Sequence[Prediction], *, header: bool) -> str:
    rebase = None
    if scoring.rebased is not None:
        trained_at, prevalence = scoring.rebased
        rebase = partial(rebase_scores, trained_at=trained_at, prevalence=prevalence)
    table = predictions_table(predictions, rebase, similar=scoring.similar > 0)
    return str(table.to_csv(index=False, header=header, lineterminator="\n"))


@functools.lru_cache(maxsize=1)
def _predictor(scoring: Scoring) -> Predictor:
    """Loaded once a process."""
    predictor = load(scoring.model, similar=scoring.similar)
    if predictor.bundle.version != scoring.version:
        raise BundleError(f"{scoring.model} is another model here than where the work was given out")
    return predictor
