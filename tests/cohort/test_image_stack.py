"""Stacks of images: the same in memory and in a temporary file."""

from __future__ import annotations

import errno
import gc
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from breastlens.cohort import image_stack
from breastlens.cohort.image_stack import ImageStack
from breastlens.errors import DataError


def fill(images: np.ndarray) -> ImageStack:
    stack = ImageStack(len(images), images.shape[1:])
    for image in images:
        stack.append(image)
    return stack


@pytest.fixture(params=["memory", "file"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "file":
        monkeypatch.setattr(image_stack, "LARGEST_IN_MEMORY", 10)
    return str(request.param)


@pytest.mark.parametrize("shape", [(128, 128), (37, 41, 3)])
def test_what_is_put_in_comes_out(place: str, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, *shape), dtype=np.uint8)
    stack = fill(images)
    assert len(stack) == 50
    np.testing.assert_array_equal(stack.as_array(), images)
    np.testing.assert_array_equal(np.stack(list(stack)), images)
    with ThreadPoolExecutor(4) as pool:  # pictures are compared in threads
        for row, found in zip(range(50), pool.map(stack.__getitem__, range(50)), strict=True):
            np.testing.assert_array_equal(found, images[row])
    assert (stack.as_array().base is not None) == (place == "file")


def test_an_array_outlives_its_stack(place: str) -> None:
    images = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)
    array = fill(images).as_array()
    gc.collect()
    np.testing.assert_array_equal(array, images)


def test_images_that_are_views_are_put_in_as_they_look(place: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)[:, ::-1, :, 1]
    np.testing.assert_array_equal(fill(images).as_array(), images)


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_stack, "LARGEST_IN_MEMORY", 10)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    stack = fill(np.zeros((4, 8, 8), np.uint8))
    assert len(stack.as_array()) == 4
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def close(self) -> None:
            """As a file has it."""

    monkeypatch.setattr(image_stack, "LARGEST_IN_MEMORY", 10)
    monkeypatch.setattr("tempfile.TemporaryFile", Full)
    with pytest.raises(DataError, match=r"No space left on device; name a folder with room in TMPDIR"):
        fill(np.zeros((4, 8, 8), np.uint8))
