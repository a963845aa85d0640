"""What a network is shown of one image when its score is a mean over views: the same in NumPy and in Keras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from breastlens.models._keras import import_keras
from breastlens.models.head import COMPRESSION_OFFSET, compress

SHIFT_SHARE = 4 / 128
"""How far a shifted view is moved, as a share of the side: about as far as another pose would move the breast."""


@dataclass(frozen=True)
class View:
    """One way of showing an image again.

    Attributes:
        mirrored: Left and right exchanged; done before it is moved.
        right: Moved by so many steps of ``SHIFT_SHARE`` to the right; what enters repeats the edge.
        down: The same downwards.
    """

    mirrored: bool = False
    right: int = 0
    down: int = 0

    def look(self, images: Any) -> Any:
        """The view of images (n, s, s, c), of NumPy or of Keras."""
        if self.mirrored:
            images = mirror(images, axis=2)
        step = max(1, round(SHIFT_SHARE * images.shape[1]))
        return _move(_move(images, 1, self.down * step), 2, self.right * step)


def mirror(images: Any, axis: int) -> Any:
    """Exchange left and right along an axis, of NumPy or of Keras."""
    return np.flip(images, axis) if isinstance(images, np.ndarray) else import_keras().ops.flip(images, axis)


def _move(images: Any, axis: int, by_px: int) -> Any:
    """Move images along an axis, and fill with their edge."""
    if by_px == 0:
        return images
    side = images.shape[axis]
    rows = np.clip(np.arange(side) - by_px, 0, side - 1)
    if isinstance(images, np.ndarray):
        return np.take(images, rows, axis=axis)
    return import_keras().ops.take(images, rows, axis=axis)


AS_IT_IS = View()
_ASIDE = tuple(View(right=right, down=down) for right, down in ((1, 0), (-1, 0), (0, 1), (0, -1)))

VIEWS: dict[str, tuple[View, ...]] = {
    "none": (AS_IT_IS,),
    "flip": (AS_IT_IS, View(mirrored=True)),
    "shift": (AS_IT_IS, *_ASIDE),
    "flip-shift": tuple(
        View(mirrored, one.right, one.down) for one in (AS_IT_IS, *_ASIDE) for mirrored in (False, True)
    ),
}
"""By the name of ``TrainingRecipe.tta``, what is shown of each image, itself first."""


def average_views(seen: list[Any]) -> Any:
    """Features of an image from those of its views: their mean on the head's scale.

    What the head compresses from it is the mean of the compressed features, so that a score made of it has the mean
    log-odds of the views.

    Args:
        seen: Of each view the features (n, d), of NumPy or of Keras.

    Returns:
        (n, d); float64 from NumPy.
    """
    if len(seen) == 1:
        return seen[0]
    if isinstance(seen[0], np.ndarray):
        mean = sum(compress(one) for one in seen) / len(seen)
        return mean * (np.abs(mean) + 2 * COMPRESSION_OFFSET**0.5)
    ops = import_keras().ops
    root = COMPRESSION_OFFSET**0.5
    mean = sum(one / (ops.sqrt(ops.abs(one) + COMPRESSION_OFFSET) + root) for one in seen) / len(seen)
    return mean * (ops.abs(mean) + 2 * root)
