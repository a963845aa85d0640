"""The drawings of an audit: everything at its place, at one size, and no name that can do harm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from breastlens.report import audit_figures, image_sheet
from breastlens.report.audit_figures import Distribution, Series, draw_distributions
from breastlens.report.canvas import INK, MUTED, NEGATIVE, POSITIVE
from breastlens.report.image_sheet import Tile, TileSet, draw_tiles

HOSTILE = (
    "$x_1^{2$",
    "\\alpha_",
    "صورة/פציינט.png",
    "患者乳房画像" * 20,
    "a" * 300,
    "x\u202egnp",
    "\udcff",
    "",
    " ",
)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure as it is saved."""
    figures: list[Figure] = []

    def watch(save: Callable[[Figure, Path], Path]) -> Callable[[Figure, Path], Path]:
        def kept(figure: Figure, path: Path) -> Path:
            figures.append(figure)
            return save(figure, path)

        return kept

    for module in (audit_figures, image_sheet):
        monkeypatch.setattr(module, "save", watch(module.save))
    return figures


def tile(height: int = 64, width: int = 64, *texts: str, **given: object) -> Tile:
    return Tile(np.full((height, width, 3), 90, np.uint8), tuple((text, INK) for text in texts), **given)  # type: ignore[arg-type]


def size_in(figure: Figure, axes: Axes) -> tuple[float, float]:
    place = axes.get_position()
    return place.width * figure.get_figwidth(), place.height * figure.get_figheight()


def texts(figure: Figure) -> list[str]:
    return [item.get_text() for item in figure.texts]


def test_a_set_stands_in_one_row_and_rows_are_filled(tmp_path: Path, drawn: list[Figure]) -> None:
    sets = [TileSet((tile(),) * count, (f"{count} images",)) for count in (2, 3, 2, 1, 9)]
    draw_tiles(sets, tmp_path / "a.png", columns=5)
    tops = [round(axes.get_position().y0, 4) for axes in drawn[0].axes]
    assert len(tops) == 2 + 3 + 2 + 1 + 5  # of nine no more than there are columns
    assert len(set(tops[:5])) == len(set(tops[5:8])) == len(set(tops[8:])) == 1
    assert tops[0] > tops[5] > tops[8]
    assert len({round(axes.get_position().x0, 4) for axes in drawn[0].axes}) == 5


def test_images_keep_their_proportions_in_cells_of_one_width(tmp_path: Path, drawn: list[Figure]) -> None:
    tiles = [tile(48, 64), tile(64, 48), tile(64, 64), tile(2, 200)]
    draw_tiles([TileSet((each,)) for each in tiles], tmp_path / "a.png", columns=4)
    sizes = [size_in(drawn[0], axes) for axes in drawn[0].axes]
    side = sizes[2][0]
    assert sizes[0] == pytest.approx((side, 0.75 * side))
    assert sizes[1] == pytest.approx((0.75 * side, side))
    assert sizes[3] == pytest.approx((side, side / 100))


def test_a_box_is_drawn_around_its_place_in_the_decoded_image(tmp_path: Path, drawn: list[Figure]) -> None:
    marked = tile(60, 80, boxes=(((400, 30, 100, 60), "#F0E442"),), size_px=(800, 600))
    draw_tiles([TileSet((marked,))], tmp_path / "a.png", columns=4)
    (axes,) = drawn[0].axes
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 800), (600, 0))
    (box,) = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    air = 400 - box.get_x()
    assert 0 < air < 8
    assert (box.get_y(), box.get_width(), box.get_height()) == pytest.approx(
        (30 - air, 100 + 2 * air, 60 + 2 * air)
    )
    with Image.open(tmp_path / "a.png") as image:
        png = np.asarray(image.convert("RGB")).astype(int)
    yellow = (np.abs(png - (0xF0, 0xE4, 0x42)).sum(axis=2) < 30).nonzero()
    place = axes.get_position()
    across = (yellow[1].mean() / png.shape[1] - place.x0) / place.width
    down = (1 - yellow[0].mean() / png.shape[0] - place.y0) / place.height
    assert (across, 1 - down) == pytest.approx((450 / 800, 60 / 600), abs=0.02)


def test_texts_are_literal_stay_in_their_column_and_take_two_lines_at_most(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    lines = ("sick/T0001.1.1.S.2012-10-08.00.png", "cost $5_x$", "b" * 400)
    draw_tiles([TileSet((tile(64, 64, *lines),))], tmp_path / "a.png", columns=4)
    folder, name, cost, *long = texts(drawn[0])
    assert (folder, name, cost) == ("sick/", "T0001.1.1.S.2012-10-08.00.png", "cost $5_x$")
    assert len(long) == 2
    assert "…" in "".join(long)
    figure = drawn[0]
    width_px = figure.get_figwidth() * figure.dpi
    for item in figure.texts:
        assert not item.get_parse_math()
        assert item.get_window_extent().x1 <= width_px / 4 + 0.1 * figure.dpi


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_can_be_drawn(name: str, tmp_path: Path) -> None:
    sets = [TileSet((tile(20, 20, name, f"patient {name}"),), (name, name)), TileSet((tile(20, 20, name),))]
    path = draw_tiles(sets, tmp_path / "a.png", columns=6, note=name, key=[("k" + name, MUTED)])
    assert path.read_bytes()[16:20] == (1804).to_bytes(4, "big")
    series = (
        Series(name + "1", NEGATIVE, np.array([name, "b"])),
        Series(name + "2", POSITIVE, np.array([name])),
    )
    assert draw_distributions([Distribution(name, series)], tmp_path / "b.png").is_file()


def test_bars_are_shares_of_each_category(tmp_path: Path, drawn: list[Figure]) -> None:
    series = (
        Series("healthy", NEGATIVE, np.array([2012.0] * 30 + [2013.0] * 10)),
        Series("sick", POSITIVE, np.array([2013.0, 2014.0, 2014.0, 2014.0])),
    )
    years = Distribution("The column 'acquired'", series, np.arange(2011.5, 2015), ("2012", "2013", "2014"))
    draw_distributions([years], tmp_path / "a.png")
    (axes,) = drawn[0].axes
    heights: dict[str, list[float]] = {}
    for bar in axes.patches:
        heights.setdefault(matplotlib_hex(bar.get_facecolor()), []).append(round(bar.get_height(), 6))
    assert heights == {NEGATIVE.lower(): [75, 25, 0], POSITIVE.lower(): [0, 25, 75]}
    assert [item.get_text() for item in axes.get_xticklabels()] == ["2012", "2013", "2014"]
    assert drawn[0].legends[0].get_texts()[0].get_text() == "healthy"


def matplotlib_hex(colour: object) -> str:
    from matplotlib.colors import to_hex

    return to_hex(colour)  # type: ignore[arg-type]


def test_rare_values_are_taken_together_below_the_frequent_ones(tmp_path: Path, drawn: list[Figure]) -> None:
    values = np.repeat([f"site {letter}" for letter in "abcdefghij"], range(10, 0, -1))
    draw_distributions([Distribution("t", (Series("sick", POSITIVE, values),))], tmp_path / "a.png")
    names = [item.get_text() for item in drawn[0].axes[0].get_yticklabels()]
    assert names == [*(f"site {letter}" for letter in "abcdefg"), "3 others"]


@pytest.mark.parametrize(("count", "width_in"), [(1, 4.7), (2, 9.4), (5, 9.4), (6, 9.4)])
def test_panels_stand_two_in_a_row(count: int, width_in: float, tmp_path: Path, drawn: list[Figure]) -> None:
    numbers = (
        Series("sick", POSITIVE, np.linspace(0, 1, 50)),
        Series("healthy", NEGATIVE, np.linspace(0.5, 2, 50)),
    )
    draw_distributions(
        [Distribution(str(n), numbers, np.linspace(0, 2, 9)) for n in range(count)], tmp_path / "a.png"
    )
    assert drawn[0].get_figwidth() == pytest.approx(width_in)
    assert [axes.get_title(loc="left") for axes in drawn[0].axes if axes.axison] == [
        str(n) for n in range(count)
    ]
