"""Names of very many files, from folders and remote stores, as they are needed."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from breastlens.cohort.folder import visible_files, walk_visible_files
from breastlens.config import ReadingLimits
from breastlens.errors import DataError, DecodeError
from breastlens.inference.inputs import list_inputs, read_input
from breastlens.inference.predictor import find_images

NAMES = (
    *("a/1.png", "a/.hidden.png", "a-b.png", "a.png", "a0.PNG", "notes.txt", "b/deep/2.tif", "b/matrix.txt"),
    *(".cache/3.png", "b/notes.md"),
)
WANTED = ["a-b.png", "a.png", "a/1.png", "a0.PNG", "b/deep/2.tif", "b/matrix.txt"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "images"


def test_a_folder_is_walked_in_the_order_of_whole_paths(folder: Path) -> None:
    assert visible_files(folder) == sorted(visible_files(folder))
    assert [Path(name).relative_to(folder).as_posix() for name in list_inputs([str(folder)])] == WANTED
    assert list(list_inputs([str(folder)])) == list(map(str, find_images([folder])))


def test_a_flat_folder_of_matrices_is_listed_as_by_predict(tmp_path: Path) -> None:
    for name in ("1.txt", "2.csv"):
        (tmp_path / name).write_text("1 2")
    names = [str(tmp_path), str(tmp_path)]
    assert list(list_inputs(names)) == list(map(str, find_images([tmp_path])))


def test_a_name_that_is_misspelt_is_told_before_anything_is_listed(folder: Path) -> None:
    with pytest.raises(DataError, match="1 of 2 paths do not exist: nowhere"):
        next(list_inputs([str(folder), "nowhere"]))


def test_a_folder_is_listed_no_further_than_is_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    opened: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: opened.append(Path(path).name) or scandir(path))
    assert list(islice(walk_visible_files(folder), 3)) == ["a-b.png", "a.png", "a/1.png"]
    assert opened == ["images", "a"]


def test_an_address_is_listed_as_a_folder_is(folder: Path) -> None:
    pytest.importorskip("fsspec")
    assert list(list_inputs([f"file://{folder}"])) == [f"file://{folder}/{name}" for name in WANTED]
    assert list(list_inputs([f"file://{folder}/a.png"])) == [f"file://{folder}/a.png"]


def test_what_is_read_from_an_address_is_what_the_file_holds(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    path = tmp_path / "one.png"
    cv2.imwrite(str(path), np.arange(256, dtype=np.uint8).reshape(16, 16))
    limits = ReadingLimits()
    here, there = read_input(str(path), limits), read_input(f"file://{path}", limits)
    np.testing.assert_array_equal(here.pixels, there.pixels)
    with pytest.raises(DecodeError, match="more bytes than the limit of 10"):
        read_input(f"file://{path}", ReadingLimits(file_bytes=10))
    with pytest.raises(DecodeError, match="it cannot be read: it is not there"):
        read_input(f"file://{path}.gone", limits)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "1 of 1 paths do not exist: nowhere"),
        ("nothing-known://bucket/folder", "nothing-known"),
        ("file:///nowhere/at/all", "file:///nowhere/at/all cannot be listed: it is not there"),
    ],
)
def test_what_cannot_be_listed_is_told_in_a_line(name: str, said: str) -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(DataError, match=said):
        list(list_inputs([name]))


def test_folders_without_an_image_are_named(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    names = [str(tmp_path), f"file://{tmp_path}"]
    (tmp_path / "notes.md").write_bytes(b"x")
    with pytest.raises(DataError, match=rf"no image file was found in {tmp_path}, file://{tmp_path}$"):
        list(list_inputs(names))


def test_an_address_without_fsspec_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(Exception, match=r"pip install 'breastlens\[cluster\]'") as told:
        list(list_inputs(["s3://bucket"]))
    assert type(told.value).__name__ == "MissingDependencyError"
