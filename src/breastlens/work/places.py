"""Where units may be done, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from breastlens.errors import DataError
from breastlens.machine import usable_cores

if TYPE_CHECKING:
    from breastlens.work.run import Place

HERE = "here"


def choose_place(name: str | Place) -> Place:
    """Find a place by its name, and see that it is there, before anything is made ready for it.

    Args:
        name: ``here``: this process. ``processes:N``: so many processes on this machine, as many as cores where N is
            left out. ``ray``: a Ray cluster on this machine for the time of the job. ``ray:ADDRESS``: one that exists,
            by ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``. A place that was chosen before stays as it is.

    Raises:
        DataError: There is no such place, or no cluster at its address.
        MissingDependencyError: Ray is asked for and not installed.
    """
    from breastlens.work.on_ray import OnRay
    from breastlens.work.processes import Processes
    from breastlens.work.run import Here

    if not isinstance(name, str):
        return name
    kind, colon, more = name.partition(":")
    if name == HERE:
        return Here()
    if name == "processes" or (kind == "processes" and more.isdecimal() and int(more) > 0):
        return Processes(int(more) if colon else usable_cores())
    if name == "ray" or (kind == "ray" and more):
        cluster = OnRay(more or None)
        cluster.require()
        return cluster
    raise DataError(f"--on takes here, processes, processes:N, ray or ray:ADDRESS, received {name!r}")
