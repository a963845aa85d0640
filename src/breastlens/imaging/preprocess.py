"""A decoded image becomes the uint8 square that the network sees.

In this order: marks painted over, crop, window, resize, grey levels of each image to one mean and spread, border
painted black. All but window and resize only where the recipe asks for it.

Marks go first, so that neither crop nor window follows a burned-in label. The crop goes before the window, so that
a window taken from the image is that of the body and not of the room. The window comes before the resize, so that a
hot pixel is clipped before it is averaged with its neighbours, and so that a temperature matrix and its picture on
the same range give the same square. The border goes last, so that nothing of it is left and its black is always 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from breastlens.config import ImageRecipe
from breastlens.imaging.body import body_mask
from breastlens.imaging.crop import Box, component_box
from breastlens.imaging.decode import DecodedImage
from breastlens.imaging.header import Pixels, Window
from breastlens.imaging.marks import hide_marks
from breastlens.imaging.normalise import standardise

_CLIPPED_PERCENT = 0.01


@dataclass(frozen=True)
class PreparedImage:
    """What the network sees of one image, and how it came about.

    Attributes:
        pixels: uint8 (s, s, 3) RGB, C-contiguous.
        low: The value that became 0, in units of the decoded pixels.
        high: The value that became 255.
        box: x, y, width, height of the crop in px of the decoded image; None where no crop was asked for.
        frame: Height and width of the decoded image in px.
    """

    pixels: Pixels
    low: float
    high: float
    box: Box | None
    frame: tuple[int, int]


def preprocess(image: DecodedImage, recipe: ImageRecipe) -> PreparedImage:
    """Make the square of one image as the recipe says.

    Args:
        image: From ``decode``.
        recipe: Side, stretching or letterbox (black bars, image centred), crop, temperature range, marks, grey
            levels, border.

    Returns:
        The square, the window that was used and the box that was kept.
    """
    pixels = hide_marks(image.pixels) if recipe.hide_marks else image.pixels
    box = body_box(pixels) if recipe.crop == "body" else None
    if box is not None:
        x, y, width, height = box
        pixels = pixels[y : y + height, x : x + width]
    low, high = display_window(pixels, image, recipe)
    fitted = _fit(apply_window(pixels, low, high), recipe)
    if recipe.normalise == "per-image":
        fitted = standardise(fitted)
    square = _centre(fitted, recipe.image_size)
    border_px = recipe.hidden_border_px
    if border_px:
        square[:border_px] = square[-border_px:] = square[:, :border_px] = square[:, -border_px:] = 0
    return PreparedImage(square, low, high, box, (image.height, image.width))


def body_box(pixels: Pixels) -> Box:
    """The box around the body, where one stands out as ``body_mask`` judges; else the whole frame.

    Args:
        pixels: (h, w) or (h, w, 3) of any dtype.

    Returns:
        x, y, width, height; never empty and always within the image.
    """
    box = component_box(pixels)
    if box is None or body_mask(pixels) is None:
        return 0, 0, pixels.shape[1], pixels.shape[0]
    return box


def display_window(pixels: Pixels, image: DecodedImage, recipe: ImageRecipe) -> Window:
    """Which values become 0 and 255; everything outside is clipped.

    - Temperatures: the recipe's fixed range, so that images of different people stay comparable.
    - A window in the file (DICOM): that one.
    - 8 bits: 0 and 255, which leaves the pixels as they are.
    - All else (16 bits, DICOM without a window): from the darkest to the brightest pixel, leaving out one in
      ten thousand at either end. Not the full depth, because 10, 12 and 14-bit data are usually stored in 16
      bits and would come out black; not the plain extremes, because a single defective pixel would decide the
      contrast.

    Args:
        pixels: What is left of the image after the crop.
        image: Where they come from.
        recipe: For the temperature range.
    """
    if image.quantity == "temperature_c":
        return recipe.temperature_range
    if image.window is not None:
        return image.window
    if pixels.dtype == np.uint8:
        return 0.0, 255.0
    low, high = np.percentile(pixels, (_CLIPPED_PERCENT, 100 - _CLIPPED_PERCENT), method="nearest")
    return float(low), float(high)


def apply_window(pixels: Pixels, low: float, high: float) -> Pixels:
    """Map low to 0 and high to 255 in a straight line, rounded to the nearest grey level and clipped: uint8.

    Where low and high are the same value, all above it is 255 and the rest 0.
    """
    if pixels.dtype == np.uint8 and (low, high) == (0.0, 255.0):
        return pixels
    if not high > low:
        return np.where(pixels > high, np.uint8(255), np.uint8(0))
    scaled = (pixels.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled).astype(np.uint8)


def _fit(pixels: Pixels, recipe: ImageRecipe) -> Pixels:
    """Resize grey levels to fill the square, stretched, or to fit into it in their own proportions."""
    stored_height, stored_width = pixels.shape[:2]
    _, _, width, height = fitted_box(stored_height, stored_width, recipe)
    return resize(pixels, width, height)


def fitted_box(height: int, width: int, recipe: ImageRecipe) -> Box:
    """Where what is left of an image after the crop lies in the square: x, y, width, height in px of the square."""
    side = recipe.image_size
    if recipe.fit == "stretch":
        return 0, 0, side, side
    scale = side / max(height, width)
    return _centred(max(1, round(height * scale)), max(1, round(width * scale)), side)


def _centred(height: int, width: int, side: int) -> Box:
    return (side - width) // 2, (side - height) // 2, width, height


def _centre(pixels: Pixels, side: int) -> Pixels:
    """Put grey levels on the middle of a new black square of three channels."""
    height, width = pixels.shape[:2]
    left, top, _, _ = _centred(height, width, side)
    square = np.zeros((side, side, 3), np.uint8)
    square[top : top + height, left : left + width] = pixels if pixels.ndim == 3 else pixels[..., None]
    return square


def resize(pixels: Pixels, width: int, height: int) -> Pixels:
    """Resize with OpenCV, by area where a side shrinks and bicubic where it grows.

    A side that shrinks goes first: OpenCV's area method falls back to bilinear when the other side grows.
    """
    stored_height, stored_width = pixels.shape[:2]
    smaller = min(width, stored_width), min(height, stored_height)
    if smaller != (stored_width, stored_height):
        pixels = np.asarray(cv2.resize(pixels, smaller, interpolation=cv2.INTER_AREA))
    if smaller != (width, height):
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC))
    return pixels
