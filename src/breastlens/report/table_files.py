"""The tables of the report as CSV files, from the rows that the page shows."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from breastlens.report.calibration import PointRow
from breastlens.report.cohort_table import CohortTable
from breastlens.report.learning_curve import PointRow as SizeRow
from breastlens.report.phrasing import NOTHING_KNOWN
from breastlens.report.repeats import SpreadRow
from breastlens.report.tables import MetricCell

FOLDER = "tables"
_DASH, _MINUS, _TO = "–", "−", " to "
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a cell begins with that a spreadsheet may take for a formula and carry out."""

Row = dict[str, Any]


def write_tables(run_dir: Path, context: Mapping[str, Any]) -> Path:
    """Write every table of the page into the folder ``tables``; what is left of an earlier writing is taken away.

    A file is named after its table's id in the page: ``t-left-out`` is ``left_out.csv``. A figure takes four columns:
    value, low and high end, and a remark where one is missing.

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
    """Write rows for people, with the columns of all of them in the order of their first appearance.

    Text that a spreadsheet might take for a formula gets an apostrophe before it; numbers stay as they are.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(map(_harmless, columns))
        writer.writerows([_harmless(row.get(column)) for column in columns] for row in rows)


def _harmless(cell: Any) -> Any:
    if not isinstance(cell, str) or _is_number(cell):
        return cell
    # csv does not quote a carriage return, and what follows it would begin a row of its own
    text = cell.replace("\r", " ")
    return f"'{text}" if cell.startswith(_FORMULA) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()


def _tables(context: Mapping[str, Any]) -> dict[str, list[Row]]:
    facts = context["facts"]
    found = {
        "flow": _flat(context["flow"].rows),
        "cohort_by_class": _cohort(context["cohort_by_class"]),
        "cohort_by_part": _cohort(context["cohort_by_part"]),
        "categories": _flat(context["categories"]),
        "left_out": _flat(context["exclusions"]),
        "parts": [part.model_dump() for part in facts.split.parts],
        "patients": _flat(context["patients"]),
        "controls": _flat(context["controls"]),
        "matched": _flat(context["matched"]),
        "subgroups": _flat(context["subgroups"]),
        "subgroup_tests": _flat(context["subgroup_tests"]),
        "findings": [_finding(finding) for finding in facts.findings],
        "calibration": _flat(context["decisions"]["rows"]),
        "operating_points": [
            _operating_point(row, context["decisions"]["columns"]) for row in context["decisions"]["points"]
        ],
        "backbone": _pairs(context["backbone"]),
        "settings": _pairs(context["settings"]),
        "versions": _pairs(facts.versions.items()),
        "machine": _pairs(facts.machine.items()),
        "phases": [phase.model_dump() for phase in facts.phases],
        "must_be_same": _pairs(context["must_be_same"]),
    }
    if context["repeats"]:
        found["repeats"] = [_spread(row) for row in context["repeats"]["rows"]]
    if context["learning_curve"]:
        found["learning_curve"] = [_size(row) for row in context["learning_curve"]["rows"]]
    if context["abstention"]:
        found["prediction_sets"] = _metrics(context["abstention"].rows)
        found["corruptions"] = _flat(context["abstention"].corruptions)
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
    low, high = _ends(value.interval)
    return {
        name: _plain(value.value),
        f"{name} low": low,
        f"{name} high": high,
        f"{name} remark": value.remark,
    }


def _ends(interval: str) -> tuple[str, str]:
    """Low and high end as programs read them; nothing for an end that is no number."""
    low, _, high = (_plain(end) for end in interval.removesuffix(NOTHING_KNOWN).partition(_TO))
    return low if _is_number(low) else "", high if _is_number(high) else ""


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


def _operating_point(row: PointRow, columns: Iterable[str]) -> Row:
    told = {"rule": row.rule, "in use": row.in_use} | _cells("threshold", row.threshold)
    for column, cell in zip(columns, row.cells, strict=True):
        told |= _cells(column, cell)
    return told


def _spread(row: SpreadRow) -> Row:
    smallest, largest = _ends(row.spread)
    return (
        {"metric": row.title}
        | _cells("mean", MetricCell(row.mean, row.interval))
        | {"standard deviation": _plain(row.deviation), "smallest": smallest, "largest": largest}
    )


def _size(row: SizeRow) -> Row:
    smallest, largest = _ends(row.draws)
    return (
        {"patients": _plain(row.patients)}
        | _cells("auc", MetricCell(row.auc, row.interval))
        | {"smallest draw": smallest, "largest draw": largest}
    )


def _finding(finding: Any) -> Row:
    return {name: getattr(finding, name) for name in ("severity", "code", "what", "count", "advice")} | {
        "records": "; ".join(finding.records)
    }


def _pairs(pairs: Iterable[tuple[Any, Any]]) -> list[Row]:
    return [{"name": name, "value": value} for name, value in pairs]


def _plain(text: str) -> str:
    """Figures as programs read them: nothing for a dash, a hyphen for a true minus, no commas between thousands."""
    return "" if text == _DASH else re.sub(r"(?<=\d),(?=\d{3})", "", text.replace(_MINUS, "-"))
