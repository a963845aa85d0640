"""A file as memory, without keeping it open."""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FAILED = ctypes.c_void_p(-1).value


def map_file(path: Path) -> NDArray[np.uint8]:
    """Map a file for reading; it stays readable, even when it is removed, until the array and its views are gone.

    Python's own ``mmap`` holds a descriptor as long as the mapping, and a process may have as few as 256 of them. The
    system needs none: so its function is called itself, but on Windows, which knows no such limit.

    Returns:
        Its bytes, read-only.

    Raises:
        OSError: It cannot be read or mapped.
    """
    if os.name == "nt":
        return np.asarray(np.memmap(path, np.uint8, "r"))
    system = ctypes.CDLL(None, use_errno=True)
    map_, unmap = system.mmap, system.munmap
    map_.restype = ctypes.c_void_p
    map_.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    ]
    unmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        address = map_(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    if address == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))
    held = (ctypes.c_ubyte * size).from_address(address)
    # at the end of the process the system does it, and arrays may live longer than this would wait
    weakref.finalize(held, unmap, address, size).atexit = False
    content: NDArray[np.uint8] = np.frombuffer(memoryview(held), np.uint8)
    content.flags.writeable = False
    return content
