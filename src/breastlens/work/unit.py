"""A unit of work: a function and what it is given, named by the content of what it needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from pydantic import BaseModel


@dataclass(frozen=True, eq=False)
class Unit:
    """Something that can be done apart from all else, anywhere and again, always with the same result.

    Attributes:
        title: What people call it.
        key: What it needs, as a hash (``content_key``): two units with one key have one result.
        function: Importable by its name, so that another process finds it.
        arguments: What it is called with; everything in it can be pickled. Large things travel as paths.
        size: Of how many images or files it is.
    """

    title: str
    key: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    size: int = 1

    def do(self) -> Any:
        """Do it now, in this process."""
        return self.function(*self.arguments)


def content_key(*parts: Any) -> str:
    """Name content by its SHA-256, 64 hexadecimal digits.

    Args:
        *parts: Arrays of numbers, bytes, or what JSON can say, with dataclasses, settings and paths in it.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            described = json.dumps([str(part.dtype), part.shape]).encode()
            content: Any = np.ascontiguousarray(part).data.cast("B") if part.size else b""
        elif isinstance(part, bytes):
            described, content = b"bytes", part
        else:
            described, content = b"json", json.dumps(part, sort_keys=True, default=_plain).encode()
        digest.update(len(described).to_bytes(8, "big") + described + len(content).to_bytes(8, "big"))
        digest.update(content)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """What JSON has no word for."""
    if is_dataclass(value):
        told = {each.name: getattr(value, each.name) for each in fields(value)}
        return {"class": type(value).__qualname__, "fields": told}
    if isinstance(value, BaseModel):
        return {"class": type(value).__qualname__, "fields": value.model_dump(mode="json")}
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"the content of {type(value).__name__} has no name")
