"""Units in processes of their own on this machine, each with its share of the cores."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any

from breastlens.errors import WorkerError
from breastlens.machine import settle_for_cores, usable_cores
from breastlens.work.run import Failed, do_apart
from breastlens.work.unit import Unit


class Processes:
    """A pool of fresh processes: forked ones would inherit locks that TensorFlow's threads hold."""

    def __init__(self, workers: int) -> None:
        """Settle how many; they start when there is something to do.

        Args:
            workers: 1 or more.
        """
        self.workers = workers

    def do(self, units: Iterable[Unit], *, keep_going: bool = False) -> Iterator[tuple[Unit, Any]]:
        """As ``Place.do``, as they are done. A process that is killed ends it all."""
        waiting = iter(units)
        pool = ProcessPoolExecutor(
            self.workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_settle,
            initargs=(max(1, usable_cores() // self.workers),),
        )
        begun: dict[Future[Any], Unit] = {}
        stopped = False
        try:
            while True:
                for unit in islice(waiting, 0 if stopped else self.workers - len(begun)):
                    begun[pool.submit(do_apart, unit)] = unit
                if not begun:
                    return
                done, _ = concurrent.futures.wait(begun, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    unit, result = begun.pop(future), _result(future)
                    lost = isinstance(result, Failed) and isinstance(result.error, WorkerError)
                    stopped = stopped or lost or (isinstance(result, Failed) and not keep_going)
                    yield unit, result
        finally:
            # what is still at work when this is closed, by Ctrl-C for one, need not end first
            for process in list((pool._processes or {}).values()):
                process.terminate()
            pool.shutdown(cancel_futures=True)


def _settle(cores: int) -> None:
    """Ctrl-C in a terminal reaches these too; it is the first process that ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settle_for_cores(cores)


def _result(future: Future[Any]) -> Any:
    try:
        return future.result()
    except BrokenProcessPool:
        return Failed(
            WorkerError("a worker process was killed; perhaps the memory was full: try fewer workers")
        )
