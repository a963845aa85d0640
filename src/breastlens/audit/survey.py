"""One look at every image: what the network will see of it, and everything the audit asks of its file and pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.files import FileMeasures, measure_file
from breastlens.audit.properties import PROPERTY_COLUMNS, describe_file
from breastlens.cohort.batches import LoadedImages, read_each
from breastlens.cohort.image_stack import ImageStack
from breastlens.cohort.parallel import Mapper, OnProgress
from breastlens.cohort.perceptual_hash import THUMBNAIL_SIDE, thumbnail
from breastlens.cohort.records import Cohort
from breastlens.config import ImageRecipe, ReadingLimits
from breastlens.errors import DecodeError
from breastlens.imaging.decode import DEFAULT_LIMITS, DecodedImage
from breastlens.imaging.marks import Marks
from breastlens.imaging.measures import ImageMeasures
from breastlens.imaging.metadata import read_metadata
from breastlens.imaging.preprocess import PreparedImage, preprocess


@dataclass(frozen=True, eq=False)
class Survey:
    """What was seen of the images in use, in the order of ``Cohort.included``.

    Attributes:
        loaded: The images as the network takes them.
        thumbnails: uint8 (128, 128) each, grey, of the whole decoded frame, in which near-duplicates are looked for.
        properties: How each file was made, the columns ``PROPERTY_COLUMNS``.
        measures: Sharpness, marks and the like of each.
    """

    loaded: LoadedImages
    thumbnails: ImageStack
    properties: pd.DataFrame
    measures: tuple[FileMeasures, ...]


@dataclass(frozen=True, eq=False)
class _Seen:
    prepared: PreparedImage
    thumbnail: NDArray[np.uint8]
    properties: dict[str, object]
    measures: FileMeasures


@dataclass(frozen=True)
class _Look:
    """Takes from one image all that is needed later."""

    root: Path
    recipe: ImageRecipe

    def __call__(self, image: DecodedImage, path: Path) -> _Seen:
        data = _read(path)
        metadata = read_metadata(data, path.relative_to(self.root).as_posix())
        measures = measure_file(data, metadata, image.pixels)
        return _Seen(
            preprocess(image, self.recipe),
            thumbnail(image.pixels),
            describe_file(metadata, measures.image.grey_levels),
            measures,
        )


PARTS_OF_SEEN = (_Seen, PreparedImage, FileMeasures, ImageMeasures, Marks)
"""The dataclasses that a look at an image gives."""


def survey_images(
    cohort: Cohort,
    *,
    limits: ReadingLimits = DEFAULT_LIMITS,
    workers: int | None = None,
    mapper: Mapper | None = None,
    on_progress: OnProgress | None = None,
) -> Survey:
    """Decodes each image in use once, in threads, and takes from it all that is needed later.

    Args:
        cohort: The images, and how they are prepared.
        limits: What a file may cost before it is refused.
        workers: Threads; None for one a processor.
        mapper: Looks at the files elsewhere; None: in threads of this process.
        on_progress: Told after each image.

    Raises:
        DecodeError: A file has gone or changed since the cohort was read.
    """
    used = cohort.included
    look = _Look(cohort.root, cohort.image)
    thumbnails = ImageStack(len(used), (THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    properties: list[dict[str, object]] = []
    measures: list[FileMeasures] = []

    def prepared() -> Iterator[PreparedImage]:
        seen = read_each(
            cohort, used, look, limits=limits, workers=workers, mapper=mapper, on_progress=on_progress
        )
        for each in seen:
            thumbnails.append(each.thumbnail)
            properties.append(each.properties)
            measures.append(each.measures)
            yield each.prepared

    loaded = LoadedImages.collect(prepared(), len(used), cohort.image.image_size)
    table = pd.DataFrame(properties, columns=list(PROPERTY_COLUMNS), index=used.index, dtype=object)
    return Survey(loaded, thumbnails, table, tuple(measures))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DecodeError(path, f"cannot be read: {error.strerror}") from error
