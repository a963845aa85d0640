"""Which pictures an audit gets: the images that prove its findings, the gravest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.findings import DUPLICATE_CODES, tell_kind
from breastlens.audit.inspection import Inspection
from breastlens.audit.labels import rank_doubtful_labels
from breastlens.audit.marks import KIND_NAMES
from breastlens.audit.near_duplicates import NEAR_DUPLICATE_CODES, list_pictures
from breastlens.audit.shortcuts import hidden, occlusions
from breastlens.cohort.batches import load_images, read_each
from breastlens.cohort.records import Cohort
from breastlens.config import AuditRecipe
from breastlens.imaging.decode import DecodedImage
from breastlens.imaging.marks import PRECISION, Kind, Marks
from breastlens.imaging.preprocess import apply_window, display_window, resize
from breastlens.report.audit_figures import draw_controls, draw_distributions, draw_sheet
from breastlens.report.audit_wording import SEEN
from breastlens.report.canvas import INK, MUTED, NEGATIVE, POSITIVE
from breastlens.report.image_sheet import Line, Tile, TileSet, draw_tiles
from breastlens.runs.audit_distributions import choose_distributions

MOST = 12
"""Sets, pairs or images on one picture; a page is to be looked through, not searched."""

_SMALL_COLUMNS, _LARGE_COLUMNS = 6, 4
_LARGEST_PX = 480
"""Longer side of an image as it is drawn, from the whole frame: as many pixels as its place has on the page."""

_IMAGES_A_KIND = 2
_FEWEST_MARKED = 4

_DUPLICATES = {
    "duplicates-across-labels": "under both labels, so left out",
    "duplicates-across-patients": "under different patients",
    "duplicates-across-categories": "in different categories of one label",
    "duplicates-within-category": "within one category",
}
_NEAR_DUPLICATES = (
    "under both labels",
    "in different parts of the split",
    "under different patients",
    "under one label",
)
# Those of Okabe and Ito (2008) that stand out on dark images, the last lightened for it.
_COLOURS: dict[Kind, str] = {
    "text": "#56B4E9",
    "cross": "#E69F00",
    "line": "#3FD9AE",
    "colour": "#CC79A7",
    "square": "#F0E442",
}

Displayed = tuple[NDArray[np.uint8], tuple[int, int]]
"""A whole frame at a size for the page, uint8 (h, w, 3), and its width and height as decoded."""


def draw_audit(
    directory: Path,
    facts: Mapping[str, Any],
    cohort: Cohort,
    inspection: Inspection,
    y_score: NDArray[np.float64] | None,
    recipe: AuditRecipe,
) -> None:
    """Make the folder of an audit's figures and draw what there is to show.

    Args:
        directory: The folder to make.
        facts: The content of findings.json.
        cohort: All records, those left out among them.
        inspection: What was seen of the images in use.
        y_score: Out-of-fold probability of positive of each image in use, (n,); None where no probe was trained.
        recipe: Border and seed of the occlusions.

    Raises:
        DecodeError: A file has gone or changed since the cohort was read.
    """
    directory.mkdir()
    counts = {finding["code"]: int(finding["count"]) for finding in facts["findings"]}
    if "whole" in facts:
        _draw_bars(directory / "controls.png", facts)
        _draw_occlusions(directory / "occlusions.png", cohort, inspection, recipe)
    _draw_duplicates(directory / "duplicates.png", cohort)
    _draw_near_duplicates(directory / "near_duplicates.png", inspection)
    if y_score is not None and "doubtful-labels" in counts:
        _draw_doubtful_labels(directory / "doubtful_labels.png", inspection, y_score)
    _draw_marks(directory / "marks.png", cohort, inspection)
    _draw_files(directory / "files.png", cohort, inspection, counts)
    if panels := choose_distributions(inspection, cohort.labels):
        draw_distributions(panels, directory / "distributions.png")


def _draw_bars(path: Path, facts: Mapping[str, Any]) -> None:
    ends = ("auc", "low", "high")
    bars = [("whole image", *(facts["whole"][end] for end in ends))]
    bars += [
        (f"a model that {SEEN[name]}", *(control[end] for end in ends))
        for name, control in facts["controls"].items()
    ]
    draw_controls(bars, path)


def _draw_occlusions(path: Path, cohort: Cohort, inspection: Inspection, recipe: AuditRecipe) -> None:
    labels, pixels = inspection.used["label"].to_numpy(), inspection.loaded.pixels
    # one image of either class, from the middle of the table
    rows = [int(np.flatnonzero(labels == label)[(labels == label).sum() // 2]) for label in (1, 0)]
    sheet = {"whole image": list(pixels[rows])}
    for occlusion in occlusions(cohort.image, recipe.border_px):
        sheet[occlusion.name] = list(np.concatenate(list(hidden(pixels[rows], occlusion, recipe.seed))))
    draw_sheet(sheet, [inspection.used["category"].iloc[row] for row in rows], path)


def _draw_duplicates(path: Path, cohort: Cohort) -> None:
    """Sets of the same pixels, also those that are left out for it; contradicting labels first."""
    table = cohort.table
    repeated = table[(table["duplicate_group"] != "") & table["label"].notna()]
    sets = [members for _, members in repeated.groupby("duplicate_group") if len(members) > 1]
    if not sets:
        return
    sets.sort(
        key=lambda members: (
            DUPLICATE_CODES.index(tell_kind(members)),
            -len(members),
            members["path"].iloc[0],
        )
    )
    shown = [members.iloc[:_SMALL_COLUMNS] for members in sets[:MOST]]
    pixels = iter(load_images(cohort, pd.concat(shown)).pixels)
    drawn = []
    for members, whole in zip(shown, sets, strict=False):
        tiles = tuple(Tile(next(pixels), _name_image(row)) for row in members.itertuples())
        many = f" ({len(members)} of {len(whole)} shown)" if len(members) < len(whole) else ""
        drawn.append(TileSet(tiles, (f"{_DUPLICATES[tell_kind(whole)].capitalize()}{many}",)))
    note = _say_more(len(sets), "set", place="the column duplicate_group of records.csv")
    draw_tiles(drawn, path, columns=_SMALL_COLUMNS, note=note)


def _draw_near_duplicates(path: Path, inspection: Inspection) -> None:
    """The clearest pair of each picture that a finding tells of, the gravest first."""
    pictures = list_pictures(inspection.used, inspection.pairs)
    drawn = []
    for picture in pictures[:MOST]:
        pair = picture.pairs[0]
        tiles = tuple(_square(inspection, row) for row in (pair.first, pair.second))
        rank = NEAR_DUPLICATE_CODES.index(picture.code)
        more = f", {len(picture.rows)} images in all" if len(picture.rows) > 2 else ""
        lines = (
            _NEAR_DUPLICATES[rank].capitalize(),
            f"similarity {pair.similarity:.3f}, {pair.change}{more}",
        )
        drawn.append(TileSet(tiles, lines))
    if drawn:
        draw_tiles(drawn, path, columns=_SMALL_COLUMNS, note=_say_more(len(pictures), "set"))


def _draw_doubtful_labels(path: Path, inspection: Inspection, y_score: NDArray[np.float64]) -> None:
    ranked = rank_doubtful_labels(inspection.used["label"].to_numpy(), y_score)
    drawn = []
    for row in ranked[:MOST].tolist():
        said = (f"probability of positive {y_score[row]:.3f}", INK)
        drawn.append(TileSet((_square(inspection, row, before="given: ", line=said),)))
    if drawn:
        draw_tiles(drawn, path, columns=_LARGE_COLUMNS, note=_say_more(len(ranked), "label", "most doubtful"))


def _draw_marks(path: Path, cohort: Cohort, inspection: Inspection) -> None:
    """Up to two images of each kind of mark, the surest kind first, one of either label where there is one."""
    marks = [each.marks for each in inspection.measures]
    chosen = _choose_marked(marks, inspection.used["label"].to_numpy())
    if not chosen:
        return
    drawn = []
    for row, (pixels, size_px) in zip(chosen, _display(cohort, inspection.used.iloc[chosen]), strict=True):
        found = marks[row]
        boxes = tuple((box, _COLOURS[kind]) for box, kind in zip(found.boxes, found.kinds, strict=True))
        kinds = ", ".join(name for kind, name in KIND_NAMES.items() if kind in found.kinds)
        lines = _name_image(inspection.used.iloc[row], line=(kinds, INK))
        drawn.append(TileSet((Tile(pixels, lines, boxes, size_px),)))
    shown = {kind for row in chosen for kind in marks[row].kinds}
    draw_tiles(
        drawn,
        path,
        columns=_LARGE_COLUMNS,
        note=f"{len(chosen)} of {sum(bool(each.boxes) for each in marks)} images with marks, the surest kinds first",
        key=[(KIND_NAMES[kind], colour) for kind, colour in _COLOURS.items() if kind in shown],
    )


def _choose_marked(marks: list[Marks], labels: NDArray[np.integer]) -> list[int]:
    present = {kind for each in marks for kind in each.kinds}
    many = max(_IMAGES_A_KIND, _FEWEST_MARKED // max(1, len(present)))
    chosen: list[int] = []
    for kind in sorted(present, key=lambda kind: (-PRECISION[kind], kind)):
        has = [row for row, each in enumerate(marks) if kind in each.kinds and row not in chosen]
        has.sort(key=lambda row: -marks[row].share)
        sides = [[row for row in has if labels[row] == label] for label in (1, 0)]
        either = [row for pair in zip_longest(*sides) for row in pair if row is not None]
        chosen += either[:many]
    return chosen[:MOST]


def _draw_files(path: Path, cohort: Cohort, inspection: Inspection, counts: Mapping[str, int]) -> None:
    """The images that findings on files are about; in turn one of each kind, the worst first, while there is room."""
    kinds = [list(each) for each in _rank_files(inspection, counts)]
    taken: list[tuple[int, int, str]] = []
    for place in range(MOST):
        taken += [(number, *kind[place]) for number, kind in enumerate(kinds) if place < len(kind)]
    if not taken:
        return
    shown = sorted(taken[:MOST], key=lambda item: item[0])
    rows = inspection.used.iloc[[row for _, row, _ in shown]]
    drawn = [
        TileSet((Tile(pixels, _name_image(row), size_px=size_px),), (what,))
        for (_, _, what), row, (pixels, size_px) in zip(
            shown, rows.itertuples(), _display(cohort, rows), strict=True
        )
    ]
    draw_tiles(drawn, path, columns=_LARGE_COLUMNS, note=_say_more(len(taken), "image"))


def _rank_files(inspection: Inspection, counts: Mapping[str, int]) -> Iterator[Iterator[tuple[int, str]]]:
    """For each finding its images, the worst first, and what is wrong with each.

    Each finding is about the images with the least or the greatest of one figure, so that its count tells which.
    """
    images = [each.image for each in inspection.measures]
    contrast, sharpness, bright = (
        np.array([getattr(image, name) for image in images])
        for name in ("contrast", "sharpness", "clipped_bright")
    )
    blank = np.argsort(contrast, kind="stable")[: counts.get("blank-images", 0)]
    yield ((row, "Nearly one grey level") for row in blank.tolist())
    shown = np.ones(len(images), dtype=bool)
    shown[blank] = False

    def pick(order: NDArray[np.float64], code: str, among: NDArray[np.bool_] = shown) -> list[int]:
        rows = np.flatnonzero(among)
        chosen: list[int] = rows[np.argsort(order[rows], kind="stable")][: counts.get(code, 0)].tolist()
        return chosen

    yield ((row, f"{bright[row]:.0%} at the brightest level") for row in pick(-bright, "saturated-images"))
    sharp = shown & (sharpness > 0)
    middle = float(np.median(sharpness[sharp])) if sharp.any() else 1.0
    blurred = pick(sharpness, "blurred-images", sharp)
    yield ((row, f"{sharpness[row] / middle:.0%} of the usual sharpness") for row in blurred)
    clear = np.array([each.transparent for each in inspection.measures])
    transparent = pick(-clear, "transparent-images", np.ones_like(shown))
    yield ((row, f"{clear[row]:.0%} transparent, read as black") for row in transparent)
    if "odd-sizes" in counts:
        sizes = [f"{width}x{height}" for width, height in inspection.used[["width", "height"]].to_numpy()]
        usual = Counter(sizes).most_common(1)[0][0]
        yield (
            (row, f"{size} px, most are {usual}")
            for row, size in sorted(enumerate(sizes), key=lambda item: item[1])
            if size != usual
        )


def _display(cohort: Cohort, rows: pd.DataFrame) -> list[Displayed]:
    """Whole frames as the recipe windows them, whatever it crops."""

    def look(image: DecodedImage, _: Path) -> Displayed:
        grey = apply_window(image.pixels, *display_window(image.pixels, image, cohort.image))
        scale = min(1.0, _LARGEST_PX / max(image.width, image.height))
        small = resize(grey, max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        colour = np.asarray(cv2.cvtColor(small, cv2.COLOR_GRAY2RGB)) if small.ndim == 2 else small
        return colour, (image.width, image.height)

    return list(read_each(cohort, rows, look))


def _square(inspection: Inspection, row: int, *, before: str = "", line: Line | None = None) -> Tile:
    """An image in use as the network takes it."""
    return Tile(inspection.loaded.pixels[row], _name_image(inspection.used.iloc[row], before, line))


def _name_image(row: Any, before: str = "", line: Line | None = None) -> tuple[Line, ...]:
    """Category in the colour of its label, what else is to be said, patient where known, and path."""
    frame = f", frame {row.frame}" if row.frame else ""
    lines = [(f"{before}{row.category}", POSITIVE if row.label == 1 else NEGATIVE)]
    lines += [] if line is None else [line]
    if row.patient_id:
        lines.append((f"patient {row.patient_id}", MUTED))
    return (*lines, (f"{row.path}{frame}", MUTED))


def _say_more(count: int, noun: str, order: str = "gravest", place: str = "findings.json") -> str:
    """What to say above a picture that does not show all; "" for one that does."""
    return f"{MOST} of {count} {noun}s, the {order} first; for more see {place}" if count > MOST else ""
