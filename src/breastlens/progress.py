"""How long work tells where it is. The library calls these; only the command line draws them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Advance(Protocol):
    """Tells how many units are done so far."""

    def __call__(self, done: int, *, total: int | None = None, **figures: float) -> None:
        """Tell it.

        Args:
            done: Units finished.
            total: All units, where they became known only now.
            **figures: Figures worth showing beside the count, such as ``loss=0.3``.
        """


class Progress:
    """The silent default; the command line's subclasses show the same events to a person."""

    def say(self, line: str) -> None:
        """Tell one finished fact."""

    @contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[Advance]:
        """Open a piece of work of ``total`` units, None where that is not yet known."""

        def ignore(done: int, *, total: int | None = None, **figures: float) -> None:
            pass

        yield ignore
