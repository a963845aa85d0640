"""Where units may be done, by name."""

from __future__ import annotations

from breastlens.errors import DataError
from breastlens.machine import usable_cores
from breastlens.work.processes import Processes
from breastlens.work.run import Here, Place

HERE = "here"


def choose_place(name: str) -> Place:
    """Find a place by its name.

    Args:
        name: ``here``: this process. ``processes:N``: so many processes on this machine, as many as cores where N is
            left out.

    Raises:
        DataError: There is no such place.
    """
    kind, colon, more = name.partition(":")
    if name == "processes" or (kind == "processes" and more.isdecimal() and int(more) > 0):
        return Processes(int(more) if colon else usable_cores())
    if name == HERE:
        return Here()
    raise DataError(f"--on takes here, processes or processes:N, received {name!r}")
