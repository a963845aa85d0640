"""What a browser can show of any image: its own picture in eight bits, no larger than a page needs."""

from __future__ import annotations

import cv2
import numpy as np

from breastlens.imaging.decode import DecodedImage
from breastlens.imaging.preprocess import PreparedImage, apply_window, resize

PREVIEW_PX = 1024
"""Longer side of a preview at most."""


def preview_size(height: int, width: int, most_px: int = PREVIEW_PX) -> tuple[int, int]:
    """Height and width in px of the preview of an image: its own, unless the longer side would exceed the most."""
    scale = min(1.0, most_px / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def encode_preview(image: DecodedImage, seen: PreparedImage, most_px: int) -> bytes:
    """A PNG of the whole decoded image, uncropped, in the window in which the network sees what is left by the crop.

    Args:
        image: From ``decode``.
        seen: What ``preprocess`` made of it.
        most_px: Longer side of the picture at most.
    """
    height, width = preview_size(image.height, image.width, most_px)
    levels = apply_window(image.pixels, seen.low, seen.high)
    small = resize(np.ascontiguousarray(levels), width, height)
    shown = cv2.cvtColor(small, cv2.COLOR_RGB2BGR) if small.ndim == 3 else small
    return bytes(cv2.imencode(".png", shown)[1])
