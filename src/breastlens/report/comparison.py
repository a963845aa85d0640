"""Writes the comparison of several runs: comparison.csv for programs, comparison.html for people."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from breastlens.errors import RunDirectoryError
from breastlens.report.figures import ComparisonRow, draw_comparison
from breastlens.report.page import REPORT_NAME
from breastlens.report.rendering import Picture, embed, write_page
from breastlens.report.run_files import Interval, RunFiles, read_run_files
from breastlens.report.tables import MetricCell
from breastlens.report.wording import (
    PART_TITLES,
    RESEARCH_USE,
    count_text,
    few_sentence,
    figure_text,
    size_of,
    with_interval,
)

CSV_NAME = "comparison.csv"
PAGE_NAME = "comparison.html"
BORDER_CONTROL = "border"


@dataclass(frozen=True)
class ComparisonEntry:
    """One run to compare, or the reason why there is none.

    Attributes:
        name: The backbone as the user asked for it.
        run_dir: Its run directory, None where it failed.
        error: What went wrong, None where it succeeded.
    """

    name: str
    run_dir: Path | None
    error: str | None


class ComparisonLine(NamedTuple):
    """One row of comparison.csv; numbers are None where there are none."""

    backbone: str
    parameters: int | None = None
    part: str = ""
    images: int | None = None
    patients: int | None = None
    auc: float | None = None
    auc_low: float | None = None
    auc_high: float | None = None
    validation_auc: float | None = None
    accuracy: float | None = None
    sensitivity: float | None = None
    specificity: float | None = None
    border_auc: float | None = None
    seconds: float | None = None
    split_hash: str = ""
    report: str = ""
    error: str = ""


class PageLine(NamedTuple):
    """One row of the page's table, as text; `link` leads to the run's report."""

    name: str
    link: str
    cells: list[MetricCell]


def write_comparison(out_dir: Path, runs: Sequence[ComparisonEntry]) -> tuple[Path, Path]:
    """Write comparison.csv and comparison.html for runs over the same data.

    Args:
        out_dir: Existing directory to write to; links lead from there to each run's report.html.
        runs: The runs in the order of the table, failed ones too.

    Returns:
        The paths of the table and of the page.

    Raises:
        RunDirectoryError: A run directory that is given cannot be read.
    """
    out_dir = Path(out_dir)
    found = {run.name: read_run_files(run.run_dir) for run in runs if run.run_dir is not None}
    lines = [_line(run, found.get(run.name), out_dir) for run in runs]
    table = out_dir / CSV_NAME
    with table.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(ComparisonLine._fields)
        writer.writerows(lines)
    worked = [line for line in lines if not line.error]
    context = {
        "title": _title(len(worked), len(runs)),
        "size": size_of(next(iter(found.values())).block) if found else "",
        "part": PART_TITLES[worked[0].part].lower() if worked else "",
        "comparable": len({(line.part, line.split_hash) for line in worked}) <= 1,
        "columns": _columns(worked),
        "lines": [_page_line(line, _columns(worked)) for line in worked],
        "failed": [line for line in lines if line.error],
        "picture": _picture(worked) if worked else None,
        "no_control": not any(line.border_auc is not None for line in worked),
        "few": few_sentence(next(iter(found.values()))) if found else "",
        "research_use": RESEARCH_USE,
    }
    return table, write_page(out_dir / PAGE_NAME, "comparison.html", context)


def comparison_lines(page: Path) -> list[str]:
    """What a comparison found, a line a backbone for the terminal: its AUC with interval, and the border control's.

    Args:
        page: The path of comparison.html; the table is read that lies beside it.

    Raises:
        RunDirectoryError: There is no such table.
    """
    table = Path(page).with_name(CSV_NAME)
    try:
        with table.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except FileNotFoundError as error:
        raise RunDirectoryError(
            f"{table.parent} is not a complete comparison: it has no {CSV_NAME}"
        ) from error
    return [_terminal_line(row) for row in rows]


def _terminal_line(row: Mapping[str, str]) -> str:
    if row["error"]:
        return f"{row['backbone']}: failed: {' '.join(row['error'].split())}"
    auc, low, high, border = (
        float(row[name]) if row[name] else None for name in ("auc", "auc_low", "auc_high", "border_auc")
    )
    reached = "no AUC" if auc is None else f"AUC {with_interval(auc, Interval(low=low, high=high))}"
    if auc is not None and low is None:
        reached += ", no interval"
    control = "no border control" if border is None else f"border control {figure_text(border)}"
    return f"{row['backbone']}: {reached}; {control}"


def _title(worked: int, asked: int) -> str:
    if worked == asked:
        return f"Comparison of {count_text(asked, 'backbone')}"
    return f"Comparison of {worked} of {count_text(asked, 'backbone')}: {asked - worked} failed"


def _line(run: ComparisonEntry, files: RunFiles | None, out_dir: Path) -> ComparisonLine:
    if files is None or run.run_dir is None:
        return ComparisonLine(backbone=run.name, error=run.error or "not run")
    block, facts = files.block, files.facts
    interval, border = block.intervals.get("auc"), files.controls.get(BORDER_CONTROL)
    return ComparisonLine(
        backbone=run.name,
        parameters=facts.backbone.parameters,
        part=files.part,
        images=block.n,
        patients=block.patients,
        auc=block.auc,
        auc_low=interval.low if interval else None,
        auc_high=interval.high if interval else None,
        validation_auc=files.validation.auc if files.validation else None,
        accuracy=block.accuracy,
        sensitivity=block.sensitivity,
        specificity=block.specificity,
        border_auc=border.auc if border else None,
        seconds=round(sum(phase.wall_s for phase in facts.phases), 3),
        split_hash=facts.split.hash,
        report=Path(os.path.relpath(run.run_dir / REPORT_NAME, out_dir)).as_posix(),
    )


def _columns(lines: Sequence[ComparisonLine]) -> list[str]:
    """Headings of the page's table; validation and border appear only where a run has them."""
    optional = {
        "Validation AUC": any(line.validation_auc is not None for line in lines),
        "Border control AUC": any(line.border_auc is not None for line in lines),
    }
    every = [
        "Parameters",
        "Validation AUC",
        "AUC",
        "Accuracy",
        "Sensitivity",
        "Specificity",
        "Border control AUC",
        "Seconds",
    ]
    return [title for title in every if optional.get(title, True)]


def _page_line(line: ComparisonLine, columns: Sequence[str]) -> PageLine:
    ends = "" if line.auc_low is None else f"{figure_text(line.auc_low)} to {figure_text(line.auc_high)}"
    cells = {
        "Parameters": MetricCell("–" if line.parameters is None else f"{line.parameters:,}"),
        "Validation AUC": MetricCell(figure_text(line.validation_auc)),
        "AUC": MetricCell(figure_text(line.auc), ends),
        "Accuracy": MetricCell(figure_text(line.accuracy)),
        "Sensitivity": MetricCell(figure_text(line.sensitivity)),
        "Specificity": MetricCell(figure_text(line.specificity)),
        "Border control AUC": MetricCell(figure_text(line.border_auc)),
        "Seconds": MetricCell("–" if line.seconds is None else f"{line.seconds:,.0f}"),
    }
    return PageLine(line.backbone, quote(line.report), [cells[title] for title in columns])


def _picture(lines: Sequence[ComparisonLine]) -> Picture:
    rows = [
        ComparisonRow(line.backbone, line.auc, line.auc_low, line.auc_high, line.border_auc) for line in lines
    ]
    with tempfile.TemporaryDirectory() as place:
        png = draw_comparison(rows, Path(place) / "comparison.png").read_bytes()
    said = "; ".join(
        f"{line.backbone} {with_interval(line.auc, Interval(low=line.auc_low, high=line.auc_high))}"
        for line in lines
    )
    return embed(
        png, caption="AUC of each run; the whisker is its interval.", alternative=f"AUC by backbone: {said}."
    )
