"""Maps of what influenced a score beside their images, on one scale, with its colour bar and what a map is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from breastlens.inference.activation_map import CAPTION
from breastlens.inference.map_picture import bar_colours, colour_limit, paint
from breastlens.report.canvas import INK, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


def lay_beside(
    images: NDArray[np.uint8], maps: NDArray[np.float32], panels: Sequence[Axes], positive: str
) -> list[NDArray[np.uint8]]:
    """Each image with its map to the right, and below all panels the colour bar and what a map is."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    maps = maps[: len(panels)]
    limit = colour_limit(maps)
    figure = panels[0].get_figure(root=True)
    if figure is None:
        raise ValueError("expected axes of a figure")
    bar = figure.colorbar(
        ScalarMappable(Normalize(-limit, limit), ListedColormap(bar_colours(255) / 255)),
        ax=list(panels),
        location="bottom",
        fraction=0.03,
        aspect=60,
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8.5, colors=INK)
    words = (
        f"log-odds per 1 % of the image: orange for {wrap(positive, 40, lines=1)}, blue against it. {CAPTION}"
    )
    bar.set_label(words, fontsize=9, color=INK)
    gap = np.full((images.shape[1], max(1, images.shape[2] // 24), 3), 255, np.uint8)
    return [
        np.hstack([image, gap, paint(image, shown, limit)])
        for image, shown in zip(images[: len(maps)], maps, strict=True)
    ]
