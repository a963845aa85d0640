"""Units on a Ray cluster: one worker a share of processors, and what a lost one had begun is done by another."""

from __future__ import annotations

import os
import socket
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from breastlens.errors import DataError, MissingDependencyError, WorkerError
from breastlens.machine import settle_for_cores, usable_cores
from breastlens.work.run import Failed, do_apart
from breastlens.work.unit import Unit

_KNOCK_S = 5.0

MOST_DEATHS = 3
"""A unit in whose doing so many workers ended is set aside."""


class OnRay:
    """A cluster that exists, or one on this machine that is started and stopped here.

    Every worker is an actor: a process with its own engine and its own processors, which stays for many units.
    """

    def __init__(self, address: str | None = None, *, processors: int = 1) -> None:
        """Settle which; it is connected to when there is something to do.

        Args:
            address: Of the cluster, as Ray takes it: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``; None starts one.
            processors: Of a worker.

        Raises:
            MissingDependencyError: Ray is not installed.
        """
        import_ray()
        self.address = address
        self.processors = processors

    def do(self, units: Iterable[Unit], *, keep_going: bool = False) -> Iterator[tuple[Unit, Any]]:
        """As ``Place.do``, as they are done.

        Raises:
            DataError: There is no cluster at the address.
            WorkerError: The cluster has no processor left, and there are units to do.
        """
        with _connected(self.address) as ray:
            crew = _Crew(ray, self.processors)
            try:
                yield from _work(crew, iter(units), keep_going=keep_going)
            finally:
                crew.dismiss()


class _Crew:
    """The workers, and what each is doing."""

    def __init__(self, ray: Any, processors: int) -> None:
        self._ray = ray
        self._hire = ray.remote(num_cpus=processors, max_restarts=0)(_Worker).remote
        self._processors = processors
        self.idle: list[Any] = []
        self.coming: dict[Any, Any] = {}
        self.begun: dict[Any, tuple[Any, Unit]] = {}
        for _ in range(max(1, int(ray.cluster_resources().get("CPU", 0) // processors))):
            self.hire()

    def hire(self) -> None:
        """Ask for one worker more; it comes when there are processors for it."""
        worker = self._hire(self._processors)
        self.coming[worker.is_there.remote()] = worker

    def give(self, unit: Unit) -> None:
        """Let somebody who is idle do a unit."""
        worker = self.idle.pop()
        self.begun[worker.do.remote(unit)] = (worker, unit)

    def wait(self) -> Any:
        """Until something happened; gives what it was."""
        (happened, *_), _ = self._ray.wait([*self.begun, *self.coming], num_returns=1)
        return happened

    def arrived(self, happened: Any) -> None:
        """A worker has come, or had to give up before it came."""
        worker = self.coming.pop(happened)
        try:
            self._ray.get(happened)
        except self._ray.exceptions.RayError:
            self.hire()
        else:
            self.idle.append(worker)

    def result(self, happened: Any) -> tuple[Unit, Any]:
        """What came of a unit; None where its worker was lost, which is replaced."""
        worker, unit = self.begun.pop(happened)
        try:
            result = self._ray.get(happened)
        except self._ray.exceptions.RayError:
            with suppress(Exception):
                self._ray.kill(worker)
            self.hire()
            return unit, None
        self.idle.append(worker)
        return unit, result

    def dismiss(self) -> None:
        """End all workers, whatever they are doing."""
        workers = [*self.idle, *self.coming.values(), *(worker for worker, _ in self.begun.values())]
        for worker in workers:
            with suppress(Exception):
                self._ray.kill(worker)


class _Worker:
    """A process of the cluster."""

    def __init__(self, processors: int) -> None:
        settle_for_cores(processors)

    def is_there(self) -> None:
        """Answers once it is."""

    def do(self, unit: Unit) -> Any:
        """A result, or ``Failed``."""
        return do_apart(unit)


def _work(crew: _Crew, units: Iterator[Unit], *, keep_going: bool) -> Iterator[tuple[Unit, Any]]:
    deaths: Counter[str] = Counter()
    again: deque[Unit] = deque()
    stopped = False
    while True:
        while crew.idle and not stopped:
            unit = again.popleft() if again else next(units, None)
            if unit is None:
                break
            crew.give(unit)
        if not crew.begun and (stopped or not (crew.coming or again)):
            return
        if not crew.begun and not again and (unit := next(units, None)) is not None:
            again.append(unit)  # there is something to do, and nobody has come yet
        elif not crew.begun and not again:
            return
        happened = crew.wait()
        if happened in crew.coming:
            crew.arrived(happened)
            continue
        unit, result = crew.result(happened)
        if result is None:
            deaths[unit.key] += 1
            if deaths[unit.key] < MOST_DEATHS:
                again.append(unit)
                continue
            result = Failed(
                WorkerError(f"{unit.title} was set aside: {MOST_DEATHS} workers ended while they did it")
            )
        stopped = stopped or (isinstance(result, Failed) and not keep_going)
        yield unit, result


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Ray, connected; what was not connected before is left afterwards."""
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    options = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        options |= {"num_cpus": usable_cores(), "include_dashboard": False}
    else:
        options |= {"address": address}
    try:
        _knock(address)
        ray.init(**options)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"--on ray:{address}: no Ray cluster answers there ({reason})") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """See whether anything listens at an address: Ray itself would try for minutes.

    Raises:
        OSError: Nothing does.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()


def import_ray() -> Any:
    """Ray, which tells nobody that it is used.

    Raises:
        MissingDependencyError: It is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingDependencyError("Ray", "cluster", "--on ray") from error
    return ray
