"""Doing the units of a job: what is done already is read, the rest is done, and each result kept as it comes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from breastlens.work.store import UnitStore
from breastlens.work.unit import Unit


@dataclass(frozen=True)
class Failed:
    """What came of a unit instead of a result.

    Attributes:
        error: What it raised.
    """

    error: Exception


class Place(Protocol):
    """Where units are done."""

    def do(self, units: Sequence[Unit]) -> Iterator[tuple[Unit, Any]]:
        """Do units, and give each with its result as that comes, in any order.

        After the first that ``Failed`` no other is begun; those that had begun are still given.
        """


class Here:
    """This process: one unit after the other."""

    def do(self, units: Sequence[Unit]) -> Iterator[tuple[Unit, Any]]:
        """As ``Place.do``, in order."""
        for unit in units:
            try:
                result = unit.do()
            except Exception as error:  # noqa: BLE001  it is raised by whoever asked for the units
                yield unit, Failed(error)
                return
            yield unit, result


def run_units(units: Sequence[Unit], store: UnitStore, place: Place) -> list[Any]:
    """Do what is not done yet, and give all results.

    A result always comes from the store, so that a job that was interrupted goes on with the very same.

    Args:
        units: The job, or a part of it.
        store: Where results are kept.
        place: Where units are done.

    Returns:
        The results, in the order of the units.

    Raises:
        OSError: A result cannot be written.
        Exception: What the first unit that failed has raised; the store notes it of each.
    """
    results = {unit.key: store.read(unit) for unit in units}
    left = {unit.key: unit for unit in units if results[unit.key] is None}
    failed: Exception | None = None
    for unit, result in place.do(list(left.values())):
        if isinstance(result, Failed):
            store.write_failure(unit, result.error)
            failed = failed or result.error
            continue
        store.write(unit, result)
        results[unit.key] = store.read(unit)
    if failed is not None:
        raise failed
    return [results[unit.key] for unit in units]
