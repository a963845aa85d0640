"""What a long job is to score: names of files, listed as they are needed, here or in a remote store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from breastlens.cohort.folder import TEXT_SUFFIXES, printable, walk_visible_files
from breastlens.config import ReadingLimits
from breastlens.errors import DataError, DecodeError, StoreError
from breastlens.imaging.decode import IMAGE_SUFFIXES, DecodedImage, decode, decode_bytes
from breastlens.inference.stores import is_file, read_store, read_suffix, walk_store

NOT_SCORED = "not scored: "
"""How the error of an image begins that may have a score another time."""

_MOST_NOT_GIVEN = 4

Read = TypeVar("Read")


def is_remote(name: str) -> bool:
    """Whether a name is an address such as ``s3://bucket/folder`` and not a path."""
    return "://" in name


def list_inputs(names: Sequence[str]) -> Iterator[str]:
    """Files as given, and for each folder the images anywhere below it, by name; nothing is held but one folder.

    Hidden files are passed over. So are text files directly in a folder whose images lie in folders below it, as by
    ``find_images``, and directly in what an address names. What is given twice is taken once.

    Args:
        names: Paths, or addresses.

    Raises:
        DataError: One does not exist, cannot be listed, or needs a package for its kind of store; or there is no image
            in any.
        StoreError: A store fails again and again.
    """
    missing = [printable(name) for name in names if not is_remote(name) and not os.path.lexists(name)]
    if missing:
        raise DataError(f"{len(missing)} of {len(names)} paths do not exist: {', '.join(missing[:5])}")
    found = False
    for name in dict.fromkeys(names):
        for each in _list_remote(name) if is_remote(name) else _list_here(Path(name)):
            found = True
            yield each
    if not found:
        raise DataError(f"no image file was found in {', '.join(map(printable, names))}")


def _list_here(path: Path) -> Iterator[str]:
    if path.is_dir():
        yield from (str(path / found) for found in _images_below(path))
    else:
        yield str(path)


def _images_below(folder: Path) -> Iterator[str]:
    notes_beside: bool | None = (
        None  # whether text directly in the folder is notes: images lie in folders then
    )
    for found in walk_visible_files(folder):
        suffix = read_suffix(found)
        if suffix not in IMAGE_SUFFIXES:
            continue
        if "/" not in found and suffix in TEXT_SUFFIXES:
            if notes_beside is None:
                notes_beside = any(
                    "/" in each and read_suffix(each) in IMAGE_SUFFIXES for each in walk_visible_files(folder)
                )
            if notes_beside:
                continue
        yield found


def read_input(name: str, limits: ReadingLimits) -> DecodedImage:
    """Decode one of these files.

    Raises:
        DecodeError: It is not there, or cannot be read.
        StoreError: Its store fails again and again.
    """
    if not is_remote(name):
        return decode(name, limits=limits)
    data = read_store(name, limits.file_bytes + 1)
    if len(data) > limits.file_bytes:
        raise DecodeError(name, f"it has more bytes than the limit of {limits.file_bytes}")
    return decode_bytes(data, suffix=read_suffix(name), limits=limits)


def _list_remote(name: str) -> Iterator[str]:
    if is_file(name):
        yield name
        return
    for address, path in walk_store(name):
        if read_suffix(path) in IMAGE_SUFFIXES and ("/" in path or read_suffix(path) not in TEXT_SUFFIXES):
            yield address


def until_outage(images: Iterable[Read | str]) -> Iterator[Read | str]:
    """The same, as long as a store does not fail for several in a row: each of them takes its time.

    Args:
        images: What was read, or why it could not be.

    Raises:
        StoreError: A store failed for several in a row.
    """
    in_a_row = 0
    for image in images:
        if isinstance(image, str) and image.startswith(NOT_SCORED):
            in_a_row += 1
            if in_a_row == _MOST_NOT_GIVEN:
                raise StoreError(image.removeprefix(NOT_SCORED))
        else:
            in_a_row = 0
        yield image
