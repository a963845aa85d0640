"""Units on a Ray cluster: one worker a processor, and what a lost one had begun is done by another."""

from __future__ import annotations

import importlib.metadata
import itertools
import os
import pickle
import socket
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from breastlens.errors import DataError, MissingDependencyError, WorkerError
from breastlens.machine import settle_for_cores, usable_cores
from breastlens.work.run import Failed, do_packed
from breastlens.work.unit import Unit

MOST_DEATHS = 3
"""A unit in whose doing so many workers ended is set aside; and so many may not even begin, one after the other."""

LONGEST_WAIT_S = 120.0
"""For a processor of the cluster, while none of its workers is there."""

_KNOCK_S = 5.0
_SETTINGS = b"\x04"
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + _SETTINGS + bytes(5)
"""How HTTP/2 begins, on which gRPC rests: with a frame of settings on both sides (RFC 9113, 3.4)."""

_LOOK_EVERY_S = 5.0
_SAME = ("breastlens", "keras", "tensorflow", "tensorflow-cpu", "openvino", "numpy", "scipy", "scikit-learn")
"""Packages whose versions decide figures."""


class OnRay:
    """A cluster that exists, or one on this machine that is started and stopped here.

    Every worker is an actor: a process with its own engine and a processor of its own, which stays for many units.
    """

    def __init__(self, address: str | None = None) -> None:
        """Settle which; it is connected to when there is something to do.

        Args:
            address: Of the cluster, as Ray takes it: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``; None starts one.

        Raises:
            MissingDependencyError: Ray is not installed.
        """
        import_ray()
        self.address = address

    def require(self) -> None:
        """See that it is there: a cluster that exists is connected to, and left again.

        Raises:
            DataError: There is none at the address.
        """
        if self.address is not None:
            with _connected(self.address):
                pass

    def do(self, units: Iterable[Unit | None]) -> Iterator[tuple[Unit, Any]]:
        """As ``Place.do``, as they are done.

        Raises:
            DataError: There is no cluster at the address.
            WorkerError: The cluster has no processor, its workers cannot begin, or have other versions.
        """
        waiting = iter(units)
        first = next(waiting, None)
        if first is None:
            return
        with _connected(self.address) as ray:
            crew = _Crew(ray)
            try:
                yield from _work(crew, itertools.chain([first], waiting))
            finally:
                crew.dismiss()


class _Crew:
    """The workers, and what each is doing."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._hire = ray.remote(num_cpus=1, max_restarts=0)(_Worker).remote
        self._lost = (
            ray.exceptions.RayActorError,
            ray.exceptions.WorkerCrashedError,
            ray.exceptions.NodeDiedError,
            ray.exceptions.OutOfMemoryError,
        )
        self.idle: list[Any] = []
        self.coming: dict[Any, Any] = {}
        self.begun: dict[Any, tuple[Any, Unit]] = {}
        self._not_begun = 0
        self._versions = _versions()
        self._nobody_since = time.monotonic()

    def fill(self) -> None:
        """Ask for as many workers as the cluster has processors; each comes when there is one for it."""
        processors = int(self._ray.cluster_resources().get("CPU", 0))
        there = len(self.idle) + len(self.coming) + len(self.begun)
        for _ in range(max(processors, 1) - there):
            worker = self._hire()
            self.coming[worker.versions.remote()] = worker

    def give(self, unit: Unit) -> None:
        """Let somebody who is idle do a unit."""
        worker = self.idle.pop()
        self.begun[worker.do.remote(self._ray.cloudpickle.dumps(unit))] = (worker, unit)

    def wait(self) -> Any | None:
        """For a while, until something happened; gives what it was.

        Raises:
            WorkerError: Nobody has been there for ``LONGEST_WAIT_S``.
        """
        happened, _ = self._ray.wait([*self.begun, *self.coming], num_returns=1, timeout=_LOOK_EVERY_S)
        if self.begun or self.idle:
            self._nobody_since = time.monotonic()
        elif not happened and time.monotonic() - self._nobody_since > LONGEST_WAIT_S:
            raise WorkerError(
                f"the Ray cluster has had no processor to spare for {LONGEST_WAIT_S:.0f} s: see `ray status`"
            )
        self.fill()
        return happened[0] if happened else None

    def arrived(self, happened: Any) -> None:
        """A worker has come, or was lost before it came.

        Raises:
            WorkerError: It cannot begin, as others before it, or has other versions of what decides figures.
        """
        worker = self.coming.pop(happened)
        try:
            versions = self._ray.get(happened)
        except self._ray.exceptions.RayError as error:
            self._not_begun += 1
            if self._not_begun >= MOST_DEATHS:
                reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
                raise WorkerError(f"workers of the Ray cluster cannot begin: {reason[0]}") from error
            return
        self._not_begun = 0
        for name in sorted(self._versions.keys() | versions.keys()):
            if versions.get(name) != self._versions.get(name):
                raise WorkerError(
                    f"a worker of the Ray cluster has {name} {versions.get(name, 'not at all')}, here it is "
                    f"{self._versions.get(name, 'not installed')}: figures would depend on who does what"
                )
        self.idle.append(worker)

    def result(self, happened: Any) -> tuple[Unit, Any]:
        """What came of a unit; None where its worker was lost."""
        worker, unit = self.begun.pop(happened)
        try:
            result = pickle.loads(self._ray.get(happened))  # noqa: S301  from a cluster that is trusted
        except self._lost:
            with suppress(Exception):
                self._ray.kill(worker)
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

    def __init__(self) -> None:
        settle_for_cores(1)

    def versions(self) -> dict[str, str]:
        """Those of what decides figures, where it runs."""
        return _versions()

    def do(self, unit: bytes) -> bytes:
        """See ``do_packed``."""
        return do_packed(unit)


def _work(crew: _Crew, units: Iterator[Unit | None]) -> Iterator[tuple[Unit, Any]]:
    deaths: Counter[str] = Counter()
    again: deque[Unit] = deque()
    crew.fill()
    while True:
        while crew.idle:
            unit = again.popleft() if again else next(units, None)
            if unit is None:
                break
            crew.give(unit)
        if not crew.begun and not again:
            # while nobody is idle there may still be something to do
            unit = None if crew.idle else next(units, None)
            if unit is None:
                return
            again.append(unit)
        happened = crew.wait()
        if happened is None:
            continue
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
        yield unit, result


def _versions() -> dict[str, str]:
    found = {}
    for name in _SAME:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


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
    """See whether what Ray speaks is spoken at an address: Ray itself would try for minutes.

    Raises:
        OSError: Nothing listens there, or something else, such as the page of the dashboard.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not (colon and port.isdecimal()):
        return
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S) as door:
        if os.environ.get("RAY_USE_TLS", "0") not in ("0", "false"):
            return
        door.sendall(_GREETING)
        if door.recv(4)[3:] != _SETTINGS:
            raise OSError("something else than Ray listens there")


def import_ray() -> Any:
    """Ray, which tells nobody that it is used.

    Raises:
        MissingDependencyError: It is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.cloudpickle
        import ray.exceptions
    except ImportError as error:
        raise MissingDependencyError("Ray", "cluster", "--on ray") from error
    return ray
