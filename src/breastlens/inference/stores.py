"""Remote stores that fsspec knows: listed a folder at a time, and asked again where they fail for a moment."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import unquote

from breastlens.errors import DataError, DecodeError, MissingDependencyError, StoreError

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

PAUSES_S = (0.5, 1.5, 4.5)
"""Before a store is asked again; many kinds have tried some times themselves by then."""

_DENIED = frozenset({401, 403})
_STREAMED = {"block_size": 0, "size": 1}
"""How HTTP is read in one request. Asked for its size first, any failure would be that of a missing file."""


class _Refused(Exception):  # noqa: N818  it is an answer
    """The store has answered, and will answer the same again."""


def is_file(address: str) -> bool:
    """Whether an address names a file; of HTTP, what neither ends with ``/`` nor is a page of links.

    Raises:
        DataError: It does not exist, or needs a package for its kind of store.
        StoreError: The store fails again and again.
    """
    system, path = _open_store(address)
    if _is_http(system):
        return not path.endswith("/") and not _list_folder(system, path)
    return bool(_ask_to_list(system, path, lambda: system.info(path))["type"] == "file")


def walk_store(address: str) -> Iterator[tuple[str, str]]:
    """Address and path of each visible file below an address, in the order of ``walk_visible_files``.

    No more than the folders on the way to a file are held.

    Raises:
        DataError: A folder does not exist or may not be listed, or a package for its kind of store is missing.
        StoreError: The store fails again and again.
    """
    system, root = _open_store(address)
    above = system.unstrip_protocol(root).rstrip("/")
    for path in _walk(system, root, ""):
        yield f"{above}/{path}", path


def read_store(address: str, most_bytes: int) -> bytes:
    """What a file holds, from its beginning and no more than so many bytes.

    Raises:
        DecodeError: It is not there, or may not be read.
        DataError: A package for its kind of store is missing.
        StoreError: The store fails again and again.
    """
    system, path = _open_store(address)

    def read() -> bytes:
        with system.open(path, "rb", **(_STREAMED if _is_http(system) else {})) as file:
            return _read_up_to(file, most_bytes)

    try:
        return _ask(address, read)
    except _Refused as error:
        raise DecodeError(address, f"it cannot be read: {error}") from error


def _open_store(address: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError as error:
        raise MissingDependencyError("fsspec", "cluster", "an address as input") from error
    try:
        system, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise DataError(f"{address}: {error}") from error
    return system, path


def _is_http(system: Any) -> bool:
    return "http" in system.protocol


def _walk(system: Any, folder: str, prefix: str) -> Iterator[str]:
    # in the order of whole paths, where the slash after a folder's name counts too
    for name in sorted(_list_folder(system, folder), key=unquote if _is_http(system) else None):
        if name.endswith("/"):
            inside = f"{folder.rstrip('/')}/{name}"
            yield from _walk(system, inside if _is_http(system) else inside.rstrip("/"), prefix + name)
        else:
            yield prefix + name


def _list_folder(system: Any, folder: str) -> set[str]:
    """Names of what lies directly in a folder and is not hidden, those of folders with a slash behind them."""
    system.dircache.clear()  # which else would hold all folders in the end
    names = set()
    for entry in _ask_to_list(system, folder, lambda: system.ls(folder, detail=True)):
        path = entry["name"].rstrip("/").replace("/./", "/")
        name = path.removeprefix(folder.rstrip("/")).lstrip("/")
        # a page has links to elsewhere, and some that put it in another order
        elsewhere = "/" in name or (_is_http(system) and ("?" in name or "#" in name))
        if name and not name.startswith(".") and not elsewhere:
            names.add(f"{name}/" if entry["type"] == "directory" else name)
    return names


def _read_up_to(file: Any, most_bytes: int) -> bytes:
    """A stream may give less at a time than it is asked for."""
    parts, left = [], most_bytes
    while left > 0 and (part := file.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _ask_to_list(system: Any, path: str, question: Callable[[], Answer]) -> Answer:
    address = system.unstrip_protocol(path)
    try:
        return _ask(address, question)
    except _Refused as error:
        raise DataError(f"{address} cannot be listed: {error}") from error


def _ask(address: str, question: Callable[[], Answer]) -> Answer:
    """Ask a store something, and again after each of ``PAUSES_S`` where it fails in a way that may pass.

    Raises:
        _Refused: What is asked for is not there, or is denied.
        StoreError: It failed each time.
    """
    for pause_s in PAUSES_S:
        try:
            return _ask_once(question)
        except StoreError as error:
            logger.info("%s: asked again in %g s: %s", address, pause_s, error)
            time.sleep(pause_s)
    try:
        return _ask_once(question)
    except StoreError as error:
        raise StoreError(f"{address}: the store failed {len(PAUSES_S) + 1} times ({error})") from error


def _ask_once(question: Callable[[], Answer]) -> Answer:
    try:
        return question()
    except FileNotFoundError as error:
        raise _Refused("it is not there") from error
    except Exception as error:  # every kind of store has its own
        if isinstance(error, PermissionError) or getattr(error, "status", None) in _DENIED:
            raise _Refused(f"access is denied ({error})") from error
        raise StoreError(str(error) or type(error).__name__) from error
