"""What a trap does to one image: 8-bit grey levels in, 8-bit grey levels out, and where each place has gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.config import ImageRecipe

Grey = NDArray[np.uint8]
Affine = NDArray[np.float64]


def _nowhere_else() -> Affine:
    return np.eye(2, 3)


@dataclass(frozen=True, eq=False)
class Alteration:
    """One change of an image.

    Attributes:
        change: From the image before, uint8 (h, w), to the image after.
        place: (2, 3) matrix from a pixel (x, y) before to the same place after.
        mirrored: Left and right are exchanged.
    """

    change: Callable[[Grey], Grey]
    place: Affine = field(default_factory=_nowhere_else)
    mirrored: bool = False


def grey_levels(difference_c: float) -> float:
    """Converts a difference in deg C to grey levels of the simulated PNG files."""
    low, high = ImageRecipe().temperature_range
    return difference_c * 255.0 / (high - low)


def encode_image(pixels: Grey, suffix: str, quality: int = 95) -> bytes:
    """Encodes grey levels as a file's bytes.

    Args:
        pixels: (h, w).
        suffix: ``.png`` or ``.jpg``.
        quality: Of JPEG, 0 to 100.

    Raises:
        OSError: OpenCV could not.
    """
    settings = [cv2.IMWRITE_PNG_COMPRESSION, 1] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, quality]
    coded, data = cv2.imencode(suffix, pixels, settings)
    if not coded:
        raise OSError(f"OpenCV could not encode an image as {suffix}")
    return bytes(data.tobytes())


# What a place or a time leaves on its images


def noise(deviation_grey: float, entropy: tuple[int, ...]) -> Alteration:
    """Adds white Gaussian noise; the same entropy always gives the same noise."""

    def change(pixels: Grey) -> Grey:
        generator = np.random.default_rng(np.random.SeedSequence(entropy))
        added = generator.standard_normal(pixels.shape, dtype=np.float32) * np.float32(deviation_grey)
        return _to_grey(pixels + added)

    return Alteration(change)


def brightness(step_grey: float) -> Alteration:
    """Makes all of an image brighter, or darker where the step is negative."""
    return Alteration(lambda pixels: _to_grey(pixels + np.float32(step_grey)))


def frame(width_px: int, step_grey: float) -> Alteration:
    """Makes the outermost pixels brighter, or darker where the step is negative; -255 draws a black frame."""

    def change(pixels: Grey) -> Grey:
        framed = _to_grey(pixels + np.float32(step_grey))
        inside = (slice(width_px, -width_px), slice(width_px, -width_px))
        framed[inside] = pixels[inside]
        return framed

    return Alteration(change)


def marker(size_px: int, margin_px: int, grey: int) -> Alteration:
    """Draws a square in the upper left corner, as far from both edges as the margin says."""

    def change(pixels: Grey) -> Grey:
        marked = pixels.copy()
        marked[margin_px : margin_px + size_px, margin_px : margin_px + size_px] = grey
        return marked

    return Alteration(change)


# What people do to a copy


def contrast(factor: float) -> Alteration:
    """Stretches grey levels about their mean, or presses them together where the factor is below 1."""

    def change(pixels: Grey) -> Grey:
        mean = np.float32(pixels.mean())
        return _to_grey((pixels - mean) * np.float32(factor) + mean)

    return Alteration(change)


def recompression(quality: float) -> Alteration:
    """Passes an image through JPEG of the given quality and back."""

    def change(pixels: Grey) -> Grey:
        data = np.frombuffer(encode_image(pixels, ".jpg", round(quality)), np.uint8)
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)

    return Alteration(change)


def rescaling(factor: float, size: tuple[int, int]) -> Alteration:
    """Makes an image smaller, and its file with it.

    Args:
        factor: Of width and height, 1 at most.
        size: Width and height before.
    """
    width, height = round(size[0] * factor), round(size[1] * factor)
    across, down = width / size[0], height / size[1]  # centres of pixels stay on centres of what they show
    place = np.array([[across, 0.0, (across - 1) / 2], [0.0, down, (down - 1) / 2]])
    change = partial(cv2.resize, dsize=(width, height), interpolation=cv2.INTER_AREA)
    return Alteration(lambda pixels: np.asarray(change(pixels), dtype=np.uint8), place)


def crop(share: float, size: tuple[int, int]) -> Alteration:
    """Cuts a share of width and height away, alike on opposite sides, and leaves the smaller image.

    Args:
        share: From 0 to below 1.
        size: Width and height before.
    """
    left, top = (round(side * share / 2) for side in size)
    place = np.array([[1.0, 0.0, -left], [0.0, 1.0, -top]])
    return Alteration(lambda pixels: pixels[top : size[1] - top, left : size[0] - left].copy(), place)


def flip(size: tuple[int, int]) -> Alteration:
    """Exchanges left and right of an image of the given width and height."""
    place = np.array([[-1.0, 0.0, size[0] - 1.0], [0.0, 1.0, 0.0]])
    return Alteration(lambda pixels: np.ascontiguousarray(pixels[:, ::-1]), place, mirrored=True)


def rotation(angle_deg: float, size: tuple[int, int]) -> Alteration:
    """Turns an image of the given width and height about its middle; what it uncovers repeats the edge."""
    middle = ((size[0] - 1) / 2, (size[1] - 1) / 2)
    place = np.asarray(cv2.getRotationMatrix2D(middle, angle_deg, 1.0), dtype=np.float64)
    turn = partial(
        cv2.warpAffine, M=place, dsize=size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return Alteration(lambda pixels: np.asarray(turn(pixels), dtype=np.uint8), place)


def _to_grey(values: NDArray[np.float32]) -> Grey:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
