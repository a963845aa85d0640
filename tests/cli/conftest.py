"""The command as a person runs it, in this process: what it prints, and its exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from breastlens.cli import main


@dataclass(frozen=True)
class Done:
    """One finished command."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Done]]:
    """Runs ``breastlens`` with arguments."""
    level = logging.getLogger().level

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["breastlens", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        told = capsys.readouterr()
        return Done(left.value.code or 0, told.out, told.err)

    yield call
    logging.getLogger().setLevel(level)


@pytest.fixture
def run(command: Callable[..., Done]) -> Callable[..., str]:
    """Runs it and gives what it says was wrong; anything but one such line and exit code 2 fails."""

    def call(*arguments: object) -> str:
        done = command(*arguments)
        told = done.err.strip().splitlines()
        errors = [line for line in told if line.startswith("Error: ")]
        assert done.code == 2, told
        assert len(errors) == 1, told
        assert errors[0] == told[-1]
        assert not any("Traceback" in line for line in told)
        return errors[0].removeprefix("Error: ")

    return call


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight readable images, four a category."""
    generator = np.random.default_rng(0)
    for category in ("healthy", "sick"):
        (tmp_path / "data" / category).mkdir(parents=True)
        for number in range(4):
            pixels = generator.integers(0, 256, (40, 40), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / "data" / category / f"{number}.png"), pixels)
    return tmp_path / "data"
