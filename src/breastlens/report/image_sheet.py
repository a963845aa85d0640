"""Sheets of images: the images that prove a finding, in sets, with names below and boxes on them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from breastlens.report.canvas import GRID, INK, MUTED, new_figure, save, wrap

_WIDE_IN = 9.4
_MARGIN_IN = 0.1
_GAP_IN = 0.14
_ROW_GAP_IN = 0.25
_LINE_IN = 0.155
_TEXT_PT = 8.0
_HEADING_PT = 9.0

# Widths in DejaVu Sans as shares of the size, rounded up.
_NARROW = frozenset(" .,:;'!|-/()[]ijlftrI")
_NARROW_LETTER, _LETTER, _WIDE_LETTER = 0.42, 0.65, 1.0
_LINES_A_TEXT = 2

_AIR = 0.006
"""Between a mark and its box, as a share of the image's longer side, so that the box does not cover the mark."""

Box = tuple[int, int, int, int]
"""x, y, width, height in px."""

Line = tuple[str, str]
"""A text and its colour."""

_Place = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Tile:
    """One image of a sheet.

    Attributes:
        pixels: uint8 (h, w, 3) RGB.
        lines: What stands below it.
        boxes: What to frame, each with its colour, in px of an image of ``size_px``.
        size_px: Width and height that the boxes are measured in; None for those of ``pixels``.
    """

    pixels: NDArray[np.uint8]
    lines: tuple[Line, ...]
    boxes: tuple[tuple[Box, str], ...] = ()
    size_px: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class TileSet:
    """Images that belong together, side by side.

    Attributes:
        tiles: At least one.
        lines: What stands above them, a heading first.
    """

    tiles: tuple[Tile, ...]
    lines: tuple[str, ...] = ()


def draw_tiles(
    sets: Sequence[TileSet], path: Path, *, columns: int, note: str = "", key: Sequence[Line] = ()
) -> Path:
    """Draw a sheet of images in sets; a set stands in one row, and all images have one width.

    Args:
        sets: In their order, from left to right and top to bottom; of a set no more are drawn than there are columns.
        path: PNG to write.
        columns: Images side by side.
        note: A line above all, such as how many more there are.
        key: What the colours of boxes mean, beside the note.
    """
    side_in = (_WIDE_IN - 2 * _MARGIN_IN + _GAP_IN) / columns - _GAP_IN
    rows = [_Row.measure(row, side_in) for row in _fill_rows(sets, columns)]
    top_in = _MARGIN_IN + (0.3 if note or key else 0.0)
    sheet = _Sheet(top_in + sum(row.height_in for row in rows) - _ROW_GAP_IN + _MARGIN_IN)
    sheet.write(wrap(note, 110, lines=1), MUTED, _MARGIN_IN, _MARGIN_IN, _WIDE_IN, size_pt=_HEADING_PT)
    sheet.explain(key)
    for row in rows:
        left_in = _MARGIN_IN
        for each in row.sets:
            width_in = len(each.tiles) * (side_in + _GAP_IN) - _GAP_IN
            sheet.head(each.lines, left_in, top_in, width_in, row.head_in)
            for tile in each.tiles:
                sheet.show(tile, left_in, top_in + row.head_in, side_in)
                below_in = top_in + row.head_in + row.picture_in + 0.04
                for number, (text, colour) in enumerate(tile.lines):
                    sheet.write(text, colour, left_in, below_in + number * _LINE_IN, side_in + _GAP_IN)
                left_in += side_in + _GAP_IN
        top_in += row.height_in
    return save(sheet.figure, path)


def _fill_rows(sets: Sequence[TileSet], columns: int) -> list[list[TileSet]]:
    rows: list[list[TileSet]] = []
    room = 0
    for each in sets:
        shown = replace(each, tiles=each.tiles[:columns])
        if len(shown.tiles) > room:
            rows.append([])
            room = columns
        rows[-1].append(shown)
        room -= len(shown.tiles)
    return rows


@dataclass(frozen=True, eq=False)
class _Row:
    """Sets side by side with their texts cut to fit, and the heights that they share."""

    sets: tuple[TileSet, ...]
    head_in: float
    picture_in: float
    height_in: float

    @classmethod
    def measure(cls, sets: Sequence[TileSet], side_in: float) -> _Row:
        fitted = tuple(_fit_texts(each, side_in) for each in sets)
        tiles = [tile for each in fitted for tile in each.tiles]
        heads = max(len(each.lines) for each in fitted)
        head_in = heads * _LINE_IN + (0.1 if heads else 0.0)
        picture_in = side_in * max(_height_share(tile) for tile in tiles)
        text_in = max(len(tile.lines) for tile in tiles) * _LINE_IN
        return cls(fitted, head_in, picture_in, head_in + picture_in + text_in + _ROW_GAP_IN)


def _height_share(tile: Tile) -> float:
    """Height of the image as a share of the cell's width; none is higher than wide."""
    height, width = tile.pixels.shape[:2]
    return min(1.0, float(height / width))


def _fit_texts(each: TileSet, side_in: float) -> TileSet:
    """The set with its texts broken into lines that fit."""
    width_in = len(each.tiles) * (side_in + _GAP_IN)
    tiles = tuple(
        replace(
            tile,
            lines=tuple(
                (part, colour) for text, colour in tile.lines for part in _break(text, side_in, _TEXT_PT)
            ),
        )
        for tile in each.tiles
    )
    return TileSet(tiles, tuple(part for text in each.lines for part in _break(text, width_in, _HEADING_PT)))


def _break(text: str, width_in: float, size_pt: float) -> list[str]:
    """At most two lines that fit, as far as can be told without the font; broken where names have their joints."""
    text_in = sum(map(_letter_share, text)) * size_pt / 72
    letters = len(text) if text_in <= width_in else int(width_in * len(text) / text_in)
    if len(text) > letters:
        for joints in ("/", " _-."):
            places = [place for place, letter in enumerate(text, start=1) if letter in joints]
            fitting = [place for place in places if len(text) - letters <= place <= letters]
            if fitting:
                return [wrap(part, letters, lines=1) for part in (text[: fitting[-1]], text[fitting[-1] :])]
    return wrap(text, max(1, letters), lines=_LINES_A_TEXT).splitlines()


def _letter_share(letter: str) -> float:
    if letter in _NARROW:
        return _NARROW_LETTER
    wide = letter in "MWmw@%" or unicodedata.east_asian_width(letter) in "WF"
    return _WIDE_LETTER if wide else _LETTER


class _Sheet:
    """A figure on which everything has its place, in inches from the left and from the top."""

    def __init__(self, height_in: float) -> None:
        self.figure = new_figure(_WIDE_IN, height_in)
        self.figure.set_layout_engine("none")
        self._height_in = height_in

    def _place(self, left_in: float, top_in: float, width_in: float, height_in: float) -> _Place:
        bottom_in = self._height_in - top_in - height_in
        return (
            left_in / _WIDE_IN,
            bottom_in / self._height_in,
            width_in / _WIDE_IN,
            height_in / self._height_in,
        )

    def write(
        self,
        text: str,
        colour: str,
        left_in: float,
        top_in: float,
        width_in: float,
        *,
        size_pt: float = _TEXT_PT,
    ) -> None:
        """A line of text, cut off where its room ends."""
        from matplotlib.patches import Rectangle

        if not text:
            return
        left, bottom, width, height = self._place(left_in, top_in - 0.05, width_in, _LINE_IN + 0.1)
        item = self.figure.text(
            left, bottom + height / 2, text, fontsize=size_pt, color=colour, va="center_baseline"
        )
        item.set_clip_on(True)
        item.set_clip_path(Rectangle((left, bottom), width, height, transform=self.figure.transFigure))

    def head(
        self, lines: Sequence[str], left_in: float, top_in: float, width_in: float, height_in: float
    ) -> None:
        """The heading of a set, on a thin line as wide as its images."""
        from matplotlib.lines import Line2D

        if not lines:
            return
        for number, line in enumerate(lines):
            colour, size_pt = (MUTED, _TEXT_PT) if number else (INK, _HEADING_PT)
            y_in = top_in + number * _LINE_IN
            self.write(line, colour, left_in, y_in, width_in + _GAP_IN, size_pt=size_pt)
        left, level, width, _ = self._place(left_in, top_in + height_in - 0.05, width_in, 0.0)
        transform = self.figure.transFigure
        self.figure.add_artist(
            Line2D([left, left + width], [level, level], color=MUTED, linewidth=0.8, transform=transform)
        )

    def show(self, tile: Tile, left_in: float, top_in: float, side_in: float) -> None:
        """An image in a cell of that width, in its own proportions, with its boxes."""
        from matplotlib.patches import Rectangle

        height, width = tile.pixels.shape[:2]
        height_in = side_in * _height_share(tile)
        width_in = min(side_in, height_in * width / height)
        across, down = tile.size_px or (width, height)
        axes = self.figure.add_axes(self._place(left_in, top_in, width_in, height_in))
        axes.imshow(tile.pixels, extent=(0, across, down, 0), aspect="auto")
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_color(GRID)
        air = _AIR * max(across, down)
        for (x, y, w, h), colour in tile.boxes:
            around = Rectangle((x - air, y - air), w + 2 * air, h + 2 * air)
            around.set(fill=False, edgecolor=colour, linewidth=1.2)
            axes.add_patch(around)

    def explain(self, key: Sequence[Line]) -> None:
        """The key of the boxes, at the top right."""
        from matplotlib.patches import Patch

        if key:
            self.figure.legend(
                [Patch(fill=False, edgecolor=colour, linewidth=1.5) for _, colour in key],
                [wrap(text, 30, lines=1) for text, _ in key],
                loc="center right",
                bbox_to_anchor=self._place(_MARGIN_IN, _MARGIN_IN, _WIDE_IN - 2 * _MARGIN_IN, _LINE_IN),
                ncols=len(key),
                fontsize=9,
                frameon=False,
                labelcolor=INK,
                borderpad=0,
                borderaxespad=0,
                handlelength=1.2,
                handleheight=0.9,
                handletextpad=0.5,
                columnspacing=1.4,
            )
