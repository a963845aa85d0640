"""Random changes to training images: one warp and one table look-up an image.

Parameters have the names and meanings of Keras's ImageDataGenerator, and the same drawn values give the same image as
its ``apply_transform``. Two things are deliberately otherwise. Keras 3 lets ``height_shift_range`` move images sideways
and ``width_shift_range`` up and down, against its own documentation; here each does what its name says. And ``wrap``
repeats the image with its full period, where SciPy's loses one pixel at each seam.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.config import Augmentation, FillMode

_BORDERS: dict[FillMode, int] = {
    "constant": cv2.BORDER_CONSTANT,
    "nearest": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT,
    "wrap": cv2.BORDER_WRAP,
}

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Draw:
    """The drawn values of one image. The defaults change nothing.

    Geometry says, as in Keras, where an output pixel is read from: a positive ``shift_x_px`` reads further right and so
    moves the picture to the left, a zoom below 1 enlarges. It is applied about the image's centre in the order zoom,
    shear, shift, rotation; the flips come after it.

    Attributes:
        theta_deg: Rotation; Keras's ``theta``.
        shift_x_px: Shift along the width; Keras's ``tx``.
        shift_y_px: Shift along the height; Keras's ``ty``.
        shear_deg: Shear angle; Keras's ``shear``.
        zoom_x: Zoom along the width; Keras's ``zx``.
        zoom_y: Zoom along the height; Keras's ``zy``.
        flip_horizontal: Mirror left and right.
        flip_vertical: Mirror top and bottom.
        channel_shift: Grey levels added, held within the image's own darkest and brightest value.
        brightness: Factor on the grey levels.
    """

    theta_deg: float = 0.0
    shift_x_px: float = 0.0
    shift_y_px: float = 0.0
    shear_deg: float = 0.0
    zoom_x: float = 1.0
    zoom_y: float = 1.0
    flip_horizontal: bool = False
    flip_vertical: bool = False
    channel_shift: float = 0.0
    brightness: float = 1.0


_POSITIONS = struct.Struct("<10I")


def random_positions(*key: int) -> tuple[float, ...]:
    """Ten uniform numbers in [0, 1) that depend on the key alone: digits of its hash.

    A hash of (seed, epoch, record) is several times faster than a generator made anew for each image, and does not
    change with the version of NumPy.

    Args:
        key: Integers from 0 to 2**64 - 1.
    """
    digest = hashlib.blake2b(struct.pack(f"<{len(key)}Q", *key), digest_size=_POSITIONS.size).digest()
    return tuple(digits / 2**32 for digits in _POSITIONS.unpack(digest))


def draw(augmentation: Augmentation, shape: tuple[int, ...], positions: Sequence[float]) -> Draw:
    """Draws the values for one image.

    Each change has its own position, whatever is switched on, so that adding one to a recipe leaves the others as they
    were.

    Args:
        augmentation: The ranges.
        shape: Height and width in pixels (further axes are ignored); shift ranges below 1 are fractions of them.
        positions: Where in its range each value lies, ten numbers in [0, 1), from ``random_positions``.
    """
    theta, shift_x, shift_y, shear, zoom_x, zoom_y, channel, brightness, horizontal, vertical = positions

    def between(low: float, high: float, position: float) -> float:
        return low + (high - low) * position

    def symmetric(limit: float, position: float) -> float:
        return between(-limit, limit, position)

    def pixels(limit: float, side: int) -> float:
        return limit * side if limit < 1 else limit

    zoom = augmentation.zoom_range
    zoom_low, zoom_high = zoom if isinstance(zoom, tuple) else (1.0 - zoom, 1.0 + zoom)
    bright_low, bright_high = augmentation.brightness_range or (1.0, 1.0)
    return Draw(
        theta_deg=symmetric(augmentation.rotation_range, theta),
        shift_x_px=symmetric(pixels(augmentation.width_shift_range, shape[1]), shift_x),
        shift_y_px=symmetric(pixels(augmentation.height_shift_range, shape[0]), shift_y),
        shear_deg=symmetric(augmentation.shear_range, shear),
        zoom_x=between(zoom_low, zoom_high, zoom_x),
        zoom_y=between(zoom_low, zoom_high, zoom_y),
        flip_horizontal=augmentation.horizontal_flip and horizontal < 0.5,
        flip_vertical=augmentation.vertical_flip and vertical < 0.5,
        channel_shift=symmetric(augmentation.channel_shift_range, channel),
        brightness=between(bright_low, bright_high, brightness),
    )


def _matrix(drawn: Draw, height: int, width: int) -> NDArray[np.float64]:
    """Composes all geometry into the (2, 3) matrix from output (x, y) to input (x, y)."""
    theta, shear = math.radians(drawn.theta_deg), math.radians(drawn.shear_deg)
    flip_x = -1.0 if drawn.flip_horizontal else 1.0
    flip_y = -1.0 if drawn.flip_vertical else 1.0
    cos, sin = math.cos(theta), math.sin(theta)
    # rotation @ shear @ zoom @ flip, and rotation @ shift
    xx = cos * drawn.zoom_x * flip_x
    xy = -math.sin(theta + shear) * drawn.zoom_y * flip_y
    yx = sin * drawn.zoom_x * flip_x
    yy = math.cos(theta + shear) * drawn.zoom_y * flip_y
    shift_x = cos * drawn.shift_x_px - sin * drawn.shift_y_px
    shift_y = sin * drawn.shift_x_px + cos * drawn.shift_y_px
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    return np.array(
        [
            [xx, xy, shift_x + centre_x - xx * centre_x - xy * centre_y],
            [yx, yy, shift_y + centre_y - yx * centre_x - yy * centre_y],
        ]
    )


def _move(pixels: Image, drawn: Draw, augmentation: Augmentation) -> Image:
    """Applies all geometry in one bilinear warp."""
    theta, shift_x, shift_y, shear = drawn.theta_deg, drawn.shift_x_px, drawn.shift_y_px, drawn.shear_deg
    if theta == shift_x == shift_y == shear == 0.0 and drawn.zoom_x == drawn.zoom_y == 1.0:
        # Nothing but flips: the warp would give the same pixels, only many times slower.
        return _mirrored(pixels, drawn)
    height, width = pixels.shape[:2]
    warped = cv2.warpAffine(
        pixels,
        _matrix(drawn, height, width),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=_BORDERS[augmentation.fill_mode],
        borderValue=(augmentation.cval,) * 3,
    )
    return np.asarray(warped, dtype=np.uint8)


def _mirrored(pixels: Image, drawn: Draw) -> Image:
    if drawn.flip_horizontal and drawn.flip_vertical:
        return np.asarray(cv2.flip(pixels, -1), dtype=np.uint8)
    if drawn.flip_horizontal or drawn.flip_vertical:
        return np.asarray(cv2.flip(pixels, 1 if drawn.flip_horizontal else 0), dtype=np.uint8)
    return pixels.copy()


def _recolour(pixels: Image, drawn: Draw) -> Image:
    """Applies channel shift and brightness through one table of the 256 grey levels."""
    if drawn.channel_shift == 0.0 and drawn.brightness == 1.0:
        return pixels
    levels = np.arange(256, dtype=np.float64)
    if drawn.channel_shift != 0.0:
        low, high, _, _ = cv2.minMaxLoc(pixels.reshape(pixels.shape[0], -1))
        levels = np.clip(levels + drawn.channel_shift, low, high)
    if drawn.brightness != 1.0:
        # Keras goes through Pillow here, which cuts fractions off before and after the factor.
        levels = np.floor(np.floor(levels) * drawn.brightness)
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, table), dtype=np.uint8)


def apply(pixels: Image, drawn: Draw, augmentation: Augmentation) -> Image:
    """Applies drawn values to one image: all geometry in one bilinear warp, then the grey levels.

    Agrees with Keras's ``ImageDataGenerator.apply_transform`` for the same values.

    Args:
        pixels: uint8 (s, s, 3); not changed.
        drawn: The values.
        augmentation: Says, with ``fill_mode`` and ``cval``, what stands where the image does not reach.

    Returns:
        uint8 (s, s, 3), a new array.
    """
    return _recolour(_move(pixels, drawn, augmentation), drawn)


def augment(pixels: Image, augmentation: Augmentation, *, seed: int, epoch: int, record: int) -> Image:
    """Changes one training image at random.

    The result depends on the arguments alone, never on the order of the calls or the number of workers.

    Args:
        pixels: uint8 (s, s, 3); not changed.
        augmentation: The ranges.
        seed: Of the training.
        epoch: Counted from 0.
        record: The image's place in the cohort, from 0.

    Returns:
        uint8 (s, s, 3), a new array.
    """
    return apply(
        pixels, draw(augmentation, pixels.shape, random_positions(seed, epoch, record)), augmentation
    )
