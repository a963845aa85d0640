"""Images of a cohort as arrays, decoded in threads and in the rows' order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.cohort.image_stack import ImageStack
from breastlens.cohort.parallel import Mapper, OnProgress, map_in_order
from breastlens.cohort.records import Cohort
from breastlens.config import ReadingLimits
from breastlens.imaging.decode import DEFAULT_LIMITS, DecodedImage, decode
from breastlens.imaging.preprocess import PreparedImage, preprocess

Box = tuple[int, int, int, int]
Seen = TypeVar("Seen")


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

    @classmethod
    def collect(cls, prepared: Iterable[PreparedImage], count: int, size_px: int) -> LoadedImages:
        """Take prepared images one by one into one array.

        Args:
            prepared: The images.
            count: How many there are.
            size_px: Their side.
        """
        pixels = ImageStack(count, (size_px, size_px, 3))
        window = np.empty((2, count), dtype=np.float64)
        boxes: list[Box | None] = []
        for index, image in enumerate(prepared):
            pixels.append(image.pixels)
            window[:, index] = image.low, image.high
            boxes.append(image.box)
        return cls(pixels.as_array(), window[0], window[1], tuple(boxes))


@dataclass(frozen=True)
class _ReadImage(Generic[Seen]):
    """Decodes one frame and looks at it."""

    root: Path
    limits: ReadingLimits
    look: Callable[[DecodedImage, Path], Seen]

    def file(self, place: tuple[str, int]) -> Path:
        return self.root / place[0]

    def __call__(self, place: tuple[str, int]) -> Seen:
        path = self.file(place)
        return self.look(decode(path, limits=self.limits, frame=place[1]), path)


def read_each(
    cohort: Cohort,
    rows: pd.DataFrame,
    look: Callable[[DecodedImage, Path], Seen],
    *,
    limits: ReadingLimits = DEFAULT_LIMITS,
    workers: int | None = None,
    mapper: Mapper | None = None,
    on_progress: OnProgress | None = None,
) -> Iterator[Seen]:
    """Decodes images and looks at each, in threads; yields what was seen in the rows' order.

    Args:
        cohort: Where the images lie.
        rows: Rows of the cohort's table; ``path`` and ``frame`` are used.
        look: Is given a decoded image and its file.
        limits: What a file may cost before it is refused.
        workers: Threads; None for one a processor.
        mapper: Reads the files elsewhere, for which ``look`` is to be a dataclass; None: threads of this process.
        on_progress: Told after each image.

    Raises:
        DecodeError: A file has gone or changed since the cohort was read.
    """
    read = _ReadImage(cohort.root, limits, look)
    each = mapper or partial(map_in_order, workers=workers)
    places = [(str(path), int(frame)) for path, frame in zip(rows["path"], rows["frame"], strict=True)]
    return iter(each(read, places, on_progress=on_progress))


def prepare_each(
    cohort: Cohort,
    rows: pd.DataFrame,
    *,
    limits: ReadingLimits = DEFAULT_LIMITS,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> Iterator[PreparedImage]:
    """Decodes and prepares images in threads, a few ahead of what is taken; yields them in the rows' order.

    Args:
        cohort: Where the images lie and how they are prepared.
        rows: Rows of the cohort's table; ``path`` and ``frame`` are used.
        limits: What a file may cost before it is refused.
        workers: Threads; None for one a processor.
        on_progress: Told after each image.

    Raises:
        DecodeError: A file has gone or changed since the cohort was read.
    """
    return read_each(
        cohort,
        rows,
        lambda image, _: preprocess(image, cohort.image),
        limits=limits,
        workers=workers,
        on_progress=on_progress,
    )


def load_images(
    cohort: Cohort,
    rows: pd.DataFrame,
    *,
    limits: ReadingLimits = DEFAULT_LIMITS,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> LoadedImages:
    """Decodes and prepares images into one array; arguments and errors as of ``prepare_each``."""
    prepared = prepare_each(cohort, rows, limits=limits, workers=workers, on_progress=on_progress)
    return LoadedImages.collect(prepared, len(rows), cohort.image.image_size)
