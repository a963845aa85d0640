"""Writes the page that lists runs: one self-contained file whose table can be sorted and filtered."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from breastlens.report.explorer import script_hash
from breastlens.report.facts import Interval
from breastlens.report.page import REPORT_NAME
from breastlens.report.phrasing import count_text, range_text, short_text
from breastlens.report.rendering import TEMPLATES, write_page
from breastlens.report.run_list import TEXT_COLUMNS, RunLine
from breastlens.report.wording import RESEARCH_USE

_SCRIPT = "runs.js"
VERDICTS = {
    "no AUC": "the images that were judged have one label only",
    "leak": "parts of the split share patients or pictures, or a model of labels dealt anew is above chance",
    "trained on these": "an evaluation on images that the model was trained on",
    "chance": "the AUC may be that of guessing",
    "no control": "no negative control was run, so nothing is known of shortcuts",
    "breast not shown": "a model that could not see the breast may do as well",
    "partly explained": "a control is surely above chance, and the model surely above the control",
    "not known": "the margin to a control has no interval",
    "unexplained": "no control explains the score, which is not yet a proof that the model sees the breast",
}
"""What each verdict in a word means."""


HEADINGS = {
    "path": "Run",
    "auc": "AUC",
    "control": "Worst control",
    "control_auc": "Its AUC",
    "margin": "Margin",
    "verdict": "Verdict",
    "backbone": "Backbone",
    "data": "Data",
    "date": "Date",
    "kind": "Kind",
    "strategy": "Strategy",
    "part": "Part",
    "images": "Images",
    "patients": "Patients",
    "rule": "Threshold",
}
"""Above the columns of the page, of which the first are what one looks for."""

_NOT_IN_TERMINAL = ("control", "control_auc", "rule")


class Cell(NamedTuple):
    """One cell of the table.

    Attributes:
        text: What it shows.
        interval: Below that.
        link: Where it leads.
        numeric: Whether it stands to the right.
    """

    text: str
    interval: str = ""
    link: str = ""
    numeric: bool = False


def describe_cells(line: RunLine, link: str = "") -> dict[str, Cell]:
    """The cells of one run by their columns, which are those of `HEADINGS`.

    Args:
        line: The run.
        link: To its report.
    """
    strategy = line.strategy
    if line.kept and line.kept != line.strategy:
        strategy += f", {line.kept} kept"
    return {
        "path": Cell(line.path, link=link),
        "auc": _figure(line.auc, Interval(low=line.auc_low, high=line.auc_high)),
        "control": Cell(line.control or "–"),
        "control_auc": _figure(line.control_auc),
        "margin": _figure(line.margin, Interval(low=line.margin_low, high=line.margin_high)),
        "verdict": Cell(line.verdict),
        "backbone": Cell(line.backbone),
        "data": Cell(line.data),
        "date": Cell(line.date[:16].replace("T", " ")),
        "kind": Cell(line.kind),
        "strategy": Cell(strategy),
        "part": Cell(line.part),
        "images": _count(line.images),
        "patients": _count(line.patients),
        "rule": Cell(line.rule),
    }


def terminal_row(line: RunLine) -> dict[str, str]:
    """One run for a terminal: under the names that --sort and --where take, a figure and its interval side by side."""
    return {
        name: f"{cell.text} ({cell.interval})" if cell.interval else cell.text
        for name, cell in describe_cells(line).items()
        if name not in _NOT_IN_TERMINAL
    }


def _count(value: int | None) -> Cell:
    return Cell("–" if value is None else f"{value:,}", numeric=True)


def _figure(value: float | None, interval: Interval | None = None) -> Cell:
    ends = "" if value is None or interval is None else range_text(interval)
    return Cell(short_text(value), ends, numeric=True)


def write_run_page(path: Path, folder: Path, lines: Sequence[RunLine], sort: str = "") -> Path:
    """Write the page.

    Args:
        path: HTML file to write; links lead from its folder to each run's report, where there is one.
        folder: That the paths of the rows begin at.
        lines: The rows in the order that the page begins with.
        sort: The column that this is the order of, with a minus before it where the largest is first.
    """
    script = (TEMPLATES / _SCRIPT).read_text(encoding="utf-8")
    found = {line.verdict for line in lines}
    context = {
        "title": count_text(len(lines), "run"),
        "headings": HEADINGS,
        "columns": {name: name in TEXT_COLUMNS for name in RunLine._fields},
        "sorted_by": sort.removeprefix("-"),
        "direction": "descending" if sort.startswith("-") else "ascending",
        "rows": [
            (_known(line), describe_cells(line, _link(path, folder / line.path)).values()) for line in lines
        ],
        "verdicts": {word: meant for word, meant in VERDICTS.items() if word in found},
        "one_split": len({line.split_hash for line in lines}) <= 1,
        "script": script,
        "script_hash": script_hash(script),
        "research_use": RESEARCH_USE,
    }
    return write_page(path, "runs.html", context)


def _known(line: RunLine) -> dict[str, str | float]:
    """By which the page sorts and filters a row: what has a value."""
    return {name: value for name, value in line._asdict().items() if value not in (None, "")}


def _link(page: Path, run_dir: Path) -> str:
    report = run_dir / REPORT_NAME
    if not report.is_file():
        return ""
    return quote(Path(os.path.relpath(report, page.parent)).as_posix().encode("utf-8", "surrogateescape"))
