"""The pictures of an audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from breastlens.report.canvas import INK, MUTED, NEGATIVE, POSITIVE, dress, new_figure, save, wrap

_WIDE_IN = 9.4
Bar = tuple[str, float | None, float | None, float | None]
"""Name, AUC, and the ends of its interval."""


def draw_controls(bars: Sequence[Bar], path: Path) -> Path:
    """Draw AUCs as dots with intervals: the whole image first, then what each control reached.

    Args:
        bars: The whole image, then the controls.
        path: PNG to write.
    """
    figure = new_figure(_WIDE_IN, 1.3 + 0.42 * len(bars))
    axes = figure.subplots()
    axes.axvline(0.5, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
    for height, (_, value, low, high) in enumerate(bars):
        if value is None:
            axes.text(0.505, height, "no AUC", va="center", fontsize=9, color=MUTED)
            continue
        colour = NEGATIVE if height == 0 else POSITIVE
        if low is not None and high is not None:
            axes.plot([low, high], [height, height], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(value, height, marker="o", markersize=8, linestyle="none", color=colour)
        axes.annotate(
            f"{value:.3f}",
            (value, height),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=INK,
        )
    dress(axes, x_label="AUC, with its 95 % interval; dashed: chance", y_label="")
    axes.grid(visible=False, axis="y")
    axes.set_yticks(range(len(bars)), [wrap(name, 34, lines=2) for name, *_ in bars])
    axes.set_ylim(len(bars) - 0.4, -0.7)
    ends = [value for _, *values in bars for value in values if value is not None]
    axes.set_xlim(min([0.45, *ends]) - 0.01, 1.005)
    return save(figure, path)


def draw_sheet(columns: Mapping[str, Sequence[NDArray[np.uint8]]], rows: Sequence[str], path: Path) -> Path:
    """Draw a sheet of images with a title above each column and a name beside each row.

    Args:
        columns: By title, one image a row, uint8 (s, s, 3) RGB.
        rows: Names of the rows.
        path: PNG to write.
    """
    figure = new_figure(_WIDE_IN, 0.4 + (_WIDE_IN - 1) / len(columns) * len(rows))
    panels = figure.subplots(len(rows), len(columns), squeeze=False)
    for across, (title, images) in enumerate(columns.items()):
        for down, image in enumerate(images):
            axes = panels[down, across]
            axes.imshow(image)
            axes.set_xticks([])
            axes.set_yticks([])
            if down == 0:
                axes.set_title(wrap(title, 18, lines=2), fontsize=9, color=INK)
            if across == 0:
                axes.set_ylabel(wrap(rows[down], 18, lines=2), fontsize=9, color=INK)
    return save(figure, path)
