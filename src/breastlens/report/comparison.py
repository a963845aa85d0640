"""Writes the comparison of several runs: comparison.json for programs; a page and its tables as CSV for people."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from breastlens.errors import RunDirectoryError
from breastlens.report.differences import (
    pair_columns,
    pair_lines,
    pair_rows,
    pair_sentence,
    picture_differences,
    size_sentence,
)
from breastlens.report.facts import Interval
from breastlens.report.figures import ComparisonRow, draw_comparison
from breastlens.report.page import REPORT_NAME
from breastlens.report.phrasing import ends_text
from breastlens.report.rendering import Picture, embed, write_page
from breastlens.report.repeats import first_repeat_sentence, read_repeats
from breastlens.report.run_files import RunFiles, read_run_files
from breastlens.report.table_files import write_rows
from breastlens.report.tables import MetricCell
from breastlens.report.wording import (
    PART_TITLES,
    RESEARCH_USE,
    count_text,
    few_sentence,
    figure_text,
    size_of,
    trained_on_sentence,
    training_images,
    with_interval,
)

CSV_NAME = "comparison.csv"
JSON_NAME = "comparison.json"
PAIRS_NAME = "pairs.csv"
PAGE_NAME = "comparison.html"
BORDER_CONTROL = "border"


@dataclass(frozen=True)
class ComparisonEntry:
    """One run to compare, or the reason why there is none.

    Attributes:
        name: What the reader knows it by: the backbone that was asked for, or the run's directory.
        run_dir: Its run directory, None where it failed.
        error: What went wrong, None where it succeeded.
    """

    name: str
    run_dir: Path | None
    error: str | None


class ComparisonLine(NamedTuple):
    """One row of comparison.csv; numbers are None where there are none."""

    run: str
    backbone: str = ""
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
    training_images: int | None = None
    repeats: int | None = None
    split_hash: str = ""
    report: str = ""
    error: str = ""


class PageLine(NamedTuple):
    """One row of the page's table, as text; `link` leads to the run's report."""

    name: str
    link: str
    cells: list[MetricCell]


def read_entries(runs: Sequence[ComparisonEntry]) -> dict[str, RunFiles]:
    """Read the run directories of those that have one, by name.

    Raises:
        RunDirectoryError: One of them cannot be read.
    """
    return {run.name: read_run_files(run.run_dir) for run in runs if run.run_dir is not None}


def write_comparison(
    out_dir: Path,
    runs: Sequence[ComparisonEntry],
    paired: Mapping[str, Any] | None = None,
    *,
    noun: str = "run",
) -> tuple[Path, Path]:
    """Write comparison.csv and .html for runs over the same data; with pairs also comparison.json and pairs.csv.

    Args:
        out_dir: Existing directory to write to; links lead from there to each run's report.html.
        runs: The runs in the order of the table, failed ones too.
        paired: Every two of them compared, from ``breastlens.runs.pairs.compare_pairs``; None where there are no two.
        noun: What a run stands for on the page: ``run`` or ``backbone``.

    Returns:
        The paths of the table and of the page.

    Raises:
        RunDirectoryError: A run directory that is given cannot be read.
    """
    found = read_entries(runs)
    if paired is not None:
        text = json.dumps(paired, indent=1, ensure_ascii=False, allow_nan=False)
        (out_dir / JSON_NAME).write_text(f"{text}\n", encoding="utf-8", errors="backslashreplace")
        write_rows(out_dir / PAIRS_NAME, pair_rows(paired))
    lines = [_line(run, found.get(run.name), out_dir) for run in runs]
    table = out_dir / CSV_NAME
    write_rows(table, [line._asdict() for line in lines])
    worked = [line for line in lines if not line.error]
    context = {
        "title": _title(len(worked), len(runs), noun),
        "noun": noun,
        "size": size_of(next(iter(found.values())).block) if found else "",
        "part": PART_TITLES[worked[0].part].lower() if worked else "",
        "comparable": len({(line.part, line.split_hash) for line in worked}) <= 1,
        "columns": _columns(worked),
        "lines": [_page_line(line, _columns(worked)) for line in worked],
        "failed": [line for line in lines if line.error],
        "picture": _picture(worked) if worked else None,
        "paired": paired,
        "pair_size": size_sentence(paired) if paired else "",
        "pair_columns": pair_columns(paired) if paired else [],
        "pair_lines": pair_lines(paired) if paired else [],
        "pair_picture": picture_differences(paired) if paired else None,
        "no_control": not any(line.border_auc is not None for line in worked),
        "trained_on": [
            f"{line.run}: {trained_on_sentence(line.training_images, line.images)}"
            for line in worked
            if line.training_images and line.images
        ],
        "repeated": [
            f"{line.run}: {first_repeat_sentence(line.repeats)}"
            for line in worked
            if line.repeats and line.repeats > 1
        ],
        "few": few_sentence(next(iter(found.values()))) if found else "",
        "research_use": RESEARCH_USE,
    }
    return table, write_page(out_dir / PAGE_NAME, "comparison.html", context)


def comparison_lines(page: Path) -> list[str]:
    """What a comparison found, for the terminal: each run's AUC with interval and the border control's, then each pair.

    Args:
        page: The path of comparison.html; the files are read that lie beside it.

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
    lines = [_terminal_line(row) for row in rows]
    if len({(row["part"], row["split_hash"]) for row in rows if not row["error"]}) > 1:
        lines.append(
            "The runs were not judged on the same split: of their figures only the pairs can be compared."
        )
    details = Path(page).with_name(JSON_NAME)
    if not details.is_file():
        return lines
    paired = json.loads(details.read_text(encoding="utf-8"))
    return [
        *lines,
        size_sentence(paired),
        *(pair_sentence(pair, paired["margin"]) for pair in paired["pairs"]),
    ]


def _terminal_line(row: Mapping[str, str]) -> str:
    if row["error"]:
        return f"{row['run']}: failed: {' '.join(row['error'].split())}"
    auc, low, high, border = (
        float(row[name]) if row[name] else None for name in ("auc", "auc_low", "auc_high", "border_auc")
    )
    reached = "no AUC" if auc is None else f"AUC {with_interval(auc, Interval(low=low, high=high))}"
    if auc is not None and low is None:
        reached += ", no interval"
    control = "no border control" if border is None else f"border control {figure_text(border)}"
    said = f"{row['run']}: {reached}; {control}"
    if int(row["training_images"]):
        said += f". {trained_on_sentence(int(row['training_images']), int(row['images']))}"
    if int(row["repeats"]) > 1:
        said += f". {first_repeat_sentence(int(row['repeats']))}"
    return said


def _title(worked: int, asked: int, noun: str) -> str:
    if worked == asked:
        return f"Comparison of {count_text(asked, noun)}"
    return f"Comparison of {worked} of {count_text(asked, noun)}: {asked - worked} failed"


def _line(run: ComparisonEntry, files: RunFiles | None, out_dir: Path) -> ComparisonLine:
    if files is None or run.run_dir is None:
        return ComparisonLine(run=run.name, error=run.error or "not run")
    block, facts, repeats = files.block, files.facts, read_repeats(files)
    interval, border = block.intervals.get("auc"), files.controls.get(BORDER_CONTROL)
    return ComparisonLine(
        run=run.name,
        backbone=facts.backbone.name,
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
        training_images=training_images(files),
        repeats=1 if repeats is None else repeats.count,
        split_hash=facts.split.hash,
        report=Path(os.path.relpath(run.run_dir / REPORT_NAME, out_dir)).as_posix(),
    )


def _columns(lines: Sequence[ComparisonLine]) -> list[str]:
    """Headings of the page's table; some appear only where they say something."""
    optional = {
        "Backbone": any(line.run != line.backbone for line in lines),
        "Validation AUC": any(line.validation_auc is not None for line in lines),
        "Border control AUC": any(line.border_auc is not None for line in lines),
    }
    every = [
        "Backbone",
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
    ends = ends_text(Interval(low=line.auc_low, high=line.auc_high))
    cells = {
        "Backbone": MetricCell(line.backbone),
        "Parameters": MetricCell("–" if line.parameters is None else f"{line.parameters:,}"),
        "Validation AUC": MetricCell(figure_text(line.validation_auc)),
        "AUC": MetricCell(figure_text(line.auc), ends),
        "Accuracy": MetricCell(figure_text(line.accuracy)),
        "Sensitivity": MetricCell(figure_text(line.sensitivity)),
        "Specificity": MetricCell(figure_text(line.specificity)),
        "Border control AUC": MetricCell(figure_text(line.border_auc)),
        "Seconds": MetricCell("–" if line.seconds is None else f"{line.seconds:,.0f}"),
    }
    return PageLine(line.run, quote(line.report), [cells[title] for title in columns])


def _picture(lines: Sequence[ComparisonLine]) -> Picture:
    rows = [ComparisonRow(line.run, line.auc, line.auc_low, line.auc_high, line.border_auc) for line in lines]
    with tempfile.TemporaryDirectory() as place:
        png = draw_comparison(rows, Path(place) / "comparison.png").read_bytes()
    said = "; ".join(
        f"{line.run} {with_interval(line.auc, Interval(low=line.auc_low, high=line.auc_high))}"
        for line in lines
    )
    return embed(
        png, caption="AUC of each run; the whisker is its interval.", alternative=f"AUC of each: {said}."
    )
