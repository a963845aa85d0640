from __future__ import annotations

import time
from itertools import combinations
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breastlens.audit.finding import CODES
from breastlens.audit.near_duplicates import (
    NEAR_DUPLICATE_CODES,
    find_near_duplicate_problems,
    list_pictures,
)
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


def test_what_is_told_of_a_set():
    (finding,) = find_near_duplicate_problems(make_used(), [pair(0, 1, 0.86), pair(1, 2, 0.99)])
    assert finding.what == (
        "3 images (1 set of the same picture, changed) stand under different patients, such as sick/1.png and "
        "sick/2.png (flipped left to right)."
    )
    assert finding.count == 3
    assert finding.evidence is not None
    assert finding.evidence.value == 0.86


def test_the_gravest_come_first():
    used = make_used(split=["train", "test", "test", "test", "test", "test"])
    more = pd.concat([used, used.assign(patient_id=["A", "", "C", "D", "E", "F"])], ignore_index=True)
    more["pixels_sha256"] = [f"hash{row}" for row in range(12)]
    pairs = [pair(4, 5), pair(0, 1), pair(2, 3), pair(7, 8)]
    found = find_near_duplicate_problems(more, pairs)
    assert [(finding.code.removeprefix("near-duplicates-"), finding.count) for finding in found] == [
        ("across-labels", 2),
        ("across-splits", 2),
        ("across-patients", 2),
        ("within-category", 2),
    ]
    assert tuple(finding.code for finding in found) == NEAR_DUPLICATE_CODES
    assert [picture.rows for picture in list_pictures(more, pairs)] == [(2, 3), (0, 1), (4, 5), (7, 8)]


def test_no_image_that_shares_a_picture_with_the_other_label_is_missed():
    """Twenty images of one picture, of which only neighbours were compared; the last alone is healthy."""
    labels = [1] * 19 + [0]
    used = pd.DataFrame(
        {
            "path": [f"{row:02}.png" for row in range(20)],
            "label": labels,
            "patient_id": [f"P{row}" for row in range(20)],
            "pixels_sha256": [f"hash{row}" for row in range(20)],
        }
    )
    pairs = [pair(row, row + 1, 0.99 - row / 200) for row in range(19)]
    (finding,) = find_near_duplicate_problems(used, pairs)
    assert (finding.code, finding.count) == ("near-duplicates-across-labels", 20)
    assert (
        "such as 18.png and 19.png" in finding.what
    )  # the pair that proves it, though others are more alike
    (picture,) = list_pictures(used, pairs[::-1])
    assert picture.rows == tuple(range(20))
    assert [each.first for each in picture.pairs] == [18, *range(18)]


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        # The copy 1 of 0 is of another patient; that is told with the exact duplicates, but 2 differs from 1 in both.
        ({"patient_id": ["P", "Q", "P", "", "", ""]}, "near-duplicates-across-patients"),
        # Only the exact copies are of different known patients.
        ({"patient_id": ["P", "Q", "", "", "", ""]}, "near-duplicates-within-category"),
        ({"patient_id": ["P", "P", "", "", "", ""]}, "near-duplicates-within-category"),
        ({"patient_id": SAME_PATIENT}, None),
        ({"split": ["train", "test", "", "", "", ""], "patient_id": SAME_PATIENT}, None),
        (
            {"split": ["train", "test", "val", "", "", ""], "patient_id": SAME_PATIENT},
            "near-duplicates-across-splits",
        ),
    ],
)
def test_exact_copies_in_a_set_link_but_prove_nothing(columns, code):
    used = make_used(pixels_sha256=["same", "same", "other", "x", "y", "z"], **columns)
    pictures = list_pictures(used, [pair(0, 1, 1.0), pair(1, 2)])
    assert [(each.code, each.rows, [one.similarity for one in each.pairs]) for each in pictures] == (
        [] if code is None else [(code, (0, 1, 2), [0.9])]
    )


@given(st.data())
def test_the_code_of_a_set_is_the_gravest_of_any_two_with_other_pixels(data):
    """Whether or not the two were compared."""
    count = data.draw(st.integers(2, 6))
    draw = {
        name: [data.draw(st.sampled_from(values)) for _ in range(count)]
        for name, values in {
            "label": [0, 1],
            "patient_id": ["", "P", "Q"],
            "split": ["", "train", "test"],
            "pixels_sha256": ["", "a", "b", "c"],
        }.items()
    }
    used = pd.DataFrame({"path": [f"{row}.png" for row in range(count)], **draw})
    chain = [pair(row, row + 1) for row in range(count - 1)]
    every = [
        found[0].code
        for one, two in combinations(range(count), 2)
        if (found := list_pictures(used, [pair(one, two)]))
    ]
    expected = [min(every, key=NEAR_DUPLICATE_CODES.index)] if every else []
    assert [each.code for each in list_pictures(used, chain)] == expected


def test_five_thousand_images_in_pairs_take_no_time():
    count = 5000
    used = pd.DataFrame(
        {
            "path": [f"{row}.png" for row in range(count)],
            "label": [row % 2 for row in range(count)],
            "patient_id": "",
            "pixels_sha256": [f"hash{row}" for row in range(count)],
        }
    )
    started = time.process_time()
    found = find_near_duplicate_problems(used, [pair(row, row + 2) for row in range(0, count - 2, 4)])
    assert [(finding.code, finding.count) for finding in found] == [("near-duplicates-within-category", 2500)]
    assert time.process_time() - started < 2


def test_the_same_pixels_are_left_to_the_findings_about_exact_duplicates():
    same = make_used(pixels_sha256=["hash"] * 6)
    assert find_near_duplicate_problems(same, [pair(0, 1), pair(2, 3)]) == []
    unknown = make_used(pixels_sha256=[""] * 6)
    assert len(find_near_duplicate_problems(unknown, [pair(0, 1)])) == 1


def test_no_pairs_no_findings():
    assert find_near_duplicate_problems(make_used(), []) == []
    assert find_near_duplicate_problems(make_used().iloc[:0], []) == []
