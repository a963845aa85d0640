"""One file becomes one array: what the file is, whether it may be read, and its pixels or temperatures.

A file is known by its content. Where its suffix claims something else it is refused rather than guessed at,
because a wrong name in a medical data set is a sign that something happened to it.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from breastlens.config import ReadingLimits
from breastlens.errors import DecodeError
from breastlens.imaging import dicom, matrix, raster, raster_header
from breastlens.imaging.header import Header, Pixels, Quantity, Window

DEFAULT_LIMITS = ReadingLimits()


class _Reader(NamedTuple):
    """The two steps of reading a format, so that limits can be held between them."""

    header: Callable[[bytes], Any]
    pixels: Callable[[bytes, Any, int], tuple[Pixels, Window | None]]


class _Opened(NamedTuple):
    """A file that was read and whose header keeps the limits."""

    path: str | Path
    data: bytes
    reader: _Reader
    header: Header


_READERS = {
    "PNG": _Reader(raster_header.png_header, raster.read_pixels),
    "JPEG": _Reader(raster_header.jpeg_header, raster.read_pixels),
    "TIFF": _Reader(raster_header.tiff_header, raster.read_pixels),
    "BMP": _Reader(raster_header.bmp_header, raster.read_pixels),
    "WebP": _Reader(raster_header.webp_header, raster.read_pixels),
    "PGM/PPM": _Reader(raster_header.pnm_header, raster.read_pixels),
    "DICOM": _Reader(dicom.read_header, dicom.read_pixels),
    "NumPy": _Reader(matrix.npy_header, matrix.read_npy),
    "text": _Reader(matrix.text_header, matrix.read_text),
}
_KIND_OF_SUFFIX = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".webp": "WebP",
    ".pgm": "PGM/PPM",
    ".ppm": "PGM/PPM",
    ".pnm": "PGM/PPM",
    ".dcm": "DICOM",
    ".dicom": "DICOM",
    ".npy": "NumPy",
    ".txt": "text",
    ".csv": "text",
}
IMAGE_SUFFIXES: frozenset[str] = frozenset(_KIND_OF_SUFFIX)
"""Suffixes, in lower case, that a folder is searched for. A file named outright may have another or none."""

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (128, b"DICM", "DICOM"),  # first: its 128 free bytes may begin as another format does
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (8, b"WEBP", "WebP"),
    (0, b"\x93NUMPY", "NumPy"),
    (0, b"P2", "PGM/PPM"),
    (0, b"P3", "PGM/PPM"),
    (0, b"P5", "PGM/PPM"),
    (0, b"P6", "PGM/PPM"),
    (0, b"BM", "BMP"),
    (0, b"GIF8", "GIF"),
    (0, b"%PDF", "PDF"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"\x89HDF", "HDF5"),
    (4, b"ftyp", "HEIC, AVIF or video"),
    (0, b"\0\0\0\x0cjP", "JPEG 2000"),
)
_WORK_BYTES = 16
"""For a pixel and each byte of its samples: all copies of four channels, and what is computed with wider numbers."""
_KINDS_READ = "PNG, JPEG, TIFF, BMP, WebP, PGM/PPM, DICOM, or temperatures as .txt, .csv or .npy"


@dataclass(frozen=True)
class DecodedImage:
    """One frame as it stands in its file, upright, not yet windowed, cropped or resized.

    Attributes:
        pixels: (h, w) or (h, w, 3) RGB; uint8 or uint16 grey levels, or float32: deg C of a temperature
            matrix, or the rescaled values of a DICOM file. More is always brighter or warmer.
        format: "PNG", "JPEG", "TIFF", "BMP", "WEBP", "PGM", "PPM", "DICOM" or "MATRIX".
        bits: Depth of one sample in the file; for DICOM the bits stored, 32 for a text matrix.
        width: Columns of ``pixels``.
        height: Rows of ``pixels``.
        quantity: "grey" or "temperature_c".
        patient_id: From a DICOM header; None for all other formats.
        frame: Which frame of the file this is, from 0.
        window: Values that the file itself wants shown as black and as white (a DICOM window), None where it
            says nothing.
    """

    pixels: Pixels
    format: str
    bits: int
    width: int
    height: int
    quantity: Quantity = "grey"
    patient_id: str | None = None
    frame: int = 0
    window: Window | None = None


def decode(path: str | Path, *, limits: ReadingLimits = DEFAULT_LIMITS, frame: int = 0) -> DecodedImage:
    """Read one frame of one file. Thread-safe; the same bytes always give the same pixels.

    Args:
        path: The file. Its content decides how it is read; its suffix must not contradict.
        limits: File size is checked before reading, pixels and frames before decoding.
        frame: DICOM frame or TIFF page, from 0.

    Returns:
        The upright frame.

    Raises:
        DecodeError: The file is missing, empty, truncated, damaged, mislabelled, too large, or no image.
    """
    return _decode_frame(_open(path, limits), frame)


def decode_bytes(data: bytes, *, suffix: str = "", limits: ReadingLimits = DEFAULT_LIMITS) -> DecodedImage:
    """Read the first frame of a file that is in memory already; in all else as ``decode``.

    Args:
        data: The file's content.
        suffix: That of its name, such as ``.png``, which its content must not contradict. Text is only read as a
            temperature matrix where the suffix says so.
        limits: As for ``decode``.

    Raises:
        DecodeError: It is empty, truncated, damaged, mislabelled, too large, or no image.
    """
    try:
        _require_size(len(data), limits)
        return _decode_frame(_Opened("", data, *_identify(data, suffix, limits)), 0)
    except (ValueError, MemoryError) as error:
        raise DecodeError("", _reason(error)) from error


def decode_frames(path: str | Path, *, limits: ReadingLimits = DEFAULT_LIMITS) -> Iterator[DecodedImage]:
    """Yield every frame (DICOM) or page (TIFF) of one file, which is read once; one for all other formats.

    Raises:
        DecodeError: As ``decode``, once the frame that cannot be read is reached.
    """
    opened = _open(path, limits)
    for frame in range(opened.header.frames):
        yield _decode_frame(opened, frame)


def import_readers() -> None:
    """Import now what is otherwise imported with the first image of a format."""
    dicom.import_decoders()


def _open(path: str | Path, limits: ReadingLimits) -> _Opened:
    """Read a file and its header.

    Raises:
        DecodeError: As ``decode``, as far as the header tells.
    """
    try:
        data = _read_bytes(Path(path), limits)
        return _Opened(path, data, *_identify(data, Path(path).suffix, limits))
    except (OSError, ValueError, MemoryError) as error:
        raise DecodeError(path, _reason(error)) from error


def _decode_frame(opened: _Opened, frame: int) -> DecodedImage:
    """Decode one frame of a file that was read.

    Raises:
        DecodeError: The file does not have it, or it is damaged.
    """
    header = opened.header
    try:
        _require_frame(frame, header)
        pixels, window = opened.reader.pixels(opened.data, header, frame)
    except (OSError, ValueError, MemoryError) as error:
        raise DecodeError(opened.path, _reason(error)) from error
    return DecodedImage(
        pixels=pixels,
        format=header.format,
        bits=header.bits,
        width=pixels.shape[1],
        height=pixels.shape[0],
        quantity=header.quantity,
        patient_id=header.patient_id,
        frame=frame,
        window=window,
    )


def _require_frame(frame: int, header: Header) -> None:
    """Refuse a frame that the file does not have."""
    if not 0 <= frame < header.frames:
        raise ValueError(f"frame {frame} was asked for, it has {header.frames} (counted from 0)")


def _reason(error: OSError | ValueError | MemoryError) -> str:
    """What to tell the user."""
    if isinstance(error, OSError):
        return f"it cannot be read: {(error.strerror or str(error)).lower()}"
    if isinstance(error, MemoryError):
        return "it does not fit into this machine's memory; lower the pixel limit or make it smaller"
    return str(error)


def _read_bytes(path: Path, limits: ReadingLimits) -> bytes:
    """The whole file, unless it is no regular file, empty, or larger than the limit."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is not a regular file, expected an image")
    _require_size(status.st_size, limits)
    return path.read_bytes()


def _require_size(size_bytes: int, limits: ReadingLimits) -> None:
    """Refuse a file that is empty or larger than the limit."""
    if size_bytes == 0:
        raise ValueError("it is empty")
    if size_bytes > limits.file_bytes:
        raise ValueError(f"it has {size_bytes} bytes, more than the limit of {limits.file_bytes}")


def _identify(data: bytes, suffix: str, limits: ReadingLimits) -> tuple[_Reader, Header]:
    """Reader and header of a file, once its content agrees with its suffix and its size with the limits."""
    claimed = _KIND_OF_SUFFIX.get(suffix.lower())
    found = next((kind for at, mark, kind in _SIGNATURES if data.startswith(mark, at)), None)
    if found is None and claimed == "text":
        found = "text"
    reader = _READERS.get(found) if found is not None else None
    if reader is None:
        raise ValueError(
            f"it is {_other_content(data, found)}, not an image that is read here; expected {_KINDS_READ}"
        )
    if claimed is not None and claimed != found:
        raise ValueError(
            f"its suffix {suffix} says {claimed}, its content is {found};"
            " give it the right suffix if you know why, or leave it out"
        )
    header: Header = reader.header(data)
    if header.width < 1 or header.height < 1:
        raise ValueError(f"its header tells an impossible size of {header.width}x{header.height} px")
    if header.width * header.height > limits.pixels:
        raise ValueError(
            f"it has {header.width}x{header.height} px, more than the limit of {limits.pixels} in one frame"
        )
    needed = header.width * header.height * _WORK_BYTES * min(max(header.bits, 8), 32) // 8
    if limits.memory_bytes is not None and needed > limits.memory_bytes:
        raise ValueError(
            f"it has {header.width}x{header.height} px of {header.bits} bits, which may take "
            f"{needed // 2**20} MiB to decode, more than the limit of {limits.memory_bytes // 2**20}; make it smaller"
        )
    if header.frames > limits.frames:
        raise ValueError(f"it has {header.frames} frames, more than the limit of {limits.frames}")
    return reader, header


def _other_content(data: bytes, found: str | None) -> str:
    """Words for what a file without a reader is."""
    if found is not None:
        return f"a {found} file"
    control_characters = set(range(9))
    return "of unknown content" if control_characters & set(data[:512]) else "text"
