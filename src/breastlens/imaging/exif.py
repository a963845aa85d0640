"""The few technical tags that are read from Exif blocks and TIFF directories; nothing of the person is looked at."""

from __future__ import annotations

import re
import struct
from datetime import date
from typing import NamedTuple

from breastlens.imaging.header import unpack

MAKER, MODEL, SOFTWARE, SAVED_AT = 271, 272, 305, 306
TAKEN_AT, DIGITISED_AT = 36867, 36868
_EXIF_DIRECTORY = 34665
_TEXT = 2
_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_MOST_ENTRIES = 4096
_MOST_CHARACTERS = 64
_DATE = re.compile(r"(\d{4})[:\-./]?(\d{2})[:\-./]?(\d{2})(?!\d)")


class Tags(NamedTuple):
    """What was found in the first directory and in the Exif directory that it points to.

    Attributes:
        texts: Tag number to text, of the tags named in this module only.
        numbers: Tag number to its integers, of the tags asked for.
    """

    texts: dict[int, str]
    numbers: dict[int, tuple[int, ...]]

    @property
    def taken(self) -> str | None:
        """The day it was taken or, failing that, digitised or saved, as YYYY-MM-DD."""
        days = (clean_date(self.texts.get(tag)) for tag in (TAKEN_AT, DIGITISED_AT, SAVED_AT))
        return next((day for day in days if day is not None), None)


def read_tags(data: bytes, numbers: frozenset[int] = frozenset()) -> Tags:
    """Read an Exif block or a TIFF or BigTIFF file (TIFF 6.0, 1992; Exif 2.32, 2019).

    Whatever is damaged is left out; what was read before stays.

    Args:
        data: Beginning with the byte order mark.
        numbers: Tags of which the integers are wanted besides the texts.
    """
    tags = Tags({}, {})
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return tags
    try:
        big = unpack(order + "H", data, 2)[0] == 43
        (offset,) = unpack(order + ("Q" if big else "I"), data, 8 if big else 4)
        pointer = _read_directory(data, offset, order, big, numbers, tags)
        if pointer is not None:
            _read_directory(data, pointer, order, big, numbers, tags)
    except ValueError:
        pass  # truncated: what was read so far stands
    return tags


def clean_text(text: object) -> str | None:
    """Bring a maker's text to one printable line of at most 64 characters; None where nothing is left."""
    if text is None:
        return None
    shown = "".join(character if character.isprintable() else " " for character in str(text).split("\0")[0])
    return " ".join(shown.split())[:_MOST_CHARACTERS].strip() or None


def clean_date(text: object) -> str | None:
    """The day at the beginning of an Exif, DICOM or ISO date as YYYY-MM-DD; None where there is none."""
    found = _DATE.match(str(text).strip()) if text is not None else None
    if found is None:
        return None
    try:
        return date(*map(int, found.groups())).isoformat()
    except ValueError:  # such as 0000:00:00, which cameras write before their clock is set
        return None


def _read_directory(
    data: bytes, offset: int, order: str, big: bool, numbers: frozenset[int], tags: Tags
) -> int | None:
    """Adds one directory's tags; returns where the Exif directory lies."""
    count_layout, word, entry_bytes = ("Q", "Q", 20) if big else ("H", "I", 12)
    (count,) = unpack(order + count_layout, data, offset)
    start = offset + struct.calcsize(order + count_layout)
    room = struct.calcsize(order + word)
    pointer = None
    for position in range(start, start + min(count, _MOST_ENTRIES) * entry_bytes, entry_bytes):
        tag, kind, length = unpack(order + "HH" + word, data, position)
        place = position + 4 + room
        wanted_text = kind == _TEXT and tag in (MAKER, MODEL, SOFTWARE, SAVED_AT, TAKEN_AT, DIGITISED_AT)
        if not wanted_text and not (kind in _INTEGERS and (tag in numbers or tag == _EXIF_DIRECTORY)):
            continue
        layout = f"{order}{min(length, 256)}{_INTEGERS.get(kind, 's')}"
        if length * struct.calcsize(order + _INTEGERS.get(kind, "s")) > room:
            (place,) = unpack(order + word, data, place)
        try:
            values = unpack(layout, data, place)
        except ValueError:
            continue  # this tag points beyond the end; the next may not
        if wanted_text:
            if text := clean_text(values[0].decode("utf-8", "replace")):
                tags.texts.setdefault(tag, text)
        elif tag == _EXIF_DIRECTORY:
            pointer = int(values[0]) if values else None
        else:
            tags.numbers.setdefault(tag, values)
    return pointer
