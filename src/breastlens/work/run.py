"""Doing the units of a job: what is done already is read, the rest is done, and each result kept as it comes."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Generator, Iterable, Iterator
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

    def do(self, units: Iterable[Unit | None]) -> Iterator[tuple[Unit, Any]]:
        """Do units, and give each with its result, or ``Failed``, as that comes, in any order.

        Args:
            units: Taken one after the other, no faster than they are done. None: for the next, something that was begun
                has to come back first.
        """


class Here:
    """This process: one unit after the other."""

    def do(self, units: Iterable[Unit | None]) -> Iterator[tuple[Unit, Any]]:
        """As ``Place.do``, in order."""
        for unit in filter(None, units):
            try:
                result = unit.do()
            except Exception as error:
                logger.info("a unit failed", exc_info=True)
                yield unit, Failed(error)
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


def run_units(
    units: Iterable[Unit | None], store: UnitStore, place: Place, take: Callable[[Unit, Any], None]
) -> None:
    """Do what is not done yet.

    A result always comes from the store, so that a job that was interrupted goes on with the very same.

    Args:
        units: The job, as for ``Place.do``; what comes next may depend on what was taken.
        store: Where results are kept; of a unit that failed, it notes why.
        place: Where units are done.
        take: Called with each unit and its result, or ``Failed``, as they come.

    Raises:
        OSError: A result cannot be written.
    """

    def left() -> Iterator[Unit | None]:
        for unit in units:
            known = None if unit is None else store.read(unit)
            if unit is None or known is None:
                yield unit
            else:
                take(unit, known)

    for unit, result in place.do(left()):
        if isinstance(result, Failed):
            store.write_failure(unit, result.error)
            take(unit, result)
        else:
            store.write(unit, result)
            take(unit, store.require(unit))


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

    for unit, result in place.do(left()):
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
