"""Images that no model should answer, made from ones that it could: for choosing and judging a measure of novelty."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from breastlens.imaging.occlusions import shuffle_pixels

Images = NDArray[np.uint8]

BLOCKS = 4
"""Blocks a side that `corruptions` puts in random order."""


def corruptions(pixels: Images, seed: int) -> Iterator[tuple[str, Images]]:
    """Yield simple corruptions by name, each of all images.

    Args:
        pixels: uint8 (n, s, s, 3), RGB.
        seed: Of what is random.

    Yields:
        What was done, and uint8 (n, s, s, 3).
    """
    count, side = len(pixels), pixels.shape[1]
    random = np.random.default_rng(seed)
    yield "inverted", 255 - pixels
    yield "upside down", np.ascontiguousarray(pixels[:, ::-1])
    yield "turned by a quarter", np.ascontiguousarray(np.rot90(pixels, axes=(1, 2)))
    yield "blocks shuffled", _shuffle_blocks(pixels, random)
    yield "pixels shuffled", shuffle_pixels(pixels, seed)
    grey = random.integers(0, 256, (count, side, side, 1), dtype=np.uint8)
    yield "noise", np.repeat(grey, 3, axis=3)
    level = np.linspace(0, 255, count).astype(np.uint8)
    yield "blank", np.tile(level[:, None, None, None], (1, side, side, 3))


def _shuffle_blocks(pixels: Images, random: np.random.Generator) -> Images:
    """Blocks of a quarter of the side, in another order for each image; what fills no block stays."""
    wide = pixels.shape[1] // BLOCKS
    used, shuffled = wide * BLOCKS, pixels.copy()
    for image in shuffled:
        blocks = image[:used, :used].reshape(BLOCKS, wide, BLOCKS, wide, 3).swapaxes(1, 2)
        mixed = blocks.reshape(-1, wide, wide, 3)[random.permutation(BLOCKS * BLOCKS)]
        joined = mixed.reshape(BLOCKS, BLOCKS, wide, wide, 3).swapaxes(1, 2)
        image[:used, :used] = joined.reshape(used, used, 3)
    return shuffled
