"""Finds what was drawn into an image or stuck on the skin: letters, calliper crosses, lines, colours, marker squares.

Plain rules on shape and sharpness, no learning. They lean towards silence: a mark that is missed costs less than
anatomy that is called a mark.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.imaging.body import body_mask
from breastlens.imaging.channels import brightest_channel, darkest_channel, merge_equal_channels
from breastlens.imaging.components import find_components
from breastlens.imaging.crop import Box
from breastlens.imaging.crosses import find_crosses
from breastlens.imaging.header import Pixels
from breastlens.imaging.squares import STEP, find_squares

Kind = Literal["text", "cross", "line", "colour", "square"]
Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]

PRECISION: dict[Kind, float] = {"text": 0.96, "cross": 0.96, "line": 0.34, "colour": 0.67, "square": 0.93}
"""At least so often is a mark of this kind one: lower end of Wilson's 95 % interval of what was right by eye.

On 780 ultrasound images 181 of 182 texts, 160 of 161 crosses, 2 of 2 lines and the colour of 8 of 8 images, on 60
thermograms 53 of 53 squares; see ``docs/audit/burned-in-marks.md``.
"""

_SEARCH_SIDES_PX = (256, 512)
_CLIPPED_PERCENT = 0.01

_STROKE_WIDTH_PX = 6
_STROKE_HEIGHT_PX = 5
_TEXT_STROKES = 3
_TEXT_GAP_PX = 8
_TEXT_LEVEL_RANGE = 60
_UPRIGHT_WIDTH_PX = 4
_LINE_SHARE = 0.12
_LINE_WIDTH_PX = 2

_CHROMA = 60
_CHROMA_OF_GREY = 12
_LARGEST_COLOUR_SHARE = 0.25
_COLOUR_PX = 6


@dataclass(frozen=True)
class Marks:
    """The marks that were found in one image.

    Attributes:
        boxes: x, y, width, height of each in px of the image.
        kinds: What each is, in the order of the boxes.
        share: Share of the image's pixels that they cover, 0 to 1.
        confidence: `PRECISION` of the surest kind among them; 0 where there is none.
    """

    boxes: tuple[Box, ...]
    kinds: tuple[Kind, ...]
    share: float
    confidence: float


@dataclass(frozen=True, eq=False)
class _Mark:
    """One mark: its kind and its pixels."""

    kind: Kind
    mask: Mask


def find_marks(pixels: Pixels) -> Marks:
    """Finds letters, calliper crosses, vertical lines, coloured marks in a grey image, and marker squares.

    - text: a row of three or more narrow, bright, upright strokes of one brightness. A stroke is at most 6 px wide, at
      least 5 px high and 38 grey levels brighter than what lies left and right of it all the way (a white top-hat
      with a horizontal line; J. Serra, Image Analysis and Mathematical Morphology, 1982). Tissue in ultrasound is
      layered the other way.
    - cross: a bright plus sign, by normalised cross-correlation with a drawn one.
    - line: a stroke over an eighth of the image's side.
    - colour: pixels whose channels differ by 60 or more in an image that is otherwise grey.
    - square: a dark square on the body with straight sharp edges, as the paper or metal marker of a thermogram; or an
      upright square of one grey level anywhere, 38 levels brighter or darker than what is round it.

    A colour image, such as a histology patch or a thermogram in false colours, is not searched: there is nothing that
    these rules were tried on. The search is made at 256 and 512 px for the longer side. Not found are dark letters,
    horizontal lines, dotted lines without crosses, letters under 5 px at 512 px, and what the image's edge cuts to one
    or two strokes.

    Args:
        pixels: (h, w) or (h, w, 3) of any dtype.

    Returns:
        The marks from top to bottom.
    """
    found = [(cv2.boundingRect(mark.mask.astype(np.uint8)), mark) for mark in _search(pixels)]
    found.sort(key=lambda item: (item[0][1], item[0][0], item[1].kind))
    kinds: tuple[Kind, ...] = tuple(mark.kind for _, mark in found)
    covered = np.zeros(pixels.shape[:2], dtype=bool)
    for _, mark in found:
        covered |= mark.mask
    boxes = tuple((int(x), int(y), int(w), int(h)) for (x, y, w, h), _ in found)
    return Marks(boxes, kinds, float(covered.mean()), max((PRECISION[kind] for kind in kinds), default=0.0))


def hide_marks(pixels: Pixels) -> Pixels:
    """Paints the marks over from what surrounds them (A. Telea, Journal of Graphics Tools 9(1), 2004).

    What was under a mark is not brought back, and a smooth patch stays where it was: a network may still see it.

    Args:
        pixels: (h, w) or (h, w, 3) of any integer or floating dtype.

    Returns:
        A copy of the same shape and dtype; beside the marks, and where there are none, every value is as it was.
    """
    readable = _readable(pixels)
    height, width = pixels.shape[:2]
    covered = np.zeros((height, width), np.uint8)
    for mark in _search(readable):
        covered |= mark.mask.astype(np.uint8)
    hidden = pixels.copy()
    if not covered.any():
        return hidden
    margin = max(2, round(max(height, width) / 256))
    covered = np.asarray(cv2.dilate(covered, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)))
    # OpenCV paints over three channels in 8 bits only.
    channels = [readable] if pixels.ndim == 2 else [readable[..., channel] for channel in range(3)]
    painted = [
        cv2.inpaint(np.ascontiguousarray(channel), covered, 3, cv2.INPAINT_TELEA) for channel in channels
    ]
    values = np.asarray(painted[0] if pixels.ndim == 2 else np.dstack(painted))[covered > 0]
    if values.dtype != pixels.dtype and pixels.dtype.kind in "iu":
        levels = np.iinfo(pixels.dtype)
        values = np.clip(np.rint(values.astype(np.float64)), levels.min, levels.max)
    hidden[covered > 0] = values
    return hidden


def _readable(pixels: Pixels) -> Pixels:
    """The same values in a dtype that OpenCV searches and paints in; those it does not know become float32."""
    return pixels if pixels.dtype in (np.uint8, np.uint16, np.float32) else pixels.astype(np.float32)


def _search(pixels: Pixels) -> list[_Mark]:
    """All marks, each with its mask in the image's own size; marks of a kind that touch are one."""
    height, width = pixels.shape[:2]
    if min(height, width) < 4 * _STROKE_HEIGHT_PX:
        return []
    masks: dict[Kind, Mask] = {}
    for kind, mask in _search_all(merge_equal_channels(pixels)):
        masks[kind] = masks[kind] | mask if kind in masks else mask
    marks = []
    reach = max(3, round(max(height, width) / 64))
    for kind, mask in masks.items():
        joined = cv2.dilate(mask.astype(np.uint8), np.ones((3, reach), np.uint8))
        count, numbers = cv2.connectedComponents(joined, connectivity=8)
        marks += [_Mark(kind, (numbers == number) & mask) for number in range(1, count)]
    return marks


def _search_all(pixels: Pixels) -> Iterator[tuple[Kind, Mask]]:
    """Yields masks in the image's own size, kind by kind and scale by scale."""
    colour = _find_colour(pixels)
    if colour is None:
        return
    height, width = pixels.shape[:2]
    grey = _to_grey(brightest_channel(pixels))
    longer = max(height, width)
    for side in {min(longer, side) for side in _SEARCH_SIDES_PX}:
        scale = side / longer
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))
        if side == longer or side == _SEARCH_SIDES_PX[0] or longer > _SEARCH_SIDES_PX[1]:
            for kind, mask in (*_find_strokes(small), ("cross", find_crosses(small))):
                if mask.any():
                    yield kind, _enlarge(mask, width, height)
    if colour.any():
        yield "colour", colour
    square = find_squares(grey, body_mask(pixels)) & ~colour
    if square.any():
        yield "square", square


def _to_grey(grey: Pixels) -> Grey:
    """uint8 grey levels; other depths from the darkest to the brightest pixel, but for one in ten thousand."""
    if grey.dtype == np.uint8:
        return np.asarray(grey)
    low, high = np.percentile(grey, (_CLIPPED_PERCENT, 100 - _CLIPPED_PERCENT))
    unit = (grey.astype(np.float64) - low) / max(high - low, np.finfo(np.float32).tiny)
    return np.asarray(np.rint(255 * np.clip(unit, 0, 1)), dtype=np.uint8)


def _find_strokes(grey: Grey) -> Iterator[tuple[Kind, Mask]]:
    """Yields rows of strokes as text and long strokes as lines."""
    beside = np.ones((1, _STROKE_WIDTH_PX + 1), np.uint8)
    rise = cv2.subtract(grey, cv2.morphologyEx(grey, cv2.MORPH_OPEN, beside))
    along = np.ones((_STROKE_HEIGHT_PX, 1), np.uint8)
    upright = cv2.morphologyEx((rise >= STEP).view(np.uint8), cv2.MORPH_OPEN, along)
    if not upright.any():
        return
    _, numbers, boxes, _ = cv2.connectedComponentsWithStats(upright, connectivity=8)
    width, high = boxes[:, cv2.CC_STAT_WIDTH], boxes[:, cv2.CC_STAT_HEIGHT] >= _LINE_SHARE * max(grey.shape)
    high[0] = False  # the ground
    lines = high & (width <= _LINE_WIDTH_PX)
    if lines.any():
        yield "line", lines[numbers]
    if high.any():
        upright[high[numbers]] = 0
    text = _find_text(grey, upright, numbers, boxes)
    if text.any():
        yield "text", text


def _find_text(grey: Grey, upright: Grey, numbers: NDArray[np.int32], boxes: NDArray[np.int32]) -> Mask:
    """Marks the letters of which the strokes are part that stand in rows.

    Args:
        grey: uint8 (h, w).
        upright: uint8 (h, w), 1 in short upright strokes.
        numbers: (h, w), of each stroke.
        boxes: Of each stroke, as OpenCV gives them.
    """
    text = np.zeros(grey.shape, dtype=bool)
    joined = cv2.dilate(upright, np.ones((1, 2 * _TEXT_GAP_PX + 1), np.uint8))
    rows, row_numbers = cv2.connectedComponents(joined, connectivity=8)
    # A stroke lies in one row with all its pixels; those that are none lie in row 0.
    row_of = np.zeros(len(boxes), dtype=np.int64)
    row_of[numbers[upright > 0]] = row_numbers[upright > 0]
    narrow = boxes[:, cv2.CC_STAT_WIDTH] <= _UPRIGHT_WIDTH_PX
    enough = np.bincount(row_of[narrow], minlength=rows) >= _TEXT_STROKES
    for row in range(1, rows):
        if not enough[row]:
            continue
        strokes = row_of == row
        upright_strokes = np.flatnonzero(strokes & narrow)
        levels = [_median_level(grey, numbers, boxes[number], number) for number in upright_strokes.tolist()]
        if np.ptp(levels) <= _TEXT_LEVEL_RANGE or _stand_in_line(boxes[upright_strokes]):
            part, letters = _whole_letters(grey, strokes, numbers, boxes)
            text[part] |= letters
    return text


def _stand_in_line(boxes: NDArray[np.int32]) -> bool:
    """Tells whether at least three strokes, and most of all, begin in one row and end in one, give or take a pixel."""
    tops = boxes[:, cv2.CC_STAT_TOP]
    bottoms = tops + boxes[:, cv2.CC_STAT_HEIGHT]
    aligned = (np.abs(tops - np.median(tops)) <= 1) & (np.abs(bottoms - np.median(bottoms)) <= 1)
    return bool(aligned.sum() >= max(_TEXT_STROKES, len(boxes) / 2))


def _median_level(grey: Grey, numbers: NDArray[np.int32], box: NDArray[np.int32], number: int) -> float:
    """The middle grey level of one component."""
    x, y, w, h, _ = box.tolist()
    return float(np.median(grey[y : y + h, x : x + w][numbers[y : y + h, x : x + w] == number]))


def _whole_letters(
    grey: Grey, strokes: Mask, numbers: NDArray[np.int32], boxes: NDArray[np.int32]
) -> tuple[tuple[slice, slice], Mask]:
    """Adds to the strokes of letters what of them lies between: pixels nearly as bright and as narrow.

    Args:
        grey: uint8 (h, w).
        strokes: Which of the components are the strokes.
        numbers: (h, w), the component of each pixel.
        boxes: Of each component.

    Returns:
        Rows and columns round the strokes, and the letters in them.
    """
    x, y, w, h, _ = boxes[strokes].T
    top, bottom = max(0, int(y.min()) - 2), int((y + h).max()) + 2
    left, right = max(0, int(x.min()) - _STROKE_HEIGHT_PX), int((x + w).max()) + _STROKE_HEIGHT_PX
    part = slice(top, bottom), slice(left, right)
    square = np.ones((_STROKE_WIDTH_PX + 1, _STROKE_WIDTH_PX + 1), np.uint8)
    narrow = cv2.subtract(grey, cv2.morphologyEx(grey, cv2.MORPH_OPEN, square))[part] >= STEP // 2
    letters = strokes[numbers[part]] | narrow
    inner, areas = find_components(letters, connectivity=8)
    return part, np.asarray((areas >= _STROKE_HEIGHT_PX)[inner])  # without specks


def _find_colour(pixels: Pixels) -> Mask | None:
    """Marks coloured pixels of an image that is otherwise grey; None of a colour image."""
    if pixels.ndim == 2:
        return np.zeros(pixels.shape, dtype=bool)
    chroma = _to_grey(brightest_channel(pixels) - darkest_channel(pixels))
    if pixels.dtype != np.uint8:  # nothing here draws in colour at more than 8 bits
        return None if chroma.any() else np.zeros(chroma.shape, dtype=bool)
    coloured = chroma >= _CHROMA
    if coloured.mean() > _LARGEST_COLOUR_SHARE or np.percentile(chroma[~coloured], 95) > _CHROMA_OF_GREY:
        return None
    if not coloured.any():
        return coloured
    numbers, areas = find_components(coloured, connectivity=8)
    return np.asarray((areas >= _COLOUR_PX)[numbers])


def _enlarge(mask: Mask, width: int, height: int) -> Mask:
    """Brings a mask to the image's size."""
    resized = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized > 0)
