"""Images from which the breast was taken: what is left tells how they were made, and no anatomy."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.imaging.body import body_mask

Images = NDArray[np.uint8]

BODY_MARGIN = 6 / 128
"""By which the body is widened before it is blacked out, as a share of the image's side: its edge is anatomy too."""

NOISE_GAIN = 4.0
"""Noise is a few grey levels; so amplified it fills a network's range without much being cut off."""

NOISE_BLOCK_PX = 8
"""Blocks of this side keep the noise's own texture when they are put in random order; JPEG's are as large."""

_NOISE_MASK = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32)

STATISTICS = (
    "mean", "standard deviation", "skewness", "kurtosis", "entropy",
    "1st percentile", "5th percentile", "25th percentile", "median", "75th percentile", "95th percentile",
    "99th percentile",
)  # fmt: skip
"""What `intensity_statistics` gives, in order."""

_PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


def keep_border(pixels: Images, width_px: int, inset_px: int = 0) -> Images:
    """Black out all but a ring at the border, or at some distance from it.

    Args:
        pixels: uint8 (n, s, s, 3).
        width_px: Width of the ring, at least 1.
        inset_px: Where the ring begins, counted from the edge: the width of a border that is black already, so that
            the ring holds what is left. It and the ring's width are together less than half the side.

    Returns:
        A copy, uint8 (n, s, s, 3).

    Raises:
        ValueError: The ring is too wide or too narrow, or begins outside the image.
    """
    side = pixels.shape[1]
    widest = (side - 1) // 2 - inset_px
    if inset_px < 0:
        raise ValueError(f"expected a ring that begins 0 px or more from the edge, received {inset_px}")
    if widest < 1:
        raise ValueError(
            f"a ring that begins {inset_px} px from the edge leaves no room for one of 1 px or more in images of "
            f"{side} px"
        )
    if not 1 <= width_px <= widest:
        begun = f", beginning {inset_px} px from the edge," if inset_px else ""
        raise ValueError(
            f"expected a border of 1 to {widest} px{begun} for images of {side} px, received {width_px}"
        )
    ring = np.zeros_like(pixels)
    outer, inner = slice(inset_px, side - inset_px), slice(inset_px + width_px, side - inset_px - width_px)
    ring[:, outer, outer] = pixels[:, outer, outer]
    ring[:, inner, inner] = 0
    return ring


def keep_background(pixels: Images) -> Images:
    """Black out the body, widened by a margin; of an image where no body stands out, everything.

    Args:
        pixels: uint8 (n, s, s, 3).

    Returns:
        A copy, uint8 (n, s, s, 3).
    """
    margin_px = max(1, round(BODY_MARGIN * pixels.shape[1]))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin_px + 1, 2 * margin_px + 1))
    kept = pixels.copy()
    for image in kept:
        mask = body_mask(image)
        if mask is None:
            image[:] = 0
        else:
            image[cv2.dilate(mask.astype(np.uint8), kernel) > 0] = 0
    return kept


def noise_residual(pixels: Images, seed: int) -> Images:
    """The noise of sensor and compression, amplified around mid grey, in blocks of 8 px put in random order.

    The mask is the difference of two Laplacians, which edges and slopes hardly move (Immerkaer, Computer Vision and
    Image Understanding 64(2), 1996). What little anatomy is left in it loses its place when the blocks are shuffled.

    Args:
        pixels: uint8 (n, s, s, 3).
        seed: Decides the order of each image, together with its pixels: whichever others it comes with.

    Returns:
        uint8 (n, s, s, 3); 128 where there is no noise, and in what does not fill a block.
    """
    count = pixels.shape[1] // NOISE_BLOCK_PX
    used_px = count * NOISE_BLOCK_PX
    residual = np.full_like(pixels, 128)
    for index, image in enumerate(pixels):
        noise = 128 + NOISE_GAIN * cv2.filter2D(image.astype(np.float32), -1, _NOISE_MASK)
        blocks = np.clip(np.rint(noise[:used_px, :used_px]), 0, 255).astype(np.uint8)
        blocks = blocks.reshape(count, NOISE_BLOCK_PX, count, NOISE_BLOCK_PX, 3).swapaxes(1, 2)
        shuffled = blocks.reshape(-1, NOISE_BLOCK_PX, NOISE_BLOCK_PX, 3)[_order(image, count * count, seed)]
        joined = shuffled.reshape(count, count, NOISE_BLOCK_PX, NOISE_BLOCK_PX, 3).swapaxes(1, 2)
        residual[index, :used_px, :used_px] = joined.reshape(used_px, used_px, 3)
    return residual


def shuffle_pixels(pixels: Images, seed: int) -> Images:
    """Put the pixels of each image in random order, another one for each: only how they are distributed is left.

    Args:
        pixels: uint8 (n, s, s, 3).
        seed: Decides the order of each image, together with its pixels.

    Returns:
        uint8 (n, s, s, 3).
    """
    count, side = pixels.shape[:2]
    flat = pixels.reshape(count, side * side, 3)
    shuffled = [image[_order(image, side * side, seed)] for image in flat]
    return np.asarray(shuffled, dtype=np.uint8).reshape(pixels.shape)


def _order(image: Images, count: int, seed: int) -> NDArray[np.int64]:
    """A random order that no row number decides: those go by category, and would be the same in every cohort."""
    return np.random.default_rng([seed, zlib.crc32(image.tobytes())]).permutation(count)


def intensity_statistics(pixels: Images) -> NDArray[np.float64]:
    """A dozen statistics of the grey values of each image, without any position.

    Args:
        pixels: uint8 (n, s, s, 3).

    Returns:
        float64 (n, 12), in the order of ``STATISTICS``; skewness and kurtosis of a constant image are 0, entropy is in
        bits.
    """
    # grey is a third of the sum of three bytes, so that 766 counts say everything
    levels = np.arange(3 * 255 + 1)
    greys = levels / 3
    rounded = np.rint(greys).astype(np.int64)
    rows = []
    for image in pixels:
        red, green, blue = cv2.split(image.astype(np.uint16))
        counts = np.bincount((red + green + blue).ravel(), minlength=levels.size)
        count = int(counts.sum())
        mean = float(counts @ greys) / count
        second, third, fourth = (float(counts @ (greys - mean) ** power) / count for power in (2, 3, 4))
        varied = np.count_nonzero(counts) > 1
        shape = (third / second**1.5, fourth / second**2 - 3) if varied else (0.0, 0.0)
        share = np.bincount(rounded, weights=counts) / count
        entropy = -float(np.sum(share[share > 0] * np.log2(share[share > 0])))
        rows.append([mean, np.sqrt(second), *shape, entropy, *_percentiles(greys, counts, _PERCENTILES)])
    return np.asarray(rows, dtype=np.float64).reshape(len(rows), len(STATISTICS))


def _percentiles(
    values: NDArray[np.float64], counts: NDArray[np.integer], percents: Sequence[int]
) -> NDArray[np.float64]:
    """Of values that rise and come so often each, interpolated between neighbours as by NumPy."""
    reached = np.cumsum(counts)
    place = (reached[-1] - 1) * np.asarray(percents) / 100
    low, high = (values[np.searchsorted(reached, end(place), side="right")] for end in (np.floor, np.ceil))
    return np.asarray(low + (place - np.floor(place)) * (high - low))
