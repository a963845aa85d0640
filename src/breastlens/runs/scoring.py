"""Very many images to one CSV, scored in parts that are kept as they come."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from breastlens.cohort.folder import printable
from breastlens.errors import RunDirectoryError, StoreError
from breastlens.inference.inputs import NOT_SCORED, list_inputs
from breastlens.inference.predictor import Prediction
from breastlens.inference.shards import PartlyScored, ScoredShard, Scoring, describe_shard, header, shards
from breastlens.progress import Progress
from breastlens.runs.directory import begun_beside
from breastlens.runs.job import INCOMPLETE, kept_beside
from breastlens.whole_files import sync_folder, write_whole
from breastlens.work.run import Failed, Place, stream_units
from breastlens.work.store import UnitStore
from breastlens.work.unit import Unit, content_key

_MOST_TOLD = 5
_MOST_IN_A_ROW = 20


@dataclass
class Counts:
    """What became of the images.

    Attributes:
        images: All of them, a row each.
        unread: Could not be read.
        novel: Were refused.
        set_aside: Should be tried again; their rows say why.
    """

    images: int = 0
    unread: int = 0
    novel: int = 0
    set_aside: int = 0


def lacks_scores(out: Path, names: Sequence[str], scoring: Scoring) -> bool:
    """Whether ``score_to_csv`` has made a CSV of the same with images to be tried again, and may make it anew.

    Raises:
        RunDirectoryError: The CSV is not as it was made.
    """
    asked, *made = _read_made(begun_beside(out))
    if asked != _asked(names, scoring):
        return False
    if out.is_file() and _hash(out) not in made:
        raise RunDirectoryError(
            f"{out} was changed meanwhile: move it away, and the same command makes it anew with what it lacks"
        )
    return True


def score_to_csv(
    names: Sequence[str], out: Path, scoring: Scoring, place: Place, progress: Progress
) -> Counts:
    """Score files and write a row of each, in their order, whatever happens on the way.

    Parts that are done lie beside ``out`` until all are; the same call goes on with them after any death. Where some
    images should be tried again they stay, so that the same call does the other parts once more and makes ``out`` anew.

    Args:
        names: Files, folders and addresses, see ``list_inputs``; listed no faster than they are scored.
        out: The CSV to make, with the columns of ``predictions_table``.
        scoring: How.
        place: Where.
        progress: Where to tell how far it is.

    Raises:
        DataError: There is no image, or they cannot be listed.
        StoreError: A store cannot be listed: it fails again and again. Or nothing can be had from it, part after part.
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
        done = in_a_row = 0
        with closing(stream_units(told(), store, place)) as ended:
            for unit, failure in ended:
                if failure is not None:
                    failed[unit.key] = _of_failed(scoring, unit.arguments[1], failure)
                    if len(failed) <= _MOST_TOLD:
                        progress.say(f"{unit.title} could not all be scored: {failure.error}")
                in_a_row = in_a_row + 1 if failure and isinstance(failure.error, StoreError) else 0
                if failure and in_a_row == _MOST_IN_A_ROW:
                    raise StoreError(f"{in_a_row} parts in a row could not be had; the last: {failure.error}")
                done += unit.size
                advance(done)
        if len(failed) > _MOST_TOLD:
            progress.say(f"nor could {len(failed) - _MOST_TOLD} other parts")
        counts = Counts()

        def rows() -> Iterator[bytes]:
            yield header(scoring).encode()
            for unit in listed:
                shard = failed.get(unit.key) or store.require(unit)
                _count(counts, shard)
                yield shard.rows.encode("utf-8", "backslashreplace")

        whole = folder / "whole.csv"
        write_whole(whole, rows())
        _, *made = _read_made(folder)  # one of which is there still if this process ends on the way
        write_whole(folder / INCOMPLETE, ["\n".join([_asked(names, scoring), *made, _hash(whole)]).encode()])
        whole.replace(out)
        sync_folder(out.parent)
        if not failed:
            (folder / INCOMPLETE).unlink()
    return counts


def _read_made(folder: Path) -> list[str]:
    """Of what an incomplete CSV is, and the SHA-256 of each that was made of it."""
    try:
        return (folder / INCOMPLETE).read_text().split("\n")
    except OSError:
        return [""]


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _asked(names: Sequence[str], scoring: Scoring) -> str:
    """Names what a CSV is of."""
    return content_key("csv", list(names), scoring)


def _of_failed(scoring: Scoring, names: tuple[str, ...], failure: Failed) -> ScoredShard:
    """The rows of a part that is not kept: of those without a score, they say why."""
    if isinstance(failure.error, PartlyScored):
        return failure.error.shard
    said = f"{NOT_SCORED}{failure.error}"
    return describe_shard(
        scoring,
        [Prediction(printable(name), y_score=None, y_pred=None, category=None, error=said) for name in names],
    )


def _count(counts: Counts, shard: ScoredShard) -> None:
    counts.images += shard.images
    counts.unread += shard.unread
    counts.novel += shard.novel
    counts.set_aside += shard.set_aside
