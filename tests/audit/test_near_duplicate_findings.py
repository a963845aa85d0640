from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from breastlens.audit.finding import CODES
from breastlens.audit.near_duplicates import find_near_duplicate_problems
from breastlens.cohort.near_duplicates import NearDuplicate


def make_used(**columns: Any) -> pd.DataFrame:
    """Six images, three of either label, each of a patient of its own."""
    table: dict[str, Any] = {
        "path": [f"{'sick' if row < 3 else 'healthy'}/{row}.png" for row in range(6)],
        "label": [1, 1, 1, 0, 0, 0],
        "patient_id": [f"P{row}" for row in range(6)],
        "pixels_sha256": [f"hash{row}" for row in range(6)],
    }
    return pd.DataFrame(table | columns)


def pair(first: int, second: int, similarity: float = 0.9) -> NearDuplicate:
    return NearDuplicate(first, second, similarity, "flipped left to right")


SAME_PATIENT = ["P", "P", "P", "Q", "Q", "Q"]


@pytest.mark.parametrize(
    ("columns", "rows", "code", "severity"),
    [
        ({}, (2, 3), "near-duplicates-across-labels", "error"),
        ({"patient_id": [""] * 6}, (2, 3), "near-duplicates-across-labels", "error"),
        ({"split": ["train", "test"] * 3}, (2, 3), "near-duplicates-across-labels", "error"),
        ({"split": ["train", "test"] * 3}, (0, 1), "near-duplicates-across-splits", "error"),
        (
            {"split": ["Train", "validation"] * 3, "patient_id": SAME_PATIENT},
            (0, 1),
            "near-duplicates-across-splits",
            "error",
        ),
        ({"split": ["Training ", "train"] * 3}, (0, 1), "near-duplicates-across-patients", "warning"),
        ({"split": ["", "test"] * 3}, (0, 1), "near-duplicates-across-patients", "warning"),
        ({}, (4, 5), "near-duplicates-across-patients", "warning"),
        ({"patient_id": ["", "P", "", "", "", ""]}, (0, 1), "near-duplicates-within-category", "info"),
    ],
)
def test_a_pair_is_told_once_under_its_gravest_code(columns, rows, code, severity):
    (finding,) = find_near_duplicate_problems(make_used(**columns), [pair(*rows)])
    assert (finding.code, finding.severity, finding.count) == (code, severity, 2)
    assert finding.code in CODES
    assert finding.records == tuple(sorted(make_used()["path"].iloc[list(rows)]))


def test_two_views_of_one_patient_are_no_finding():
    assert find_near_duplicate_problems(make_used(patient_id=SAME_PATIENT), [pair(4, 5)]) == []


def test_what_is_told_of_several_pairs():
    (finding,) = find_near_duplicate_problems(make_used(), [pair(0, 1, 0.86), pair(1, 2, 0.99)])
    assert finding.what == (
        "3 images (2 pairs) under different patients show the same picture, changed, such as "
        "sick/1.png and sick/2.png (flipped left to right)."
    )
    assert finding.count == 3
    assert finding.evidence is not None
    assert finding.evidence.value == 0.86


def test_the_gravest_come_first():
    used = make_used(split=["train", "test", "test", "test", "test", "test"])
    found = find_near_duplicate_problems(used, [pair(4, 5), pair(1, 2), pair(0, 1), pair(2, 3)])
    assert [(finding.code.removeprefix("near-duplicates-"), finding.count) for finding in found] == [
        ("across-labels", 2),
        ("across-splits", 2),
        ("across-patients", 4),
    ]


def test_the_same_pixels_are_left_to_the_findings_about_exact_duplicates():
    same = make_used(pixels_sha256=["hash"] * 6)
    assert find_near_duplicate_problems(same, [pair(0, 1), pair(2, 3)]) == []
    unknown = make_used(pixels_sha256=[""] * 6)
    assert len(find_near_duplicate_problems(unknown, [pair(0, 1)])) == 1


def test_no_pairs_no_findings():
    assert find_near_duplicate_problems(make_used(), []) == []
    assert find_near_duplicate_problems(make_used().iloc[:0], []) == []
