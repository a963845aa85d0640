"""The tables of the report as CSV files, from the rows that the page shows."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from breastlens.report.cohort_table import CohortTable
from breastlens.report.tables import MetricCell

FOLDER = "tables"
_DASH, _MINUS, _TO = "–", "−", " to "
Row = dict[str, Any]


def write_tables(run_dir: Path, context: Mapping[str, Any]) -> Path:
    """Write every table of the page into the folder ``tables``; one from an earlier writing is replaced.

    A figure takes four columns: value, low and high end, and a remark where one is missing.

    Args:
        run_dir: The run directory.
        context: The variables of the page.
    """
    folder = run_dir / FOLDER
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.csv"):
        old.unlink()
    for name, rows in _tables(context).items():
        if rows:
            write_rows(folder / f"{name}.csv", rows)
    return folder


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write rows with the columns of all of them, in the order of their first appearance."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _tables(context: Mapping[str, Any]) -> dict[str, list[Row]]:
    facts = context["facts"]
    found = {
        "flow": _flat(context["flow"].rows),
        "cohort_by_class": _cohort(context["cohort_by_class"]),
        "cohort_by_part": _cohort(context["cohort_by_part"]),
        "categories": _flat(context["categories"]),
        "left_out": _flat(context["exclusions"]),
        "parts": [part.model_dump() for part in facts.split.parts],
        "controls": _flat(context["controls"]),
        "matched": _flat(context["matched"]),
        "subgroups": _flat(context["subgroups"]),
        "subgroup_tests": _flat(context["subgroup_tests"]),
        "findings": [_finding(finding) for finding in facts.findings],
        "settings": _pairs(context["settings"]),
        "versions": _pairs(facts.versions.items()),
        "phases": [phase.model_dump() for phase in facts.phases],
    }
    for block in context["blocks"]:
        found[f"metrics_{block['name']}"] = _metrics(block["rows"])
    for counts in context["file_tables"]:
        found[f"{counts.property.lower()}_by_category"] = [
            {counts.property: value} | dict(zip(counts.categories, numbers, strict=True))
            for value, numbers in counts.rows
        ]
    return found


def _flat(rows: Iterable[Any]) -> list[Row]:
    """Named tuples as rows; a figure among their fields takes several columns."""
    return [
        {
            column: cell
            for name, value in row._asdict().items()
            for column, cell in _cells(name, value).items()
        }
        for row in rows
    ]


def _cells(name: str, value: Any) -> Row:
    if not isinstance(value, MetricCell):
        return {name: value}
    low, to, high = value.interval.partition(_TO)
    ends = (low, high) if to else ("", "")
    return {
        name: _plain(value.value),
        f"{name} low": _plain(ends[0]),
        f"{name} high": _plain(ends[1]),
        f"{name} remark": value.remark,
    }


def _metrics(rows: Iterable[Any]) -> list[Row]:
    levels = ("image", "patient")
    return [
        {"metric": row.title}
        | {
            column: cell
            for level, figure in zip(levels, row.cells, strict=False)
            for column, cell in _cells(f"by {level}", figure).items()
        }
        for row in rows
    ]


def _cohort(table: CohortTable | None) -> list[Row]:
    if table is None:
        return []
    rows, under = [], ""
    for row in table.rows:
        under = under if row.is_value else row.name
        told: Row = {"characteristic": under, "value": row.name if row.is_value else "", "unit": row.unit}
        for group, cell in zip(table.groups, row.cells, strict=True):
            low, to, high = cell.interval.partition(_TO)
            told |= {group: _plain(cell.value), f"{group} quartiles": f"{low}{to}{high}"}
        rows.append(told | {table.difference: _plain(row.difference)})
    return rows


def _finding(finding: Any) -> Row:
    return {name: getattr(finding, name) for name in ("severity", "code", "what", "count", "advice")} | {
        "records": "; ".join(finding.records)
    }


def _pairs(pairs: Iterable[tuple[Any, Any]]) -> list[Row]:
    return [{"name": name, "value": value} for name, value in pairs]


def _plain(text: str) -> str:
    """Numbers as programs read them: an empty cell for a dash, a hyphen for a true minus."""
    return "" if text == _DASH else text.replace(_MINUS, "-")
