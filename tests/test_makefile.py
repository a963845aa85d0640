"""What `make` says where it cannot do what was asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What a `make test` around this would hand down, and with it lines of its own.
OF_MAKE = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}


def test_a_second_demo_says_how_to_make_another(tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("there is no make")
    for folder, said in (
        (tmp_path, f"{tmp_path} exists already: make demo DEMO=demo2"),
        (tmp_path / "new", ""),
    ):
        done = subprocess.run(
            # the installation counts as done, and where the demo would begin there is nothing to run
            [make, "--old-file=install", "demo", f"DEMO={folder}", "BIN=/nowhere"],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name not in OF_MAKE},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert done.stdout.startswith(said)
        assert ("/nowhere/breastlens demo" in done.stdout) == (not said)
    assert list(tmp_path.iterdir()) == []
