"""Finding images in a folder that has a subfolder a category."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from breastlens.errors import DataError
from breastlens.imaging.decode import IMAGE_SUFFIXES

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

NOT_IN_A_CATEGORY = "not inside a category folder"
NAME_NOT_UTF8 = "its name is not valid UTF-8; rename it"
TEXT_SUFFIXES = frozenset({".txt", ".csv"})
"""Of temperature matrices, and of manifests and notes too."""


@dataclass(frozen=True)
class Listing:
    """What a data source names, before any file is read.

    Attributes:
        table: A row a file: ``path`` (POSIX, relative to the root), ``category``, ``excluded`` ("" or the
            reason), and what else a manifest says.
        ignored: Files that are no images, as paths relative to the root.
        empty: Folders that would be categories but have no images in them.
    """

    table: pd.DataFrame
    ignored: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()


def require_folder(root: Path) -> None:
    """Refuses a data root that is not a folder.

    Raises:
        DataError: It does not exist or is a file.
    """
    if root.is_dir():
        return
    if root.exists():
        raise DataError(
            f"{root} is a file; expected the folder of images (a manifest is named with --manifest)"
        )
    raise DataError(f"no such folder: {root}")


def list_folder(root: Path) -> Listing:
    """Lists the images below a folder; the first subfolder's name is the category.

    Hidden files and folders are passed over. A file with a suffix that no image has is ignored and named in
    the result. An image beside the category folders is listed with the reason why it is not used; text files
    there (a manifest, a README) are ignored, although ``.txt`` and ``.csv`` can hold temperatures.

    Args:
        root: The folder.

    Raises:
        DataError: No such folder, a folder that cannot be listed, or no image below a category folder.
    """
    require_folder(root)
    rows: list[tuple[str, str, str]] = []
    ignored: list[str] = []
    for path in visible_files(root):
        category, inside, _ = path.partition("/")
        suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122 - a name may not be valid UTF-8
        if suffix not in IMAGE_SUFFIXES or (not inside and suffix in TEXT_SUFFIXES):
            ignored.append(printable(path))
        elif not inside:
            rows.append((printable(path), "", NOT_IN_A_CATEGORY))
        elif path != printable(path):
            rows.append((printable(path), printable(category), NAME_NOT_UTF8))
        else:
            rows.append((path, sys.intern(category), ""))
    for name in ignored:
        if "/" not in name and name.lower().endswith(".csv"):
            logger.warning("%s lies in %s and is not used; a manifest is named with --manifest", name, root)
    if ignored:
        logger.info("%d files in %s are no images and are ignored", len(ignored), root)
    if all(excluded == NOT_IN_A_CATEGORY for _, _, excluded in rows):
        beside = f" ({len(rows)} images lie directly in it)" if rows else ""
        raise DataError(
            f"no images in subfolders of {root}{beside}: expected a subfolder a category, such as healthy/ "
            f"and sick/, with {', '.join(sorted(IMAGE_SUFFIXES))} files, or a --manifest"
        )
    empty = {printable(name) for name in _folders(root)} - {category for _, category, _ in rows}
    import pandas as pd

    table = pd.DataFrame(rows, columns=["path", "category", "excluded"])
    return Listing(table, tuple(ignored), tuple(sorted(empty)))


def visible_files(folder: Path) -> list[str]:
    """Paths of all files below a folder, POSIX and relative to it, sorted.

    What is hidden is passed over. Links are followed, except one that leads back to a folder above it.

    Raises:
        DataError: A folder cannot be listed.
    """
    return list(walk_visible_files(folder))


def walk_visible_files(folder: Path) -> Iterator[str]:
    """As ``visible_files``, one after the other; no more than the folders on the way to one are held.

    Raises:
        DataError: A folder cannot be listed.
    """
    return _walk(folder, "", frozenset())


def _folders(root: Path) -> list[str]:
    """Names of the folders directly in a folder that could be listed; what is hidden is passed over."""
    with os.scandir(root) as entries:
        return [entry.name for entry in entries if not entry.name.startswith(".") and _is_folder(entry)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: a file that cannot be read
        return False


def _walk(folder: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    try:
        identity = folder.stat()
        with os.scandir(folder) as opened:
            entries = [(entry.name, _is_folder(entry)) for entry in opened if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{printable(str(folder))} cannot be listed: {error.strerror}") from error
    here = (identity.st_dev, identity.st_ino)
    if here in above:
        logger.warning("%s links back to a folder above it and is not followed", folder)
        return
    # in the order of whole paths, where the slash after a folder's name counts too
    for name, is_folder in sorted(
        (f"{name}/" if is_folder else name, is_folder) for name, is_folder in entries
    ):
        if is_folder:
            yield from _walk(folder / name, prefix + name, above | {here})
        else:
            yield prefix + name


def printable(name: str) -> str:
    """A file's name or path with bytes that are no UTF-8 written as escapes, so that it can stand in a table."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
