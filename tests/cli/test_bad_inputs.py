"""Twelve things users get wrong, and the one line that each prints with exit code 2."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from breastlens.cli import main


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


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Calls the command and gives what it says was wrong; anything but one line and exit code 2 fails."""

    def call(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["breastlens", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        told = capsys.readouterr().err.strip().splitlines()
        errors = [line for line in told if line.startswith("Error: ")]
        assert left.value.code == 2, told
        assert len(errors) == 1, told
        assert errors[0] == told[-1]
        assert not any("Traceback" in line for line in told)
        return errors[0].removeprefix("Error: ")

    return call


def test_no_such_folder(run, tmp_path: Path) -> None:
    assert "nowhere" in run("train", tmp_path / "nowhere")


def test_empty_folder(run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    told = run("train", tmp_path / "empty")
    assert "no image" in told
    assert "empty" in told


def test_one_category(run, data: Path) -> None:
    shutil.rmtree(data / "healthy")
    assert "only positive categories (sick)" in run("train", data)


def test_unknown_positive(run, data: Path) -> None:
    told = run("train", data, "--positive", "sikc")
    assert "no category 'sikc'" in told
    assert "healthy, sick" in told
    assert "did you mean --positive sick?" in told


def test_manifest_without_the_column(run, data: Path) -> None:
    (data / "manifest.csv").write_text("path,kind\nhealthy/0.png,healthy\n")
    told = run("train", data, "--manifest", data / "manifest.csv")
    assert "category" in told
    assert "path, kind" in told


def test_manifest_naming_missing_files(run, data: Path) -> None:
    (data / "manifest.csv").write_text("path,category\nhealthy/0.png,healthy\nsick/90.png,sick\nsick/91.png,sick\n")
    told = run("train", data, "--manifest", data / "manifest.csv")
    assert "sick/90.png" in told
    assert "2" in told


def test_too_few_patients(run, data: Path) -> None:
    told = run("train", data, "--weights", "none", "--folds", 5, "--out", data.parent / "run")
    assert "5 folds need 5 patients" in told
    assert "at most 4 folds would work" in told


def test_all_images_unreadable(run, data: Path) -> None:
    for path in data.rglob("*.png"):
        path.write_bytes(b"not an image at all")
    told = run("train", data)
    assert "8" in told
    assert "0.png" in told


def test_weights_that_do_not_fit(run, data: Path) -> None:
    keras = pytest.importorskip("keras")
    network = keras.applications.MobileNet(alpha=0.25, include_top=False, weights=None, input_shape=(64, 64, 3))
    file = data.parent / "mobilenet.weights.h5"
    network.save_weights(file)
    told = run("train", data, "--backbone", "mobilenet:0.5", "--weights", file, "--out", data.parent / "run")
    assert "conv1" in told
    assert "(3, 3, 3, 16)" in told
    assert "(3, 3, 3, 8)" in told


def test_unreachable_weights(run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("keras")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path / "keras"), raising=False)
    told = run("train", data, "--backbone", "mobilenet:0.25", "--out", tmp_path / "run")
    assert "--weights FILE" in told
    assert "--weights none" in told
    assert not (tmp_path / "run").exists()


def test_out_directory_that_exists(run, data: Path) -> None:
    out = data.parent / "run"
    out.mkdir()
    (out / "precious.txt").write_text("keep me")
    assert "exists already" in run("train", data, "--weights", "none", "--out", out)
    assert (out / "precious.txt").read_text() == "keep me"


def test_full_or_read_only_disk(run, data: Path) -> None:
    if os.geteuid() == 0 or not Path("/proc/self").exists():
        out = Path("/proc/breastlens/run")  # nobody, not even root, can write there
    else:
        (data.parent / "locked").mkdir(mode=0o555)
        out = data.parent / "locked" / "run"
    told = run("train", data, "--weights", "none", "--out", out)
    assert "cannot write" in told
    assert "--out" in told
