"""What a long job is to score: names of files, listed as they are needed, here or in a remote store."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from breastlens.cohort.folder import TEXT_SUFFIXES, printable, walk_visible_files
from breastlens.config import ReadingLimits
from breastlens.errors import DataError, DecodeError, MissingDependencyError
from breastlens.imaging.decode import IMAGE_SUFFIXES, DecodedImage, decode, decode_bytes


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
        DataError: One does not exist, cannot be listed, or needs a package for its kind of store.
    """
    missing = [printable(name) for name in names if not is_remote(name) and not os.path.lexists(name)]
    if missing:
        raise DataError(f"{len(missing)} of {len(names)} paths do not exist: {', '.join(missing[:5])}")
    for name in dict.fromkeys(names):
        if is_remote(name):
            yield from _list_remote(name)
        elif (path := Path(name)).is_dir():
            yield from (str(path / found) for found in _images_below(path))
        else:
            yield str(path)


def _images_below(folder: Path) -> Iterator[str]:
    notes_beside: bool | None = (
        None  # whether text directly in the folder is notes: images lie in folders then
    )
    for found in walk_visible_files(folder):
        suffix = posixpath.splitext(found)[1].lower()
        if suffix not in IMAGE_SUFFIXES:
            continue
        if "/" not in found and suffix in TEXT_SUFFIXES:
            if notes_beside is None:
                notes_beside = any("/" in each and _is_image(each) for each in walk_visible_files(folder))
            if notes_beside:
                continue
        yield found


def read_input(name: str, limits: ReadingLimits) -> DecodedImage:
    """Decode one of these files.

    Raises:
        DecodeError: It cannot be reached or read.
    """
    if not is_remote(name):
        return decode(name, limits=limits)
    system, path = _open_store(name)
    try:
        with system.open(path, "rb") as file:
            data = file.read(limits.file_bytes + 1)
    except Exception as error:  # every kind of store has its own
        raise DecodeError(name, f"it cannot be read: {error}") from error
    if len(data) > limits.file_bytes:
        raise DecodeError(name, f"it has more bytes than the limit of {limits.file_bytes}")
    return decode_bytes(data, suffix=posixpath.splitext(path)[1], limits=limits)


def _list_remote(name: str) -> Iterator[str]:
    system, root = _open_store(name)
    try:
        if system.isfile(root):
            yield name
            return
        found = False
        for folder, folders, files in system.walk(root):
            folders.sort()
            for each in sorted(files):
                path = f"{folder}/{each}"
                if _is_image(path.removeprefix(root).lstrip("/")):
                    found = True
                    yield system.unstrip_protocol(path)
    except Exception as error:  # every kind of store has its own
        raise DataError(f"{name} cannot be listed: {error}") from error
    if not found:
        raise DataError(f"no image file was found in {name}")


def _open_store(name: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError as error:
        raise MissingDependencyError("fsspec", "cluster", "an address as input") from error
    try:
        system, path = fsspec.core.url_to_fs(name)
    except (ImportError, ValueError) as error:
        raise DataError(f"{name}: {error}") from error
    return system, path


def _is_image(path: str) -> bool:
    """Whether a path below a folder is that of an image: by its suffix, and not hidden."""
    suffix = posixpath.splitext(path)[1].lower()
    hidden = any(part.startswith(".") for part in path.split("/"))
    return suffix in IMAGE_SUFFIXES and not hidden and ("/" in path or suffix not in TEXT_SUFFIXES)
