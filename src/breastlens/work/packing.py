"""Results as bytes and back, without pickle: nothing that is read can run."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TREE = "tree"
_OF = "of"


def pack(value: Any) -> bytes:
    """Turn a value into bytes.

    Args:
        value: None, booleans, numbers, text, bytes, arrays of numbers or text, dataclasses, and lists, tuples and
            dictionaries (with text as keys) of those.

    Raises:
        TypeError: It holds anything else.
    """
    arrays: dict[str, Any] = {}
    tree = json.dumps(_flatten(value, arrays)).encode()
    held = io.BytesIO()
    np.savez(held, allow_pickle=False, **{_TREE: np.frombuffer(tree, np.uint8)} | arrays)
    return held.getvalue()


def unpack(packed: bytes | Path, known: Sequence[type]) -> Any:
    """Turn it back into what it was; subclasses of simple types come back as these.

    Args:
        packed: From ``pack``, or the file that holds it.
        known: The dataclasses that may be in it.

    Raises:
        ValueError: It is damaged, or holds another dataclass.
        OSError: The file cannot be read.
    """
    by_name = {kind.__name__: kind for kind in known}
    content = packed if isinstance(packed, bytes) else packed.read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
        return _build(json.loads(arrays.pop(_TREE).tobytes()), arrays, by_name)
    except (zipfile.BadZipFile, EOFError, KeyError, TypeError) as error:
        raise ValueError(f"it is damaged ({error})") from error


def _flatten(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """A tree of JSON, with what JSON has no word for as ``{"of": what it is, ...}``."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list):
        return [_flatten(each, arrays) for each in value]
    if isinstance(value, bytes | np.ndarray):
        if isinstance(value, np.ndarray) and value.dtype.hasobject:
            raise TypeError("arrays of objects cannot be packed")
        name = f"array_{len(arrays)}"
        arrays[name] = value if isinstance(value, np.ndarray) else np.frombuffer(value, np.uint8)
        return {_OF: "bytes" if isinstance(value, bytes) else "array", "name": name}
    if isinstance(value, tuple):
        return {_OF: "tuple", "items": [_flatten(each, arrays) for each in value]}
    if isinstance(value, dict):
        return {_OF: "dict", "items": [[key, _flatten(each, arrays)] for key, each in value.items()]}
    if is_dataclass(value) and not isinstance(value, type):
        held = {each.name: _flatten(getattr(value, each.name), arrays) for each in fields(value)}
        return {_OF: "class", "name": type(value).__name__, "fields": held}
    raise TypeError(f"{type(value).__name__} cannot be packed")


def _build(tree: Any, arrays: dict[str, NDArray[Any]], known: dict[str, type]) -> Any:
    if isinstance(tree, list):
        return [_build(each, arrays, known) for each in tree]
    if not isinstance(tree, dict):
        return tree
    kind = tree[_OF]
    if kind == "array":
        return arrays[tree["name"]]
    if kind == "bytes":
        return arrays[tree["name"]].tobytes()
    if kind == "tuple":
        return tuple(_build(each, arrays, known) for each in tree["items"])
    if kind == "dict":
        return {key: _build(each, arrays, known) for key, each in tree["items"]}
    if tree["name"] not in known:
        raise ValueError(f"it holds {tree['name']}, which is not expected there")
    return known[tree["name"]](**{name: _build(each, arrays, known) for name, each in tree["fields"].items()})
