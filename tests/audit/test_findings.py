from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from breastlens.audit.finding import Finding
from breastlens.audit.findings import find_problems, measure_association
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


def test_unknown_patients():
    everybody = only(make_cohort(patient_id=dict.fromkeys(range(100), "")))
    assert (everybody.code, everybody.severity, everybody.count) == ("no-patient-ids", "warning", 100)
    assert "leakage between images of one patient cannot be excluded" in everybody.what
    some = only(make_cohort(patient_id={3: "", 99: ""}))
    assert (some.code, some.count) == ("some-patient-ids-missing", 2)
    assert some.records == ("healthy/099.png", "sick/003.png")


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
        ("duplicates-across-labels", "warning", {"duplicate_group": {0: "x", 50: "x"}}),
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


def test_a_copy_without_a_patient_is_not_a_contradiction():
    codes = [
        finding.code
        for finding in find_problems(make_cohort(duplicate_group={0: "x", 1: "x"}, patient_id={1: ""}))
    ]
    assert codes == ["some-patient-ids-missing", "duplicates-within-category"]


def test_each_set_of_copies_is_told_once_under_its_gravest_kind():
    finding = only(make_cohort(duplicate_group={0: "x", 1: "x", 50: "x"}))
    assert (finding.code, finding.count) == ("duplicates-across-labels", 3)


def test_a_patient_with_both_labels():
    finding = only(make_cohort(patient_id={50: "T0", 51: "T0"}))
    assert (finding.code, finding.count) == ("patients-in-both-labels", 1)
    assert finding.records == ("healthy/050.png", "healthy/051.png", "sick/000.png")
    assert "T0" in finding.what


def test_few_patients_and_imbalance():
    few = only(make_cohort(excluded=dict.fromkeys(range(15), "note: x")))
    assert (few.code, few.severity, few.count) == ("few-patients", "warning", 25)
    assert few.what.startswith("Only 25 positive patients")
    rare = find_problems(make_cohort(excluded=dict.fromkeys(range(35), "note: x")))
    assert [(finding.code, finding.severity) for finding in rare] == [
        ("few-patients", "error"),
        ("class-imbalance", "warning"),
    ]
    assert rare[1].what.startswith("Only 5 of 65 images (7.7%) are positive; always answering the other way")
    assert "92.3%" in rare[1].what


def test_patients_are_counted_and_not_images():
    finding = only(make_cohort(patient_id={row: f"P{row % 29}" for row in range(40)}))
    assert finding.what.startswith("Only 29 positive patients")


def test_nothing_left_to_use_is_told_rather_than_a_crash():
    codes = [
        finding.code for finding in find_problems(make_cohort(excluded=dict.fromkeys(range(100), "note: x")))
    ]
    assert codes == ["few-patients"]


@pytest.mark.parametrize(
    ("code", "column", "value", "said"),
    [
        ("format-tells-label", "format", "JPEG", "positive JPEG 30, PNG 10; negative PNG 60"),
        ("size-tells-label", "width", 320, "positive 320x480 30, 640x480 10; negative 640x480 60"),
        ("bits-tell-label", "bits", 16, "positive 16 30, 8 10; negative 8 60"),
    ],
)
def test_what_tells_the_label_is_a_warning(code, column, value, said):
    finding = only(make_cohort(**{column: dict.fromkeys(range(30), value)}))
    assert (finding.code, finding.severity) == (code, "warning")
    assert said in finding.what


def test_what_is_alike_in_both_classes_is_not():
    assert find_problems(make_cohort(format=dict.fromkeys(range(0, 100, 3), "JPEG"))) == []


def test_findings_become_plain_data():
    finding = only(make_cohort(patient_id={3: ""}))
    fields = {"code", "severity", "what", "count", "records", "advice", "evidence"}
    assert set(finding.model_dump(mode="json")) == fields


class TestAssociation:
    def test_is_one_where_the_property_is_the_label_and_zero_where_it_is_constant(self):
        labels = pd.Series([0, 1] * 50)
        assert measure_association(labels.astype(str), labels)[0] == pytest.approx(1.0)
        assert measure_association(pd.Series(["a"] * 100), labels) == (0.0, 1.0)

    def test_by_hand(self):
        """A table of 40, 10 / 20, 30: chi-square 50/3, phi squared 1/6, corrected by 1/99."""
        values = pd.Series(["a"] * 50 + ["b"] * 50)
        labels = pd.Series([0] * 40 + [1] * 10 + [0] * 20 + [1] * 30)
        strength, p_value = measure_association(values, labels)
        corrected_sides = 2 - 1 / 99
        assert strength == pytest.approx(((1 / 6 - 1 / 99) / (corrected_sides - 1)) ** 0.5)
        assert p_value == pytest.approx(4.456e-5, rel=1e-3)

    def test_a_value_for_each_image_tells_nothing(self):
        labels = pd.Series([0, 1] * 50)
        assert measure_association(pd.Series([str(number) for number in range(100)]), labels)[
            0
        ] == pytest.approx(0)

    def test_chance_stays_below_what_is_reported(self):
        rng = np.random.default_rng(0)
        labels = pd.Series(rng.integers(0, 2, 300))
        strengths = [
            measure_association(pd.Series(rng.integers(0, 20, 300).astype(str)), labels)[0] for _ in range(50)
        ]
        assert np.mean(strengths) < 0.1
