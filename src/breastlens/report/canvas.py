"""The sheet every figure is drawn on: size, resolution, colours, and text that is shown exactly as it is.

Only Matplotlib's object-oriented interface is used: drawing neither needs nor changes pyplot's global state.
"""

from __future__ import annotations

import logging
import string
import textwrap
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ft2font import FT2Font

logger = logging.getLogger(__name__)

DPI = 192
"""Two image pixels a CSS pixel (96 an inch): sharp on dense screens and on paper."""

_LABEL_ROOM_IN = 0.5
"""Height of tick labels and x label; in inches, because a long legend makes the axes lower but not their labels."""

# Okabe & Ito (2008), "Color Universal Design": told apart with every common colour vision deficiency.
NEGATIVE = "#0072B2"
POSITIVE = "#D55E00"
ACCENT = "#009E73"
INK = "#1F2933"
MUTED = "#5F6B76"
GRID = "#DDE2E7"

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty white figure with its own Agg canvas.

    Args:
        width_in: Width in inches; 96 CSS pixels each at report size.
        height_in: Height in inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, facecolor="white", layout=layout)
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Axes, *, x_label: str, y_label: str) -> None:
    """Give axes the one look of all figures: labels, thin frame without top and right side, light grid."""
    axes.set_facecolor("white")
    axes.set_xlabel(x_label, color=INK, fontsize=9.5)
    axes.set_ylabel(y_label, color=INK, fontsize=9.5)
    axes.tick_params(labelsize=9, colors=INK, length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
    axes.grid(visible=True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def legend_below(axes: Axes) -> None:
    """Put the legend under the x label, where no curve can run through it."""
    from matplotlib.transforms import ScaledTranslation

    figure = axes.get_figure(root=True)
    if figure is None:
        raise ValueError("expected axes of a figure")
    below = ScaledTranslation(0, -_LABEL_ROOM_IN, figure.dpi_scale_trans)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=axes.transAxes + below,
        borderaxespad=0,
        fontsize=8.5,
        frameon=False,
        labelcolor=INK,
    )


def unit_square(axes: Axes) -> None:
    """Show 0 to 1 on both axes, equally long."""
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_aspect("equal")


def write_statement(axes: Axes, sentence: str, *, width: int = 44) -> None:
    """Say in words, in place of a drawing, why there is nothing to draw.

    Args:
        axes: Axes to clear and write on.
        sentence: What to say.
        width: Characters a line.
    """
    axes.clear()
    axes.set_axis_off()
    axes.text(
        0.5,
        0.5,
        wrap(sentence, width, lines=8),
        ha="center",
        va="center",
        fontsize=10,
        color=INK,
        transform=axes.transAxes,
    )


def threshold_text(threshold: float | None) -> str:
    """The operating point as a legend names it; None where each fold has its own."""
    return "each fold's own threshold" if threshold is None else f"threshold {threshold:.3g}"


def wrap(text: str, width: int, *, lines: int) -> str:
    """Make a name drawable: at most `lines` lines of `width` characters, shortened in the middle.

    Names of files and categories keep their beginning and their end, which is where they differ. Characters
    that no installed font has, and bytes of a file name that are no text, are shown as a replacement.
    """
    text = text.encode("utf-8", "replace").decode("utf-8")
    lacking = font_families(frozenset(text))[1]
    if lacking:
        logger.warning("no installed font can draw %r; shown as %s", "".join(sorted(lacking)), REPLACEMENT)
        text = "".join(REPLACEMENT if character in lacking else character for character in text)
    room = width * lines
    if len(text) > room:
        tail = (room - 1) // 2
        text = f"{text[: room - 1 - tail]}…{text[-tail:]}"
    return "\n".join(textwrap.wrap(text, width, break_on_hyphens=False)[:lines])


def save(figure: Figure, path: Path) -> Path:
    """Write the figure as PNG with all its text shown literally, and return the path.

    Dollar signs and underscores stay what they are (no mathtext, no TeX).
    """
    from matplotlib.text import Text

    texts = [item for item in figure.findobj(Text) if isinstance(item, Text)]
    families, _ = font_families(frozenset("".join(item.get_text() for item in texts)))
    for item in texts:
        item.set_usetex(False)
        item.set_parse_math(False)
        item.set_fontfamily(list(families))
    figure.savefig(path, dpi=DPI, format="png", metadata={"Software": None})
    return path


@lru_cache(maxsize=64)
def font_families(characters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Installed font families that together can draw the characters.

    Returns:
        The families in order of preference, DejaVu Sans (shipped with Matplotlib) first, and the characters
        that no installed font has.
    """
    from matplotlib.font_manager import FontProperties, findfont, fontManager
    from matplotlib.ft2font import FT2Font

    def file_of(family: str) -> str:
        return str(findfont(FontProperties(family=[family])))

    families = ["DejaVu Sans"]
    lacking = characters - set(string.whitespace) - _drawable(FT2Font(file_of("DejaVu Sans")))
    for entry in fontManager.ttflist if lacking else ():
        if entry.style != "normal" or entry.weight != 400 or entry.name.startswith("Last Resort"):
            continue  # Last Resort draws a box for everything
        if entry.fname != file_of(entry.name):
            continue  # the family's name would bring another of its files
        font = FT2Font(entry.fname)
        found = lacking & _drawable(font)
        if found and font.scalable:  # colour emoji come as bitmaps, which Agg cannot scale
            families.append(entry.name)
            lacking -= found
        if not lacking:
            break
    return tuple(families), lacking


def _drawable(font: FT2Font) -> frozenset[str]:
    return frozenset(map(chr, font.get_charmap()))
