"""A service of the tests' own: the real command in a process of its own, with a model trained on phantoms."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from breastlens.runs.directory import Run

_READY_S = 120
_END_S = 60


class RunningService:
    """A ``breastlens serve`` that has begun to answer.

    Attributes:
        url: Where.
        process: The command.
        log: What it wrote to standard error so far.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.log = process, []
        self.url = ""
        assert process.stdout is not None
        for line in process.stdout:
            found = re.match(r"Serving at (\S+) ", line)
            if found:
                self.url = found[1]
                break
        threading.Thread(target=self._keep_log, daemon=True).start()
        assert self.url, "the service did not start"

    def _keep_log(self) -> None:
        assert self.process.stderr is not None
        with contextlib.suppress(ValueError):  # closed at the end of the tests
            for line in self.process.stderr:
                self.log.append(line)

    def client(self, **options: object) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, **options)  # type: ignore[arg-type]

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(_END_S)


@pytest.fixture(scope="session")
def start_service() -> Iterator[Callable[..., RunningService]]:
    """Starts ``breastlens serve`` with options; all are ended with the tests."""
    begun: list[RunningService] = []

    def start(*options: object) -> RunningService:
        call = [sys.executable, "-m", "breastlens", "serve", *map(str, options), "--port", "0"]
        process = subprocess.Popen(
            call,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        )
        timer = threading.Timer(_READY_S, process.kill)
        timer.start()
        service = RunningService(process)
        timer.cancel()
        begun.append(service)
        return service

    yield start
    for service in begun:
        if service.process.poll() is None:
            service.process.kill()
        service.process.wait(_END_S)
        for pipe in (service.process.stdout, service.process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture(scope="session")
def bundle(holdout_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a trained model, as it would be copied to a server: without Keras's file; to be read only."""
    folder = tmp_path_factory.mktemp("served") / "breast"
    shutil.copytree(holdout_run.model, folder)
    (folder / "model.keras").unlink()
    return folder


@pytest.fixture(scope="session")
def service(start_service: Callable[..., RunningService], bundle: Path) -> RunningService:
    """A service with that model alone."""
    return start_service(bundle)


@pytest.fixture
def client(service: RunningService) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client
