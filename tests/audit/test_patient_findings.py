from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breastlens.audit.finding import Finding
from breastlens.audit.patients import find_patient_problems


def make_used(patients: list[str], labels: list[int] | None = None, **columns: list[str]) -> pd.DataFrame:
    """Images of these patients; by default the first 40 images are sick and the others healthy."""
    count = len(patients)
    labels = labels if labels is not None else [int(row < 40) for row in range(count)]
    paths = [f"{'sick' if label else 'healthy'}/{row:03}.png" for row, label in enumerate(labels)]
    return pd.DataFrame({"path": paths, "label": labels, "patient_id": patients, **columns})


HUNDRED = [f"T{row}" for row in range(100)]


def only(used: pd.DataFrame) -> Finding:
    found = find_patient_problems(used)
    assert len(found) == 1, [finding.code for finding in found]
    return found[0]


def codes(used: pd.DataFrame) -> list[str]:
    return [finding.code for finding in find_patient_problems(used)]


def test_a_hundred_patients_with_an_image_each_are_no_problem():
    assert find_patient_problems(make_used(HUNDRED)) == []


def test_unknown_patients():
    everybody = only(make_used([""] * 100))
    assert (everybody.code, everybody.severity, everybody.count) == ("no-patient-ids", "warning", 100)
    assert "leakage between images of one patient cannot be excluded" in everybody.what
    some = only(make_used(["" if row in (3, 99) else name for row, name in enumerate(HUNDRED)]))
    assert (some.code, some.count) == ("some-patient-ids-missing", 2)
    assert some.records == ("healthy/099.png", "sick/003.png")


def test_a_patient_with_both_labels():
    finding = only(make_used(["T0" if row in (50, 51) else name for row, name in enumerate(HUNDRED)]))
    assert (finding.code, finding.severity, finding.count) == ("patients-in-both-labels", "warning", 1)
    assert finding.records == ("healthy/050.png", "healthy/051.png", "sick/000.png")
    assert "T0" in finding.what


def test_few_patients():
    few = only(make_used([f"P{row % 29}" if row < 40 else name for row, name in enumerate(HUNDRED)]))
    assert (few.code, few.severity, few.count) == ("few-patients", "warning", 29)
    assert few.what.startswith("Only 29 positive patients")
    fewer = only(make_used(HUNDRED, [int(row < 9) for row in range(100)]))
    assert (fewer.severity, fewer.count) == ("error", 9)
    assert codes(make_used([])) == ["few-patients"]


class TestSplit:
    def test_a_patient_in_two_parts_is_an_error(self):
        split = ["train"] * 60 + ["test"] * 40
        finding = only(make_used([*HUNDRED[:98], "T41", "T42"], split=split))
        assert (finding.code, finding.severity, finding.count) == ("patients-across-splits", "error", 2)
        assert finding.what.endswith("2 patients into several parts: T41, T42.")
        assert set(finding.records) == {f"healthy/0{row}.png" for row in (41, 42, 98, 99)}

    def test_two_spellings_of_a_part_are_one(self):
        split = ["Train", "training"] + ["val"] * 38 + [" validation "] * 60
        assert codes(make_used(["T0", "T0", *HUNDRED[2:]], split=split)) == []

    def test_an_image_that_no_part_was_given_is_in_none(self):
        assert codes(make_used(["T0", "T0", *HUNDRED[2:]], split=["train", ""] + ["test"] * 98)) == []

    def test_unknown_patients_are_not_one_patient(self):
        split = ["train", "test"] * 50
        assert codes(make_used([""] * 100, split=split)) == ["no-patient-ids"]


class TestSimilarIds:
    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("T001", "T1"),
            ("t7", "T7"),
            ("T 7", "T7"),
            ("T-07", "T_7"),
            ("007", "7"),
            ("12.0", "12"),
            ("P1-12", "P1_12"),
            ("(T7)", "T7"),
            ("T7", "Ｔ７"),
            ("T7 ", "T7"),
        ],
    )
    def test_the_same_but_for_how_it_is_written(self, first, second):
        finding = only(make_used([first, second, *HUNDRED[20:], *(f"X{row}" for row in range(30, 50))]))
        assert (finding.code, finding.severity, finding.count) == ("similar-patient-ids", "warning", 2)
        assert repr(first) in finding.what
        assert repr(second) in finding.what

    @pytest.mark.parametrize(
        ("first", "second"),
        [("P1-12", "P11-2"), ("T10", "T1"), ("A1", "B1"), ("T01a", "T01b"), ("7", "70"), ("-", "0")],
    )
    def test_others_are_not(self, first, second):
        assert codes(make_used([first, second, *(f"X{row}" for row in range(30, 130))])) == []

    @given(st.integers(0, 10**6), st.integers(0, 10**6))
    def test_no_two_numbers_are_similar(self, one, other):
        used = make_used([f"T{one:07}", f"T{other:07}"], [0, 1])
        assert "similar-patient-ids" not in codes(used)

    @given(st.text(min_size=1, max_size=8))
    def test_any_text_is_taken(self, patient):
        used = make_used([patient, patient.upper(), f"0{patient}"], [0, 1, 1])
        for finding in find_patient_problems(used):
            assert finding.count > 0


class TestUneven:
    @pytest.mark.parametrize(("images", "severity"), [(16, "info"), (30, "warning")])
    def test_a_few_patients_with_most_images(self, images, severity):
        """Of 100 patients the largest 5 have 5 x 16 of 175 images (46 %) or 5 x 30 of 245 (61 %)."""
        patients = [
            *HUNDRED,
            *(name for name in ("T40", "T41", "T42", "T43", "T44") for _ in range(images - 1)),
        ]
        finding = only(make_used(patients))
        assert (finding.code, finding.severity, finding.count) == ("uneven-patients", severity, 5)
        share = 5 * images / (95 + 5 * images)
        assert f"5 of 100 patients hold {share:.0%} of the images" in finding.what
        assert f"the largest has {images}, half of all patients have at most 1" in finding.what

    def test_not_if_they_hold_less_than_two_fifths(self):
        """One patient has 61 of 160 images, with four others 65, which is 41 %; with two fewer it is 40 %."""
        assert codes(make_used([*HUNDRED, *(["T40"] * 60)])) == ["uneven-patients"]
        assert codes(make_used([*HUNDRED, *(["T40"] * 58)])) == []

    def test_not_if_everybody_has_many(self):
        assert codes(make_used(HUNDRED * 9, [int(row % 100 < 40) for row in range(900)])) == []
