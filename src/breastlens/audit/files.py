"""What is wrong with single images: blank, clipped, tiny, blurred, of another size, transparent, drawn upon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.finding import Evidence, Finding, most_severe_first, name_records, say_count
from breastlens.audit.marks import find_mark_problems
from breastlens.cohort.reading import find_unreadable
from breastlens.imaging.header import Pixels
from breastlens.imaging.marks import Marks, find_marks
from breastlens.imaging.measures import ImageMeasures, measure
from breastlens.imaging.metadata import FileMetadata

BLANK_CONTRAST = 0.02
"""All but 2 % of the pixels lie within 5 of 255 grey levels. The least of 301 real thermograms was 0.37."""

SATURATED_SHARE = 0.05
"""Of 301 thermograms and 780 ultrasound images the most had 1.5 % of their pixels at the brightest level."""

BLURRED_SCORE = -3.5
"""A modified z score beyond 3.5 is an outlier (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993)."""

BLURRED_RATIO = 0.5
"""Nor is an image called blurred that is more than half as sharp as the middle one, however alike the others are."""

FEWEST_TO_COMPARE = 10
"""Images below which none can be said to stand out from the rest."""

ODD_SHARE = 0.1
"""Another size is odd where less than a tenth of the images have it and all the others have one and the same."""

WRONG_EXTENSION = "unreadable: its suffix "
"""How the reason of a file begins whose suffix contradicts its content (``imaging.decode``)."""


@dataclass(frozen=True, eq=False)
class FileMeasures:
    """What was measured of one image.

    Attributes:
        image: Its figures.
        marks: What is drawn into it.
        transparent: Share of its pixels that are stored as transparent, wholly or in part.
    """

    image: ImageMeasures
    marks: Marks
    transparent: float


def measure_file(data: bytes, metadata: FileMetadata, pixels: Pixels) -> FileMeasures:
    """Measures one image.

    Args:
        data: The file's content.
        metadata: What its header tells.
        pixels: Its decoded pixels.
    """
    transparent = _transparent_share(data) if metadata.alpha else 0.0
    return FileMeasures(measure(pixels), find_marks(pixels), transparent)


def find_file_problems(
    used: pd.DataFrame,
    measures: Sequence[FileMeasures],
    *,
    image_size: int,
    seed: int = 0,
    groups: NDArray[np.int64] | None = None,
) -> list[Finding]:
    """Looks for images that are not what the others are, or that hold more than the breast.

    Args:
        used: The images in use; ``path``, ``width``, ``height``, ``label`` and ``patient_id`` are used.
        measures: From `measure_file`, one a row.
        image_size: Side of the network's input in px.
        seed: Of the permutations.
        groups: What stays together, (n,); None for patients alone.

    Returns:
        Findings, the most severe first.
    """
    rows = used.reset_index(drop=True)
    return most_severe_first(
        [
            *_find_blank(rows, measures),
            *_find_saturated(rows, measures),
            *_find_blurred(rows, measures),
            *_find_transparent(rows, measures),
            *_find_small(rows, image_size),
            *_find_odd_sizes(rows),
            *find_mark_problems(rows, [each.marks for each in measures], seed=seed, groups=groups),
        ]
    )


def is_wrong_extension(table: pd.DataFrame) -> pd.Series[bool]:
    """Marks the rows of files that were refused because their suffix contradicts their content."""
    return find_unreadable(table) & table["excluded"].str.startswith(WRONG_EXTENSION)


def find_wrong_extensions(table: pd.DataFrame) -> Iterator[Finding]:
    """Tells of files that were refused because their suffix contradicts their content.

    Args:
        table: A cohort's whole table.
    """
    refused = table[is_wrong_extension(table)]
    if len(refused):
        yield Finding(
            code="wrong-extension",
            severity="warning",
            what=f"{say_count(len(refused), 'file')} of {len(table)} left out, because the suffix does not fit the "
            "content.",
            count=len(refused),
            records=name_records(refused["path"]),
            advice="Find out who renamed them, and whether they are the images they should be; then give them the "
            "suffix of their content.",
        )


def _transparent_share(data: bytes) -> float:
    """Share of pixels that are not opaque; the decoder has laid them on black already, so the file is asked again."""
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.ndim != 3 or stored.shape[2] != 4:
        return 0.0
    return float((stored[..., 3] < np.iinfo(stored.dtype).max).mean())


def _choose(rows: pd.DataFrame, chosen: NDArray[np.bool_]) -> tuple[int, tuple[str, ...]]:
    """How many images were chosen, and the names of the first."""
    return int(chosen.sum()), name_records(rows.loc[chosen, "path"])


def _is_blank(each: FileMeasures) -> bool:
    return each.image.contrast < BLANK_CONTRAST


def _find_blank(rows: pd.DataFrame, measures: Sequence[FileMeasures]) -> Iterator[Finding]:
    count, records = _choose(rows, np.array([_is_blank(each) for each in measures], dtype=bool))
    if count:
        yield Finding(
            code="blank-images",
            severity="error",
            what=f"{count} of {say_count(len(rows), 'image')} show next to nothing: nearly all pixels have one grey "
            "level.",
            count=count,
            records=records,
            advice="Look at them and leave them out; a network can only learn their label by heart.",
        )


def _find_saturated(rows: pd.DataFrame, measures: Sequence[FileMeasures]) -> Iterator[Finding]:
    shares = np.array([each.image.clipped_bright for each in measures])
    blank = np.array([_is_blank(each) for each in measures], dtype=bool)
    chosen = (shares > SATURATED_SHARE) & ~blank
    count, records = _choose(rows, chosen)
    if count:
        most = 2 * count > len(rows)
        yield Finding(
            code="saturated-images",
            severity="info" if most else "warning",
            what=f"{count} of {say_count(len(rows), 'image')} have more than {SATURATED_SHARE:.0%} of their pixels at "
            f"the brightest level (at most {shares.max():.0%}).",
            count=count,
            records=records,
            advice="A bright ground may be meant so; else export the images anew with a wider window."
            if most
            else "Look whether the breast is burnt out; if so, export these images anew with the window of the others.",
            evidence=Evidence(
                name="share of pixels", value=float(shares.max()), method="the largest of all images"
            ),
        )


def _find_blurred(rows: pd.DataFrame, measures: Sequence[FileMeasures]) -> Iterator[Finding]:
    sharpness = np.array([each.image.sharpness for each in measures])
    shown = np.array([not _is_blank(each) and each.image.sharpness > 0 for each in measures], dtype=bool)
    if shown.sum() < FEWEST_TO_COMPARE:
        return
    logarithm = np.log(np.where(shown, sharpness, 1.0))
    middle = float(np.median(logarithm[shown]))
    # 0.6745 makes the median absolute deviation of a normal distribution its standard deviation.
    deviation = float(np.median(np.abs(logarithm[shown] - middle))) / 0.6745
    away = logarithm - middle
    chosen = shown & (away <= np.log(BLURRED_RATIO)) & (away <= BLURRED_SCORE * deviation)
    count, records = _choose(rows, chosen)
    if count:
        least = float(np.exp(away[chosen].min()))
        yield Finding(
            code="blurred-images",
            severity="warning",
            what=f"{count} of {say_count(len(rows), 'image')} are much softer than the rest: the softest has "
            f"{least:.0%} of the middle image's sharpness.",
            count=count,
            records=records,
            advice="Look at them; leave out those in which the breast cannot be judged, whatever their label.",
            evidence=Evidence(
                name="share of the median sharpness",
                value=least,
                method="deviation of the Laplacian over that of the image, the lowest of all images",
            ),
        )


def _find_transparent(rows: pd.DataFrame, measures: Sequence[FileMeasures]) -> Iterator[Finding]:
    shares = np.array([each.transparent for each in measures])
    count, records = _choose(rows, shares > 0)
    if count:
        yield Finding(
            code="transparent-images",
            severity="warning",
            what=f"{count} of {say_count(len(rows), 'image')} have transparent pixels, which are read as black (up to "
            f"{shares.max():.0%} of an image).",
            count=count,
            records=records,
            advice="Find out who cut them out: an outline drawn by hand tells where to look; use the images as taken.",
        )


def _find_small(rows: pd.DataFrame, image_size: int) -> Iterator[Finding]:
    shorter = rows[["width", "height"]].min(axis=1).to_numpy()
    count, records = _choose(rows, shorter < image_size)
    if count:
        yield Finding(
            code="very-small-images",
            severity="warning",
            what=f"{count} of {say_count(len(rows), 'image')} have a side below the network's {image_size} px and are "
            f"enlarged (the smallest {shorter.min()} px).",
            count=count,
            records=records,
            advice="Fetch the originals, or give all images that size with --image-size.",
        )


def _find_odd_sizes(rows: pd.DataFrame) -> Iterator[Finding]:
    if len(rows) < FEWEST_TO_COMPARE:
        return
    sizes = list(zip(rows["width"].tolist(), rows["height"].tolist(), strict=True))
    # One of the most frequent, the smallest of them, so that the order of the rows decides nothing.
    usual, often = min(Counter(sizes).items(), key=lambda item: (-item[1], item[0]))
    odd = np.array([size != usual for size in sizes], dtype=bool)
    count, records = _choose(rows, odd)
    if 0 < len(rows) - often < ODD_SHARE * len(rows):
        yield Finding(
            code="odd-sizes",
            severity="info",
            what=f"{count} of {say_count(len(rows), 'image')} are not {usual[0]}x{usual[1]} px like all others.",
            count=count,
            records=records,
            advice="Look whether they were cropped, turned or taken with another device.",
        )
