"""Ctrl-C and other requests to end: an exit code that says so, no traceback, nothing left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# A shell that starts the tests in the background has them ignore Ctrl-C, and their children too.
COMMAND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from breastlens.__main__ import main
main()
"""


def test_an_interrupt_while_reading(
    command: Callable[..., Any], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("breastlens.cohort.reading.map_in_order", interrupt)
    done = command("train", data, "--weights", "none", "--out", data.parent / "run")
    assert done.code == 130
    assert "Traceback" not in done.err
    assert "Interrupted: what was not finished is not kept." in done.err
    assert [path.name for path in data.parent.iterdir()] == ["data"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal for one process")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_middle_of_training(
    phantom_dir: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    pytest.importorskip("keras")
    arguments = ["train", phantom_dir, "--manifest", phantom_dir / "manifest.csv", "--out", tmp_path / "run"]
    settings = [
        "--backbone",
        "mobilenet:0.25",
        "--weights",
        "none",
        "--image-size",
        "64",
        "--strategy",
        "finetune",
    ]
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            COMMAND,
            *map(str, arguments),
            *settings,
            "--epochs",
            "500",
            "--patience",
            "500",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        told = []
        for line in process.stderr:
            told.append(line)
            if line.startswith("features: "):
                assert list(tmp_path.glob(".run.unfinished-*"))
                process.send_signal(number)
                break
        told.append(process.stderr.read())
        assert process.wait() == code, "".join(told)
    assert "Traceback" not in "".join(told)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_before_a_command_begins_leaves_no_traceback() -> None:
    interrupted = (
        "from breastlens import cli\ndef interrupt(**_):\n    raise KeyboardInterrupt\ncli.app = interrupt\n"
    )
    done = subprocess.run([sys.executable, "-c", interrupted + COMMAND], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")


def test_an_interrupt_while_the_packages_load_leaves_no_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "breastlens", "describe", "nowhere"], stderr=subprocess.PIPE, text=True
    )
    with process:
        time.sleep(0.4)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


IN_THE_MIDDLE_OF_A_STEP = """
import signal, sys, time
from breastlens.cli import interrupt
signal.signal(signal.SIGINT, lambda *_: None)  # as in a step of a network, in which Python sees no signal
interrupt.PATIENCE_S = float(sys.argv[1])
with interrupt.ends_soon("go on with: that"):
    print("begun", flush=True)
    while True:
        time.sleep(1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal for one process")
@pytest.mark.parametrize(("patience", "signals"), [("0.1", 1), ("1e6", 2)])
def test_a_step_that_takes_long_is_left_where_it_is(patience: str, signals: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", IN_THE_MIDDLE_OF_A_STEP, patience],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        told = process.stderr.readline()
        assert told == "Stopping; Ctrl-C again ends at once.\n"
        if signals == 2:
            process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "Interrupted: go on with: that\n"
    assert process.returncode == 130


def test_work_that_ends_by_itself_leaves_signals_as_they_were() -> None:
    from breastlens.cli.interrupt import ends_soon

    before = signal.set_wakeup_fd(-1)
    with ends_soon("never told"):
        assert signal.set_wakeup_fd(-1) != -1
    assert signal.set_wakeup_fd(before) == -1
