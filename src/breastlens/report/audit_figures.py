"""The drawings of an audit: its controls, what they are shown, and how properties are spread in each category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from breastlens.report.canvas import INK, MUTED, NEGATIVE, POSITIVE, dress, new_figure, save, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDE_IN = 9.4
_VALUES_SHOWN = 8
_LETTERS_BELOW = 36

Bar = tuple[str, float | None, float | None, float | None]
"""Name, AUC, and the ends of its interval."""


@dataclass(frozen=True, eq=False)
class Series:
    """The values that the images of one category have of a property.

    Attributes:
        name: The category.
        colour: What it is drawn in.
        values: Finite numbers, or texts of categories, (m,).
    """

    name: str
    colour: str
    values: NDArray[np.float64] | NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Distribution:
    """One property, held against the category.

    Attributes:
        title: What it is.
        series: One a category, each with at least one value.
        edges: Of the bins of numbers; None for texts.
        names: What the bins are called, where each has a name; bars then stand side by side.
    """

    title: str
    series: tuple[Series, ...]
    edges: NDArray[np.float64] | None = None
    names: tuple[str, ...] = ()


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


def draw_distributions(panels: Sequence[Distribution], path: Path) -> Path:
    """Draw how the values of properties are spread in each category, as shares of its images.

    Args:
        panels: The strongest first.
        path: PNG to write.
    """
    from matplotlib.patches import Patch

    columns = min(2, len(panels))
    down = -(-len(panels) // columns)
    figure = new_figure(_WIDE_IN * columns / 2, 2.7 * down + 0.4)
    places = figure.subplots(down, columns, squeeze=False).ravel()
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(places, panels, strict=False):
        _draw_distribution(axes, panel)
    colours = {series.name: series.colour for panel in panels for series in panel.series}
    figure.legend(
        [Patch(color=colour) for colour in colours.values()],
        [wrap(name, 30, lines=1) for name in colours],
        loc="outside lower center",
        ncols=min(len(colours), 2 * columns),
        fontsize=9,
        frameon=False,
        labelcolor=INK,
    )
    return save(figure, path)


def _draw_distribution(axes: Axes, panel: Distribution) -> None:
    """Texts lie, the most frequent on top; named bins stand side by side; other numbers are outlines."""
    import pandas as pd
    import seaborn

    values: Any = np.concatenate([series.values for series in panel.series])
    edges: Any = panel.edges
    names, lying = panel.names, panel.edges is None
    if lying:
        # Places instead of texts: an axis of texts would measure them before they are made drawable.
        values, names = _rank_texts(values)
        edges = np.arange(len(names) + 1) - 0.5
    bars: dict[str, Any] = {"multiple": "dodge", "shrink": 0.85, "alpha": 1, "edgecolor": "white"}
    if not names:
        bars = {"element": "step", "alpha": 0.3}
    categories = [series.name for series in panel.series]
    owners = np.repeat(np.arange(len(categories)), [series.values.size for series in panel.series])
    seaborn.histplot(
        pd.DataFrame({"value": values, "category": owners}),
        ax=axes,
        **{"y" if lying else "x": "value"},
        bins=edges.tolist(),
        hue="category",
        hue_order=range(len(categories)),
        palette=[series.colour for series in panel.series],
        stat="percent",
        common_norm=False,
        legend=False,
        **bars,
    )
    share = "share of the category (%)"
    dress(axes, x_label=share if lying else "", y_label="" if lying else share)
    axes.grid(visible=False, axis="y" if lying else "x")
    axes.set_title(wrap(panel.title, 50, lines=2), fontsize=9.5, color=INK, loc="left")
    if lying:
        axes.set_yticks(range(len(names)), [wrap(name, 20, lines=2) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
    elif names:
        step = -(-sum(map(len, names)) // _LETTERS_BELOW)
        axes.set_xticks(((edges[:-1] + edges[1:]) / 2)[::step], names[::step])


def _rank_texts(texts: NDArray[np.str_]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The place of each text and the names of the places, the most frequent first, the rarest taken together."""
    names, code, counts = np.unique(texts, return_inverse=True, return_counts=True)
    place = np.empty(names.size, dtype=np.int64)
    order = np.argsort(-counts, kind="stable")
    place[order] = np.arange(names.size)
    ranked = tuple(str(name) for name in names[order])
    if len(ranked) > _VALUES_SHOWN:
        kept = _VALUES_SHOWN - 1
        place, ranked = np.minimum(place, kept), (*ranked[:kept], f"{len(ranked) - kept} others")
    return place[code], ranked
