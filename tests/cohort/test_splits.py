from __future__ import annotations

import hashlib
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from breastlens.cohort.splits import (
    PART_SPELLINGS,
    PARTS,
    name_parts,
    prove_disjoint,
    split_folds,
    split_from_manifest,
    split_groups,
    split_hash,
    split_holdout,
)
from breastlens.errors import SplitError


def make_table(
    patients: list[str], hashes: list[str] | None = None, labels: list[int] | None = None
) -> pd.DataFrame:
    count = len(patients)
    return pd.DataFrame(
        {
            "path": [f"{number:03}.png" for number in range(count)],
            "frame": 0,
            "label": labels or [0] * count,
            "patient_id": patients,
            "pixels_sha256": hashes or [f"unique{number}" for number in range(count)],
        }
    )


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Tables whose patients, copies and files are linked at random, some patients unknown."""
    count = draw(st.integers(2, 40))
    patients = draw(st.lists(st.sampled_from(["", *"ABCDEFGHIJKLMNOPQRST"]), min_size=count, max_size=count))
    copies = draw(st.lists(st.one_of(st.none(), st.integers(0, 6)), min_size=count, max_size=count))
    hashes = [f"own{number}" if copy is None else f"copy{copy}" for number, copy in enumerate(copies)]
    labels = draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    files = draw(st.lists(st.sampled_from([None] * 17 + [0, 1, 2]), min_size=count, max_size=count))
    paths = [f"own{number}" if file is None else f"file{file}" for number, file in enumerate(files)]
    return make_table(patients, hashes, labels).assign(path=paths, frame=range(count))


def crossings(table: pd.DataFrame, parts: np.ndarray) -> int:
    """Counts pairs of records that share patient, pixels or file but not the part, by looking at every pair."""
    rows = list(zip(table["patient_id"], table["pixels_sha256"], table["path"], parts, strict=True))
    return sum(
        (a[0] == b[0] != "" or a[1] == b[1] or a[2] == b[2]) and a[3] != b[3]
        for index, a in enumerate(rows)
        for b in rows[:index]
    )


def test_parts_have_one_spelling_for_all_that_read_them():
    written = pd.Series(["Training", " VAL ", "valid", "testing", "train", "fold 3", "", None])
    assert name_parts(written).tolist() == [
        "train",
        "validation",
        "validation",
        "test",
        "train",
        "fold 3",
        "",
        "",
    ]
    assert set(PART_SPELLINGS.values()) == set(PARTS)


def groups_of(labels: np.ndarray, groups: np.ndarray) -> int:
    """The fewest groups that any of the two labels has."""
    return min(len(set(groups[labels == label])) for label in (0, 1))


class TestGroups:
    def test_patients_and_copies_are_joined_through_each_other(self):
        table = make_table(["A", "B", "A", "", "C", "", ""], ["1", "2", "3", "2", "4", "5", "6"])
        assert split_groups(table).tolist() == [0, 1, 0, 1, 2, 3, 4]

    def test_a_chain_of_links_is_one_group(self):
        table = make_table(["A", "A", "B", "B", "C", "C"], ["1", "2", "2", "3", "3", "4"])
        assert split_groups(table).tolist() == [0] * 6

    def test_the_unknown_patient_joins_nobody(self):
        assert split_groups(make_table(["", "", ""])).tolist() == [0, 1, 2]

    def test_frames_of_one_file_stay_together_although_its_patient_is_unknown(self):
        table = make_table(["", "", "", "A"]).assign(path=["a.dcm", "b.dcm", "a.dcm", "b.dcm"])
        assert split_groups(table).tolist() == [0, 1, 0, 1]

    @given(tables())
    def test_same_as_spreading_the_smallest_number_until_nothing_changes(self, table):
        number = list(range(len(table)))
        keys = list(zip(table["patient_id"], table["pixels_sha256"], table["path"], strict=True))
        changed = True
        while changed:
            changed = False
            for i, a in enumerate(keys):
                for j, b in enumerate(keys):
                    linked = a[0] == b[0] != "" or a[1] == b[1] or a[2] == b[2]
                    if linked and number[i] < number[j]:
                        number[j] = number[i]
                        changed = True
        assert split_groups(table).tolist() == pd.factorize(np.array(number))[0].tolist()


class TestEverySplit:
    @given(
        tables(), st.integers(0, 2**32), st.sampled_from([(0.6, 0.2, 0.2), (0.8, 0.1, 0.1), (0.2, 0.3, 0.5)])
    )
    def test_holdout_keeps_groups_whole_and_both_labels_everywhere(self, table, seed, fractions):
        labels, groups = table["label"].to_numpy(), split_groups(table)
        assume(groups_of(labels, groups) >= 3)
        parts = split_holdout(labels, groups, fractions, seed)
        assert crossings(table, parts) == 0
        for part in PARTS:
            assert set(labels[parts == part]) == {0, 1}
        assert prove_disjoint(table.assign(split=parts))["patients_shared"] == 0

    @given(tables(), st.integers(0, 2**32), st.integers(2, 8))
    def test_folds_keep_groups_whole_and_both_labels_everywhere(self, table, seed, folds):
        labels, groups = table["label"].to_numpy(), split_groups(table)
        assume(groups_of(labels, groups) >= folds)
        parts = split_folds(labels, groups, folds, seed)
        assert crossings(table, parts) == 0
        assert sorted(set(parts.tolist())) == list(range(folds))
        for part in range(folds):
            assert set(labels[parts == part]) == {0, 1}

    @given(tables(), st.integers(2, 8))
    def test_too_few_patients_is_always_told_and_the_advice_works(self, table, folds):
        labels, groups = table["label"].to_numpy(), split_groups(table)
        fewest = groups_of(labels, groups)
        assume(fewest < folds)
        with pytest.raises(SplitError) as caught:
            split_folds(labels, groups, folds)
        advice = re.search(r"at most (\d+) folds would work", str(caught.value))
        assert (advice is not None) == (fewest >= 2)
        if advice:
            assert len(set(split_folds(labels, groups, int(advice[1])))) == int(advice[1])

    @given(st.permutations(range(40)), st.integers(0, 99))
    @settings(max_examples=20)
    def test_the_order_of_rows_does_not_matter(self, order, seed):
        rng = np.random.default_rng(1)
        labels, groups = rng.integers(0, 2, 40), rng.integers(0, 25, 40)
        there = split_folds(labels, groups, 4, seed)
        np.testing.assert_array_equal(split_folds(labels[order], groups[order], 4, seed), there[order])


class TestSizes:
    def test_single_images_are_apportioned_to_within_one_a_label(self):
        labels = np.array([1] * 117 + [0] * 170)
        parts = split_holdout(labels, np.arange(287), (0.6, 0.2, 0.2), seed=4)
        for part, share in zip(PARTS, (0.6, 0.2, 0.2), strict=True):
            for label, total in ((0, 170), (1, 117)):
                assert abs(np.sum((parts == part) & (labels == label)) - share * total) < 1

    @pytest.mark.parametrize("seed", range(5))
    def test_folds_of_patients_with_several_images_are_level(self, seed):
        rng = np.random.default_rng(seed)
        sizes = rng.integers(1, 6, 120)
        groups = np.repeat(np.arange(120), sizes)
        labels = np.repeat(rng.random(120) < 0.3, sizes).astype(int)
        parts = split_folds(labels, groups, 5, seed)
        for label in (0, 1):
            held = np.bincount(parts[labels == label], minlength=5)
            assert held.max() - held.min() <= 1
        assert np.ptp(np.bincount(parts)) <= 2

    def test_a_giant_patient_goes_where_there_is_room(self):
        groups = np.array([0] * 50 + list(range(1, 51)))
        labels = np.array([0, 1] * 50)
        assert set(split_holdout(labels, groups, (0.6, 0.2, 0.2), seed=0)[:50]) == {"train"}

    def test_patients_with_both_labels_never_leave_a_part_without_one(self):
        groups = np.array([0, 0, 1, 1, 1, 1, 2, 3, 4, 4, 4])
        labels = np.array([0, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1])
        for seed in range(50):
            parts = split_folds(labels, groups, 3, seed)
            assert all(set(labels[parts == part]) == {0, 1} for part in range(3))


class TestSeeds:
    def test_the_split_of_a_seed_never_changes(self):
        """If this fails, the same seed gives users another split than before: say so in the changelog."""
        labels = [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
        groups = [0, 0, 1, 2, 3, 4, 5, 6, 6, 7, 8, 9]
        holdout = split_holdout(labels, groups, (0.5, 0.25, 0.25), seed=7)
        parts = {"r": "train", "v": "validation", "t": "test"}
        assert holdout.tolist() == [parts[letter] for letter in "rrvrtvtrrtvr"]
        assert split_folds(labels, groups, 3, seed=7).tolist() == [1, 1, 0, 2, 0, 2, 2, 0, 0, 2, 1, 1]

    def test_seeds_differ(self):
        labels, groups = [0, 1] * 20, list(range(40))
        assert len({split_folds(labels, groups, 5, seed).tobytes() for seed in range(20)}) == 20

    def test_every_patient_is_tested_as_often_as_its_share_over_seeds(self):
        labels, groups = [0, 1] * 20, list(range(40))
        tested = sum(split_holdout(labels, groups, seed=seed) == "test" for seed in range(400))
        assert abs(np.mean(tested) - 80) < 1e-9
        assert np.max(np.abs(tested - 80)) < 4.5 * np.sqrt(400 * 0.2 * 0.8)


class TestErrors:
    def test_says_how_many_there_are_and_what_would_work(self):
        labels, groups = [1, 1, 1, 0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 4, 5, 6, 7, 8]
        with pytest.raises(
            SplitError,
            match=r"5 folds need 5 patients of each label; there are 3 positive and 6 negative .*; at most 3",
        ):
            split_folds(labels, groups, 5)
        with pytest.raises(SplitError, match=r"there are 2 positive and 2 negative .*; --folds 2 would work"):
            split_holdout([1, 1, 0, 0], [0, 1, 2, 3])
        with pytest.raises(SplitError, match=r"there are 1 positive and 1 negative .* at least 3 are needed"):
            split_holdout([1, 0], [0, 0])
        with pytest.raises(SplitError, match="at least 2 folds, received 1"):
            split_folds(labels, groups, 1)
        with pytest.raises(SplitError, match="there are 0 positive and 0 negative"):
            split_folds([], [], 2)


class TestManifestSplit:
    def test_spellings_are_understood(self):
        table = make_table(list("ABCDEF"), labels=[0, 1] * 3)
        table["split"] = ["train", "Training", "val", "valid", "TEST", "testing"]
        expected = ["train", "train", "validation", "validation", "test", "test"]
        assert split_from_manifest(table).tolist() == expected

    @pytest.mark.parametrize(
        ("split", "message"),
        [
            (
                ["train", "train", "val", "val", "holdout", ""],
                r"has '', 'holdout' in 2 rows, such as 004.png; expected",
            ),
            (["train", "train", "train", "train", "test", "test"], "has no validation records"),
            (["train", "val", "train", "val", "test", "test"], "train part has only records of label 0"),
            (
                ["train", "train", "val", "val", "test", "train"],
                r"1 patients, .* patient E \(004.png in test, 005.png",
            ),
        ],
    )
    def test_a_wrong_column_is_refused(self, split, message):
        table = make_table(["A", "B", "C", "D", "E", "E"], labels=[0, 1] * 3).assign(split=split)
        with pytest.raises(SplitError, match=message):
            split_from_manifest(table)

    def test_a_test_part_of_one_label_is_allowed(self):
        table = make_table(list("ABCDE"), labels=[0, 1, 0, 1, 0]).assign(
            split=["train"] * 2 + ["val"] * 2 + ["test"]
        )
        assert split_from_manifest(table)[-1] == "test"


class TestProof:
    def test_counts_what_was_checked(self):
        table = make_table(["A", "A", "B", "", "", "C"], ["1", "2", "3", "4", "4", "4"])
        table["split"] = [0, 0, 1, 1, 1, ""]
        assert prove_disjoint(table) == {
            "patients_checked": 2,
            "patients_shared": 0,
            "duplicate_groups_checked": 1,
            "duplicates_shared": 0,
            "files_checked": 0,
            "files_shared": 0,
        }

    def test_frames_of_one_file_in_two_parts_are_refused(self):
        table = make_table(["", "", "B"]).assign(
            path=["a.dcm", "a.dcm", "b.png"], frame=[0, 1, 0], split=["train", "train", "test"]
        )
        assert prove_disjoint(table)["files_checked"] == 1
        with pytest.raises(
            SplitError,
            match=r"1 patients, .* frames of one file: a\.dcm in train, a\.dcm in test; .* all frames of a file",
        ):
            prove_disjoint(table.assign(split=["train", "test", "test"]))

    def test_names_what_is_shared(self):
        table = make_table(["A", "A", "B", ""], ["1", "2", "3", "3"]).assign(
            split=["train", "test", "train", "test"]
        )
        with pytest.raises(
            SplitError,
            match=r"2 patients, .* patient A \(000.png in train, 001.png in test\); same pixels in 002.png",
        ):
            prove_disjoint(table)


class TestHash:
    def test_is_of_places_and_not_of_row_order(self):
        table = make_table(list("ABCD")).assign(split=[0, 1, 0, ""])
        lines = "000.png\x1f0\x1f0\x1e001.png\x1f0\x1f1\x1e002.png\x1f0\x1f0"
        assert split_hash(table) == hashlib.sha256(lines.encode()).hexdigest()
        assert split_hash(table.iloc[::-1]) == split_hash(table)
        assert split_hash(table.assign(split=[0, 1, 1, ""])) != split_hash(table)
