"""Very many images to one CSV, scored in parts that are kept as they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from breastlens.cohort.folder import printable
from breastlens.inference.inputs import list_inputs
from breastlens.inference.predictor import Prediction
from breastlens.inference.shards import ScoredShard, Scoring, describe_shard, header, shards
from breastlens.progress import Progress
from breastlens.runs.directory import begun_beside
from breastlens.runs.job import INCOMPLETE, kept_beside
from breastlens.whole_files import write_whole
from breastlens.work.run import Failed, Place, stream_units
from breastlens.work.store import UnitStore
from breastlens.work.unit import Unit, content_key


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


def lacks_scores(out: Path, names: Sequence[str], scoring: Scoring) -> bool:
    """Whether ``score_to_csv`` has made a CSV of the same with parts that could not be done, and may make it anew."""
    try:
        return (begun_beside(out) / INCOMPLETE).read_text() == _asked(names, scoring)
    except OSError:
        return False


def score_to_csv(
    names: Sequence[str], out: Path, scoring: Scoring, place: Place, progress: Progress
) -> Counts:
    """Score files and write a row of each, in their order, whatever happens on the way.

    Parts that are done lie beside ``out`` until all are; the same call goes on with them after any death. Where some
    could not be done they stay, so that the same call tries the others once more and makes ``out`` anew.

    Args:
        names: Files, folders and addresses, see ``list_inputs``; listed no faster than they are scored.
        out: The CSV to make, with the columns of ``predictions_table``.
        scoring: How.
        place: Where.
        progress: Where to tell how far it is.

    Raises:
        DataError: There is no image, or they cannot be listed.
        StoreError: A store cannot be listed: it fails again and again.
        RunDirectoryError: The CSV or the parts cannot be written, or another process works on them.
    """
    with kept_beside(out, progress) as folder, progress.task("predict") as advance:
        store = UnitStore(folder, [ScoredShard])
        listed: list[Unit] = []

        def told() -> Iterator[Unit]:
            for unit in shards(list_inputs(names), scoring):
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
        counts = Counts()

        def rows() -> Iterator[bytes]:
            yield header(scoring).encode()
            for unit in listed:
                shard = failed.get(unit.key) or store.require(unit)
                _count(counts, shard, set_aside=unit.key in failed)
                yield shard.rows.encode("utf-8", "backslashreplace")

        whole = folder / "whole.csv"
        write_whole(whole, rows())
        if failed:
            write_whole(folder / INCOMPLETE, [_asked(names, scoring).encode()])
        whole.replace(out)
        if not failed:
            (folder / INCOMPLETE).unlink(missing_ok=True)
    return counts


def _asked(names: Sequence[str], scoring: Scoring) -> str:
    """Names what a CSV is of."""
    return content_key("csv", list(names), scoring)


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
