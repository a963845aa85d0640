"""What a file says of itself, read before a single pixel is decoded so that limits can be held."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Quantity = Literal["grey", "temperature_c"]
Pixels = NDArray[Any]
"""(h, w) or (h, w, 3) RGB; uint8 or uint16 grey levels, or float32."""
Window = tuple[float, float]
"""The values that the file itself wants shown as black and as white, in units of its pixels."""


@dataclass(frozen=True)
class Header:
    """The facts that every reader tells about a file before decoding it.

    Attributes:
        format: As records name it, for example ``"PNG"``.
        width: Columns of the stored frame in px, before any orientation tag is applied.
        height: Rows of the stored frame in px.
        bits: Depth of one sample in the file: 8, 12, 16, 32 ...
        frames: Frames or pages in the file.
        quantity: What a pixel value means.
        patient_id: From the header, where the format has a place for it.
    """

    format: str
    width: int
    height: int
    bits: int
    frames: int = 1
    quantity: Quantity = "grey"
    patient_id: str | None = None


def unpack(layout: str, data: bytes, offset: int) -> tuple[Any, ...]:
    """Read packed numbers as ``struct.unpack_from`` does, with plain words when the file ends before them.

    Raises:
        ValueError: The data is shorter than the layout asks for.
    """
    if offset < 0 or offset + struct.calcsize(layout) > len(data):
        raise ValueError("it is truncated: the file ends too early")
    return struct.unpack_from(layout, data, offset)


def require_finite(values: Pixels) -> None:
    """Refuse arrays with NaN or infinity, naming the first place.

    Raises:
        ValueError: With the count and the row and column (from 1) of the first.
    """
    if values.dtype.kind != "f":
        return
    broken = ~np.isfinite(values)
    if broken.any():
        row, column = (int(index) + 1 for index in np.argwhere(broken)[0][:2])
        raise ValueError(
            f"{int(broken.sum())} of {values.size} values are not finite numbers,"
            f" the first in row {row}, column {column}; fill or cut them before use"
        )
