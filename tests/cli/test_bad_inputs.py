"""Things users get wrong, and the one line that each prints with exit code 2."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from pathlib import Path

import pytest


def test_no_such_folder(run, tmp_path: Path) -> None:
    assert run("train", tmp_path / "nowhere") == f"no such folder: {tmp_path / 'nowhere'}"


def test_empty_folder(run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    told = run("train", tmp_path / "empty")
    assert told.startswith(
        f"no images in subfolders of {tmp_path / 'empty'}: expected a subfolder a category, such as healthy/ and sick/"
    )
    assert told.endswith("or a --manifest")


def test_one_category(run, data: Path) -> None:
    shutil.rmtree(data / "healthy")
    assert run("train", data) == "only one category, sick; expected at least two, such as healthy and sick"


def test_an_empty_category_folder(run, data: Path) -> None:
    for path in (data / "sick").iterdir():
        path.unlink()
    assert run("audit", data, "--weights", "none") == (
        "only one category, healthy; expected at least two, such as healthy and sick; "
        "the folder sick has no images in it"
    )


def test_categories_that_differ_in_capitals(run, data: Path) -> None:
    shutil.copytree(data / "sick", data / "spelt")
    (data / "spelt").rename(data / "Sick ")
    assert run("train", data, "--weights", "none") == (
        "the categories 'sick' and 'Sick ' differ only in capitals or blanks, and 'Sick ' would be negative; "
        "give both one name, or name each with --positive or --negative"
    )


def test_all_images_in_both_categories(run, data: Path) -> None:
    shutil.rmtree(data / "sick")
    shutil.copytree(data / "healthy", data / "sick")
    assert run("train", data, "--weights", "none") == (
        "no image is left to use: 8 of 8 are left out, because: same pixels under healthy and sick (8)"
    )


def test_unknown_positive(run, data: Path) -> None:
    assert run("train", data, "--positive", "sikc") == (
        "no category 'sikc' for --positive; the categories are healthy, sick; did you mean --positive sick?"
    )


def test_manifest_without_the_column(run, data: Path) -> None:
    manifest = data / "manifest.csv"
    manifest.write_text("path,kategory\nhealthy/0.png,healthy\n")
    assert run("train", data, "--manifest", manifest) == (
        f"{manifest} has no column 'category'; it has path, kategory; did you mean 'kategory'?"
    )


@pytest.mark.parametrize(
    ("written", "name"), [("Path", "path"), ("Patient_ID", "patient_id"), ("SPLIT", "split")]
)
def test_manifest_with_a_column_in_capitals(run, data: Path, written: str, name: str) -> None:
    manifest = data / "manifest.csv"
    columns = "path\tcategory\tpatient_id\tsplit".replace(name, written)
    manifest.write_text(f"{columns}\nhealthy/0.png\thealthy\tP\ttrain\n")
    assert run("train", data, "--weights", "none", "--manifest", manifest) == (
        f"{manifest} has a column {written!r}; rename it to {name!r}"
    )


def test_manifest_naming_missing_files(run, data: Path) -> None:
    manifest = data / "manifest.csv"
    manifest.write_text("path,category\nhealthy/0.png,healthy\nsick/90.png,sick\nsick/91.png,sick\n")
    assert run("train", data, "--manifest", manifest) == (
        f"{manifest} names 2 of 3 files that are not in {data}: sick/90.png, sick/91.png; "
        "paths must be relative to the data folder"
    )


def test_too_few_patients(run, data: Path) -> None:
    told = run("train", data, "--weights", "none", "--folds", 5, "--out", data.parent / "run")
    assert told.startswith("5 folds need 5 patients of each label; there are 4 positive and 4 negative (")
    assert told.endswith("at most 4 folds would work")
    assert not (data.parent / "run").exists()


def test_all_images_unreadable(run, data: Path) -> None:
    for path in data.rglob("*.png"):
        path.write_bytes(b"not an image at all")
    told = run("train", data)
    assert told.startswith(f"none of 8 files in {data} can be read as an image: healthy/0.png (unreadable: ")


def test_weights_that_do_not_fit(run, data: Path) -> None:
    keras = pytest.importorskip("keras")
    network = keras.applications.MobileNet(
        alpha=0.25, include_top=False, weights=None, input_shape=(64, 64, 3)
    )
    file = data.parent / "mobilenet.weights.h5"
    network.save_weights(file)
    assert run(
        "train", data, "--backbone", "mobilenet:0.5", "--weights", file, "--out", data.parent / "run"
    ) == (
        f"{file} does not fit mobilenet:0.5: layer conv1 expected 3x3x3x16, found 3x3x3x8; "
        "give weights saved from keras.applications.MobileNet"
    )
    assert not (data.parent / "run").exists()


def test_unreachable_weights(run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("keras")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path / "keras"))
    told = run("train", data, "--backbone", "mobilenet:0.25", "--out", tmp_path / "run")
    assert told.startswith("the ImageNet weights of mobilenet:0.25 cannot be downloaded (")
    assert "Network is unreachable" in told
    assert told.endswith("give a file you have with --weights FILE, or start from random with --weights none")
    assert not (tmp_path / "run").exists()


def test_out_directory_that_exists(run, data: Path) -> None:
    out = data.parent / "run"
    out.mkdir()
    (out / "precious.txt").write_text("keep me")
    assert run("train", data, "--weights", "none", "--out", out) == (
        f"{out} exists already: choose another --out, or move it away first"
    )
    assert [path.name for path in out.iterdir()] == ["precious.txt"]
    assert (out / "precious.txt").read_text() == "keep me"


def test_read_only_disk(run, data: Path) -> None:
    if os.geteuid() == 0:
        out = Path("/proc/breastlens/run")  # nobody, not even root, can write there
        reason = "No such file or directory"
    else:
        (data.parent / "locked").mkdir(mode=0o555)
        out, reason = data.parent / "locked" / "run", "permission is missing"
    assert run("train", data, "--weights", "none", "--out", out) == (
        f"cannot write {out}: {reason}; choose another --out"
    )


def test_full_disk(run, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(
        "breastlens.runs.preparation.inspect_cohort", lambda *_, **__: full(data.parent / ".run.unfinished/a")
    )
    assert run(
        "train", data, "--weights", "none", "--split", "0.5,0.25,0.25", "--out", data.parent / "run"
    ) == (
        f"cannot write {data.parent / 'run'}: no space is left on the disk: free some; choose another --out"
    )
    assert [path.name for path in data.parent.iterdir()] == ["data"]
