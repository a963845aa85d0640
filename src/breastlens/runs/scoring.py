"""Very many images to one CSV, scored in parts that are kept as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from breastlens.cohort.folder import printable
from breastlens.errors import DataError
from breastlens.inference.predictor import Prediction
from breastlens.inference.shards import ScoredShard, Scoring, describe_shard, header, shards
from breastlens.progress import Progress
from breastlens.runs.job import kept_beside
from breastlens.whole_files import write_whole
from breastlens.work.run import Failed, Place, stream_units
from breastlens.work.store import UnitStore
from breastlens.work.unit import Unit


@dataclass
class Counts:
    """What became of the images.

    Attributes:
        images: All of them, a row each.
        unread: Could not be read.
        novel: Were refused.
        set_aside: Are of parts that could not be done; their rows say why.
    """

    images: int = 0
    unread: int = 0
    novel: int = 0
    set_aside: int = 0


def score_to_csv(
    names: Iterable[str], out: Path, scoring: Scoring, place: Place, progress: Progress
) -> Counts:
    """Score files and write a row of each, in their order, whatever happens on the way.

    Parts that are done lie beside ``out`` until all are; the same call goes on with them after any death.

    Args:
        names: The files, see ``list_inputs``; taken no faster than they are scored.
        out: The CSV to make, with the columns of ``predictions_table``.
        scoring: How.
        place: Where.
        progress: Where to tell how far it is.

    Raises:
        DataError: There is no image.
        RunDirectoryError: The CSV or the parts cannot be written, or another process works on them.
    """
    with kept_beside(out, progress) as folder, progress.task("predict") as advance:
        store = UnitStore(folder, [ScoredShard])
        listed: list[Unit] = []

        def told() -> Iterator[Unit]:
            for unit in shards(names, scoring):
                listed.append(
                    Unit(unit.title, unit.key, unit.function, ())
                )  # of very many, names are too many
                yield unit

        failed: dict[str, ScoredShard] = {}
        done = 0
        for unit, failure in stream_units(told(), store, place):
            if failure is not None:
                failed[unit.key] = _of_failed(scoring, unit.arguments[1], failure)
                progress.say(f"{unit.title} could not be scored: {failure.error}")
            done += unit.size
            advance(done)
        if not listed:
            raise DataError("no image file was found")
        counts = Counts()

        def rows() -> Iterator[bytes]:
            yield header(scoring).encode()
            for unit in listed:
                shard = failed.get(unit.key) or store.require(unit)
                _count(counts, shard, set_aside=unit.key in failed)
                yield shard.rows.encode("utf-8", "backslashreplace")

        whole = folder / "whole.csv"
        write_whole(whole, rows())
        whole.replace(out)
    return counts


def _of_failed(scoring: Scoring, names: tuple[str, ...], failure: Failed) -> ScoredShard:
    """Rows that say why there is no score."""
    said = f"not scored: {failure.error}"
    return describe_shard(
        scoring,
        [Prediction(printable(name), y_score=None, y_pred=None, category=None, error=said) for name in names],
    )


def _count(counts: Counts, shard: ScoredShard, *, set_aside: bool) -> None:
    counts.images += shard.images
    counts.novel += shard.novel
    if set_aside:
        counts.set_aside += shard.images
    else:
        counts.unread += shard.unread
