"""Doing the same thing to many files in threads, in order, without holding many results at once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
OnProgress = Callable[[int, int], None]
"""Called in the caller's thread with how many are done and how many there are."""

_AHEAD_PER_WORKER = 4


def map_in_order(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> Iterator[Result]:
    """Yields ``function(item)`` for every item, in the items' order, computed ahead by a few in threads.

    Threads are enough: decoding, resizing and hashing release the interpreter lock.

    Args:
        function: Must be safe to call from several threads.
        items: What to call it with.
        workers: Threads; None for one a processor.
        on_progress: Told after each item.

    Raises:
        Exception: The first error of ``function`` in the items' order; what was not yet begun is cancelled.
    """
    threads = workers or os.cpu_count() or 1
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="breastlens-read") as pool:
        try:
            submitted = 0
            for done in range(1, len(items) + 1):
                while submitted < len(items) and len(waiting) < threads * _AHEAD_PER_WORKER:
                    waiting.append(pool.submit(function, items[submitted]))
                    submitted += 1
                result = waiting.popleft().result()
                if on_progress is not None:
                    on_progress(done, len(items))
                yield result
        finally:
            for future in waiting:
                future.cancel()
