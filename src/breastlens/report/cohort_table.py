"""The table of the cohort: what is known of its images and patients, by class and by part."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from breastlens.audit.columns import Column, read_column, say_why_untested, show_text
from breastlens.evaluation.standardised_difference import difference_of_means, difference_of_shares
from breastlens.report.run_files import RunFiles
from breastlens.report.tables import MetricCell, extra_columns

_MOST_VALUES = 8
_NOT_SUMMARISED = (
    "it is blank everywhere",
    "every image has a value of its own",
    "it names the patients",
    "most images have a value of their own",
    "it is free text",
)


class CohortRow(NamedTuple):
    """One line: a characteristic or one of its values, its unit, a cell a group, and the standardised difference."""

    name: str
    unit: str
    cells: list[MetricCell]
    difference: str
    is_value: bool = False


class CohortTable(NamedTuple):
    """One table: the groups that are its columns, and its rows."""

    groups: list[str]
    difference: str
    rows: list[CohortRow]


class _Group(NamedTuple):
    name: str
    rows: pd.DataFrame


def cohort_by_class(files: RunFiles) -> CohortTable:
    """All images that were used, and the two classes, with the difference between these."""
    used, labels = _used(files), files.facts.labels
    classes = [
        _Group(labels.positive_name, used[used["category"].isin(labels.positive)]),
        _Group(labels.negative_name, used[used["category"].isin(labels.negative)]),
    ]
    rows = _rows(files, [_Group("All", used), *classes], compared=classes)
    return CohortTable(["All", *(group.name for group in classes)], "Difference", rows)


def cohort_by_part(files: RunFiles) -> CohortTable | None:
    """The parts of the split, with the largest difference between two of them; None where there is one part."""
    used = _used(files)
    folds = files.facts.split.kind == "folds"
    groups = [
        _Group(f"Fold {part.name}" if folds else part.name.capitalize(), used[used["split"] == part.name])
        for part in files.facts.split.parts
    ]
    if len(groups) < 2:
        return None
    rows = _rows(files, groups, compared=groups)
    return CohortTable([group.name for group in groups], "Largest difference", rows)


def unsummarised_columns(files: RunFiles) -> list[str]:
    """Columns of the manifest that the table leaves out, each with the reason."""
    used = _used(files)
    told = []
    for name in extra_columns(files):
        reason = _why_not(used, name, read_column(used[name].tolist(), name))
        if reason:
            told.append(f"{show_text(name)} ({reason})")
    return told


def _used(files: RunFiles) -> pd.DataFrame:
    return files.records[files.records["excluded"] == ""].reset_index(drop=True)


def _why_not(used: pd.DataFrame, name: str, column: Column) -> str:
    reason = say_why_untested(name, column, used["patient_id"])
    return reason if reason in _NOT_SUMMARISED else ""


def _rows(files: RunFiles, groups: list[_Group], compared: list[_Group]) -> list[CohortRow]:
    used, labels = _used(files), files.facts.labels
    rows = [CohortRow("Images", "", [MetricCell(f"{len(group.rows):,}") for group in groups], "")]
    if files.facts.data.patient_source:
        counts = [_images_a_patient(group.rows) for group in groups]
        rows.append(CohortRow("Patients", "", [MetricCell(f"{count.size:,}") for count in counts], ""))
        gap = _largest(difference_of_means, [_images_a_patient(group.rows) for group in compared])
        rows.append(
            CohortRow("Images a patient", "median (quartiles)", [_numbers(each) for each in counts], gap)
        )
    positives = [int(group.rows["category"].isin(labels.positive).sum()) for group in groups]
    cells = [_share(count, len(group.rows)) for count, group in zip(positives, groups, strict=True)]
    rows.append(CohortRow(f"Positive ({labels.positive_name})", "images", cells, ""))
    for name in extra_columns(files):
        column = read_column(used[name].tolist(), name)
        if not _why_not(used, name, column):
            rows += _column_rows(used, name, column, groups, compared)
    return rows


def _column_rows(
    used: pd.DataFrame, name: str, column: Column, groups: list[_Group], compared: list[_Group]
) -> list[CohortRow]:
    """A line for numbers and dates, a line a value for categories, and one for what is missing."""
    by_patient = _belongs_to_patients(used, column)

    def members(group: _Group) -> np.ndarray:
        rows = group.rows.drop_duplicates("patient_id") if by_patient else group.rows
        return rows.index.to_numpy()

    title, unit = show_text(name), "patients" if by_patient else "images"
    places, pairs = [members(group) for group in groups], [members(group) for group in compared]
    if column.kind == "category":
        rows = _value_rows(title, unit, column.texts, places, pairs)
        known = column.texts != ""
    else:
        known = np.isfinite(column.numbers)
        write = _dates if column.kind == "date" else _numbers
        held = [column.numbers[place][known[place]] for place in places]
        gap = _largest(difference_of_means, [column.numbers[place][known[place]] for place in pairs])
        rows = [CohortRow(title, f"{unit}, median (quartiles)", [write(each) for each in held], gap)]
    if not known.all():
        missing = [_share(int((~known[place]).sum()), place.size) for place in places]
        rows.append(CohortRow("missing", "", missing, "", is_value=True))
    return rows


def _value_rows(
    title: str, unit: str, texts: np.ndarray, places: list[np.ndarray], pairs: list[np.ndarray]
) -> list[CohortRow]:
    values, counts = np.unique(texts[texts != ""], return_counts=True)
    gap = _largest(difference_of_shares, [_count(texts[place], values) for place in pairs])
    shown = (
        values if values.size <= _MOST_VALUES else values[np.argsort(-counts, kind="stable")][:_MOST_VALUES]
    )
    told = [(_count(texts[place], shown), int((texts[place] != "").sum())) for place in places]
    rows = [CohortRow(title, f"{unit} with a value", [MetricCell(f"{known:,}") for _, known in told], gap)]
    for number, value in enumerate(shown.tolist()):
        cells = [_share(int(count[number]), known) for count, known in told]
        rows.append(CohortRow(show_text(value), "", cells, "", is_value=True))
    if values.size > shown.size:
        others = [_share(known - int(count.sum()), known) for count, known in told]
        rows.append(CohortRow(f"{values.size - shown.size} other values", "", others, "", is_value=True))
    return rows


def _belongs_to_patients(used: pd.DataFrame, column: Column) -> bool:
    """Whether every image has a patient, and all images of a patient have the same value."""
    if (used["patient_id"] == "").any():
        return False
    return bool(pd.Series(column.texts).groupby(used["patient_id"].to_numpy()).nunique().max() == 1)


def _images_a_patient(rows: pd.DataFrame) -> np.ndarray:
    return rows.loc[rows["patient_id"] != "", "patient_id"].value_counts().to_numpy()


def _count(texts: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.array([int((texts == value).sum()) for value in values])


def _largest(difference: Callable[[np.ndarray, np.ndarray], float | None], groups: list[np.ndarray]) -> str:
    """The largest standardised difference between any two groups; "" where it is not defined for one of them."""
    found = [difference(one, other) for one, other in combinations(groups, 2)]
    known = [each for each in found if each is not None]
    return f"{max(known):.2f}" if known and len(known) == len(found) else "–"


def _numbers(values: np.ndarray) -> MetricCell:
    if values.size == 0:
        return MetricCell("–")
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return MetricCell(f"{middle:.4g}", f"{low:.4g} to {high:.4g}")


def _dates(days: np.ndarray) -> MetricCell:
    if days.size == 0:
        return MetricCell("–")
    quartiles = np.quantile(days, [0.25, 0.5, 0.75], method="nearest")
    low, middle, high = (date.fromordinal(int(day)).isoformat() for day in quartiles)
    return MetricCell(middle, f"{low} to {high}")


def _share(count: int, total: int) -> MetricCell:
    return MetricCell(f"{count:,} ({count / total:.0%})" if total else f"{count:,}")
