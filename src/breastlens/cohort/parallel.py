"""Doing the same thing to many files in threads, in order, without holding many results at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Protocol, TypeVar

from breastlens.machine import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")
OnProgress = Callable[[int, int], None]
"""Called in the caller's thread with how many are done and how many there are."""


class Mapper(Protocol):
    """Something that does what ``map_in_order`` does."""

    def __call__(
        self, function: Any, items: Sequence[Any], *, on_progress: OnProgress | None = None
    ) -> Generator[Any]:
        """Yield ``function(item)`` for every item, in order."""


_AHEAD = 64
_LEAST_AHEAD_PER_WORKER = 4


def map_in_order(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> Generator[Result]:
    """Yields ``function(item)`` for every item, in the items' order, computed ahead by a few in threads.

    Threads are enough: decoding, resizing and hashing release the interpreter lock. Work is handed out by many items at
    a time, so that a thread goes on with the next instead of sleeping and being woken for each: every waking takes a
    core from whoever computes there, and what it had in its cache.

    Args:
        function: Must be safe to call from several threads.
        items: What to call it with.
        workers: Threads; None for one a processor that this process may use.
        on_progress: Told after each item.

    Raises:
        Exception: The first error of ``function`` in the items' order; what was not yet begun is cancelled.
    """
    threads = workers or usable_cores()
    most = max(_AHEAD, threads * _LEAST_AHEAD_PER_WORKER)
    waiting: deque[Future[Result]] = deque()
    rest = iter(items)
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="breastlens-read") as pool:
        try:
            for done in range(1, len(items) + 1):
                if len(waiting) <= most // 2:
                    waiting.extend(pool.submit(function, item) for item in islice(rest, most - len(waiting)))
                result = waiting.popleft().result()
                if on_progress is not None:
                    on_progress(done, len(items))
                yield result
        finally:
            for future in waiting:
                future.cancel()
