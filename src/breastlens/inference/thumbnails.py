"""thumbnails.npz: small pictures of a model's training images, to be shown where one resembles what was asked about."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.errors import BundleError
from breastlens.inference.plain_arrays import read_arrays

SIDE_PX = 96
_QUALITY = 80


def pack_thumbnails(pixels: NDArray[np.uint8], numbers: NDArray[np.int64]) -> bytes:
    """The content of the file: JPEG pictures one after the other, and where each ends.

    Args:
        pixels: uint8 (n, s, s, 3), RGB, as the network sees them.
        numbers: What each image is called, (n,).
    """
    pictures = [_encode(image) for image in pixels]
    ends = np.cumsum([len(picture) for picture in pictures], dtype=np.int64)
    buffer = io.BytesIO()
    joined = np.frombuffer(b"".join(pictures), np.uint8)
    np.savez(buffer, allow_pickle=False, numbers=numbers.astype(np.int64), ends=ends, pictures=joined)
    return buffer.getvalue()


def read_thumbnails(path: Path) -> Mapping[int, bytes]:
    """JPEG pictures by the number of their image.

    Raises:
        BundleError: The file is missing, or is no such file.
    """
    try:
        found = read_arrays(path, ("numbers", "ends", "pictures"))
        numbers, ends = np.asarray(found["numbers"], np.int64), np.asarray(found["ends"], np.int64)
        pictures = np.asarray(found["pictures"], np.uint8)
        _check(numbers, ends, pictures)
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path} cannot be read: {error}; copy the bundle again from its source") from error
    whole = pictures.tobytes()
    starts = [0, *ends[:-1].tolist()]
    return {
        number: whole[start:end]
        for number, start, end in zip(numbers.tolist(), starts, ends.tolist(), strict=True)
    }


def _check(numbers: NDArray[np.int64], ends: NDArray[np.int64], pictures: NDArray[np.uint8]) -> None:
    """Refuse arrays that do not belong together.

    Raises:
        ValueError: They do not.
    """
    if numbers.ndim != 1 or numbers.shape != ends.shape or pictures.ndim != 1:
        raise ValueError("its arrays do not belong together")
    if np.any(np.diff(ends, prepend=0) < 0) or (ends.size and ends[-1] != pictures.size):
        raise ValueError("its pictures do not end where it says")


def _encode(image: NDArray[np.uint8]) -> bytes:
    small = cv2.resize(image, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    turned = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", turned, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1])
