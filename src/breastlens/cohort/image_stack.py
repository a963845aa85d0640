"""Many images of one size, gathered one by one: in memory, or where they are too many in a temporary file."""

from __future__ import annotations

import math
import os
import tempfile
import weakref
from collections.abc import Iterator
from typing import IO

import numpy as np
from numpy.typing import NDArray

from breastlens.errors import DataError

LARGEST_IN_MEMORY = 256 * 2**20
"""Bytes of one stack; 16,384 thumbnails, or 5,461 images of 128 px in colour."""


class ImageStack:
    """Images of one shape, numbered from 0.

    What is larger than `LARGEST_IN_MEMORY` goes to a file without a name in the system's temporary folder (``TMPDIR``),
    which the system removes with the last array that was made from it, however the program ends.
    """

    def __init__(self, count: int, shape: tuple[int, ...]) -> None:
        """Makes an empty stack.

        Args:
            count: How many images there will be.
            shape: Of each, uint8.
        """
        self._shape, self._filled, self._bytes = (count, *shape), 0, math.prod(shape)
        self._file: IO[bytes] | None = None
        if count * self._bytes > LARGEST_IN_MEMORY:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed with the stack
            weakref.finalize(self, self._file.close)
        self._array = np.empty(self._shape if self._file is None else 0, np.uint8)

    def append(self, image: NDArray[np.uint8]) -> None:
        """Adds the next image.

        Raises:
            DataError: The temporary folder has no room.
        """
        if self._file is None:
            self._array[self._filled] = image
            self._filled += 1
            return
        try:
            self._file.write(np.ascontiguousarray(image).data)
            self._filled += 1
            if self._filled == len(self):
                self._file.flush()
        except OSError as error:
            raise DataError(
                f"{math.prod(self._shape) / 1e9:.1f} GB of images do not fit into the temporary folder "
                f"{tempfile.gettempdir()}: {error.strerror}; name a folder with room in TMPDIR"
            ) from error

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        """One image; no more than it is brought into memory."""
        if self._file is None:
            return np.asarray(self._array[row])
        read = os.pread(self._file.fileno(), self._bytes, row * self._bytes)
        return np.frombuffer(read, np.uint8).reshape(self._shape[1:])

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (self[row] for row in range(len(self)))

    def as_array(self) -> NDArray[np.uint8]:
        """All images, (count, ...), once there are as many; those in a file are read when they are used."""
        if self._file is None:
            return self._array
        return np.asarray(np.memmap(self._file, np.uint8, "r", shape=self._shape))
