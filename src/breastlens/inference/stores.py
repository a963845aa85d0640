"""Remote stores that fsspec knows: listed a folder at a time, and asked again where they fail for a moment."""

from __future__ import annotations

import logging
import posixpath
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from breastlens.errors import DataError, DecodeError, MissingDependencyError, StoreError
from breastlens.imaging.decode import IMAGE_SUFFIXES

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

PAUSES_S = (0.5, 1.5, 4.5)
"""Before a store is asked again; many kinds have tried some times themselves by then."""

DENIED = "access is denied"
"""In the reason of each file that may not be read."""

_MOST_LEVELS = 50
_ENDED = frozenset({"ExpiredToken", "RequestTimeTooSkewed", "TokenRefreshRequired"})
"""What S3 calls it where whoever asks is let in no more."""
_PASSING = frozenset({408, 425, 429})
"""Refusals of HTTP that may pass; others are an answer."""
_STREAMED = {"block_size": 0, "size": 1}
"""How HTTP is read in one request. Asked for its size first, any failure would be that of a missing file."""


class _Refused(Exception):  # noqa: N818  it is an answer
    """The store has answered, and will answer the same again."""


class _Busy(Exception):  # noqa: N818  it may pass
    """The store has failed, and may not when it is asked again."""


def is_file(address: str) -> bool:
    """Whether an address names a file.

    Of HTTP it does if it ends as an image does, or is no page of links; never if it ends with ``/``.

    Raises:
        DataError: It does not exist, needs a package for its kind of store, or is a page of links with a query.
        StoreError: The store fails again and again.
    """
    system, path = _open_store(address)
    if _is_http(system):
        return not path.endswith("/") and (
            read_suffix(path) in IMAGE_SUFFIXES or not _has_links(system, path)
        )
    return bool(_ask_to_list(system, path, lambda: system.info(path))["type"] == "file")


def walk_store(address: str) -> Iterator[tuple[str, str]]:
    """Address and path of each visible file below an address, in the order of ``walk_visible_files``.

    No more than the folders on the way to a file are held.

    Raises:
        DataError: A folder does not exist or may not be listed, folders lie too deep in each other, or a package for
            the kind of store is missing.
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
        if not _is_http(system):
            return bytes(system.cat_file(path, start=0, end=most_bytes))
        with system.open(path, "rb", **_STREAMED) as file:
            return _read_up_to(file, most_bytes)

    try:
        return _ask(address, read)
    except _Refused as error:
        raise DecodeError(address, f"it cannot be read: {error}") from error


def read_suffix(name: str) -> str:
    """The suffix of a path or an address, whose query is no part of it."""
    path = urlsplit(name).path if name.startswith(("http://", "https://")) else name
    return posixpath.splitext(path)[1].lower()


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


def _has_links(system: Any, path: str) -> bool:
    links = _list_folder(system, path)
    if links and "?" in path:
        raise DataError(
            f"{path}: expected a file, received a page of links; a folder is named without a query"
        )
    return bool(links)


def _walk(system: Any, folder: str, prefix: str) -> Iterator[str]:
    if prefix.count("/") > _MOST_LEVELS:
        raise DataError(
            f"{system.unstrip_protocol(folder)}: expected no more than {_MOST_LEVELS} folders in each other; a server "
            "that gives the same page for every address has no end of them"
        )
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
    is_seen = _is_seen_link if _is_http(system) else _is_seen
    names = set()
    for entry in _ask_to_list(system, folder, lambda: system.ls(folder, detail=True)):
        path = entry["name"].rstrip("/").replace("/./", "/")
        name = path.removeprefix(folder.rstrip("/")).lstrip("/")
        if is_seen(name):
            names.add(f"{name}/" if entry["type"] == "directory" else name)
    return names


def _is_seen(name: str) -> bool:
    return name != "" and not name.startswith(".") and "/" not in name


def _is_seen_link(link: str) -> bool:
    """Whether a page's link is a name; others lead elsewhere, or put the page in another order."""
    name = unquote(link)  # as the server will read it
    return _is_seen(name) and not {"?", "#"} & set(link) and not {"\\", "\0"} & set(name)


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
        _Refused: What is asked for is not there, is denied, or is refused otherwise.
        StoreError: It failed each time, or lets nobody in any more.
    """
    for pause_s in PAUSES_S:
        try:
            return _ask_once(address, question)
        except _Busy as error:
            logger.info("%s: asked again in %g s: %s", address, pause_s, error)
            time.sleep(pause_s)
    try:
        return _ask_once(address, question)
    except _Busy as error:
        raise StoreError(f"{address}: the store failed {len(PAUSES_S) + 1} times ({error})") from error


def _ask_once(address: str, question: Callable[[], Answer]) -> Answer:
    try:
        return question()
    except FileNotFoundError as error:
        raise _Refused("it is not there") from error
    except Exception as error:
        if not _is_of_store(error):
            raise
        said = str(error) or type(error).__name__
        if isinstance(error, TimeoutError):
            raise _Busy(said) from error
        status, word = _read_answer(error)
        denied = isinstance(error, PermissionError) or status == 403
        if status == 401 or word in _ENDED or (denied and "?" in address):  # as a signature that has expired
            raise StoreError(f"{address}: the store lets nobody in, or not any more ({said})") from error
        if denied:
            raise _Refused(f"{DENIED} ({said})") from error
        lasting = status is not None and 400 <= status < 500 and status not in _PASSING
        if lasting or isinstance(error, ValueError):  # as by an address that cannot be
            raise _Refused(f"the store refuses it ({said})") from error
        raise _Busy(said) from error


def _is_of_store(error: BaseException | None) -> bool:
    """Whether a store has failed, and not a program: every kind of store has errors of its own, or gives OSError."""
    if error is None:
        return False
    return isinstance(error, OSError) or type(error).__module__ != "builtins" or _is_of_store(error.__cause__)


def _read_answer(error: BaseException) -> tuple[int | None, str]:
    """The status of HTTP that a store has failed with, and its own word for it, as far as it tells."""
    for each in (error, error.__cause__):
        answer = getattr(each, "response", None)
        if isinstance(answer, dict):  # of botocore
            word = answer.get("Error", {}).get("Code", "")
            return answer.get("ResponseMetadata", {}).get("HTTPStatusCode"), word
        for name in ("status", "code"):  # of aiohttp, of gcsfs
            if isinstance(status := getattr(each, name, None), int):
                return status, ""
    return None, ""
