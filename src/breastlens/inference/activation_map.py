"""What influenced a score, place by place: the network's maps as log-odds of the square and of the original image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from breastlens.config import ImageRecipe
from breastlens.errors import BundleError
from breastlens.imaging.crop import Box
from breastlens.imaging.preprocess import PreparedImage, fitted_box
from breastlens.models.activation_map import enlarge
from breastlens.models.engine import Engine

CAPTION = "What influenced the score, not where a lesion is."
"""Under every map. Published tests of such maps mostly failed: Arun et al., Radiology: Artificial Intelligence 3(6),
2021; Saporta et al., Nature Machine Intelligence 4, 2022."""

Map = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Explanation:
    """The log-odds of one image as a constant and a map.

    Attributes:
        image: What the network saw.
        recipe: How that was made of the decoded image.
        stages: float32 (stages, h, w), log-odds that each place of each stage adds, above 0 for positive; stages from
            the input to the top, all brought to the resolution of the first.
        constant: Log-odds of an image in which no channel of the network is active. It says nothing of this image.
        y_score: Calibrated probability of positive.
    """

    image: PreparedImage
    recipe: ImageRecipe
    stages: Map
    constant: float
    y_score: float

    @property
    def log_odds(self) -> float:
        """What the network's last layer says: the constant and all places, before any step that may follow it."""
        return self.constant + float(self.stages.sum(dtype=np.float64))

    def on_square(self) -> Map:
        """The sum of all stages on the square that the network saw.

        Returns:
            float32 (s, s), log-odds a pixel; with the constant they add up to ``log_odds``.
        """
        side = len(self.image.pixels)
        return np.asarray(enlarge(self.stages.sum(axis=0, keepdims=True), side, side)[0], dtype=np.float32)

    def on_original(self) -> Map:
        """The sum of all stages on the pixels of the decoded image; see ``to_original``."""
        return to_original(self.on_square(), self.image, self.recipe)


def explain_row(
    image: PreparedImage, recipe: ImageRecipe, row: Mapping[str, NDArray[np.float32]]
) -> Explanation:
    """Take what the network gave for one image.

    Args:
        image: What the network saw.
        recipe: How that was made.
        row: The network's outputs for it.

    Raises:
        BundleError: The network gives no such map: it was saved by an earlier version.
    """
    if "activation_constant" not in row:
        raise BundleError(
            "this model gives no maps of log-odds: it was saved by an earlier version of BreastLens; train it again"
        )
    return Explanation(
        image, recipe, row["activation_map"], row["activation_constant"].item(), y_score=row["score"].item()
    )


def square_maps(engine: Engine, pixels: NDArray[np.uint8]) -> Map | None:
    """Maps of a few prepared images, stages added up, on the squares themselves.

    Args:
        engine: Of a bundle.
        pixels: uint8 (n, s, s, 3), RGB.

    Returns:
        float32 (n, s, s), log-odds a pixel; None from a model of an earlier version, which gives no such maps.
    """
    if "activation_constant" not in engine.outputs:
        return None
    stages = engine.run(pixels)["activation_map"]
    return np.asarray(enlarge(stages.sum(axis=1), *pixels.shape[1:3]), dtype=np.float32)


def find_shown(image: PreparedImage, recipe: ImageRecipe) -> tuple[Box, Box]:
    """Where what the network saw of an image lies in the decoded image and in the square.

    Returns:
        Twice x, y, width and height, in px of the decoded image and of the square.
    """
    whole = image.box or (0, 0, image.frame[1], image.frame[0])
    return whole, fitted_box(whole[3], whole[2], recipe)


def to_original(square: Map, image: PreparedImage, recipe: ImageRecipe) -> Map:
    """Undo resize, letterbox and crop: a map of the square on the pixels of the decoded image.

    Args:
        square: float32 (s, s), log-odds a pixel of the square.
        image: What the network saw, of s by s pixels.
        recipe: How that was made.

    Returns:
        float32 of the decoded image's height and width, log-odds a pixel; NaN outside of the crop, and under a border
        that was painted black. What the map has on black bars of a letterbox and on that border belongs to no pixel of
        the image; the rest keeps its sum.

    Raises:
        ValueError: The map is not of the size of the square.
    """
    if square.shape != image.pixels.shape[:2]:
        raise ValueError(f"expected a map of {image.pixels.shape[:2]}, got {square.shape}")
    (x, y, width, height), (left, top, across, down) = find_shown(image, recipe)
    shown = (
        _overlaps(down, height) @ square[top : top + down, left : left + across] @ _overlaps(across, width).T
    )
    border = recipe.hidden_border_px
    if border:
        side = recipe.image_size
        # the centre of each original pixel, in px of the square
        rows = top + (np.arange(height) + 0.5) * down / height
        columns = left + (np.arange(width) + 0.5) * across / width
        seen_rows = (rows >= border) & (rows < side - border)
        seen_columns = (columns >= border) & (columns < side - border)
        shown = np.where(seen_rows[:, None] & seen_columns, shown, np.float32(np.nan))
    original = np.full(image.frame, np.nan, np.float32)
    original[y : y + height, x : x + width] = shown
    return original


def _overlaps(places: int, pixels: int) -> Map:
    """The share of each place along a side that lies on each pixel along it: (pixels, places), columns add up to 1.

    Unlike interpolation this keeps both the sum of a map and the evenness of an even one, whatever the two numbers are.
    """
    ends = np.arange(pixels + 1) * places / pixels
    at = np.arange(places)
    shares = np.minimum(ends[1:, None], at + 1) - np.maximum(ends[:-1, None], at)
    return np.asarray(np.maximum(shares, 0.0), dtype=np.float32)
