"""The table of patients: in the words of the cohort, and in the order in which a reader has to look."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from breastlens.errors import RunDirectoryError
from breastlens.report.page import write_report
from breastlens.report.patient_table import MOST_SHOWN

COLUMNS = [
    "patient_id",
    "split",
    "images",
    "refused",
    "y_true",
    "y_score",
    "y_pred",
    "decision",
    "prediction_set",
]
ROWS = [
    ("sure", "test", 2, 0, "1", 0.99, 1, "positive", "positive"),
    ("hardly-wrong", "test", 2, 0, "0", 0.45, 1, "refer", "both"),
    ("open", "test", 2, 0, "0", 0.2, 0, "refer", "both"),
    ("far", "test", 2, 2, "1", 0.8, 1, "refused", ""),
    ("mixed", "test", 2, 0, "", 0.1, 0, "negative", "negative"),
    ("very-wrong", "test", 3, 1, "1", 0.05, 0, "negative", "negative"),
    ("turned", "test", 2, 1, "0", 0.3, 0, "positive", "positive"),
    ("another-part", "validation", 2, 0, "1", 0.1, 0, "negative", "negative"),
]  # fmt: skip


def shown(run: Path, rows: list[tuple[object, ...]]) -> tuple[list[str], list[dict[str, str]]]:
    """The patients of the page in their order, and the rows of the table's file."""
    pd.DataFrame(rows, columns=COLUMNS).to_csv(run / "patients.csv", index=False)
    page = write_report(run).read_text()
    table = page[page.index('id="t-patients"') :]
    with (run / "tables" / "patients.csv").open(encoding="utf-8", newline="") as stream:
        return re.findall(r'<th scope="row">([^<]+)', table[: table.index("</table>")]), list(
            csv.DictReader(stream)
        )


def test_wrong_ones_come_first_then_the_unanswered(run_factory: Callable[..., Path]) -> None:
    run = run_factory("run")
    names, rows = shown(run, ROWS)
    expected = ["very-wrong", "hardly-wrong", "turned", "far", "open", "mixed", "sure"]
    assert names == [row["patient"] for row in rows] == expected
    assert [row["call_is_wrong"] for row in rows] == ["True"] * 2 + ["False"] * 5
    assert [row["decision_is_wrong"] for row in rows] == ["True", "False", "True", *["False"] * 4]
    by_name = {row["patient"]: row for row in rows}
    told = {
        name: (row["true_label"], row["call"], row["decision"], row["prediction_set"])
        for name, row in by_name.items()
    }
    assert told["sure"] == ("sick", "sick", "sick", "sick")
    assert told["hardly-wrong"] == ("healthy", "sick", "refer", "both")
    assert told["far"] == ("sick", "sick", "refused", "")
    assert told["mixed"][0] == "both, image by image"
    assert (by_name["very-wrong"]["joint_score"], by_name["very-wrong"]["refused"]) == ("0.050", "1")
    page = (run / "report.html").read_text()
    assert "3 wrong first, then 2 that the model leaves to somebody else" in page
    assert "1 refused" in page


def test_a_long_table_is_cut_on_the_page_and_whole_in_its_file(run_factory: Callable[..., Path]) -> None:
    many = [
        (f"P{number:04d}", "test", 2, 0, "1", 0.9, 1, "positive", "positive")
        for number in range(MOST_SHOWN + 7)
    ]
    run = run_factory("run")
    names, rows = shown(run, many)
    assert len(names) == MOST_SHOWN
    assert len(rows) == MOST_SHOWN + 7
    assert f"Shown are the first {MOST_SHOWN}" in (run / "report.html").read_text()


def test_without_patients_of_several_images_there_is_no_table(run_factory: Callable[..., Path]) -> None:
    run = run_factory("run")
    page = write_report(run).read_text()
    assert "t-patients" not in page
    assert "stand in predictions.csv" in page
    assert not (run / "tables" / "patients.csv").exists()


def test_patients_that_are_damaged_are_named(run_factory: Callable[..., Path]) -> None:
    run = run_factory("run")
    pd.DataFrame(ROWS, columns=COLUMNS).assign(images="two").to_csv(run / "patients.csv", index=False)
    with pytest.raises(RunDirectoryError, match=r"patients\.csv is damaged"):
        write_report(run)
