"""Doing the units of a job: what is done already is read, the rest is done, and each result kept as it comes."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from breastlens.errors import WorkerError
from breastlens.work.store import UnitStore
from breastlens.work.unit import Unit

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failed:
    """What came of a unit instead of a result.

    Attributes:
        error: What it raised.
    """

    error: Exception


class Place(Protocol):
    """Where units are done."""

    def require(self) -> None:
        """Refuse a place that is not there, before anything is made ready for it.

        Raises:
            DataError: It is not there.
        """

    def do(self, units: Iterable[Unit], *, keep_going: bool = False) -> Iterator[tuple[Unit, Any]]:
        """Do units, and give each with its result as that comes, in any order.

        Args:
            units: Taken one after the other, no faster than they are done.
            keep_going: Whether the others are done where one ``Failed``; else no other is begun, and those that had
                begun are still given.
        """


class Here:
    """This process: one unit after the other."""

    def require(self) -> None:
        """As ``Place.require``: it is there."""

    def do(self, units: Iterable[Unit], *, keep_going: bool = False) -> Iterator[tuple[Unit, Any]]:
        """As ``Place.do``, in order."""
        for unit in units:
            try:
                result = unit.do()
            except Exception as error:  # noqa: BLE001  whoever asked for the unit is told
                yield unit, Failed(error)
                if not keep_going:
                    return
            else:
                yield unit, result


def do_packed(packed: bytes) -> bytes:
    """Do a unit in a process of another's.

    Args:
        packed: The unit, pickled.

    Returns:
        Its result, pickled; or ``Failed`` with what went wrong, be it on the way there, in doing, or on the way back.
    """
    try:
        return pickle.dumps(pickle.loads(packed).do())  # noqa: S301  from the process that this one works for
    except Exception as error:
        logger.info("a unit failed", exc_info=True)
        try:
            failed = pickle.dumps(Failed(error))
            pickle.loads(failed)  # noqa: S301  our own, made in the line above
        except Exception:  # noqa: BLE001  of whatever class it is
            failed = pickle.dumps(Failed(WorkerError(f"{type(error).__name__}: {error}")))
        return failed


def run_units(units: Sequence[Unit], store: UnitStore, place: Place) -> list[Any]:
    """As ``try_units``, where the job is of no use without each of them.

    Raises:
        OSError: A result cannot be written.
        Exception: What a unit that failed has raised; no other is begun then.
    """
    results = try_units(units, store, place, keep_going=False)
    for result in results:
        if isinstance(result, Failed):
            raise result.error
    return results


def try_units(
    units: Sequence[Unit],
    store: UnitStore,
    place: Place,
    *,
    keep_going: bool,
    on_done: Callable[[int], None] = lambda _: None,
) -> list[Any]:
    """Do what is not done yet, and give all results.

    A result always comes from the store, so that a job that was interrupted goes on with the very same.

    Args:
        units: The job, or a part of it.
        store: Where results are kept; of a unit that failed, it notes why.
        place: Where units are done.
        keep_going: Whether the others are done where one failed.
        on_done: Called with how many units have their result, those included that had it before.

    Returns:
        The results, in the order of the units: ``Failed`` of one that failed, and None of one that was not begun.

    Raises:
        OSError: A result cannot be written.
    """
    results = {unit.key: store.read(unit) for unit in units}
    left = {unit.key: unit for unit in units if results[unit.key] is None}
    done = len(results) - len(left)
    on_done(done)
    for unit, result in place.do(left.values(), keep_going=keep_going):
        if isinstance(result, Failed):
            store.write_failure(unit, result.error)
            results[unit.key] = result
            continue
        store.write(unit, result)
        results[unit.key] = store.read(unit)
        done += 1
        on_done(done)
    return [results[unit.key] for unit in units]


def stream_units(
    units: Iterable[Unit], store: UnitStore, place: Place
) -> Generator[tuple[Unit, Failed | None]]:
    """Do the units of a job that is too long to be held, those that are done already but once.

    Args:
        units: The job; taken no faster than it is done.
        store: Where results are kept, and read from afterwards.
        place: Where units are done.

    Yields:
        Each unit once its result is kept, in any order; one that failed with why, after which the others go on. Those
        that were done before come without their arguments.

    Raises:
        OSError: A result cannot be written.
    """
    done: list[Unit] = []

    def left() -> Iterator[Unit]:
        for unit in units:
            if store.read(unit) is None:
                yield unit
            else:
                done.append(replace(unit, arguments=()))  # there may be very many of them before one is left

    for unit, result in place.do(left(), keep_going=True):
        while done:
            yield done.pop(), None
        if isinstance(result, Failed):
            store.write_failure(unit, result.error)
            yield unit, result
        else:
            store.write(unit, result)
            yield unit, None
    while done:
        yield done.pop(), None
