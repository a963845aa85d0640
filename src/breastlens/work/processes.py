"""Units in processes of their own on this machine, each with its share of the cores."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from breastlens.errors import WorkerError
from breastlens.machine import settle_for_cores, usable_cores
from breastlens.work.run import Failed
from breastlens.work.unit import Unit


class Processes:
    """A pool of fresh processes: forked ones would inherit locks that TensorFlow's threads hold."""

    def __init__(self, workers: int) -> None:
        """Settle how many; they start when there is something to do.

        Args:
            workers: 1 or more.
        """
        self.workers = workers

    def do(self, units: Sequence[Unit]) -> Iterator[tuple[Unit, Any]]:
        """As ``Place.do``, as they are done."""
        if not units:
            return
        workers = min(self.workers, len(units))
        pool = ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_settle,
            initargs=(max(1, usable_cores() // workers),),
        )
        begun: dict[Future[Any], Unit] = {}
        waiting, failed = list(reversed(units)), False
        try:
            while begun or (waiting and not failed):
                while waiting and not failed and len(begun) < workers:
                    unit = waiting.pop()
                    begun[pool.submit(unit.do)] = unit
                done, _ = concurrent.futures.wait(begun, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    unit, result = begun.pop(future), _result(future)
                    failed = failed or isinstance(result, Failed)
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
    except Exception as error:  # noqa: BLE001  it is raised by whoever asked for the units
        return Failed(error)
