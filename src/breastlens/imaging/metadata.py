"""How a file was made, as far as its header tells: format, compression, device, date. No pixel is decoded.

Only the technical tags named here are ever read. Nothing of the person, no free text and no name of an institution
is kept or logged.
"""

from __future__ import annotations

import contextlib
import io
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from breastlens.imaging.exif import MAKER, MODEL, SOFTWARE, clean_date, clean_text, read_tags
from breastlens.imaging.header import unpack
from breastlens.imaging.jpeg_quality import estimate_quality, hash_tables, read_tables
from breastlens.imaging.raster_header import jpeg_segments

_PHOTOMETRIC, _TIFF_COMPRESSION, _EXTRA_SAMPLES = 262, 259, 338
_TIFF_TAGS = frozenset({_PHOTOMETRIC, _TIFF_COMPRESSION, _EXTRA_SAMPLES})
_TIFF_COMPRESSIONS = {
    1: "none", 5: "LZW", 6: "JPEG", 7: "JPEG", 8: "deflate", 32773: "PackBits", 32946: "deflate", 34712: "JPEG 2000",
}  # fmt: skip
_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA = 1, 2
_JPEG_TABLES, _JPEG_EXIF, _JPEG_SCAN = 0xDB, 0xE1, 0xDA
_JPEG_FRAMES = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive", 0xC3: "lossless"}
_SUBSAMPLINGS = {
    (1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (1, 2): "4:4:0", (4, 1): "4:1:1", (4, 2): "4:1:0",
}  # fmt: skip
_PNG_COLOUR = {0: "grey", 2: "colour", 3: "colour", 4: "grey", 6: "colour"}
_PNG_WITH_ALPHA = (4, 6)
_MOST_TEXT_BYTES = 4096
_MOST_CHUNKS = 100_000  # a hostile file may hold millions of empty ones
_DICOM_TAGS = (
    "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "AcquisitionDate", "StudyDate",
    "PhotometricInterpretation",
)  # fmt: skip
_LETTERS = re.compile(r"[^\W\d_]+")
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class FileMetadata:
    """How a file was made; each field is None where the file does not tell.

    Attributes:
        container: "PNG", "JPEG", "TIFF", "BMP", "WEBP", "PGM", "PPM", "DICOM" or "MATRIX", as records name it.
        name_pattern: See `name_pattern`.
        compression: Within the format: "baseline" or "progressive" of a JPEG, "lossy" or "lossless" of a WebP, "LZW"
            and others of a TIFF, the transfer syntax of a DICOM file.
        jpeg_quality: 1 to 100, estimated from the quantisation tables.
        jpeg_tables: Eight hexadecimal digits, the same for the same tables.
        chroma_subsampling: "4:2:0" and others, of a JPEG in colour.
        colour: "grey" or "colour", as stored, whatever the pixels look like.
        alpha: Whether transparency is stored.
        maker: Of the device.
        model: Of the device.
        software: That wrote the file, or ran on the device.
        taken: Day of the acquisition, YYYY-MM-DD; of the last saving where no other is known.
    """

    container: str | None = None
    name_pattern: str | None = None
    compression: str | None = None
    jpeg_quality: int | None = None
    jpeg_tables: str | None = None
    chroma_subsampling: str | None = None
    colour: str | None = None
    alpha: bool | None = None
    maker: str | None = None
    model: str | None = None
    software: str | None = None
    taken: str | None = None


Facts = dict[str, Any]


def read_metadata(data: bytes, name: str) -> FileMetadata:
    """Read how a file was made. Damaged headers give None, never an exception.

    Args:
        data: The whole file, or at least its header.
        name: Its name or path; gives the pattern of the name, and tells text matrices, which have no signature.
    """
    found = next((entry for entry in _CONTAINERS if data.startswith(entry[1], entry[0])), None)
    pattern = name_pattern(name)
    if found is None:
        text = PurePosixPath(name).suffix.lower() in (".txt", ".csv")
        return FileMetadata(container="MATRIX" if text else None, name_pattern=pattern)
    _, _, container, read = found
    facts: Facts = {"container": container, "name_pattern": pattern}
    with contextlib.suppress(ValueError, IndexError):  # damaged from here on: what was read before stands
        read(data, facts)
    return replace(FileMetadata(), **facts)


def name_pattern(path: str) -> str:
    """Boil a file's name down to the habit it was named by.

    Each run of digits becomes ``0``; each run of letters ``A``, ``a`` or ``Aa`` by its case; the rest stays. So
    images numbered 1 to 900 share a pattern, and so do categories that only stand in the names.

    Args:
        path: Name or path; folders are dropped.
    """
    name = path.replace("\\", "/").rsplit("/", 1)[-1]
    return _DIGITS.sub("0", _LETTERS.sub(_letter_kind, name))


def _letter_kind(run: re.Match[str]) -> str:
    letters = run.group()
    return "A" if letters.isupper() else "a" if letters.islower() else "Aa"


def _read_png(data: bytes, facts: Facts) -> None:
    (colour_type,) = unpack(">B", data, 25)
    facts["colour"] = _PNG_COLOUR.get(colour_type)
    facts["alpha"] = colour_type in _PNG_WITH_ALPHA
    offset, kind = 8, b""
    for _ in range(_MOST_CHUNKS):
        length, kind = unpack(">I4s", data, offset)
        body = data[offset + 8 : offset + 8 + length]
        if kind == b"tRNS":
            facts["alpha"] = True
        elif kind == b"PLTE" and body[0::3] == body[1::3] == body[2::3]:
            facts["colour"] = "grey"
        elif kind == b"eXIf":
            _read_exif(body, facts)
        elif kind in (b"tEXt", b"zTXt", b"iTXt") and body.startswith(b"Software\0"):
            facts.setdefault("software", _png_text(kind, body[len(b"Software\0") :]))
        elif kind == b"IEND":
            break
        offset += 12 + length


def _png_text(kind: bytes, body: bytes) -> str | None:
    """The text after the keyword (W3C PNG specification, third edition, 11.3.3)."""
    compressed = kind == b"zTXt"
    if kind == b"iTXt":
        compressed = body[:1] == b"\x01"
        body = body[2:].split(b"\0", 2)[2]  # language and translated keyword stand between
    elif compressed:
        body = body[1:]
    if compressed:
        try:
            body = zlib.decompressobj().decompress(body, _MOST_TEXT_BYTES)
        except zlib.error:
            return None
    return clean_text(body[:_MOST_TEXT_BYTES].decode("utf-8" if kind == b"iTXt" else "latin-1", "replace"))


def _read_jpeg(data: bytes, facts: Facts) -> None:
    tables: dict[int, tuple[int, ...]] = {}
    for marker, offset, length in jpeg_segments(data):
        if marker == _JPEG_TABLES:
            tables |= read_tables(data[offset : offset + length])
        elif marker == _JPEG_EXIF and data[offset : offset + 6] == b"Exif\0\0":
            _read_exif(data[offset + 6 : offset + length], facts)
        elif marker in _JPEG_FRAMES:
            facts["compression"] = _JPEG_FRAMES[marker]
            facts["alpha"] = False
            components = [unpack(">BBB", data, offset + 6 + 3 * number) for number in range(data[offset + 5])]
            facts["colour"] = "grey" if len(components) == 1 else "colour"
            if len(components) == 3:
                facts["chroma_subsampling"] = _name_subsampling(components[0][1], components[1][1])
        elif marker == _JPEG_SCAN and tables:
            # Up to the first scan: a table may stand in a segment of its own.
            facts["jpeg_tables"] = hash_tables(tables)
            facts["jpeg_quality"] = estimate_quality(tables[min(tables)])


def _name_subsampling(luma: int, chroma: int) -> str | None:
    """Name the factors of two components, each with the horizontal one in the upper half byte."""
    across, down = (luma >> 4) / max(chroma >> 4, 1), (luma & 15) / max(chroma & 15, 1)
    return _SUBSAMPLINGS.get((int(across), int(down)), f"{across:g}x{down:g}")


def _read_exif(block: bytes, facts: Facts) -> None:
    tags = read_tags(block)
    for field, tag in (("maker", MAKER), ("model", MODEL), ("software", SOFTWARE)):
        if tag in tags.texts:
            facts[field] = tags.texts[tag]
    if tags.taken is not None:
        facts["taken"] = tags.taken


def _read_tiff(data: bytes, facts: Facts) -> None:
    _read_exif(data, facts)
    numbers = read_tags(data, _TIFF_TAGS).numbers
    if compression := numbers.get(_TIFF_COMPRESSION):
        facts["compression"] = _TIFF_COMPRESSIONS.get(compression[0], f"number {compression[0]}")
    if photometric := numbers.get(_PHOTOMETRIC):
        facts["colour"] = "grey" if photometric[0] in (0, 1) else "colour"
        extra = numbers.get(_EXTRA_SAMPLES, ())
        facts["alpha"] = _ASSOCIATED_ALPHA in extra or _UNASSOCIATED_ALPHA in extra


def _read_webp(data: bytes, facts: Facts) -> None:
    facts["colour"] = "colour"  # the format knows no other
    offset = 12
    for _ in range(_MOST_CHUNKS):
        kind, length = unpack("<4sI", data, offset)
        body = data[offset + 8 : offset + 8 + length]
        if kind == b"VP8X":
            facts["alpha"] = bool(unpack("<B", body, 0)[0] & 0x10)
        elif kind == b"VP8L":
            facts["compression"] = "lossless"
            facts.setdefault("alpha", bool(unpack("<I", body, 1)[0] >> 28 & 1))
        elif kind == b"VP8 ":
            facts["compression"] = "lossy"
            facts.setdefault("alpha", False)
        elif kind == b"EXIF":
            _read_exif(body.removeprefix(b"Exif\0\0"), facts)
        offset += 8 + length + length % 2


def _read_bmp(data: bytes, facts: Facts) -> None:
    (header_bytes,) = unpack("<I", data, 14)
    old = header_bytes == 12
    (bits,) = unpack("<H", data, 24 if old else 28)
    facts["alpha"] = bits == 32
    facts["colour"] = "colour"
    if not old:
        (kind,) = unpack("<I", data, 30)
        facts["compression"] = {0: "none", 1: "RLE", 2: "RLE", 3: "none"}.get(kind, f"number {kind}")
    if bits <= 8:
        (used,) = (0,) if old else unpack("<I", data, 46)
        width = 3 if old else 4
        start = 14 + header_bytes
        palette = data[start : start + width * min(used or 1 << bits, 256)]
        if palette[0::width] == palette[1::width] == palette[2::width]:
            facts["colour"] = "grey"


def _read_pnm(data: bytes, facts: Facts) -> None:
    facts["container"] = "PPM" if data[1:2] in b"36" else "PGM"
    facts["colour"] = "colour" if facts["container"] == "PPM" else "grey"
    facts["alpha"] = False


def _read_matrix(data: bytes, facts: Facts) -> None:
    """Numbers only: nothing is told of how they were made."""


def _read_dicom(data: bytes, facts: Facts) -> None:
    """Technical tags as bytes, so that pydicom neither converts nor quotes in a warning what it dislikes."""
    import pydicom
    from pydicom.uid import UID, JPEGTransferSyntaxes

    try:
        dataset = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=list(_DICOM_TAGS))
    except Exception:  # noqa: BLE001  pydicom raises whatever it meets in a damaged header
        return
    texts = {keyword: _dicom_text(dataset, keyword) for keyword in _DICOM_TAGS}
    facts["maker"] = texts["Manufacturer"]
    facts["model"] = texts["ManufacturerModelName"]
    facts["software"] = texts["SoftwareVersions"]
    facts["taken"] = clean_date(texts["AcquisitionDate"]) or clean_date(texts["StudyDate"])
    if shown := texts["PhotometricInterpretation"]:
        facts["colour"] = "grey" if shown.startswith("MONOCHROME") else "colour"
        facts["alpha"] = False
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if isinstance(syntax, UID):  # a damaged one may be several
        facts["compression"] = clean_text(syntax.name)
        if syntax in JPEGTransferSyntaxes and (start := data.find(b"\xff\xd8\xff")) >= 0:
            inner: Facts = {}
            with contextlib.suppress(ValueError, IndexError):
                _read_jpeg(data[start:], inner)
            facts |= {field: inner[field] for field in ("jpeg_quality", "jpeg_tables") if field in inner}


def _dicom_text(dataset: Any, keyword: str) -> str | None:
    """A tag's text as stored; several values are one line, as in the file."""
    try:
        element = dataset.get_item(keyword) if keyword in dataset else None
        value = None if element is None else element.value
    except Exception:  # noqa: BLE001  as above
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return clean_text(value)


_CONTAINERS: tuple[tuple[int, bytes, str, Callable[[bytes, Facts], None]], ...] = (
    (128, b"DICM", "DICOM", _read_dicom),  # first: its 128 free bytes may begin as another format does
    (0, b"\x89PNG\r\n\x1a\n", "PNG", _read_png),
    (0, b"\xff\xd8\xff", "JPEG", _read_jpeg),
    (0, b"II*\0", "TIFF", _read_tiff),
    (0, b"MM\0*", "TIFF", _read_tiff),
    (0, b"II+\0", "TIFF", _read_tiff),
    (0, b"MM\0+", "TIFF", _read_tiff),
    (8, b"WEBP", "WEBP", _read_webp),
    (0, b"\x93NUMPY", "MATRIX", _read_matrix),
    *((0, f"P{number}".encode(), "PNM", _read_pnm) for number in (2, 3, 5, 6)),
    (0, b"BM", "BMP", _read_bmp),
)
