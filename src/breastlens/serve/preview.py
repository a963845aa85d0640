"""What a browser can show of any image: its own picture in eight bits, no larger than a page needs."""

from __future__ import annotations

import cv2
import numpy as np

from breastlens.config import ImageRecipe
from breastlens.imaging.decode import DecodedImage
from breastlens.imaging.preprocess import apply_window, display_window, resize

PREVIEW_PX = 1024
"""Longer side of a preview at most."""


def preview_size(height: int, width: int, most_px: int = PREVIEW_PX) -> tuple[int, int]:
    """Height and width in px of the preview of an image: its own, unless the longer side would exceed the most."""
    scale = min(1.0, most_px / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def encode_preview(image: DecodedImage, recipe: ImageRecipe, most_px: int) -> bytes:
    """A PNG of the whole decoded image, windowed as the network's square is, uncropped.

    Args:
        image: From ``decode``.
        recipe: For the temperature range.
        most_px: Longer side of the picture at most.
    """
    height, width = preview_size(image.height, image.width, most_px)
    levels = apply_window(image.pixels, *display_window(image.pixels, image, recipe))
    small = resize(np.ascontiguousarray(levels), width, height)
    shown = cv2.cvtColor(small, cv2.COLOR_RGB2BGR) if small.ndim == 3 else small
    return bytes(cv2.imencode(".png", shown)[1])
