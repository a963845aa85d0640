"""Images of a cohort as arrays, decoded in threads and in the rows' order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.cohort.parallel import OnProgress, map_in_order
from breastlens.cohort.perceptual_hash import THUMBNAIL_SIDE, thumbnail
from breastlens.cohort.records import Cohort
from breastlens.config import ReadingLimits
from breastlens.imaging.decode import DEFAULT_LIMITS, decode
from breastlens.imaging.preprocess import PreparedImage, preprocess

Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class LoadedImages:
    """Images as the network takes them, in the order of the rows that were asked for.

    Attributes:
        pixels: uint8 (n, s, s, 3), RGB.
        window_low: float64 (n,), the stored value that went to grey 0.
        window_high: float64 (n,), the stored value that went to grey 255.
        boxes: For each image the crop (x, y, width, height) in px of the upright frame, or None without one.
    """

    pixels: NDArray[np.uint8]
    window_low: NDArray[np.float64]
    window_high: NDArray[np.float64]
    boxes: tuple[Box | None, ...]


def load_images(
    cohort: Cohort,
    rows: pd.DataFrame,
    *,
    limits: ReadingLimits = DEFAULT_LIMITS,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> LoadedImages:
    """Decodes and prepares images into one array.

    Args:
        cohort: Where the images lie and how they are prepared.
        rows: Rows of the cohort's table; ``path`` and ``frame`` are used.
        limits: What a file may cost before it is refused.
        workers: Threads; None for one a processor.
        on_progress: Told after each image.

    Raises:
        DecodeError: A file has gone or changed since the cohort was read.
    """

    def prepare(place: tuple[str, int]) -> PreparedImage:
        path, frame = place
        return preprocess(decode(cohort.root / path, limits=limits, frame=frame), cohort.image)

    places = [(str(path), int(frame)) for path, frame in zip(rows["path"], rows["frame"], strict=True)]
    size_px = cohort.image.image_size
    pixels = np.empty((len(places), size_px, size_px, 3), dtype=np.uint8)
    window = np.empty((2, len(places)), dtype=np.float64)
    boxes: list[Box | None] = []
    prepared = map_in_order(prepare, places, workers=workers, on_progress=on_progress)
    for index, image in enumerate(prepared):
        pixels[index] = image.pixels
        window[:, index] = image.low, image.high
        boxes.append(image.box)
    return LoadedImages(pixels, window[0], window[1], tuple(boxes))


def read_thumbnails(
    cohort: Cohort,
    rows: pd.DataFrame,
    *,
    limits: ReadingLimits = DEFAULT_LIMITS,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> NDArray[np.uint8]:
    """Decodes images to the small grey pictures in which near-duplicates are looked for.

    Args:
        cohort: Where the images lie.
        rows: Rows of the cohort's table; ``path`` and ``frame`` are used.
        limits: What a file may cost before it is refused.
        workers: Threads; None for one a processor.
        on_progress: Told after each image.

    Returns:
        uint8 (n, side, side), from the whole decoded frame, whatever the recipe crops.

    Raises:
        DecodeError: A file has gone or changed since the cohort was read.
    """

    def shrink(place: tuple[str, int]) -> NDArray[np.uint8]:
        path, frame = place
        return thumbnail(decode(cohort.root / path, limits=limits, frame=frame).pixels)

    places = [(str(path), int(frame)) for path, frame in zip(rows["path"], rows["frame"], strict=True)]
    found = list(map_in_order(shrink, places, workers=workers, on_progress=on_progress))
    return np.asarray(found, dtype=np.uint8).reshape(len(found), THUMBNAIL_SIDE, THUMBNAIL_SIDE)
