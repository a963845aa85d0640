"""Reads and checks the headers of PNG, JPEG, WebP, BMP, PGM and PPM; TIFF has its own room next door.

Own parsers rather than Pillow's: Pillow judges size by a process-wide setting, while each call here has its own
limit, and Pillow cannot tell a truncated file from a whole one without decoding it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from breastlens.imaging.header import Header, unpack
from breastlens.imaging.tiff import TiffPage, exif_orientation, read_pages

_ANIMATION = "it is an animation; save the picture that is meant as a still image"
_JPEG_MARKER = re.compile(rb"\xff+")  # any number of FF bytes may stand before a marker's own byte
_JPEG_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})
_JPEG_LS_FRAME = 0xF7  # occurs within DICOM
_JPEG_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), _JPEG_LS_FRAME} - {0xC4, 0xC8, 0xCC})
_JPEG_START_OF_SCAN, _JPEG_EXIF = 0xDA, 0xE1
_PNG_GREY_WITH_ALPHA = 4
_WEBP_ANIMATED = 0x02
_PNM = re.compile(rb"P([2356])" + 3 * rb"(?:\s|#[^\n]*\n)+(\d{1,10})" + rb"\s")


@dataclass(frozen=True)
class RasterHeader(Header):
    """A header with what is needed to bring OpenCV's result upright and to plain grey or RGB.

    Attributes:
        orientation: Exif number 1-8.
        grey_with_alpha: OpenCV spreads grey with alpha over four channels; one grey channel is wanted back.
        white_level: Largest value of a raw PGM or PPM of less than 8 bits, None for all others.
        pages: TIFF pages that are frames; empty for all others.
    """

    orientation: int = 1
    grey_with_alpha: bool = False
    white_level: int | None = None
    pages: tuple[TiffPage, ...] = ()


def png_header(data: bytes) -> RasterHeader:
    """Walk all chunks of a PNG file, checking that it is whole (W3C PNG specification, third edition).

    Raises:
        ValueError: It is truncated, damaged or an animation.
    """
    first, width, height, bits, colour = unpack(">4sIIBB", data, 12)
    if first != b"IHDR":
        raise ValueError("it is damaged: its first chunk is not the image header")
    offset, orientation, kind = 8, 1, b""
    while kind != b"IEND":
        if offset + 12 > len(data):
            raise ValueError("it is truncated: a PNG file ends with an IEND chunk, this one does not")
        length, kind = unpack(">I4s", data, offset)
        body = data[offset + 8 : offset + 8 + length]
        (checksum,) = unpack(">I", data, offset + 8 + length)
        # Only the upper-case (critical) chunks carry pixels; a bad comment does not spoil the image.
        if kind[:1].isupper() and zlib.crc32(kind + body) != checksum:
            raise ValueError(f"it is damaged: the checksum of its {kind.decode('latin-1')} chunk is wrong")
        if kind == b"acTL":
            raise ValueError(_ANIMATION)
        if kind == b"eXIf":
            orientation = exif_orientation(body)
        offset += 12 + length
    return RasterHeader(
        "PNG", width, height, bits, orientation=orientation, grey_with_alpha=colour == _PNG_GREY_WITH_ALPHA
    )


def jpeg_header(data: bytes) -> RasterHeader:
    """Walk the segments of a JPEG file up to its first scan and look for its end (ITU-T T.81).

    Raises:
        ValueError: It is truncated or damaged.
    """
    width = height = bits = 0
    orientation = 1
    for marker, offset, length in jpeg_segments(data):
        if marker in _JPEG_START_OF_FRAME:
            if bits:
                raise ValueError("it is damaged: two frame headers stand before its first scan")
            bits, height, width = unpack(">BHH", data, offset)
        elif marker == _JPEG_EXIF and data[offset : offset + 6] == b"Exif\0\0":
            orientation = exif_orientation(data[offset + 6 : offset + length])
        elif marker == _JPEG_START_OF_SCAN and data.rfind(b"\xff\xd9", offset + length) < 0:
            raise ValueError(
                "it is truncated: a JPEG file ends with the marker FFD9, this one does not have it"
            )
    if not bits:
        raise ValueError("it is damaged: no frame header stands before its first scan")
    return RasterHeader("JPEG", width, height, bits, orientation=orientation)


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, offset and length of the content of each JPEG segment, up to and with the first scan."""
    offset, marker = 2, 0
    while marker != _JPEG_START_OF_SCAN:
        lead = _JPEG_MARKER.match(data, offset)
        if lead is None:
            raise ValueError("it is truncated or damaged: no JPEG marker stands where one must")
        marker, length = unpack(">BH", data, lead.end())
        if marker in _JPEG_WITHOUT_LENGTH or length < 2:
            raise ValueError("it is damaged: a JPEG marker stands before its first scan that must not")
        yield marker, lead.end() + 3, length - 2
        offset = lead.end() + 1 + length


def webp_header(data: bytes) -> RasterHeader:
    """Walk the chunks of a WebP file (RFC 9649).

    Raises:
        ValueError: It is truncated, damaged or an animation.
    """
    (riff_bytes,) = unpack("<I", data, 4)
    if 8 + riff_bytes > len(data):
        raise ValueError(
            f"it is truncated: it has {len(data)} of the {8 + riff_bytes} bytes that its header tells"
        )
    size, orientation, offset = (0, 0), 1, 12
    while offset + 8 <= min(8 + riff_bytes, len(data)):
        kind, length = unpack("<4sI", data, offset)
        body = data[offset + 8 : offset + 8 + length]
        if kind == b"VP8X":
            flags, low_w, high_w, low_h, high_h = unpack("<B3xHBHB", body, 0)
            if flags & _WEBP_ANIMATED:
                raise ValueError(_ANIMATION)
            size = (1 + low_w + (high_w << 16), 1 + low_h + (high_h << 16))
        elif kind == b"VP8 ":
            width, height = unpack("<HH", body, 6)
            size = max(size, (width & 0x3FFF, height & 0x3FFF), key=lambda side: side[0] * side[1])
        elif kind == b"VP8L":
            (packed,) = unpack("<I", body, 1)
            size = max(
                size, (1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)), key=lambda side: side[0] * side[1]
            )
        elif kind == b"EXIF":
            orientation = exif_orientation(body.removeprefix(b"Exif\0\0"))
        offset += 8 + length + length % 2
    return RasterHeader("WEBP", *size, 8, orientation=orientation)


def bmp_header(data: bytes) -> RasterHeader:
    """Read the size from a Windows bitmap.

    Raises:
        ValueError: It is truncated.
    """
    (header_bytes,) = unpack("<I", data, 14)
    width, height = unpack("<HH" if header_bytes == 12 else "<ii", data, 18)
    return RasterHeader("BMP", abs(width), abs(height), 8)  # a negative height means top row first


def pnm_header(data: bytes) -> RasterHeader:
    """Read the size and the largest value of a PGM or PPM file, text or raw (netpbm).

    Raises:
        ValueError: It is truncated or its header is not as netpbm describes.
    """
    match = _PNM.match(data)
    if match is None:
        raise ValueError("its header is not 'P5 width height maximum', as a PGM or PPM file begins")
    kind, width, height, most = (int(text) for text in match.groups())
    if not 1 <= most <= 65535:
        raise ValueError(f"its largest value is {most}, expected 1 to 65535")
    raw, samples = kind in (5, 6), 3 if kind in (3, 6) else 1
    # A sample of the text kinds needs at least a digit and a space.
    needed = width * height * samples * (2 if not raw or most > 255 else 1) - (0 if raw else 1)
    if len(data) - match.end() < needed:
        raise ValueError(
            f"it is truncated: {width}x{height} px need {needed} bytes, {len(data) - match.end()} are there"
        )
    return RasterHeader(
        "PPM" if samples == 3 else "PGM",
        width,
        height,
        16 if most > 255 else 8,
        white_level=most
        if raw and most < 255
        else None,  # OpenCV scales the text kinds itself, the raw ones not
    )


def tiff_header(data: bytes) -> RasterHeader:
    """Read every page of a TIFF file; reduced copies of a page (thumbnails) are no frames.

    Raises:
        ValueError: It is truncated, damaged, or its pages differ in size.
    """
    pages = read_pages(data)
    first = pages[0].header
    if any((page.header.width, page.header.height) != (first.width, first.height) for page in pages):
        raise ValueError(
            "its pages differ in size, so it is not a series of frames; save the page that is meant alone"
        )
    return RasterHeader(
        "TIFF",
        first.width,
        first.height,
        first.bits,
        frames=len(pages),
        orientation=pages[0].orientation,
        pages=tuple(pages),
    )
