"""Units in processes of their own on this machine, each with its share of the cores."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import pickle
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from breastlens.errors import WorkerError
from breastlens.machine import settle_for_cores, usable_cores
from breastlens.work.run import Failed, do_packed
from breastlens.work.unit import Unit

MOST_DEATHS = 3
"""A unit in whose doing so many processes ended is set aside."""


class Processes:
    """A pool of fresh processes: forked ones would inherit locks that TensorFlow's threads hold."""

    def __init__(self, workers: int) -> None:
        """Settle how many; they start when there is something to do.

        Args:
            workers: 1 or more.
        """
        self.workers = workers

    def do(self, units: Iterable[Unit | None]) -> Iterator[tuple[Unit, Any]]:
        """As ``Place.do``, as they are done.

        Where a process is killed, what was at work is done again, one unit after the other: so it shows whose doing it
        was, and that one is set aside after ``MOST_DEATHS``.
        """
        waiting, suspects = iter(units), deque[Unit]()
        deaths: Counter[str] = Counter()
        pool, begun = self._new_pool(), dict[Future[bytes], Unit]()
        try:
            while True:
                most = 1 if suspects else self.workers
                while len(begun) < most:
                    unit = suspects[0] if suspects else next(waiting, None)
                    if unit is None:
                        break
                    begun[_submit(pool, unit)] = unit
                if not begun:
                    return
                done, _ = concurrent.futures.wait(begun, return_when=concurrent.futures.FIRST_COMPLETED)
                if any(_is_lost(future) for future in done):
                    lost = list(begun.values())
                    _end(pool)
                    pool, begun = self._new_pool(), {}
                    if suspects:
                        deaths[lost[0].key] += 1
                        if deaths[lost[0].key] < MOST_DEATHS:
                            continue
                        suspects.popleft()
                        yield lost[0], Failed(_set_aside(lost[0]))
                    else:
                        suspects.extend(lost)
                    continue
                for future in done:
                    unit = begun.pop(future)
                    if suspects:
                        suspects.popleft()
                    result = pickle.loads(future.result())  # noqa: S301  from a process of our own
                    yield unit, result
        finally:
            _end(pool)

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self.workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_settle,
            initargs=(max(1, usable_cores() // self.workers),),
        )


def _submit(pool: ProcessPoolExecutor, unit: Unit) -> Future[bytes]:
    try:
        return pool.submit(do_packed, pickle.dumps(unit))
    except BrokenProcessPool as error:  # a process ended since the last look
        lost: Future[bytes] = Future()
        lost.set_exception(error)
        return lost


def _is_lost(future: Future[bytes]) -> bool:
    return isinstance(future.exception(), BrokenProcessPool)


def _set_aside(unit: Unit) -> WorkerError:
    return WorkerError(
        f"{unit.title} was set aside: {MOST_DEATHS} processes were killed while they did it; perhaps the memory was "
        "full, and fewer processes would do"
    )


def _end(pool: ProcessPoolExecutor) -> None:
    """What is still at work, when Ctrl-C ends all of it for one, need not be done first."""
    for process in list((pool._processes or {}).values()):
        process.terminate()
    pool.shutdown(cancel_futures=True)


def _settle(cores: int) -> None:
    """Ctrl-C in a terminal reaches this process too; it ends with the one it works for, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settle_for_cores(cores)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
