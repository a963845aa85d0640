from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from breastlens.audit.finding import Finding
from breastlens.audit.findings import find_problems
from breastlens.cohort import Cohort
from breastlens.config import ImageRecipe, LabelMap


def make_cohort(ignored: tuple[str, ...] = (), **columns: object) -> Cohort:
    """A faultless cohort of 40 sick and 60 healthy patients with one image each, changed as asked.

    Each column is given as a mapping from row number to the value that differs.
    """
    table = pd.DataFrame(
        {
            "path": [f"{'sick' if number < 40 else 'healthy'}/{number:03}.png" for number in range(100)],
            "frame": 0,
            "category": ["sick"] * 40 + ["healthy"] * 60,
            "label": pd.array([1] * 40 + [0] * 60, dtype="Int64"),
            "patient_id": [f"T{number}" for number in range(100)],
            "width": pd.array([640] * 100, dtype="Int64"),
            "height": pd.array([480] * 100, dtype="Int64"),
            "format": "PNG",
            "bits": pd.array([8] * 100, dtype="Int64"),
            "pixels_sha256": [f"hash{number}" for number in range(100)],
            "duplicate_group": "",
            "excluded": "",
        }
    )
    for name, changes in columns.items():
        assert isinstance(changes, dict)
        for row, value in changes.items():
            table.loc[row, name] = value
    labels = LabelMap(positive=("sick",), negative=("healthy",))
    return Cohort(Path("data"), table, labels, ImageRecipe(), None, "manifest", ignored)


def only(cohort: Cohort) -> Finding:
    found = find_problems(cohort)
    assert len(found) == 1, [finding.code for finding in found]
    return found[0]


def test_a_faultless_cohort_has_no_findings():
    assert find_problems(make_cohort()) == []


def test_unknown_patients_of_images_left_out_do_not_matter():
    assert find_problems(make_cohort(patient_id={3: ""}, excluded={3: "note: blurred"})) == []


def test_files_that_are_not_used():
    rows = range(38, 63)
    unreadable = only(
        make_cohort(excluded=dict.fromkeys(rows, "unreadable: empty"), pixels_sha256=dict.fromkeys(rows, ""))
    )
    assert (unreadable.code, unreadable.count) == ("unreadable-files", 25)
    assert unreadable.what == "25 of 100 images cannot be read and are left out (healthy 23, sick 2)."
    assert len(unreadable.records) == 20
    misplaced = only(make_cohort(excluded={0: "not inside a category folder"}, pixels_sha256={0: ""}))
    assert misplaced.code == "misplaced-files"
    assert misplaced.what == "1 file left out: not inside a category folder 1."
    assert find_problems(make_cohort(excluded={0: "unreadable: a manifest's own column"})) == []
    ignored = only(make_cohort(ignored=("Thumbs.db", "a.json")))
    assert (ignored.code, ignored.severity, ignored.count) == ("ignored-files", "info", 2)


@pytest.mark.parametrize(
    ("code", "severity", "changes"),
    [
        ("duplicates-across-labels", "error", {"duplicate_group": {0: "x", 50: "x"}}),
        ("duplicates-across-patients", "warning", {"duplicate_group": {0: "x", 1: "x"}}),
        (
            "duplicates-within-category",
            "info",
            {"duplicate_group": {0: "x", 1: "x"}, "patient_id": {1: "T0"}},
        ),
        (
            "duplicates-across-categories",
            "info",
            {"duplicate_group": {98: "x", 99: "x"}, "patient_id": {99: "T98"}, "category": {99: "normal"}},
        ),
    ],
)
def test_each_kind_of_duplicate(code, severity, changes):
    finding = only(make_cohort(**changes))
    assert (finding.code, finding.severity, finding.count) == (code, severity, 2)
    assert len(finding.records) == 2
    assert finding.what.startswith("2 images (1 set with the same pixels)")


def test_copies_in_several_parts_of_the_manifests_split():
    groups = {0: "x", 1: "x", 2: "y", 3: "y", 4: "z", 5: "z"}
    split = {0: "train", 1: "Test", 2: "val", 3: "validation", 4: "train", 5: ""}
    same = dict.fromkeys(groups, "T0")
    said = find_problems(make_cohort(duplicate_group=groups, patient_id=same, split=split))
    (finding,) = (finding for finding in said if finding.code == "duplicates-across-splits")
    assert (finding.severity, finding.count) == ("error", 2)
    assert len(finding.records) == 2
    assert "2 images (1 set with the same pixels) into several parts" in finding.what


def test_a_copy_without_a_patient_is_not_a_contradiction():
    codes = [
        finding.code
        for finding in find_problems(make_cohort(duplicate_group={0: "x", 1: "x"}, patient_id={1: ""}))
    ]
    assert codes == ["some-patient-ids-missing", "duplicates-within-category"]


def test_each_set_of_copies_is_told_once_under_its_gravest_kind():
    finding = only(make_cohort(duplicate_group={0: "x", 1: "x", 50: "x"}))
    assert (finding.code, finding.count) == ("duplicates-across-labels", 3)


def test_imbalance():
    rare = find_problems(make_cohort(excluded=dict.fromkeys(range(35), "note: x")))
    assert [(finding.code, finding.severity) for finding in rare] == [
        ("few-patients", "error"),
        ("class-imbalance", "warning"),
    ]
    assert rare[1].what.startswith("Only 5 of 65 images (7.7%) are positive; always answering the other way")
    assert "right for 60 of them" in rare[1].what


def test_nothing_left_to_use_is_told_rather_than_a_crash():
    codes = [
        finding.code for finding in find_problems(make_cohort(excluded=dict.fromkeys(range(100), "note: x")))
    ]
    assert codes == ["few-patients"]


def test_what_the_table_knows_of_the_files_is_tested_too():
    finding = only(make_cohort(format=dict.fromkeys(range(30), "JPEG")))
    assert (finding.code, finding.severity) == ("format-tells-label", "warning")


def test_dates_that_cannot_be_read_are_told_without_a_look_at_the_files():
    days = {row: f"{1 + row % 12}/{1 + row % 28}/2015" for row in range(100)}
    finding = only(make_cohort(acquired=days | {7: "2020-13-45"}))
    assert (finding.code, finding.severity, finding.count) == ("unreadable-dates", "info", 1)
    assert finding.what.endswith("1 of 100 values in the column 'acquired', such as '2020-13-45'.")


def test_findings_become_plain_data():
    finding = only(make_cohort(patient_id={3: ""}))
    fields = {"code", "severity", "what", "count", "records", "advice", "evidence"}
    assert set(finding.model_dump(mode="json")) == fields
