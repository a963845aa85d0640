"""Images of a cohort as arrays, decoded in threads and in the rows' order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.cohort.parallel import Progress, map_in_order
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
    on_progress: Progress | None = None,
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
    prepared = _prepare(cohort, rows, limits, workers, on_progress)
    return _stack(prepared, len(rows), cohort.image.image_size)


def iterate_batches(
    cohort: Cohort,
    rows: pd.DataFrame,
    batch_size: int,
    *,
    limits: ReadingLimits = DEFAULT_LIMITS,
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> Iterator[LoadedImages]:
    """Yields the images in batches, so that a large cohort never stands in memory whole.

    Args:
        cohort: Where the images lie and how they are prepared.
        rows: Rows of the cohort's table; ``path`` and ``frame`` are used.
        batch_size: Images a batch; the last may have fewer.
        limits: What a file may cost before it is refused.
        workers: Threads; None for one a processor.
        on_progress: Told after each image.

    Raises:
        DecodeError: A file has gone or changed since the cohort was read.
    """
    prepared = _prepare(cohort, rows, limits, workers, on_progress)
    for start in range(0, len(rows), batch_size):
        yield _stack(prepared, min(batch_size, len(rows) - start), cohort.image.image_size)


def _prepare(
    cohort: Cohort,
    rows: pd.DataFrame,
    limits: ReadingLimits,
    workers: int | None,
    on_progress: Progress | None,
) -> Iterator[PreparedImage]:
    def prepare(place: tuple[str, int]) -> PreparedImage:
        path, frame = place
        return preprocess(decode(cohort.root / path, limits=limits, frame=frame), cohort.image)

    places = [(str(path), int(frame)) for path, frame in zip(rows["path"], rows["frame"], strict=True)]
    return map_in_order(prepare, places, workers=workers, on_progress=on_progress)


def _stack(prepared: Iterator[PreparedImage], count: int, size_px: int) -> LoadedImages:
    pixels = np.empty((count, size_px, size_px, 3), dtype=np.uint8)
    window = np.empty((2, count), dtype=np.float64)
    boxes: list[Box | None] = []
    for index in range(count):
        image = next(prepared)
        pixels[index] = image.pixels
        window[:, index] = image.low, image.high
        boxes.append(image.box)
    return LoadedImages(pixels, window[0], window[1], tuple(boxes))
