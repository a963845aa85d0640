"""Pictures of maps: what the network saw of an image, and the same under colours of log-odds, with a colour bar.

Drawn with OpenCV, which takes milliseconds where Matplotlib takes a good part of a second: there may be thousands.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.errors import RunDirectoryError
from breastlens.inference.activation_map import CAPTION, Explanation, Map, find_shown

Picture = NDArray[np.uint8]

# Okabe & Ito (2008): told apart with every common colour vision deficiency. RGB.
AGAINST, FOR = (0, 114, 178), (213, 94, 0)
_COLOURS = np.array([AGAINST, FOR], dtype=np.float32)

_STRONGEST = 0.8
_PANEL_PX, _GAP_PX, _BAR_PX = 256, 12, 14
_FONT, _INK, _MUTED = cv2.FONT_HERSHEY_SIMPLEX, (41, 31, 31), (107, 102, 95)
_MOST_LETTERS = 80
_FULL_COLOUR = 0.99


@dataclass(frozen=True)
class MapFolder:
    """A new folder that a picture is written to for each image."""

    directory: Path

    @classmethod
    def make(cls, directory: Path, images: Sequence[Path] = ()) -> MapFolder:
        """Make the folder.

        Args:
            directory: What does not exist yet or is empty.
            images: Files and folders of images, in which the pictures must not lie.

        Raises:
            RunDirectoryError: It holds something, is no folder, or lies among the images.
            OSError: It cannot be written.
        """
        for folder in images:
            if folder.is_dir() and directory.resolve().is_relative_to(folder.resolve()):
                raise RunDirectoryError(
                    f"--maps {directory} lies in {folder}, and its pictures would be scored as images the next time: "
                    "name a folder outside of it"
                )
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise RunDirectoryError(
                f"--maps {directory}: expected a new or empty folder, found something there; name another"
            )
        directory.mkdir(parents=True, exist_ok=True)
        return cls(directory)

    def write(self, number: int, path: Path, explanation: Explanation) -> str:
        """Write the picture of one image.

        Args:
            number: The image's place among all, from 1; it makes the name unique.
            path: The image's file, of whose name the picture's is made.
            explanation: What to show.

        Returns:
            The picture's name in the folder.

        Raises:
            OSError: It cannot be written.
        """
        safe = re.sub(r"[^A-Za-z0-9.-]+", "_", path.stem)[-_MOST_LETTERS:].strip("._") or "image"
        name = f"{number:06d}-{safe}.png"
        drawn = cv2.cvtColor(draw_explanation(explanation), cv2.COLOR_RGB2BGR)
        encoded = cv2.imencode(".png", drawn)[1]
        (self.directory / name).write_bytes(encoded.tobytes())
        return name


def draw_explanation(explanation: Explanation) -> Picture:
    """Draw one image beside its map, with colour bar, caption and how the log-odds add up.

    The image has its own proportions again: stretching, bars and crop are undone. No name is drawn, neither of the file
    nor of a patient.

    Returns:
        uint8 (h, w, 3), RGB; of the same size for all images.
    """
    pixels = explanation.image.pixels
    shown = explanation.on_square()
    limit = colour_limit(shown)
    picture = _sheet().copy()
    for place, panel in enumerate((pixels, paint(pixels, shown, limit))):
        drawn = _undistort(panel, explanation)
        height, width = drawn.shape[:2]
        left = _GAP_PX + place * (_PANEL_PX + _GAP_PX) + (_PANEL_PX - width) // 2
        top = _GAP_PX + (_PANEL_PX - height) // 2
        picture[top : top + height, left : left + width] = drawn
    left = 3 * _GAP_PX + 2 * _PANEL_PX + _BAR_PX + 6
    for height, value in ((0.0, limit), (0.5, 0.0), (1.0, -limit)):
        _write(
            picture, f"{value:+.2g}" if value else "0", left, _GAP_PX + 9 + height * (_PANEL_PX - 10), _INK
        )
    total = explanation.log_odds
    said = (
        f"log-odds {total:+.2f} = constant {explanation.constant:+.2f}, all places {total - explanation.constant:+.2f};"
        f" score {explanation.y_score:.3f}"
    )
    _write(picture, said, _GAP_PX, 2 * _GAP_PX + _PANEL_PX + 30, _INK)
    return picture


def _undistort(square: Picture, explanation: Explanation) -> Picture:
    """What of a square belongs to the image, in the proportions of the decoded image, as large as a panel takes."""
    (_, _, width, height), (left, top, across, down) = find_shown(explanation.image, explanation.recipe)
    scale = _PANEL_PX / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(
        cv2.resize(square[top : top + down, left : left + across], size, interpolation=cv2.INTER_CUBIC),
        dtype=np.uint8,
    )


def colour_limit(shown: Map) -> float:
    """What gets the full colour: the value that the strongest hundredth of all places exceed, of either sign.

    Not the strongest of all: where maxima were pooled, one cell may hold most of a score, and beside it no other would
    be seen.

    Args:
        shown: Log-odds a pixel of one map, (s, s), or of several that share a colour bar, (k, s, s).

    Returns:
        Log-odds per 1 % of an image.
    """
    hundredth: float = shown.shape[-2] * shown.shape[-1] / 100
    return max(float(np.quantile(np.abs(shown), _FULL_COLOUR)) * hundredth, 1e-9)


def paint(pixels: Picture, shown: Map, limit: float) -> Picture:
    """Lay a map over its image: orange for positive, blue against it, the stronger the less of the image is seen.

    Args:
        pixels: uint8 (s, s, 3), RGB.
        shown: float32 (s, s), log-odds a pixel.
        limit: Log-odds per 1 % of the image that get the full colour; see ``colour_limit``.

    Returns:
        uint8 (s, s, 3), RGB. The image itself is shown in grey.
    """
    strength = _strength(shown, limit, shown.size)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    return _blend(grey, strength)


def map_layer(shown: Map, limit: float, square_px: float) -> Picture:
    """A map as colours alone, to be laid over its image by whoever shows it; the same that ``paint`` lays over it.

    Args:
        shown: float32 (h, w), log-odds a pixel.
        limit: As for ``paint``.
        square_px: How many pixels the network's square would have at this resolution, black bars included.

    Returns:
        uint8 (h, w, 4), RGB and opacity.
    """
    strength = _strength(shown, limit, square_px)
    colour = np.where(strength > 0, _COLOURS[1], _COLOURS[0])
    return np.asarray(
        np.rint(np.concatenate([colour, np.abs(strength) * _STRONGEST * 255], axis=2)), np.uint8
    )


def _strength(shown: Map, limit: float, square_px: float) -> NDArray[np.floating]:
    """From -1 to 1, for or against positive at full colour, (h, w, 1)."""
    strength: NDArray[np.floating] = np.clip(shown * (square_px / 100 / limit), -1.0, 1.0)
    return strength[..., None]


def bar_colours(count: int) -> Picture:
    """Colours of ``paint`` on middle grey, from the strongest against positive to the strongest for it, (count, 3)."""
    steps = np.linspace(-1, 1, count, dtype=np.float32)[:, None]
    return _blend(np.full((1, 1), 128, np.float32), steps)


def _blend(grey: NDArray[np.float32], strength: NDArray[np.floating]) -> Picture:
    """Grey levels (..., 1) under colours for strengths (..., 1) from -1 to 1."""
    colour = np.where(strength > 0, _COLOURS[1], _COLOURS[0])
    cover = np.abs(strength) * _STRONGEST
    return np.asarray(np.rint(grey * (1 - cover) + colour * cover), dtype=np.uint8)


@cache
def _sheet() -> Picture:
    """What all pictures have in common: white ground, colour bar, titles and caption."""
    height, width = _PANEL_PX + 2 * _GAP_PX + 40, 2 * _PANEL_PX + 4 * _GAP_PX + 96
    sheet = np.full((height, width, 3), 255, np.uint8)
    left = 3 * _GAP_PX + 2 * _PANEL_PX
    bar = sheet[_GAP_PX : _GAP_PX + _PANEL_PX, left : left + _BAR_PX]
    bar[:] = bar_colours(_PANEL_PX)[::-1, None]
    for line, words in enumerate(("log-odds", "per 1 % of", "the image,", "for positive")):
        _write(sheet, words, left + _BAR_PX + 6, 40 + 13 * line, _MUTED)
    _write(sheet, "against it", left + _BAR_PX + 6, _GAP_PX + _PANEL_PX - 16, _MUTED)
    _write(sheet, CAPTION, _GAP_PX, 2 * _GAP_PX + _PANEL_PX + 10, _INK)
    sheet.setflags(write=False)
    return sheet


def _write(picture: Picture, words: str, x: float, y: float, colour: tuple[int, int, int]) -> None:
    cv2.putText(picture, words, (round(x), round(y)), _FONT, 0.4, colour, 1, cv2.LINE_AA)
