"""The map of an image as a layer of colours that a page lays over the image's own picture."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.imaging.crop import Box
from breastlens.inference.activation_map import Explanation, find_shown
from breastlens.inference.map_picture import colour_limit, map_layer
from breastlens.serve.preview import preview_size

_LAYER_PX = 512


def encode_layer(explanation: Explanation) -> tuple[bytes, float]:
    """Draw a map on the frame of its image, though smaller: it has no more detail than the network's square.

    Args:
        explanation: Of one image.

    Returns:
        A PNG with transparency in the proportions of the image, and the log-odds per 1 % of the image that have the
        full colour.
    """
    height, width = explanation.image.frame
    rows, columns = preview_size(height, width, _LAYER_PX)
    image = explanation.image
    small = replace(image, frame=(rows, columns), box=_scaled(image.box, rows / height, columns / width))
    shown = np.nan_to_num(replace(explanation, image=small).on_original())
    limit = colour_limit(explanation.on_square())
    (_, _, across, down), (_, _, wide, high) = find_shown(small, explanation.recipe)
    side = len(image.pixels)
    layer = map_layer(shown, limit, side * side * (across * down) / (wide * high))
    return bytes(cv2.imencode(".png", _to_bgra(layer))[1]), limit


def _to_bgra(layer: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(layer, cv2.COLOR_RGBA2BGRA), dtype=np.uint8)


def _scaled(box: Box | None, down: float, across: float) -> Box | None:
    if box is None:
        return None
    x, y, width, height = box
    left, top = round(x * across), round(y * down)
    return (
        left,
        top,
        max(1, round((x + width) * across) - left),
        max(1, round((y + height) * down) - top),
    )
