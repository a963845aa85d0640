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
        take_name(unfinished, path)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def take_name(unfinished: Path, path: Path) -> None:
    """Let a directory that is filled take its name, once all of it survives a loss of power.

    Args:
        unfinished: The directory, in the same folder.
        path: Its name; there is no such path.

    Raises:
        OSError: It cannot be synced or renamed.
    """
    reached("directory filled")
    for file in unfinished.rglob("*"):
        if file.is_dir():
            sync_folder(file)
        else:
            _sync(file)
    sync_folder(unfinished)
    reached("directory synced")
    unfinished.rename(path)
    sync_folder(path.parent)
    reached("directory renamed")


def current_umask() -> int:
    """What the user withholds from others of every new file."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


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
