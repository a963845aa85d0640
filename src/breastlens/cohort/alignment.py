"""Laying one image over another, and telling how far they are the same picture and what was changed."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.cohort.perceptual_hash import FLIPS, Floats, normalise_locally, turn_matrix

SAME_PICTURE = 0.85
"""Similarity from which two images are the same picture.

Of 301 real thermograms, two visits of one patient reach at most 0.76 and two patients 0.59; copies hardly fall short.
"""

NOT_MOVED = "in another size, brightness or compression"
"""The change where nothing was moved."""

_COARSE: tuple[tuple[int, float, int], ...] = ((32, 3.0, 5), (64, 6.0, 40))
"""Side in pixels, scale of the local contrast in pixels, and steps. At the first, copies of real and simulated images
correlate by 0.86 and more. Of other pairs of smooth random fields, of which a large set proposes many, fewer than one
in 2,000 reaches 0.7, and they cost a fifth so."""

_FINE_STEPS = 20
_MORE_STEPS = 60
_LEAST_CORRELATION = 0.75
_DOUBTFUL = 0.3
_LEAST_OVERLAP = 0.5
_TILE_PX = 16
_LEAST_TILES = 6
_CLIPPED = 2
_TOLD_DEGREES = 0.75
_TOLD_SCALE = 0.015

Matrix = NDArray[np.float32]
Thumbnail = NDArray[np.uint8]


def compare_pictures(query: Thumbnail, other: Thumbnail, turn: int, flip: int) -> tuple[float, str]:
    """Lay two images over one another and measure how alike their details are.

    The second is flipped back, then aligned by an affine map that maximises the enhanced correlation coefficient
    (Evangelidis and Psarakis, IEEE PAMI 30, 2008), first coarsely, from the turn that was guessed.

    Args:
        query: uint8 (side, side).
        other: uint8 (side, side).
        turn: Index into ``TURNS``: how ``query`` was turned when it resembled ``other``.
        flip: Index into ``FLIPS``: how it was flipped after that.

    Returns:
        Similarity from 0 to 1, and what was changed, in words.
    """
    upside_down, mirrored = FLIPS[flip]
    side = query.shape[0]
    still = query.astype(np.float32)
    moving = other[:: -1 if upside_down else 1, :: -1 if mirrored else 1].astype(np.float32)
    correlation, matrix = _align_coarsely(still, moving, turn_matrix(turn, side).astype(np.float32))
    if correlation < _LEAST_CORRELATION:
        return 0.0, ""
    details = normalise_locally(still, 1.0, 8.0, 8.0), normalise_locally(moving, 1.0, 8.0, 8.0)
    _, matrix = _align(*details, matrix, _FINE_STEPS)
    similarity = _measure(still, moving, matrix)
    if _DOUBTFUL < similarity < SAME_PICTURE:
        _, matrix = _align(*details, matrix, _MORE_STEPS)
        similarity = max(similarity, _measure(still, moving, matrix))
    return similarity, describe_change(matrix, flip)


def describe_change(matrix: Matrix, flip: int) -> str:
    """Tell in words what was changed, such as ``flipped left to right, rotated by 2 degrees``.

    Args:
        matrix: (2, 3), from pixels of the one image to those of the other, after the flip.
        flip: Index into ``FLIPS``.
    """
    said = []
    upside_down, mirrored = FLIPS[flip]
    if upside_down and mirrored:
        said.append("turned by 180 degrees")
    elif upside_down:
        said.append("flipped upside down")
    elif mirrored:
        said.append("flipped left to right")
    linear = matrix[:, :2].astype(np.float64)
    degrees = abs(float(np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))))
    if degrees >= _TOLD_DEGREES:
        said.append(f"rotated by {round(degrees)} degree{'' if round(degrees) == 1 else 's'}")
    scale = float(np.sqrt(abs(np.linalg.det(linear))))
    # The thumbnails are squares of the whole images, so that another scale means that one image shows less.
    if abs(np.log(scale)) >= _TOLD_SCALE:
        said.append(f"cropped by {round(100 * (1 - min(scale, 1 / scale)))} %")
    return ", ".join(said) or NOT_MOVED


def _align_coarsely(still: Floats, moving: Floats, matrix: Matrix) -> tuple[float, Matrix]:
    """Correlation and matrix on smaller images, from small to large, as long as they have enough in common."""
    side, correlation = still.shape[0], -1.0
    for small_side, scale_px, steps in _COARSE:
        small = [
            normalise_locally(
                cv2.resize(image, (small_side, small_side), interpolation=cv2.INTER_AREA), 1.0, scale_px, 8.0
            )
            for image in (still, moving)
        ]
        correlation, found = _align(small[0], small[1], _rescale(matrix, small_side / side), steps)
        matrix = _rescale(found, side / small_side)
        if correlation < _LEAST_CORRELATION:
            break
    return correlation, matrix


def _align(still: Floats, moving: Floats, start: Matrix, steps: int) -> tuple[float, Matrix]:
    """Correlation and matrix after some steps; -1 and the start where the images have nothing in common."""
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, steps, 1e-4)
    try:
        correlation, matrix = cv2.findTransformECC(
            still, moving, start.copy(), cv2.MOTION_AFFINE, criteria, None, 3
        )
    except cv2.error:
        return -1.0, start
    return float(correlation), np.asarray(matrix, dtype=np.float32)


def _rescale(matrix: Matrix, factor: float) -> Matrix:
    """The same map between images that are larger by a factor, with (0, 0) the centre of the first pixel."""
    scaled = matrix.copy()
    scaled[:, 2] = matrix[:, 2] * factor + (matrix[:, :2].sum(axis=1) - 1) * (factor - 1) / 2
    return scaled


def _measure(still: Floats, moving: Floats, matrix: Matrix) -> float:
    """The lower quartile over tiles of the correlation of fine detail.

    A quarter of the picture may differ (a calliper, a label), but no more: a shared frame, text or outline is not
    enough. What is clipped to black or white in either image, and what only one shows, is left out.
    """
    side = still.shape[0]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(moving, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    shown = cv2.warpAffine(
        np.ones_like(moving), matrix, (side, side), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    )
    common = cv2.erode(shown, np.ones((9, 9)), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    if common.mean() < _LEAST_OVERLAP:
        return 0.0
    for image in (still, laid):
        common[(image <= _CLIPPED) | (image >= 255 - _CLIPPED)] = 0
    one, two = (normalise_locally(image, 1.0, 4.0, 3.0) * common for image in (still, laid))
    products = np.stack([one * two, one * one, two * two, common])
    tiles = side // _TILE_PX
    both, first, second, area = products.reshape(4, tiles, _TILE_PX, tiles, _TILE_PX).sum(axis=(2, 4))
    energy = first + second
    judged = (area >= _TILE_PX**2 / 3) & (energy > 0.05 * energy.max())
    if np.count_nonzero(judged) < _LEAST_TILES:
        return 0.0
    return float(np.clip(np.quantile(2 * both[judged] / energy[judged], 0.25), 0.0, 1.0))
