"""Thumbnails, and hashes of them that small changes leave nearly the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.cohort.image_stack import ImageStack
from breastlens.cohort.parallel import map_in_order

THUMBNAIL_SIDE = 128
HASH_BITS = 128
TURNS: tuple[tuple[float, float], ...] = ((0.0, 1.0), (-3.5, 1.03), (3.5, 1.03), (0.0, 1.06))
"""Rotation in degrees and enlargement under which each image is looked for besides its flips."""

FLIPS: tuple[tuple[bool, bool], ...] = ((False, False), (False, True), (True, False), (True, True))
"""Upside down, and left to right."""

_STRETCH_PERCENT = 0.5
_WORK_SIDE = 64
_OUTLINE_SIDE = 32

Bits = NDArray[np.uint8]
Floats = NDArray[np.float32]
Thumbnails = NDArray[np.uint8] | ImageStack
"""uint8 (128, 128) each, from ``thumbnail``."""


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """What is compared of n images, each under every one of ``TURNS`` (t).

    Attributes:
        bits: uint8 (t, n, HASH_BITS / 8), signs of the low cosine frequencies.
        outlines: int8 (n, 32, 32), the locally normalised image as it is, darker towards its border.
        turned_outlines: The same under each turn, the bytes of int8 (t, 32, 32) for every image.
    """

    bits: Bits
    outlines: NDArray[np.int8]
    turned_outlines: ImageStack


def thumbnail(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Make the small grey square that near-duplicates are looked for in.

    It is averaged down and stretched between its percentiles 0.5 and 99.5, so that neither depth nor unit matters.

    Args:
        pixels: (h, w) or (h, w, 3) RGB of any real type, such as the whole image from ``decode``.

    Returns:
        uint8 (128, 128); all 0 where the image is one grey level.
    """
    values = np.asarray(pixels)
    if values.dtype not in (np.uint8, np.uint16, np.float32):
        values = values.astype(np.float32)
    if values.ndim == 3:
        values = np.asarray(cv2.cvtColor(values, cv2.COLOR_RGB2GRAY))
    side = THUMBNAIL_SIDE
    small = cv2.resize(values.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    low, high = np.percentile(small, (_STRETCH_PERCENT, 100 - _STRETCH_PERCENT))
    rounding = 1e-5 * float(
        np.abs(small).max()
    )  # averaging equal values leaves them equal to six digits only
    if high - low <= rounding:
        low, high = small.min(), small.max()
    if high - low <= rounding:
        return np.zeros((side, side), dtype=np.uint8)
    stretched = np.rint((small - low) * (255 / (high - low)))
    return np.asarray(np.clip(stretched, 0, 255), dtype=np.uint8)


def normalise_locally(pixels: Floats, fine_px: float, coarse_px: float, floor: float) -> Floats:
    """Keep what lies between two scales, at the same contrast everywhere.

    So neither brightness nor contrast counts, nor the broad outline, in which bodies in one pose are alike.

    Args:
        pixels: float32 (h, w), grey levels.
        fine_px: Standard deviation of the Gaussian that removes noise.
        coarse_px: That of the Gaussian for local mean and deviation.
        floor: Grey levels below which a deviation counts as noise.
    """
    seen = cv2.GaussianBlur(pixels, (0, 0), fine_px)
    difference = seen - cv2.GaussianBlur(pixels, (0, 0), coarse_px)
    variance = cv2.GaussianBlur(difference * difference, (0, 0), coarse_px)
    return np.asarray(difference / np.sqrt(variance + np.float32(floor * floor)), dtype=np.float32)


def turn_matrix(turn: int, side: int) -> NDArray[np.float64]:
    """Gives the (2, 3) matrix from a square's pixels (x, y) to those of the turned square."""
    angle, scale = TURNS[turn]
    return np.asarray(cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), angle, scale))


def fingerprint(
    thumbnails: Thumbnails, rows: NDArray[np.int64] | None = None, *, workers: int | None = None
) -> Fingerprints:
    """Hash images under every turn.

    The hash takes the signs of the 128 lowest frequencies of a cosine transform, as in Zauner, Implementation and
    benchmarking of perceptual image hash functions (2010), here of the locally normalised image. A flip changes the
    sign of the odd frequencies alone, so that flipped images need no hash of their own.

    Args:
        thumbnails: uint8 (side, side) each.
        rows: Which of them, (n,); None for all.
        workers: Threads; None for one a processor.
    """
    chosen = np.arange(len(thumbnails)) if rows is None else rows
    count, turns = len(chosen), len(TURNS)
    bits = np.empty((turns, count, HASH_BITS // 8), dtype=np.uint8)
    outlines = np.empty((count, _OUTLINE_SIDE, _OUTLINE_SIDE), dtype=np.int8)
    turned_outlines = ImageStack(count, (turns, _OUTLINE_SIDE, _OUTLINE_SIDE))
    down, across = _frequencies()
    taper = _taper()

    def describe(index: int) -> NDArray[np.int8]:
        under_turns = np.zeros((turns, _OUTLINE_SIDE, _OUTLINE_SIDE), dtype=np.int8)
        small = cv2.resize(thumbnails[chosen[index]], (_WORK_SIDE, _WORK_SIDE), interpolation=cv2.INTER_AREA)
        for turn in range(turns):
            turned = small
            if turn > 0:
                turned = cv2.warpAffine(
                    small,
                    turn_matrix(turn, _WORK_SIDE),
                    (_WORK_SIDE, _WORK_SIDE),
                    flags=cv2.INTER_LINEAR,
                    borderMode=cv2.BORDER_REPLICATE,
                )
            outline = _outline(turned.astype(np.float32), taper)
            bits[turn, index] = np.packbits(cv2.dct(outline)[down, across] > 0)
            peak = float(np.abs(outline).max())
            if peak > 0:
                under_turns[turn] = np.rint(outline * (127 / peak))
        return under_turns

    for index, under_turns in enumerate(map_in_order(describe, range(count), workers=workers)):
        outlines[index] = under_turns[0]
        turned_outlines.append(under_turns.view(np.uint8))
    return Fingerprints(bits, outlines, turned_outlines)


def _outline(pixels: Floats, taper: Floats) -> Floats:
    """The locally normalised image, small, with mean 0 and fading towards its border, where crops bite."""
    side = _OUTLINE_SIDE
    normalised = normalise_locally(pixels, 1.0, 3.0, 8.0)
    small = cv2.resize(normalised, (side, side), interpolation=cv2.INTER_AREA)
    mean = (small * taper).sum() / taper.sum()
    return np.asarray((small - mean) * taper, dtype=np.float32)


def _taper() -> Floats:
    ramp = np.sin(np.pi * (np.arange(_OUTLINE_SIDE) + 0.5) / _OUTLINE_SIDE)
    return np.outer(ramp, ramp).astype(np.float32)


def _frequencies() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the lowest frequencies, those with the smallest sum first; without the mean."""
    pairs: Iterator[tuple[int, int]] = (
        (total - column, column) for total in range(1, 32) for column in range(total + 1)
    )
    lowest = np.array([pair for pair, _ in zip(pairs, range(HASH_BITS), strict=False)], dtype=np.intp)
    return lowest[:, 0], lowest[:, 1]


def flip_masks() -> list[Bits]:
    """Gives for each flip the bits it inverts: those of odd frequencies along the axis that is reversed."""
    rows, columns = _frequencies()
    return [
        np.packbits(((rows % 2 == 1) & upside_down) ^ ((columns % 2 == 1) & mirrored))
        for upside_down, mirrored in FLIPS
    ]
