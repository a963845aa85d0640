"""Images whose decoded pixels are the same, byte for byte, whatever their files are called."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.imaging.channels import merge_equal_channels

_NAME_LENGTH = 12


def hash_pixels(pixels: NDArray[np.generic]) -> str:
    """Hashes pixels with their shape and type, so that equal means the same image.

    Three equal channels count as one: a grey image saved as RGB is still the same image.

    Args:
        pixels: Array of any dtype, (h, w) or (h, w, 3).

    Returns:
        SHA-256 as 64 hexadecimal digits; the same on every machine (little-endian bytes are hashed).
    """
    pixels = merge_equal_channels(pixels)
    ordered = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{ordered.dtype.str}{ordered.shape}".encode())
    digest.update(ordered.view(np.uint8).reshape(-1).data)
    return digest.hexdigest()


def name_groups(pixels_sha256: pd.Series[str]) -> list[str]:
    """Names the groups of exact duplicates.

    Args:
        pixels_sha256: A hash a record, "" where a file could not be read.

    Returns:
        For each record the first 12 digits of its hash if another record has the same, else "".
    """
    repeated = pixels_sha256.duplicated(keep=False) & (pixels_sha256 != "")
    return [
        value[:_NAME_LENGTH] if again else "" for value, again in zip(pixels_sha256, repeated, strict=True)
    ]


def contradictions(table: pd.DataFrame) -> dict[int, str]:
    """Finds records whose pixels also stand under the opposite label.

    Records that are left out for another reason count too: an image that somebody flagged still says that the
    label of its copy is in doubt.

    Args:
        table: Columns ``path``, ``category``, ``label`` (0, 1 or missing) and ``duplicate_group``.

    Returns:
        From row index to the reason, naming the categories and the paths.
    """
    found: dict[int, str] = {}
    labelled = table[(table["duplicate_group"] != "") & table["label"].notna()]
    for _, group in labelled.groupby("duplicate_group"):
        if group["label"].nunique() < 2:
            continue
        categories = " and ".join(sorted(group["category"].unique()))
        reason = f"same pixels under {categories}: {', '.join(sorted(group['path']))}"
        found.update(dict.fromkeys(group.index, reason))
    return found
