"""Doing the same thing to very many files in other processes or on a cluster, in order."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

from breastlens.cohort.parallel import OnProgress, map_in_order
from breastlens.errors import WorkerError
from breastlens.work.run import Failed, Place, stream_units
from breastlens.work.store import UnitStore
from breastlens.work.unit import Unit, content_key

Item = TypeVar("Item")
Result = TypeVar("Result")
SomeItem = TypeVar("SomeItem", contravariant=True)
SomeResult = TypeVar("SomeResult", covariant=True)

TOGETHER = 64
"""Files of a unit: some tenths of a second of reading."""


class OfFile(Protocol[SomeItem, SomeResult]):
    """What is done to a file: a dataclass, so that it can travel and its content says what it does."""

    def __call__(self, item: SomeItem) -> SomeResult:
        """Do it."""

    def file(self, item: SomeItem) -> Path:
        """Which file that reads."""


class MapApart:
    """Maps a function over files in units that are done elsewhere and kept as they come."""

    def __init__(self, store: UnitStore, place: Place) -> None:
        """Settle where.

        Args:
            store: Where results are kept.
            place: Where units are done; everyone there finds the files under the same paths.
        """
        self._store = store
        self._place = place

    def __call__(
        self,
        function: OfFile[Item, Result],
        items: Sequence[Item],
        *,
        on_progress: OnProgress | None = None,
    ) -> Generator[Result]:
        """Yield ``function(item)`` for every item, in order, once all are done.

        Raises:
            Exception: What the first unit that failed has raised, after all others are done.
        """
        keys: list[Unit] = []
        done, failed = 0, None

        def told() -> Iterator[Unit]:
            for unit in _units(function, items):
                keys.append(Unit(unit.title, unit.key, unit.function, ()))
                yield unit

        for unit, failure in stream_units(told(), self._store, self._place):
            failed = failed or failure
            done += unit.size
            if on_progress is not None:
                on_progress(done, len(items))
        if isinstance(failed, Failed):
            raise failed.error
        for unit in keys:
            yield from self._store.require(unit)


def _units(function: OfFile[Item, Any], items: Iterable[Item]) -> Iterator[Unit]:
    rest = iter(items)
    first = 1
    while part := list(islice(rest, TOGETHER)):
        files = [identify(function.file(item)) for item in part]
        key = content_key("files", version("breastlens"), function, part, files)
        title = f"files {first} to {first + len(part) - 1}"
        yield Unit(title, key, _do_each, (function, part, any(files)), size=len(part))
        first += len(part)


def identify(path: Path) -> list[int]:
    """Size and time of a file: where one changed, what was made of it is made again."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def require_some(paths: Iterable[Path]) -> None:
    """Refuse to do a unit where none of its files is there, though some were where it was handed out.

    Args:
        paths: Its files.

    Raises:
        WorkerError: Not one of them exists.
    """
    paths = list(paths)
    if not any(path.exists() for path in paths):
        raise WorkerError(
            f"{paths[0].parent} cannot be seen from a worker: the images must lie on a drive that all machines share"
        )


def _do_each(function: OfFile[Item, Result], items: Sequence[Item], some_are_there: bool) -> list[Result]:
    if some_are_there:
        require_some(function.file(item) for item in items)
    return list(map_in_order(function, items))
