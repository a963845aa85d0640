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
from breastlens.report.run_list import RunLine
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


_IN_TERMINAL = {
    "path": "Run",
    "date": "Date",
    "kind": "Kind",
    "data": "Data",
    "images": "Images",
    "patients": "Patients",
    "backbone": "Backbone",
    "strategy": "Strategy",
    "part": "Part",
    "auc": "AUC",
    "margin": "Margin",
    "verdict": "Verdict",
}


class Cell(NamedTuple):
    """One cell of the table.

    Attributes:
        text: What it shows.
        interval: Below that.
        value: What it is sorted by; None where there is nothing.
        link: Where it leads.
        numeric: Whether it stands to the right, and is sorted as a number.
    """

    text: str
    interval: str = ""
    value: str | float | None = None
    link: str = ""
    numeric: bool = False


def describe_cells(line: RunLine, link: str = "") -> dict[str, Cell]:
    """The cells of one run by their headings.

    Args:
        line: The run.
        link: To its report.
    """
    strategy = line.strategy
    if line.kept and line.kept != line.strategy:
        strategy += f", {line.kept} kept"
    return {
        "Run": Cell(line.path, value=line.path, link=link),
        "Date": Cell(line.date[:16].replace("T", " "), value=line.date),
        "Kind": Cell(line.kind, value=line.kind),
        "Data": Cell(line.data, value=line.data),
        "Images": _count(line.images),
        "Patients": _count(line.patients),
        "Backbone": Cell(line.backbone, value=line.backbone),
        "Strategy": Cell(strategy, value=strategy),
        "Part": Cell(line.part, value=line.part),
        "AUC": _figure(line.auc, Interval(low=line.auc_low, high=line.auc_high)),
        "Worst control": Cell(line.control or "–", value=line.control),
        "Its AUC": _figure(line.control_auc),
        "Margin": _figure(line.margin, Interval(low=line.margin_low, high=line.margin_high)),
        "Verdict": Cell(line.verdict, value=line.verdict),
        "Threshold": Cell(line.rule, value=line.rule),
    }


def terminal_row(line: RunLine) -> dict[str, str]:
    """One run for a terminal: under the names that --sort and --where take, a figure and its interval side by side."""
    cells = describe_cells(line)
    return {
        name: f"{cells[heading].text} ({cells[heading].interval})"
        if cells[heading].interval
        else cells[heading].text
        for name, heading in _IN_TERMINAL.items()
    }


def _count(value: int | None) -> Cell:
    return Cell("–" if value is None else f"{value:,}", value=value, numeric=True)


def _figure(value: float | None, interval: Interval | None = None) -> Cell:
    ends = "" if value is None or interval is None else range_text(interval)
    return Cell(short_text(value), ends, value, numeric=True)


def write_run_page(path: Path, folder: Path, lines: Sequence[RunLine]) -> Path:
    """Write the page.

    Args:
        path: HTML file to write; links lead from its folder to each run's report, where there is one.
        folder: That the paths of the rows begin at.
        lines: The rows in the order that the page begins with.
    """
    script = (TEMPLATES / _SCRIPT).read_text(encoding="utf-8")
    rows = [describe_cells(line, _link(path, folder / line.path)) for line in lines]
    found = {line.verdict for line in lines}
    context = {
        "title": count_text(len(lines), "run"),
        "headings": {heading: cell.numeric for heading, cell in describe_cells(RunLine("")).items()},
        "rows": rows,
        "verdicts": {word: meant for word, meant in VERDICTS.items() if word in found},
        "one_split": len({line.split_hash for line in lines}) <= 1,
        "script": script,
        "script_hash": script_hash(script),
        "research_use": RESEARCH_USE,
    }
    return write_page(path, "runs.html", context)


def _link(page: Path, run_dir: Path) -> str:
    report = run_dir / REPORT_NAME
    if not report.is_file():
        return ""
    return quote(Path(os.path.relpath(report, page.parent)).as_posix().encode("utf-8", "surrogateescape"))
