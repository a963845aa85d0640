"""Features that were computed once, on disk: found again by what the network was shown and by the network itself."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import secrets
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from breastlens.cache_folder import (
    Shrunk,
    cache_folder,
    empty,
    list_files,
    remove,
    shrink,
    size_bytes,
    used_now,
)
from breastlens.config import DEFAULT_CACHE_GB
from breastlens.errors import CacheError
from breastlens.models.file_map import map_file
from breastlens.whole_files import write_whole

logger = logging.getLogger(__name__)

Images = NDArray[np.uint8]
Row = NDArray[np.float32]
Compute = Callable[[Iterable[Images]], Iterable[Row]]
"""From batches of images uint8 (k, s, s, 3) to a row an image, in order, reading no further ahead than it must."""

_SUFFIX = ".features"
_PATTERN = f"*/*{_SUFFIX}"

_KEY_BYTES = 16
"""128 bits of BLAKE2b: among a thousand million images two share a key with a chance below 1 in 10^20."""

_HEADER_BYTES = 256
_SEGMENT_BYTES = 32 * 2**20
"""Rows are written in files of about this size, so that memory does not grow with the number of images."""

_RESERVE = 0.1
"""Share of the free disk that is left to others."""


@dataclass(frozen=True)
class CacheUse:
    """What a cache holds.

    Attributes:
        rows: How many rows of features.
        networks: Of how many networks, each with its image size and precision.
        size_bytes: On disk, half-written files as well.
    """

    rows: int
    networks: int
    size_bytes: int


class FeatureCache:
    """Rows of features on disk, by network and by the pixels that it was shown.

    The pixels are those that go into the network, so that whatever was done to an image before, from decoding to
    augmentation, is part of its key. Each file is written under a temporary name and renamed when it is whole, and
    never changed afterwards. So several processes may use one cache at once without locks, and one that is killed
    leaves nothing that would be read. Keys and rows have a checksum each; a file that fails it is removed and its rows
    are computed anew. When the cache outgrows its limit, the files that were not used for longest go first; what a
    process still reads leaves the disk when it ends. A disk that is full or cannot be written costs nothing but the
    time to compute again.

    Attributes:
        folder: Where it lies.
        limit_bytes: How large it may become; 0 keeps nothing and finds nothing.
    """

    def __init__(self, folder: Path | None = None, *, limit_bytes: int | None = None) -> None:
        """Open a cache.

        Args:
            folder: Where it lies or will lie; None: ``features`` in the user's cache folder.
            limit_bytes: None: ``DEFAULT_CACHE_GB``.
        """
        self.folder = cache_folder() / "features" if folder is None else folder
        self.limit_bytes = int(DEFAULT_CACHE_GB * 1e9) if limit_bytes is None else limit_bytes
        self._warned = False
        self._stuck: frozenset[Path] = frozenset()

    def knows(self, network: str) -> bool:
        """Whether anything was kept of a network."""
        return self.limit_bytes > 0 and bool(list_files(self._folder_of(network), f"*{_SUFFIX}"))

    def features(
        self,
        network: str,
        batches: Iterable[Images],
        compute: Compute,
        *,
        on_done: Callable[[int], None] | None = None,
        on_disk_only: bool = False,
    ) -> list[Row]:
        """The features of all images, of which only those that are not known are computed, and then kept.

        Args:
            network: What decides a row besides the pixels: graph, weights, precision and what runs them.
            batches: The images, uint8 (k, s, s, 3) each; read once.
            compute: What gives the rows that are missing.
            on_done: Told how many images were looked at so far.
            on_disk_only: End where rows cannot be written, rather than hold all of them in memory.

        Returns:
            A row an image, in order; most are views of files and must not be written to.

        Raises:
            CacheError: Rows cannot be written and were to be ``on_disk_only``.
        """
        if self.limit_bytes <= 0:
            return list(compute(_told(batches, on_done)))
        segments = _Segments(self._folder_of(network))
        found: list[Row | bytes] = []  # a row, or the key of one that is still to be computed
        fresh: dict[bytes, Row] = {}
        ordered: list[bytes] = []

        def missing() -> Iterator[Images]:
            asked = set()
            for batch in _told(batches, on_done):
                keys = [_key(image) for image in batch]
                wanted = []
                for index, key in enumerate(keys):
                    row = segments.find(key)
                    found.append(key if row is None else row)
                    if row is None and key not in asked:
                        asked.add(key)
                        ordered.append(key)
                        wanted.append(index)
                if wanted:
                    yield batch[wanted]

        kept, writable = 0, True
        segment_bytes = min(_SEGMENT_BYTES, self.limit_bytes)
        for number, row in enumerate(compute(missing())):
            fresh[ordered[number]] = row
            if writable and (number + 1 - kept) * row.nbytes >= segment_bytes:
                writable = self._keep(segments, ordered[kept : number + 1], fresh, on_disk_only)
                kept = number + 1
        if writable and kept < len(ordered):
            self._keep(segments, ordered[kept:], fresh, on_disk_only)
        return [fresh[one] if isinstance(one, bytes) else one for one in found]

    def _keep(
        self, segments: _Segments, keys: Sequence[bytes], fresh: dict[bytes, Row], on_disk_only: bool
    ) -> bool:
        """Write rows, and let the file stand in for those in memory; False where they could not be written."""
        try:
            path, rows = segments.add(keys, [fresh[key] for key in keys])
        except OSError as error:
            reason = error.strerror or str(error)
            if on_disk_only:
                raise CacheError(reason) from error
            if not self._warned:
                logger.warning("%s: features were not kept for the next time: %s", self.folder, reason)
            self._warned = True
            return False
        fresh.update(zip(keys, rows, strict=True))
        self._note_stuck(shrink(self.folder, _PATTERN, self.limit_bytes, keep=path))
        return True

    def _note_stuck(self, shrunk: Shrunk) -> None:
        if shrunk.stuck and not self._stuck:
            logger.warning(
                "%s: %s cannot be removed, and what cannot be removed comes on top of the cache's limit",
                self.folder,
                min(shrunk.stuck),
            )
        self._stuck |= shrunk.stuck

    def room_bytes(self, network: str) -> int:
        """How much it may hold for a network: its limit, or less where the disk has less beyond a reserve.

        Nothing where it cannot be written. What other networks have there counts as room, since it would go first.
        """
        folder = self._folder_of(network)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                free = shutil.disk_usage(folder).free
        except OSError:
            return 0
        removable = sum(
            status.st_size
            for path, status in list_files(self.folder, _PATTERN)
            if path not in self._stuck and os.access(path.parent, os.W_OK)
        )
        return min(self.limit_bytes, int((1 - _RESERVE) * free) + removable)

    def use(self) -> CacheUse:
        """Count what is there."""
        rows, networks = 0, set()
        for path, _ in list_files(self.folder, _PATTERN):
            with contextlib.suppress(OSError, ValueError):
                rows += _Header.read(path).images
            networks.add(path.parent)
        return CacheUse(rows, len(networks), size_bytes(self.folder, _PATTERN))

    def clear(self) -> CacheUse:
        """Remove everything that may be removed; gives what that was."""
        before = self.use()
        empty(self.folder, _PATTERN)
        left = self.use()
        return CacheUse(
            before.rows - left.rows, before.networks - left.networks, before.size_bytes - left.size_bytes
        )

    def _folder_of(self, network: str) -> Path:
        return self.folder / hashlib.blake2b(network.encode(), digest_size=_KEY_BYTES).hexdigest()


class _Segments:
    """The files of one network: which row of which file belongs to a key."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._place: dict[bytes, tuple[Path, int]] = {}
        self._rows: dict[Path, NDArray[np.float32] | None] = {}
        """Of each file that was used already; None of one that was damaged."""
        for path in sorted(path for path, _ in list_files(folder, f"*{_SUFFIX}")):
            try:
                keys = _read_keys(path)
            except OSError:  # another process removed it, or it may not be read here; that is no damage
                continue
            except ValueError:
                _discard(path)
            else:
                self._place |= {key: (path, row) for row, key in enumerate(keys)}

    def find(self, key: bytes) -> Row | None:
        """The row of a key, or None."""
        place = self._place.get(key)
        if place is None:
            return None
        path, row = place
        if path not in self._rows:
            self._rows[path] = self._open(path)
        rows = self._rows[path]
        return None if rows is None else rows[row]

    def add(self, keys: Sequence[bytes], rows: list[Row]) -> tuple[Path, list[Row]]:
        """Write rows of one shape to a new file, and give it and them back as views of it.

        Raises:
            OSError: The file cannot be written.
        """
        joined, body = b"".join(keys), np.stack(rows).astype("<f4", copy=False)
        header = _Header(len(keys), body.shape[1:], zlib.crc32(joined), zlib.crc32(body.data))
        path = self._folder / f"{secrets.token_hex(8)}{_SUFFIX}"
        write_whole(path, [json.dumps(header._asdict()).encode().ljust(_HEADER_BYTES), joined, body.data])
        try:
            return path, list(_map_rows(path, header))
        except OSError:  # they are kept for the next time all the same
            return path, rows

    @staticmethod
    def _open(path: Path) -> NDArray[np.float32] | None:
        try:
            header = _Header.read(path)
            rows = _map_rows(path, header)
            whole = zlib.crc32(rows.data) == header.rows_crc32
            used_now(path)
        except OSError:  # another process needed the room, or too many files are open
            return None
        except ValueError:
            whole = False
        if not whole:
            _discard(path)
        return rows if whole else None


class _Header(NamedTuple):
    """What a file says of itself; its keys and then its rows, little-endian float32, come after it."""

    images: int
    shape: tuple[int, ...]
    keys_crc32: int
    rows_crc32: int

    @classmethod
    def read(cls, path: Path) -> _Header:
        """Read it, and see that it speaks of a file of this size.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is damaged.
        """
        with path.open("rb") as file:
            try:
                header = cls(**json.loads(file.read(_HEADER_BYTES)))
                size = _HEADER_BYTES + header.images * (_KEY_BYTES + 4 * math.prod(header.shape))
            except TypeError as error:
                raise ValueError("its header is no header") from error
            if size != os.fstat(file.fileno()).st_size:
                raise ValueError("its size is not that of its header")
        return header


def _read_keys(path: Path) -> list[bytes]:
    header = _Header.read(path)
    with path.open("rb") as file:
        file.seek(_HEADER_BYTES)
        joined = file.read(header.images * _KEY_BYTES)
    if zlib.crc32(joined) != header.keys_crc32:
        raise ValueError("its keys have another checksum")
    return [joined[start : start + _KEY_BYTES] for start in range(0, len(joined), _KEY_BYTES)]


def _map_rows(path: Path, header: _Header) -> NDArray[np.float32]:
    start = _HEADER_BYTES + header.images * _KEY_BYTES
    rows: NDArray[np.float32] = map_file(path)[start:].view("<f4").reshape(header.images, *header.shape)
    return rows


def _key(image: Images) -> bytes:
    """What an image is found again by: its pixels and its shape."""
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=_KEY_BYTES)
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


def _told(batches: Iterable[Images], on_done: Callable[[int], None] | None) -> Iterator[Images]:
    done = 0
    for batch in batches:
        yield batch
        done += len(batch)
        if on_done is not None:
            on_done(done)


def _discard(path: Path) -> None:
    logger.warning("%s is damaged: it is removed, and what it held is computed again", path)
    remove(path)
