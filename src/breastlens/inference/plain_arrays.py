"""Archives of plain arrays in a bundle: no pickles, and no more memory than the file itself has bytes."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_arrays(path: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Read arrays by name from what ``np.savez`` wrote.

    Raises:
        OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile: It is missing, or no archive of these
            arrays, or its parts are compressed: a small file could then fill the memory.
    """
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            if part.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{part.filename} is compressed, which none of ours is")
    with np.load(path, allow_pickle=False) as found:
        return {name: np.asarray(found[name]) for name in names}
