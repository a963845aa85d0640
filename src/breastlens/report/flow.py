"""The flow of images and patients from what was found to what was judged: counts, and boxes and arrows to draw."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

import pandas as pd

from breastlens.cohort.records import COPY_OF
from breastlens.report.phrasing import count_text
from breastlens.report.run_files import RunFiles
from breastlens.report.tables import extra_columns

UNREADABLE = "unreadable"
_COPIES = "copy of another image"
_WIDTH, _GAP, _LINE, _PAD = 920.0, 26.0, 18.0, 12.0
_HALF = (_WIDTH - _GAP) / 2
_EXAMPLES = 5
_CHARACTER = 7.1
"""Pixels that a letter of the diagram's text takes at most, on average."""


class FlowRow(NamedTuple):
    """One line of the flow in numbers; patients are None where they are unknown."""

    step: str
    images: int
    positive_images: int
    negative_images: int
    patients: int | None
    positive_patients: int | None
    negative_patients: int | None


class FlowTable(NamedTuple):
    """The flow in numbers: what was found, what each reason took away, what is left, and the parts."""

    found: FlowRow
    left_out: list[FlowRow]
    used: FlowRow
    parts: list[FlowRow]

    @property
    def rows(self) -> list[FlowRow]:
        """All lines in their order."""
        return [self.found, *self.left_out, self.used, *self.parts]


class ExclusionRow(NamedTuple):
    """One reason for leaving images out, how many, and which."""

    reason: str
    images: int
    examples: str


class Box(NamedTuple):
    """A rectangle with lines of text; the first is its heading. In pixels of the drawing."""

    x: float
    y: float
    width: float
    lines: list[str]

    @property
    def height(self) -> float:
        """As the lines need."""
        return 2 * _PAD + _LINE * len(self.lines) - 4

    @property
    def middle(self) -> float:
        """Where an arrow from above ends."""
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.y + self.height

    @property
    def baselines(self) -> list[tuple[float, str]]:
        """Height and text of each line."""
        return [(self.y + _PAD + _LINE * number + 11, line) for number, line in enumerate(self.lines)]


class Drawing(NamedTuple):
    """The flow diagram: boxes, arrows as paths, and what it shows in words."""

    width: float
    height: float
    boxes: list[Box]
    arrows: list[str]
    description: str


def flow_table(files: RunFiles) -> FlowTable:
    """Count images and patients at each step.

    A patient counts as left out at the step that took the last of their images; a patient with images of both classes
    counts in both. So the counts of patients add up as those of images do.
    """
    records = files.records.assign(kind=_kinds(files))
    left, rows = records, []
    for kind in _order(records["kind"]):
        after = left[left["kind"] != kind]
        rows.append(_lost(files, kind, left, after))
        left = after
    parts = [
        _row(files, _part_name(files, part.name), left[left["split"] == part.name])
        for part in files.facts.split.parts
        if files.facts.split.kind != "external"
    ]
    return FlowTable(_row(files, "Found", records), rows, _row(files, "Used", left), parts)


def exclusion_rows(files: RunFiles) -> list[ExclusionRow]:
    """Reasons for leaving images out, the most frequent first, with a few of the images."""
    reasons = _reasons(files)
    rows = []
    for reason, group in files.records[reasons != ""].groupby(reasons):
        more = f" and {len(group) - _EXAMPLES:,} more" if len(group) > _EXAMPLES else ""
        rows.append(ExclusionRow(str(reason), len(group), ", ".join(group["path"].head(_EXAMPLES)) + more))
    return sorted(rows, key=lambda row: (-row.images, row.reason))


def flow_drawing(files: RunFiles, table: FlowTable) -> Drawing:
    """Lay out the diagram of participants (Bossuyt and others, STARD 2015, BMJ 351) from top to bottom."""
    labels = files.facts.labels
    names = (_short(labels.positive_name), _short(labels.negative_name))
    found = Box(0, 2, _HALF, _fitted(["Found", *_size_lines(table.found, names)], _HALF))
    boxes, arrows = [found], []
    used_y = found.bottom + 2 * _GAP
    if table.left_out:
        lines = [f"Left out: {count_text(sum(row.images for row in table.left_out), 'image')}"]
        lines += [f"{row.step}: {_lost_text(row)}" for row in table.left_out]
        side = Box(_WIDTH - _HALF, found.bottom + _GAP / 2, _HALF, _fitted(lines, _HALF))
        used_y = max(used_y, side.bottom + _GAP / 2)
        middle = side.y + side.height / 2
        arrows.append(f"M {found.middle:g} {middle:g} H {side.x - 3:g}")
        boxes.append(side)
    used = Box(0, used_y, _HALF, _fitted(["Used", *_size_lines(table.used, names)], _HALF))
    arrows.append(f"M {found.middle:g} {found.bottom:g} V {used.y - 3:g}")
    boxes.append(used)
    judged = used
    if files.part == "test":
        parts = _side_by_side(
            [[row.step, *_size_lines(row, names)] for row in table.parts], used.bottom + 1.5 * _GAP
        )
        arrows += _fork(used, parts)
        boxes += parts
        judged = next(box for box in parts if box.lines[0] == _part_name(files, "test"))
    calls = _side_by_side(_call_texts(files, names), max(box.bottom for box in boxes) + 1.5 * _GAP)
    arrows += _fork(judged, calls)
    boxes += calls
    height = max(box.bottom for box in boxes) + 2
    return Drawing(_WIDTH, height, boxes, arrows, ". ".join("; ".join(box.lines) for box in boxes) + ".")


def _call_texts(files: RunFiles, names: tuple[str, str]) -> list[list[str]]:
    """What was called positive and what negative, against the truth, in images and in patients where these differ."""
    (tn, fp), (fn, tp) = files.block.confusion_matrix
    people = files.block.by_patient
    (ptn, pfp), (pfn, ptp) = people.confusion_matrix if people else ((None, None), (None, None))

    def told(name: str, images: int, patients: int | None, verdict: str) -> str:
        also = "" if patients is None else f", {count_text(patients, 'patient')}"
        return f"{name}: {count_text(images, 'image')}{also} ({verdict})"

    positive, negative = names
    return [
        ["Called positive", told(positive, tp, ptp, "right"), told(negative, fp, pfp, "wrong")],
        ["Called negative", told(negative, tn, ptn, "right"), told(positive, fn, pfn, "wrong")],
    ]


def _reasons(files: RunFiles) -> pd.Series:
    """Why each image was left out, without the text of the manifest, which may name people; "" for those in use."""
    columns = set(extra_columns(files))

    def name(reason: str) -> str:
        if reason.startswith(COPY_OF):
            return _COPIES
        first = _first_part(reason)
        return f"filled in under “{first}”" if first in columns else reason

    return files.records["excluded"].map(name)


def _kinds(files: RunFiles) -> pd.Series:
    """The same without what differs between images."""
    return _reasons(files).map(_first_part)


def _first_part(reason: str) -> str:
    return reason.replace("; ", ": ").split(": ")[0]


def _order(kinds: pd.Series) -> list[str]:
    """Unreadable first, then copies, then the rest, the most frequent first."""
    counts = kinds[kinds != ""].value_counts()
    rank = {UNREADABLE: 0, _COPIES: 1}
    return sorted(counts.index, key=lambda kind: (rank.get(kind, 2), -counts[kind], kind))


def _row(files: RunFiles, step: str, rows: pd.DataFrame) -> FlowRow:
    labels = files.facts.labels
    positive, negative = (rows[rows["category"].isin(side)] for side in (labels.positive, labels.negative))
    everyone, sick, healthy = (_patients(files, each) for each in (rows, positive, negative))
    return FlowRow(step, len(rows), len(positive), len(negative), everyone, sick, healthy)


def _lost(files: RunFiles, kind: str, before: pd.DataFrame, after: pd.DataFrame) -> FlowRow:
    one, other = _row(files, kind, before), _row(files, kind, after)
    return FlowRow(
        kind[:1].upper() + kind[1:],
        one.images - other.images,
        one.positive_images - other.positive_images,
        one.negative_images - other.negative_images,
        _less(one.patients, other.patients),
        _less(one.positive_patients, other.positive_patients),
        _less(one.negative_patients, other.negative_patients),
    )


def _less(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else before - after


def _patients(files: RunFiles, rows: pd.DataFrame) -> int | None:
    if not files.facts.data.patient_source:
        return None
    return int(rows.loc[rows["patient_id"] != "", "patient_id"].nunique())


def _part_name(files: RunFiles, name: str) -> str:
    return f"Fold {name}" if files.facts.split.kind == "folds" else name.capitalize()


def _size_lines(row: FlowRow, names: tuple[str, str]) -> list[str]:
    people = "" if row.patients is None else f" of {count_text(row.patients, 'patient')}"
    lines = [f"{count_text(row.images, 'image')}{people}"]
    for name, images, patients in (
        (names[0], row.positive_images, row.positive_patients),
        (names[1], row.negative_images, row.negative_patients),
    ):
        lines.append(f"{name}: {images:,}" + ("" if patients is None else f" of {patients:,}"))
    return lines


def _lost_text(row: FlowRow) -> str:
    if row.patients is None:
        return f"{row.images:,}"
    return f"{row.images:,}, and with them {count_text(row.patients, 'patient')}"


def _side_by_side(texts: list[list[str]], y: float) -> list[Box]:
    width = (_WIDTH - _GAP * (len(texts) - 1)) / len(texts)
    fitted = [_fitted(lines, width) for lines in texts]
    tallest = max(map(len, fitted))
    return [
        Box(number * (width + _GAP), y, width, lines + [""] * (tallest - len(lines)))
        for number, lines in enumerate(fitted)
    ]


def _fork(above: Box, below: list[Box]) -> list[str]:
    bend = below[0].y - _GAP * 0.75
    return [
        f"M {above.middle:g} {above.bottom:g} V {bend:g} H {box.middle:g} V {box.y - 3:g}" for box in below
    ]


def _fitted(lines: list[str], width: float) -> list[str]:
    room = int((width - 2 * _PAD) / _CHARACTER)
    return [part for line in lines for part in textwrap.wrap(line, room) or [""]]


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:39]}…"
