"""reference.npz: the training images as novelty is measured from them, in a bundle; plain arrays, no pickles."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.errors import BundleError
from breastlens.inference.novelty import Reference, Space
from breastlens.inference.plain_arrays import read_arrays

_SPACES = ("network", "layout")
_OF_SPACE = ("mean", "scale", "axes", "spread", "places")
_OF_SPACES = tuple(f"{space}_{name}" for space in _SPACES for name in _OF_SPACE)
_OF_ALL = {"centre": np.float64, "width": np.float64, "labels": np.int64, "numbers": np.int64}


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
        arrays = _read_arrays(path)
        _check_shapes(arrays)
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path} cannot be read: {error}; copy the bundle again from its source") from error
    network, layout = (Space(**{name: arrays[f"{space}_{name}"] for name in _OF_SPACE}) for space in _SPACES)
    return Reference(network, layout, *(arrays[name] for name in _OF_ALL))


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of the file.

    Raises:
        OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile: It is missing, or no archive of these
            arrays.
    """
    found = read_arrays(path, (*_OF_SPACES, *_OF_ALL))
    spaces = {name: np.asarray(found[name], np.float64) for name in _OF_SPACES}
    return spaces | {name: np.asarray(found[name], kind) for name, kind in _OF_ALL.items()}


def _check_shapes(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Refuse arrays that do not belong together.

    Raises:
        ValueError: With the first whose shape is another than those of the others say.
    """
    images, parts = arrays["labels"].size, 2 * len(_SPACES)
    expected: dict[str, tuple[int, ...]] = {"centre": (parts,), "width": (parts,)}
    expected |= {"labels": (images,), "numbers": (images,)}
    for space in _SPACES:
        signals, axes = arrays[f"{space}_mean"].size, arrays[f"{space}_spread"].size
        shapes = ((signals,), (signals,), (axes, signals), (axes,), (images, axes))
        expected |= {f"{space}_{name}": shape for name, shape in zip(_OF_SPACE, shapes, strict=True)}
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} has the shape {arrays[name].shape} instead of {shape}")
