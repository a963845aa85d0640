"""Where files lie that could be made again, and how they are kept: whole, bounded, and without a lock."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from breastlens.whole_files import UNFINISHED

VARIABLE = "BREASTLENS_CACHE"
"""Environment variable that names another folder."""

_ANY_UNFINISHED = f"**/{UNFINISHED}*"
ABANDONED_S = 3600.0
"""A half-written file that was not touched for so long belongs to a process that has ended."""


def cache_folder() -> Path:
    """The folder for what BreastLens keeps to save time; it may not exist yet.

    It is ``$BREASTLENS_CACHE`` where that is set, and else ``breastlens`` in the user's cache folder of the platform
    (on Linux ``$XDG_CACHE_HOME`` or ``~/.cache``). Whatever lies there may be deleted at any time.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("breastlens", appauthor=False))


def used_now(path: Path) -> None:
    """Note that a file was of use, so that ``shrink`` takes others first."""
    with contextlib.suppress(OSError):
        os.utime(path)


def list_files(folder: Path, pattern: str) -> list[tuple[Path, os.stat_result]]:
    """The files below a folder that match, with size and time, but for those that cannot be looked at.

    Another process may remove one meanwhile, or it may lie where this one must not look.
    """
    files = []
    with contextlib.suppress(OSError):
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):
                files.append((path, path.stat()))
    return files


@dataclass(frozen=True)
class Shrunk:
    """What became of a cache that was to keep a limit.

    Attributes:
        removed_bytes: Of whole files that are gone.
        stuck: Files that should have gone and could not be removed.
    """

    removed_bytes: int
    stuck: frozenset[Path]


def shrink(folder: Path, pattern: str, limit_bytes: int, *, keep: Path | None = None) -> Shrunk:
    """Remove what was not used for longest until a limit is kept, and what killed processes left half written.

    What cannot be removed comes on top of the limit, or nothing new could ever stay beside it.

    Args:
        folder: The cache.
        pattern: Of its files below it.
        limit_bytes: How much may stay.
        keep: A file that stays whatever the limit: the one that was just written.
    """
    files = list_files(folder, pattern)
    total = sum(status.st_size for _, status in files)
    removed, stuck = 0, set()
    for path, status in sorted(files, key=lambda file: file[1].st_mtime):
        if total <= limit_bytes:
            break
        if path == keep:
            continue
        total -= status.st_size
        if remove(path):
            removed += status.st_size
        else:
            stuck.add(path)
    for path, status in list_files(folder, _ANY_UNFINISHED):
        if time.time() - status.st_mtime > ABANDONED_S:
            remove(path)
    return Shrunk(removed, frozenset(stuck))


def empty(folder: Path, pattern: str) -> None:
    """Remove everything that may be removed, half-written files of any age as well."""
    for path, _ in [*list_files(folder, pattern), *list_files(folder, _ANY_UNFINISHED)]:
        remove(path)


def size_bytes(folder: Path, pattern: str) -> int:
    """Bytes on disk, those of half-written files as well."""
    files = [*list_files(folder, pattern), *list_files(folder, _ANY_UNFINISHED)]
    return sum(status.st_size for _, status in files)


def remove(path: Path) -> bool:
    """Remove a file; False where that is not allowed or, on Windows, another process still reads it."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True
