"""reference.npz: the training images as novelty is measured from them, in a bundle; plain arrays, no pickles."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from breastlens.errors import BundleError
from breastlens.inference.novelty import Reference, Space

_SPACES = ("network", "layout")
_OF_SPACE = ("mean", "scale", "axes", "spread", "places")
_OF_ALL = ("centre", "width", "labels", "numbers")


def pack_reference(reference: Reference) -> bytes:
    """The content of the file; numbers in 32 bits, which distances do not need more than."""
    arrays = {
        f"{space}_{name}": getattr(getattr(reference, space), name).astype(np.float32)
        for space in _SPACES
        for name in _OF_SPACE
    }
    arrays |= {name: getattr(reference, name) for name in _OF_ALL}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read_reference(path: Path) -> Reference:
    """Read what ``pack_reference`` made.

    Raises:
        BundleError: The file is missing, or is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            spaces = {
                space: Space(**{name: arrays[f"{space}_{name}"].astype(np.float64) for name in _OF_SPACE})
                for space in _SPACES
            }
            return Reference(
                spaces["network"],
                spaces["layout"],
                *(arrays[name] for name in _OF_ALL),
            )
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path} cannot be read: {error}; copy the bundle again from its source") from error
