"""What the quantisation tables of a JPEG file tell: the quality it was saved with and, by a hash, by what."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from breastlens.imaging.header import unpack

TABLE_LENGTH = 64
_HASH_LENGTH = 8
# The luminance table of ITU-T T.81 (1992), annex K.1, row by row.
_LUMINANCE = np.array(
    [
        16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
        14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
        18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
        49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
    ]
)  # fmt: skip


def read_tables(segment: bytes) -> dict[int, tuple[int, ...]]:
    """Read the tables of one DQT segment (ITU-T T.81, B.2.4.1).

    Args:
        segment: Its content, without marker and length.

    Returns:
        For each table's number its 64 divisors, in the zigzag order in which they are stored.

    Raises:
        ValueError: It ends within a table.
    """
    tables: dict[int, tuple[int, ...]] = {}
    offset = 0
    while offset < len(segment):
        wide, number = segment[offset] >> 4, segment[offset] & 0x0F
        layout = f">{TABLE_LENGTH}{'H' if wide else 'B'}"
        tables[number] = unpack(layout, segment, offset + 1)
        offset += 1 + TABLE_LENGTH * (2 if wide else 1)
    return tables


def estimate_quality(table: tuple[int, ...]) -> int:
    """Estimate the quality setting that a luminance table was made with.

    The Independent JPEG Group's library scales the table of ITU-T T.81, annex K.1, by 5000 / q percent for q
    below 50 and by 200 - 2 q percent from 50 (``jpeg_quality_scaling`` in its jcparam.c). The quality whose scaled
    table comes closest, by the sum of absolute differences, is taken: exact for files of that library, and the
    nearest equivalent for cameras and programs with tables of their own.

    Args:
        table: 64 divisors; in any order, since both tables are compared sorted.

    Returns:
        1 to 100.
    """
    quality = np.arange(1, 101)
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    scaled = np.clip((_LUMINANCE[None, :] * percent[:, None] + 50) // 100, 1, 255)
    # Scaling is monotonous, so that sorting loses nothing and spares the zigzag order.
    distance = np.abs(np.sort(scaled, axis=1) - np.sort(np.array(table))[None, :]).sum(axis=1)
    # Of equals the highest: from 99 on many divisors are 1.
    return int(100 - np.argmin(distance[::-1]))


def hash_tables(tables: Mapping[int, tuple[int, ...]]) -> str:
    """Hash all tables of a file to eight hexadecimal digits, to tell programs and settings apart."""
    text = ";".join(f"{number}:{','.join(map(str, tables[number]))}" for number in sorted(tables))
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]
