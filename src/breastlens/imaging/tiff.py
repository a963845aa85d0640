"""Reads TIFF directories: for TIFF files themselves and for the Exif block of the other formats."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from breastlens.imaging.header import Header, unpack

_SUBFILE_TYPE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC = 254, 256, 257, 258, 262
_STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _STRIP_BYTES = 273, 274, 277, 279
_TILE_OFFSETS, _TILE_BYTES, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 324, 325, 338, 339
_TAGS = frozenset({
    _SUBFILE_TYPE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _STRIP_BYTES,
    _TILE_OFFSETS, _TILE_BYTES, _EXTRA_SAMPLES, _SAMPLE_FORMAT,
})  # fmt: skip
_REDUCED_COPY = 1
_WHITE_IS_ZERO = 0
_UNASSOCIATED_ALPHA = 2
_UNSIGNED_INTEGER = 1
_INTEGER_LAYOUT = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_MOST_PAGES = 100_000
_MOST_VALUES = (
    10_000_000  # in all directories together; a hostile file can name the same bytes again and again
)


class Entry(NamedTuple):
    """The integers of one directory entry, where in the file they begin and how each is packed."""

    values: tuple[int, ...] = ()
    offset: int = 0
    layout: str = ""


@dataclass(frozen=True)
class TiffPage:
    """One page as its directory describes it.

    Attributes:
        index: Place in the chain of pages, from 0.
        header: Size and depth of this page.
        orientation: Exif number 1-8.
        orientation_entry: The entry it comes from, None if there is no such tag.
        white_is_zero: Grey levels run from white to black.
        straight_alpha: The alpha channel has not been multiplied into the colours.
    """

    index: int
    header: Header
    orientation: int
    orientation_entry: Entry | None
    white_is_zero: bool
    straight_alpha: bool


def read_pages(data: bytes) -> list[TiffPage]:
    """Describe every page of a TIFF or BigTIFF file but the reduced copies (thumbnails) of others.

    Raises:
        ValueError: The file is truncated, loops, or a page is of a kind that is not read.
    """
    order = _byte_order(data)
    directories = _directories(data, order)
    whole = [
        (index, directory)
        for index, directory in enumerate(directories)
        if not _first(directory, _SUBFILE_TYPE, 0) & _REDUCED_COPY
    ]
    if not whole:
        raise ValueError("it holds no page, or thumbnails only")
    return [_page(data, index, directory) for index, directory in whole]


def exif_orientation(exif: bytes) -> int:
    """The orientation (1-8) that an Exif block asks for; 1, upright, where it has none or cannot be read."""
    try:
        directories = _directories(exif, _byte_order(exif), most=1)
    except ValueError:  # a damaged Exif block leaves a whole image, which is then taken as it stands
        return 1
    return _orientation(directories[0]) if directories else 1


def _byte_order(data: bytes) -> str:
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise ValueError("it does not begin as a TIFF file does")
    return order


def _directories(data: bytes, order: str, most: int = _MOST_PAGES) -> list[dict[int, Entry]]:
    """All image file directories in the order of their chain, at most ``most``."""
    big = unpack(order + "H", data, 2)[0] == 43
    (offset,) = unpack(order + ("Q" if big else "I"), data, 8 if big else 4)
    directories: list[dict[int, Entry]] = []
    seen: set[int] = set()
    budget = _MOST_VALUES
    while offset and len(directories) < most:
        if offset in seen:
            raise ValueError("it is damaged: its chain of pages runs in a circle")
        seen.add(offset)
        directory, offset = _directory(data, offset, order, big, budget)
        budget -= sum(len(entry.values) for entry in directory.values())
        directories.append(directory)
    return directories


def _directory(data: bytes, offset: int, order: str, big: bool, budget: int) -> tuple[dict[int, Entry], int]:
    """The integer entries of one directory that are of use here, by tag, and the offset of the next one."""
    count_layout, word, entry_bytes = ("Q", "Q", 20) if big else ("H", "I", 12)
    (count,) = unpack(order + count_layout, data, offset)
    start = offset + struct.calcsize(order + count_layout)
    end = start + count * entry_bytes
    (following,) = unpack(order + word, data, end)
    entries: dict[int, Entry] = {}
    for position in range(start, end, entry_bytes):
        tag, kind, length = unpack(order + "HH" + word, data, position)
        layout = _INTEGER_LAYOUT.get(kind)
        if layout is None or tag not in _TAGS or tag in entries:
            continue
        if length > budget:
            raise ValueError(
                "it is damaged: its directories name more values than a file of its kind can have"
            )
        place = position + 4 + struct.calcsize(order + word)
        if length * struct.calcsize(order + layout) > struct.calcsize(order + word):
            (place,) = unpack(order + word, data, place)
        entries[tag] = Entry(unpack(f"{order}{length}{layout}", data, place), place, order + layout)
    return entries, following


def _orientation(directory: dict[int, Entry]) -> int:
    """The Exif orientation; a number outside 1-8 counts as upright."""
    orientation = _first(directory, _ORIENTATION, 1)
    return orientation if 1 <= orientation <= 8 else 1


def _first(directory: dict[int, Entry], tag: int, default: int) -> int:
    """The first value of a tag."""
    entry = directory.get(tag)
    return entry.values[0] if entry is not None and entry.values else default


def _page(data: bytes, index: int, directory: dict[int, Entry]) -> TiffPage:
    """Check one page's directory and boil it down."""
    bits, samples = _first(directory, _BITS, 1), _first(directory, _SAMPLES, 1)
    if _first(directory, _SAMPLE_FORMAT, _UNSIGNED_INTEGER) != _UNSIGNED_INTEGER or bits > 16:
        raise ValueError(
            f"its {bits}-bit pixels are not unsigned 8- or 16-bit grey levels;"
            " if they are temperatures in deg C, save them as .npy or .csv"
        )
    if samples not in (1, 3, 4):
        raise ValueError(f"it has {samples} samples a pixel, expected 1 (grey), 3 (RGB) or 4 (RGB and alpha)")
    _require_strips(data, directory)
    return TiffPage(
        index=index,
        header=Header("TIFF", _first(directory, _WIDTH, 0), _first(directory, _HEIGHT, 0), bits),
        orientation=_orientation(directory),
        orientation_entry=directory.get(_ORIENTATION),
        white_is_zero=_first(directory, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO,
        straight_alpha=_first(directory, _EXTRA_SAMPLES, 0) == _UNASSOCIATED_ALPHA,
    )


def _require_strips(data: bytes, directory: dict[int, Entry]) -> None:
    """Refuse a page whose pixel data would lie beyond the end of the file."""
    nothing = Entry()
    for offsets, lengths in ((_STRIP_OFFSETS, _STRIP_BYTES), (_TILE_OFFSETS, _TILE_BYTES)):
        spans = zip(
            directory.get(offsets, nothing).values, directory.get(lengths, nothing).values, strict=False
        )
        if any(offset + length > len(data) for offset, length in spans):
            raise ValueError("it is truncated: its pixel data would lie beyond the end of the file")
