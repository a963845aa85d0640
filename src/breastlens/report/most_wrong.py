"""The images that a model was most wrong about: which they are, and the sheet that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from breastlens.report.canvas import INK, new_figure, save, wrap, write_statement
from breastlens.report.map_panels import lay_beside

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_WRONG_LIMIT = 12
_WIDTH_IN = 9.4
_SHEET_COLUMNS = 4
_SHEET_LETTERS = 26
"""So many capital letters or digits stand above an image without touching its neighbour's, where four are in a row."""


def most_wrong_rows(predictions: pd.DataFrame, limit: int = MOST_WRONG_LIMIT) -> pd.DataFrame:
    """The rows called wrongly, the most confident mistake first; equal ones in their order of path.

    Args:
        predictions: Rows with path, y_true, y_score and y_pred.
        limit: How many at most.
    """
    wrong = predictions[predictions["y_true"] != predictions["y_pred"]]
    distance = (wrong["y_true"] - wrong["y_score"]).abs()
    return (
        wrong.assign(distance=distance).sort_values(["distance", "path"], ascending=[False, True]).head(limit)
    )


def draw_most_wrong(
    images: NDArray[np.uint8],
    titles: Sequence[str],
    path: Path,
    *,
    maps: NDArray[np.float32] | None = None,
    positive: str = "positive",
) -> Path:
    """Draw a sheet of the images the model was most wrong about, or a sentence if there are none.

    Args:
        images: (k, s, s, 3) uint8 RGB as the network saw them, the most wrong first; at most 12 are drawn.
        titles: One an image, a line each for the path and for what is known of it; long lines are shortened in the
            middle, so that the end of a file name stays.
        path: PNG to write.
        maps: (k, s, s), log-odds a pixel that speak for positive, shown beside each image; all on one scale.
        positive: What label 1 is called.

    Raises:
        ValueError: The numbers of images and titles differ.
    """
    if len(images) != len(titles):
        raise ValueError(f"expected one title an image, got {len(images)} images and {len(titles)} titles")
    shown = list(zip(images, titles, strict=True))[:MOST_WRONG_LIMIT]
    if not shown:
        figure = new_figure(_WIDTH_IN, 1.2)
        write_statement(figure.subplots(), "No image was on the wrong side of the threshold.", width=80)
        return save(figure, path)
    columns = _SHEET_COLUMNS if maps is None else _SHEET_COLUMNS // 2
    letters = _SHEET_LETTERS * _SHEET_COLUMNS // columns
    row_count = -(-len(shown) // columns)
    figure = new_figure(_WIDTH_IN, 2.85 * row_count + (0 if maps is None else 0.8))
    panels = figure.subplots(row_count, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    if maps is not None:
        shown = list(zip(lay_beside(images, maps, list(panels), positive), titles, strict=False))[
            : len(shown)
        ]
    for axes, (image, title) in zip(panels, shown, strict=False):
        axes.imshow(image)
        short = [part for line in title.splitlines()[:3] for part in _sheet_lines(line, letters)]
        axes.set_title("\n".join(short), fontsize=8.5, color=INK)
    return save(figure, path)


def _sheet_lines(line: str, letters: int) -> list[str]:
    """A line of a title in one or, where it is long and a path, two: the folder, and the file's name."""
    folder, slash, name = line.rpartition("/")
    if len(line) <= letters or not name:
        return [wrap(line, letters, lines=1)]
    parts = [folder + slash, name] if slash else [name]
    return [wrap(part, letters, lines=1) for part in parts]
