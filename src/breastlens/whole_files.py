"""The one place that writes what another process, or the next one after a crash, is to find whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNFINISHED = ".unfinished-"
"""How the name begins of what is not whole yet."""


def _pass_by(step: str) -> None:
    """Nothing happens."""


reached: Callable[[str], None] = _pass_by
"""Called with each step of a write as it is reached; tests put something in its place that ends the process there."""


def write_whole(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write a file so that no other process, now or after a crash, ever reads a part of it.

    It gets a temporary name in the same folder, is synced, and is renamed.

    Args:
        path: The file; its folder is made where it does not exist.
        parts: Its content.

    Raises:
        OSError: It cannot be written; nothing is left of it then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    reached("file begun")
    handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            Path(name).chmod(0o666 & ~current_umask())
            for part in parts:
                file.write(part)
                reached("part written")
            file.flush()
            os.fsync(file.fileno())
        reached("file synced")
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    reached("file renamed")


@contextmanager
def new_whole_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary directory beside ``path`` that takes its name, synced, once the block has ended well.

    Args:
        path: The directory to make; it must not exist.

    Raises:
        OSError: It cannot be written; nothing is left of it then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    reached("directory begun")
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=path.parent))
    try:
        unfinished.chmod(0o777 & ~current_umask())
        yield unfinished
        reached("directory filled")
        sync_tree(unfinished)
        reached("directory synced")
        unfinished.rename(path)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    sync_folder(path.parent)
    reached("directory renamed")


def current_umask() -> int:
    """What the user withholds from others of every new file."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_tree(folder: Path) -> None:
    """See to it that all of a folder survives a loss of power, before it takes its name.

    Raises:
        OSError: The disk failed or is full.
    """
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        else:
            _sync(path)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """See to it that the names in a folder survive a loss of power, where the system can do that."""
    with suppress(OSError):  # Windows opens no folder, and some network drives sync none
        _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
