"""Makes of a picture the square that an exported network takes, as BreastLens does, or says why it cannot be made.

This file lies beside the network and needs NumPy and OpenCV alone. ``export.json`` has its settings, and every step in
words. What can be read here is read as BreastLens reads it; what it reads and this file does not is refused.
"""

from __future__ import annotations

import io
import json
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

_PNG, _JPEG, _NUMPY = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\x93NUMPY"
_ORIENTATION, _SHORT = 0x0112, 3
_BEGINNING = {".png": _PNG, ".jpg": _JPEG, ".jpeg": _JPEG, ".npy": _NUMPY}


def prepare(path: str) -> Pixels:
    """Make the square of one image; where it cannot be made, end the program with one line and exit code 2.

    Args:
        path: A PNG or JPEG picture of 8 bits a channel without transparency, or a square that BreastLens made, as .npy.

    Returns:
        uint8 (s, s, 3), red, green, blue.
    """
    facts = json.loads(Path(__file__).with_name("export.json").read_text(encoding="utf-8"))
    try:
        return _make_square(Path(path), facts["preprocessing"])
    except ValueError as error:
        sys.stderr.write(f"{path}: {error}\n")
        raise SystemExit(2) from error


def _make_square(path: Path, settings: dict[str, Any]) -> Pixels:
    """Read what the suffix says, once the content agrees.

    Raises:
        ValueError: It cannot be read, or is not what is taken here.
    """
    suffix, recipe, further = path.suffix.lower(), settings["recipe"], settings["more_than_resizing"]
    side = recipe["image_size"]
    if suffix not in _BEGINNING:
        raise ValueError("expected a picture as .png or .jpg, or a square that BreastLens made as .npy")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"it cannot be read: {(error.strerror or str(error)).lower()}") from error
    if not data.startswith(_BEGINNING[suffix]):
        raise ValueError(f"its content is not what its suffix {suffix} says")
    if suffix == ".npy":
        return _read_square(data, side)
    if further:
        raise ValueError(
            f"this model's images take more than resizing ({', '.join(further)}): expected a square that BreastLens "
            "made as .npy"
        )
    return _fit(_read_picture(data), side, recipe["fit"] == "letterbox", settings["hidden_border_px"])


def _read_square(data: bytes, side: int) -> Pixels:
    """What numpy.save wrote of uint8 (side, side, 3).

    Raises:
        ValueError: It is anything else.
    """
    expected = io.BytesIO()
    np.save(expected, np.zeros((side, side, 3), np.uint8))
    whole = expected.getvalue()
    header = whole[: -side * side * 3]
    if len(data) != len(whole) or not data.startswith(header):
        raise ValueError(
            f"it has {len(data)} bytes and begins {data[: len(header)].strip()!r}, "
            f"expected uint8 ({side}, {side}, 3) as numpy.save writes it"
        )
    return np.frombuffer(data[len(header) :], np.uint8).reshape(side, side, 3).copy()


def _read_picture(data: bytes) -> Pixels:
    """A PNG or JPEG file as uint8 (h, w, 3), red, green, blue.

    Raises:
        ValueError: It is damaged, an animation, stored turned, of more than 8 bits, or transparent.
    """
    for exif in _png_exif(data) if data.startswith(_PNG) else _jpeg_exif(data):
        _require_upright(exif)
    try:
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(f"OpenCV cannot decode it: {error.err}") from error
    if stored is None:
        raise ValueError("OpenCV cannot decode it: it is damaged or of a rare kind; save it anew as PNG")
    if stored.dtype != np.uint8:
        raise ValueError(f"it has {8 * stored.itemsize} bits a channel, expected 8")
    if stored.ndim == 2:
        return np.asarray(cv2.cvtColor(stored, cv2.COLOR_GRAY2RGB))
    if (stored[..., 3:] < 255).any():
        raise ValueError("it has transparent pixels, expected none")
    return np.asarray(cv2.cvtColor(stored[..., :3], cv2.COLOR_BGR2RGB))


def _png_exif(data: bytes) -> list[bytes]:
    """Walk the chunks of a PNG file: length, kind, content and checksum of each. Give its Exif blocks.

    Raises:
        ValueError: It is truncated, damaged or an animation.
    """
    start, kind, found = len(_PNG), b"", []
    while kind != b"IEND":
        kind = data[start + 4 : start + 8]
        end = start + 8 + int.from_bytes(data[start : start + 4], "big")
        if data[end : end + 4] != zlib.crc32(data[start + 4 : end]).to_bytes(4, "big"):
            raise ValueError("it is truncated or damaged")
        if kind == b"acTL":
            raise ValueError("it is an animation, expected a still image")
        if kind == b"eXIf":
            found.append(data[start + 8 : end])
        start = end + 4
    return found


def _jpeg_exif(data: bytes) -> list[bytes]:
    """Walk the segments of a JPEG file up to its first scan: marker and length of each. Give its Exif blocks.

    Raises:
        ValueError: It is truncated or damaged.
    """
    start, marker, found = 2, b"", []
    while marker != b"\xff\xda":
        marker = data[start : start + 2]
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        has_length = b"\xff\xc0" <= marker < b"\xff\xd0" or b"\xff\xda" <= marker < b"\xff\xff"
        if not has_length or end < start + 4:
            raise ValueError("it is truncated or damaged")
        if marker == b"\xff\xe1" and data.startswith(b"Exif\0\0", start + 4):
            found.append(data[start + 10 : end])
        start = end
    if data.find(b"\xff\xd9", start) < 0:
        raise ValueError("it is truncated")
    return found


def _require_upright(exif: bytes) -> None:
    """Refuse an Exif block that asks for turning or mirroring, or of which that cannot be told.

    Raises:
        ValueError: It is such a block.
    """
    try:
        order = {b"II*\0": "<", b"MM\0*": ">"}[exif[:4]]
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        entries = [struct.unpack_from(order + "HHIH", exif, start + 2 + 12 * entry) for entry in range(count)]
    except (KeyError, struct.error) as error:
        raise ValueError("its Exif block is damaged: save it without") from error
    if any(tag == _ORIENTATION and rest != [_SHORT, 1, 1] for tag, *rest in entries):
        raise ValueError("it is stored turned, which its Exif block says: save it upright")


def _fit(image: Pixels, side: int, letterbox: bool, border_px: int) -> Pixels:
    """Stretch to the square, or lay on the middle of a black one in its own proportions; paint the border black.

    By area where a side shrinks, which goes first, and bicubic where it grows.
    """
    height, width = image.shape[:2]
    across = down = side
    if letterbox:
        scale = side / max(height, width)
        across, down = max(1, round(width * scale)), max(1, round(height * scale))
    image = cv2.resize(image, (min(across, width), min(down, height)), interpolation=cv2.INTER_AREA)
    image = cv2.resize(image, (across, down), interpolation=cv2.INTER_CUBIC)
    left, top = (side - across) // 2, (side - down) // 2
    square = np.zeros((side, side, 3), np.uint8)
    square[top : top + down, left : left + across] = image
    if border_px:
        square[:border_px] = square[-border_px:] = square[:, :border_px] = square[:, -border_px:] = 0
    return square
