"""The run directory: all of it or nothing, and read back exactly."""

from __future__ import annotations

import errno
import json
import math
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from breastlens import whole_files
from breastlens.errors import RunDirectoryError
from breastlens.runs.directory import (
    Run,
    explained_write_errors,
    first_free,
    new_directory,
    write_json,
    write_table,
)


def everything_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_the_name_is_taken_only_when_all_is_written(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "RUN"
    with new_directory(out) as unfinished:
        (unfinished / "run.json").write_text("{}")
        assert not out.exists()
        assert unfinished.parent == out.parent
        assert unfinished.name.startswith(".RUN.unfinished-")
    assert everything_in(tmp_path) == ["deep", "deep/RUN", "deep/RUN/run.json"]


def test_it_can_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with new_directory(tmp_path / "RUN"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "RUN").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("error", [ValueError("ours"), KeyboardInterrupt(), SystemExit(3)])
def test_a_failure_in_the_middle_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def fail() -> None:
        with new_directory(tmp_path / "RUN") as unfinished:
            (unfinished / "model").mkdir()
            (unfinished / "model" / "half").write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert everything_in(tmp_path) == []


def test_an_empty_directory_of_that_name_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "RUN").mkdir()
    with new_directory(tmp_path / "RUN") as unfinished:
        (unfinished / "a").touch()
    assert everything_in(tmp_path) == ["RUN", "RUN/a"]


@pytest.mark.parametrize("kind", ["directory", "file", "link", "broken link"])
def test_what_is_there_is_never_touched(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "RUN"
    if kind == "directory":
        out.mkdir()
        (out / "precious").write_text("keep me")
    elif kind == "file":
        out.write_text("keep me")
    else:
        (tmp_path / "elsewhere").mkdir()
        out.symlink_to(tmp_path / ("elsewhere" if kind == "link" else "nowhere"))
    before = everything_in(tmp_path)
    with (
        pytest.raises(RunDirectoryError, match=r"RUN exists already: choose another --out"),
        new_directory(out),
    ):
        raise AssertionError("work has begun")
    assert everything_in(tmp_path) == before


def test_the_current_directory_is_refused_even_if_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunDirectoryError, match="is the folder you are in"), new_directory(Path()):
        raise AssertionError("work has begun")


@pytest.mark.parametrize("below", ["RUN", "runs/RUN", "sick/../RUN"])
def test_the_folder_of_images_is_refused(tmp_path: Path, below: str) -> None:
    data = tmp_path / "images"
    (data / "sick").mkdir(parents=True)
    with (
        pytest.raises(RunDirectoryError, match="would be read as a category the next time"),
        new_directory(data / below, data=data),
    ):
        raise AssertionError("work has begun")
    with new_directory(tmp_path / "images-2", data=data):
        pass


def test_a_name_taken_meanwhile_costs_no_work(tmp_path: Path) -> None:
    out = tmp_path / "RUN"

    def work() -> None:
        with new_directory(out) as unfinished:
            (unfinished / "work").write_text("hours")
            out.mkdir()
            (out / "other").write_text("another process")

    with pytest.raises(RunDirectoryError, match="something else meanwhile") as told:
        work()
    (finished,) = tmp_path.glob(".RUN.unfinished-*")
    assert str(told.value).endswith(f"what was finished lies in {finished}")
    assert (finished / "work").read_text() == "hours"
    assert everything_in(out) == ["other"]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "no space is left on the disk: free some; choose another --out"),
        (errno.EROFS, "the file system is read-only; choose another --out"),
        (errno.EACCES, "permission is missing; choose another --out"),
        (errno.EIO, "the disk failed or is full: check it; choose another --out"),
    ],
)
def test_a_full_or_forbidden_disk_is_told_in_one_line(tmp_path: Path, number: int, said: str) -> None:
    out = tmp_path / "RUN"
    with pytest.raises(RunDirectoryError) as told, new_directory(out) as unfinished:
        raise OSError(number, os.strerror(number), str(unfinished / "history.csv"))
    assert str(told.value) == f"cannot write {out}: {said}"
    assert everything_in(tmp_path) == []


def test_an_error_about_a_file_elsewhere_names_that_file(tmp_path: Path) -> None:
    elsewhere = str(tmp_path.parent / "weights.h5")
    with (
        pytest.raises(RunDirectoryError, match=r"weights\.h5: permission"),
        explained_write_errors(tmp_path / "RUN"),
    ):
        raise PermissionError(errno.EACCES, "Permission denied", elsewhere)


def test_other_errors_of_the_system_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), new_directory(tmp_path / "RUN"):
        (tmp_path / "an-image-that-has-gone.png").read_bytes()


def test_a_place_that_cannot_be_is_told(tmp_path: Path) -> None:
    place = tmp_path / "none" / "scores.csv"
    with (
        pytest.raises(RunDirectoryError, match=r"scores\.csv: No such file or directory; go elsewhere"),
        explained_write_errors(place, "go elsewhere"),
    ):
        place.write_text("")


def test_a_place_where_nothing_can_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path))

    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match=r"cannot write .*file is a file where a directory is needed"):
        new_directory(tmp_path / "file" / "RUN").__enter__()
    with pytest.raises(RunDirectoryError, match=r"cannot write .*name too long; choose another --out"):
        new_directory(tmp_path / ("x" * 250)).__enter__()
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(RunDirectoryError, match=r"RUN: permission is missing; choose another --out"):
        new_directory(tmp_path / "RUN").__enter__()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_locked_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(RunDirectoryError, match="permission is missing"):
        new_directory(tmp_path / "locked" / "RUN").__enter__()


def test_the_first_free_number_is_taken(tmp_path: Path) -> None:
    for number in (1, 2, 4):
        (tmp_path / f"vgg16-probe-{number}").mkdir()
    assert first_free(tmp_path, "vgg16-probe") == tmp_path / "vgg16-probe-3"
    assert first_free(tmp_path / "not-yet", "all") == tmp_path / "not-yet" / "all-1"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_json_takes_no_number_that_json_does_not_have(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"auc": value})


def test_names_that_are_no_text_can_be_written(tmp_path: Path) -> None:
    name = os.fsdecode(b"Aufn\xe4hme.png")
    write_json(tmp_path / "a.json", {"command": [name, "größer"]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"command": [name, "größer"]}
    write_table(tmp_path / "a.csv", pd.DataFrame({"path": [name]}))
    assert (tmp_path / "a.csv").read_bytes() == b"path\nAufn\\udce4hme.png\n"


def test_tables_come_back_exactly(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).random(500)
    table = pd.DataFrame(
        {"path": "NA", "patient_id": "007", "split": "0", "y_true": 1, "y_score": scores, "y_pred": 0}
    )
    write_table(tmp_path / "predictions.csv", table)
    assert b"\r" not in (tmp_path / "predictions.csv").read_bytes()
    read = Run(tmp_path, {}, {}).predictions
    np.testing.assert_array_equal(read["y_score"], scores)
    assert read["y_true"].sum() == 500
    assert (read.loc[0, ["path", "patient_id", "split"]] == ["NA", "007", "0"]).all()


def test_a_run_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="no such run directory"):
        Run.read(tmp_path / "nowhere")
    with pytest.raises(RunDirectoryError, match=r"not a run directory: it has no run\.json"):
        Run.read(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(RunDirectoryError, match=r"it has no metrics\.json"):
        Run.read(tmp_path)
    (tmp_path / "metrics.json").write_text('{"test": ')
    with pytest.raises(RunDirectoryError, match="is damaged"):
        Run.read(tmp_path)
    (tmp_path / "metrics.json").unlink()
    (tmp_path / "metrics.json").mkdir()
    with pytest.raises(RunDirectoryError, match="cannot be read: Is a directory"):
        Run.read(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not show what is open")
def test_a_directory_takes_its_name_once_all_of_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, happened = tmp_path / "run", []
    fsync = os.fsync

    def sync(handle: int) -> None:
        happened.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        fsync(handle)

    def reached(step: str) -> None:
        happened.append(f"{step}: {out.exists()}")

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(whole_files, "reached", reached)
    with new_directory(out) as unfinished:
        (unfinished / "model").mkdir()
        (unfinished / "model" / "weights").write_bytes(b"1")
        (unfinished / "run.json").write_text("{}")
    assert happened[0] == "directory filled: False"
    assert set(happened[1:5]) == {"model", "weights", "run.json", unfinished.name}
    assert happened[5:] == ["directory synced: False", tmp_path.name, "directory renamed: True"]
