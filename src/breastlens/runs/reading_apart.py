"""Reading the files of an audit in other processes or on a cluster; what was read is kept until it is complete."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from breastlens.audit.survey import PARTS_OF_SEEN
from breastlens.cohort.apart import MapApart
from breastlens.cohort.parallel import Mapper
from breastlens.progress import Progress
from breastlens.runs.job import kept_beside
from breastlens.work.places import HERE, choose_place
from breastlens.work.store import UnitStore


@contextmanager
def reading_apart(on: str, out: Path | None, progress: Progress) -> Iterator[Mapper | None]:
    """Yield what reads files at a place, or None for this process.

    Beside ``out`` lies what was read until the block has ended well; the same again goes on with it.

    Args:
        on: See ``choose_place``.
        out: The directory that comes of it; None: what was read is kept for the block alone.
        progress: Where to tell that there is something to go on with.

    Raises:
        DataError: There is no such place, or no cluster at its address.
        MissingDependencyError: Ray is asked for and not installed.
        RunDirectoryError: Another process works on ``out``, or it cannot be written beside it.
    """
    if on == HERE:
        yield None
        return
    place = choose_place(on)
    if out is None:
        with tempfile.TemporaryDirectory(prefix="breastlens-") as name:
            yield MapApart(UnitStore(Path(name), PARTS_OF_SEEN), place)
        return
    with kept_beside(out, progress) as folder:
        yield MapApart(UnitStore(folder, PARTS_OF_SEEN), place)
