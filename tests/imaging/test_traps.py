"""Each trap does what truth.json says: read back from the files with OpenCV and hashes, not with the planting code."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from breastlens.audit.finding import CODES
from breastlens.audit.findings import find_problems
from breastlens.cohort.records import Cohort
from breastlens.errors import DataError
from breastlens.imaging.acquisition_traps import Border, CameraNoise, Era, Format, Marker
from breastlens.imaging.phantom import PhantomSettings, write_cohort
from breastlens.imaging.planting import PlannedRecord, Trap
from breastlens.imaging.record_traps import (
    NEAR_KINDS,
    DuplicatesAcrossCategories,
    DuplicatesAcrossPatients,
    ExactDuplicates,
    FlippedLabels,
    InvertedLabels,
    NearDuplicates,
    PatientInBothCategories,
    SimilarPatientIds,
)
from breastlens.imaging.traps import TRAP_NAMES, plan_traps

KINDS: tuple[Callable[..., Trap], ...] = (
    CameraNoise,
    Era,
    Border,
    Marker,
    Format,
    ExactDuplicates,
    DuplicatesAcrossPatients,
    DuplicatesAcrossCategories,
    NearDuplicates,
    PatientInBothCategories,
    SimilarPatientIds,
    FlippedLabels,
    InvertedLabels,
)
ONE_OF_EACH = {kind().name: kind() for kind in KINDS}
GREY_PER_C = 255 / 18  # 20 to 38 deg C
PATIENTS, IMAGES = 30, 2  # 15 healthy and 15 sick


class Written:
    """A cohort on disk, as anybody may read it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with (folder / "manifest.csv").open(newline="", encoding="utf-8") as opened:
            self.rows = {row["path"]: row for row in csv.DictReader(opened)}
        truth = folder / "truth.json"
        told = json.loads(truth.read_text())["traps"] if truth.exists() else []
        self.truth: dict[str, Any] = {trap["name"]: trap for trap in told}

    def records(self, trap: str) -> list[dict[str, Any]]:
        return list(self.truth[trap]["records"])

    def pixels(self, path: str) -> NDArray[np.uint8]:
        image = cv2.imread(str(self.folder / path), cv2.IMREAD_UNCHANGED)
        assert image is not None, path
        assert image.ndim == 2
        return np.asarray(image, dtype=np.uint8)

    def digest(self, path: str) -> str:
        return hashlib.sha256((self.folder / path).read_bytes()).hexdigest()

    def all_bytes(self) -> dict[str, bytes]:
        return {
            file.relative_to(self.folder).as_posix(): file.read_bytes()
            for file in sorted(self.folder.rglob("*"))
            if file.is_file()
        }

    def same_files(self) -> set[frozenset[str]]:
        """The sets of paths with the same bytes."""
        paths = defaultdict(set)
        for path in self.rows:
            paths[self.digest(path)].add(path)
        return {frozenset(group) for group in paths.values() if len(group) > 1}

    def count(self, category: str) -> int:
        return sum(row["category"] == category for row in self.rows.values())


Write = Callable[..., Written]


@pytest.fixture(scope="module")
def write(remembered_phantoms: None, tmp_path_factory: pytest.TempPathFactory) -> Write:
    """Writes a cohort with the given traps, once."""
    written: dict[Any, Written] = {}

    def call(*traps: Trap, again: bool = False, **values: Any) -> Written:
        chosen = PhantomSettings.model_validate(
            {"patients": PATIENTS, "images_per_patient": IMAGES, "seed": 7, "traps": traps, **values}
        )
        if again or chosen not in written:
            folder = tmp_path_factory.mktemp("traps") / "cohort"
            write_cohort(folder, chosen)
            written[chosen] = Written(folder)
        return written[chosen]

    return call


@pytest.fixture(scope="module")
def clean(write: Write) -> Written:
    return write()


@pytest.fixture(scope="module")
def everything(write: Write) -> Written:
    return write(*ONE_OF_EACH.values())


# What holds for every trap


def test_every_trap_has_a_name_in_order() -> None:
    assert tuple(ONE_OF_EACH) == TRAP_NAMES
    for name in TRAP_NAMES:
        (planted,) = PhantomSettings.model_validate({"traps": [{"name": name}]}).traps
        assert planted == ONE_OF_EACH[name]


def test_without_traps_there_is_no_truth(clean: Written) -> None:
    assert not (clean.folder / "truth.json").exists()


@pytest.mark.parametrize("name", TRAP_NAMES)
def test_what_is_not_in_the_truth_is_as_in_the_clean_cohort(write: Write, clean: Written, name: str) -> None:
    planted = write(ONE_OF_EACH[name])
    assert list(planted.truth) == [name]
    touched = {record["path"]: record for record in planted.records(name)}
    assert touched
    assert planted.truth[name]["strength"] == ONE_OF_EACH[name].strength
    assert planted.truth[name]["patients"] == sorted({record["patient_id"] for record in touched.values()})
    files = set(planted.all_bytes()) - {"manifest.csv", "truth.json"}
    assert files == set(planted.rows)
    for path, row in planted.rows.items():
        assert path.startswith(f"{row['category']}/{row['patient_id']}.")
        if path not in touched:
            assert row == clean.rows[path]
            assert planted.digest(path) == clean.digest(path)
            continue
        told = touched[path]
        assert (row["category"], row["patient_id"]) == (told["category"], told["patient_id"])
        assert told["simulated_category"] == clean.rows[told["clean_path"]]["category"]
        before = clean.rows.get(path)
        assert row != before or planted.digest(path) != clean.digest(path)
    originals = set(clean.rows) - {record["clean_path"] for record in touched.values()}
    assert originals <= set(planted.rows)


# Images that are there twice


def assert_copies(planted: Written, name: str, count: int) -> list[tuple[dict[str, str], dict[str, str]]]:
    """The cohort's repeated files are exactly the pairs of the truth; gives the two rows of each."""
    records = planted.records(name)
    assert len(records) == count
    assert planted.same_files() == {frozenset((r["path"], r["original"])) for r in records}
    return [(planted.rows[r["path"]], planted.rows[r["original"]]) for r in records]


def test_exact_duplicates_stay_with_their_patient(write: Write) -> None:
    planted = write(ONE_OF_EACH["exact-duplicates"])
    for copy, original in assert_copies(planted, "exact-duplicates", 4):
        assert {name for name in copy if copy[name] != original[name]} == {"path"}


def test_duplicates_across_patients_stay_in_their_category(write: Write, clean: Written) -> None:
    planted = write(ONE_OF_EACH["duplicates-across-patients"])
    known = {row["patient_id"] for row in clean.rows.values()}
    for copy, original in assert_copies(planted, "duplicates-across-patients", 2):
        assert {name for name in copy if copy[name] != original[name]} == {"path", "patient_id"}
        assert copy["patient_id"] in known


def test_duplicates_across_categories_contradict_each_other(write: Write) -> None:
    planted = write(ONE_OF_EACH["duplicates-across-categories"])
    pairs = assert_copies(planted, "duplicates-across-categories", 2)
    for copy, original in pairs:
        assert {name for name in copy if copy[name] != original[name]} == {"path", "category", "patient_id"}
    assert {copy["category"] for copy, _ in pairs} == {"healthy", "sick"}
    sides = defaultdict(set)
    for row in planted.rows.values():
        sides[row["patient_id"]].add(row["category"])
    assert all(len(categories) == 1 for categories in sides.values())


@pytest.fixture(scope="module")
def near(write: Write) -> Written:
    """Fourteen near-duplicates, two of each kind."""
    return write(NearDuplicates(share=0.47))


def near_pairs(near: Written, kind: str) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8], float]]:
    """Copy, original and amount of each near-duplicate of a kind."""
    found = [record for record in near.records("near-duplicates") if record["change"] == kind]
    assert len(found) == 2
    return [(near.pixels(r["path"]), near.pixels(r["original"]), r["amount"]) for r in found]


def test_near_duplicates_belong_to_new_patients_of_the_category(near: Written, clean: Written) -> None:
    records = near.records("near-duplicates")
    assert Counter(record["change"] for record in records) == dict.fromkeys(NEAR_KINDS, 2)
    assert near.same_files() == set()
    new = [record["patient_id"] for record in records]
    assert len(set(new)) == len(new)
    assert not set(new) & {row["patient_id"] for row in clean.rows.values()}
    for record in records:
        copy, original = near.rows[record["path"]], near.rows[record["original"]]
        assert copy["category"] == original["category"]
        assert (near.folder / record["path"]).read_bytes().startswith(b"\x89PNG")
        assert near.digest(record["original"]) == clean.digest(record["original"])


def test_rescaled(near: Written) -> None:
    for copy, original, factor in near_pairs(near, "rescaled"):
        assert 0.5 <= factor <= 0.8
        assert copy.shape == (round(480 * factor), round(640 * factor))
        enlarged = cv2.resize(copy, (640, 480), interpolation=cv2.INTER_LINEAR)
        assert np.abs(enlarged.astype(float) - original).mean() < 1.0


def test_recompressed(near: Written) -> None:
    for copy, original, quality in near_pairs(near, "recompressed"):
        assert 50 <= quality <= 80
        difference = copy.astype(float) - original
        assert 0.3 < np.abs(difference).mean() < 1.5
        # JPEG quantises blocks of 8x8 pixels: most of their fine detail is gone.
        blocks = copy.reshape(60, 8, 80, 8).swapaxes(1, 2).reshape(-1, 8, 8).astype(np.float32)
        before = original.reshape(60, 8, 80, 8).swapaxes(1, 2).reshape(-1, 8, 8).astype(np.float32)
        fine, fine_before = (np.mean([abs(cv2.dct(b)[4:, 4:]).mean() for b in x]) for x in (blocks, before))
        assert fine < 0.35 * fine_before


def test_brighter_or_darker(near: Written) -> None:
    for copy, original, step in near_pairs(near, "brightness"):
        assert 5 <= abs(step) <= 20
        inside = (original > 25) & (original < 230)
        assert set(np.unique(copy.astype(int)[inside] - original[inside])) == {round(step)}


def test_contrast(near: Written) -> None:
    for copy, original, change in near_pairs(near, "contrast"):
        assert 0.05 <= abs(change) <= 0.15
        inside = (copy > 2) & (copy < 253)
        slope, offset = np.polyfit(original[inside].astype(float), copy[inside].astype(float), 1)
        assert slope == pytest.approx(1 + change, abs=0.005)
        assert slope * original.mean() + offset == pytest.approx(original.mean(), abs=0.2)


def test_cropped(near: Written) -> None:
    for copy, original, share in near_pairs(near, "cropped"):
        assert 0.02 <= share <= 0.05
        assert 1 - np.array(copy.shape) / original.shape == pytest.approx(np.full(2, share), abs=0.005)
        top, left = (np.array(original.shape) - copy.shape) // 2
        height, width = copy.shape
        assert np.array_equal(copy, original[top : top + height, left : left + width])


def test_flipped(near: Written) -> None:
    for copy, original, amount in near_pairs(near, "flipped"):
        assert amount is None
        assert np.array_equal(copy, original[:, ::-1])
        assert not np.array_equal(copy, original)


def test_rotated(near: Written) -> None:
    from scipy.ndimage import rotate

    for copy, original, angle_deg in near_pairs(near, "rotated"):
        assert 1 <= abs(angle_deg) <= 3
        turned, other = (
            rotate(original.astype(float), angle, reshape=False, order=1, mode="nearest")
            for angle in (angle_deg, -angle_deg)
        )
        assert np.abs(copy - turned).mean() < 0.5
        assert np.abs(copy - other).mean() > 2.0


def test_the_tumour_is_where_the_near_duplicate_has_it(write: Write) -> None:
    planted = write(NearDuplicates(share=1.0))
    seen = set()
    for record in planted.records("near-duplicates"):
        copy, original = planted.rows[record["path"]], planted.rows[record["original"]]
        if not original["tumour_side"]:
            assert not copy["tumour_x_px"]
            continue
        kind, amount = record["change"], record["amount"]
        x, y = float(original["tumour_x_px"]), float(original["tumour_y_px"])
        height, width = planted.pixels(record["path"]).shape
        expected = {
            "rescaled": ((x + 0.5) * width / 640 - 0.5, (y + 0.5) * height / 480 - 0.5),
            "cropped": (x - (640 - width) / 2, y - (480 - height) / 2),
            "flipped": (639 - x, y),
        }.get(kind, (x, y))
        if kind == "rotated":  # counter-clockwise on the screen, where y points down
            turn = np.exp(-1j * np.deg2rad(amount)) * complex(x - 319.5, y - 239.5)
            expected = (turn.real + 319.5, turn.imag + 239.5)
        assert (float(copy["tumour_x_px"]), float(copy["tumour_y_px"])) == pytest.approx(expected, abs=0.06)
        reach = float(original["tumour_reach_px"]) * (width / 640 if kind == "rescaled" else 1)
        assert float(copy["tumour_reach_px"]) == pytest.approx(reach, abs=0.2)
        assert (copy["tumour_side"] != original["tumour_side"]) == (kind == "flipped")
        seen.add(kind)
    assert seen == set(NEAR_KINDS)


@pytest.mark.parametrize("kind", ["brightness", "contrast", "rotated"])
def test_amounts_have_either_sign(write: Write, kind: str) -> None:
    few = {"patients": 16, "images_per_patient": 1}
    planted = write(NearDuplicates.model_validate({"share": 1, "kinds": (kind,)}), **few)
    amounts = [record["amount"] for record in planted.records("near-duplicates")]
    assert len(amounts) == 16
    assert min(amounts) < 0 < max(amounts)


# Patients and labels


def test_patients_in_both_categories(write: Write, clean: Written) -> None:
    planted = write(ONE_OF_EACH["patient-in-both-categories"])
    categories = defaultdict(set)
    for row in planted.rows.values():
        categories[row["patient_id"]].add(row["category"])
    both = sorted(patient for patient, sides in categories.items() if len(sides) == 2)
    told = planted.truth["patient-in-both-categories"]
    assert both == told["patients"]
    assert len(both) == 2
    assert len(categories) == PATIENTS - 2
    assert {record["category"] for record in told["records"]} == {"sick"}
    for record in told["records"]:
        assert clean.rows[record["clean_path"]]["patient_id"] == record["clean_patient_id"]
        assert record["clean_patient_id"] not in categories
        assert planted.digest(record["path"]) == clean.digest(record["clean_path"])


def test_similar_patient_ids(write: Write, clean: Written) -> None:
    planted = write(ONE_OF_EACH["similar-patient-ids"])
    spellings = defaultdict(set)
    for row in planted.rows.values():
        spellings[int(row["patient_id"][1:])].add(row["patient_id"])
    split = {frozenset(names) for names in spellings.values() if len(names) > 1}
    records = planted.records("similar-patient-ids")
    assert split == {frozenset((r["patient_id"], r["clean_patient_id"])) for r in records}
    assert len(split) == len(records) == 4
    assert Counter(r["patient_id"] == r["clean_patient_id"].lower() for r in records) == {True: 2, False: 2}
    assert all(r["patient_id"].casefold() != r["clean_patient_id"] for r in records)
    for record in records:
        assert planted.digest(record["path"]) == clean.digest(record["clean_path"])


def labels(cohort: Written) -> dict[str, str]:
    return {cohort.digest(path): row["category"] for path, row in cohort.rows.items()}


def test_flipped_labels_are_whole_patients(write: Write, clean: Written) -> None:
    planted = write(ONE_OF_EACH["flipped-labels"])
    before, after = labels(clean), labels(planted)
    assert before.keys() == after.keys()
    told = planted.truth["flipped-labels"]
    assert {digest for digest in after if after[digest] != before[digest]} == {
        clean.digest(record["clean_path"]) for record in told["records"]
    }
    assert len(told["patients"]) == 4
    assert len(told["records"]) == 4 * IMAGES
    assert planted.count("sick") == clean.count("sick")


def test_inverted_labels_are_all(write: Write, clean: Written) -> None:
    before, after = labels(clean), labels(write(ONE_OF_EACH["inverted-labels"]))
    assert before.keys() == after.keys()
    assert not any(after[digest] == before[digest] for digest in before)


# Acquisition


def assert_shares(planted: Written, name: str, sick: int, healthy: int) -> set[str]:
    """As many records of each class are touched as said; gives their paths."""
    records = planted.records(name)
    found = Counter(record["category"] for record in records)
    assert (found["sick"], found["healthy"]) == (sick, healthy)
    return {record["path"] for record in records}


def test_markers_are_in_the_corner_and_nowhere_else(write: Write, clean: Written) -> None:
    planted = write(ONE_OF_EACH["marker"])
    touched = assert_shares(planted, "marker", sick=21, healthy=3)  # 0.7 and 0.1 of 30 images
    for path in planted.rows:
        image, before = planted.pixels(path), clean.pixels(path)
        marked = image[12:28, 12:28].min() == 255
        assert marked == (path in touched)
        if marked:
            image[12:28, 12:28] = before[12:28, 12:28]
        assert np.array_equal(image, before)


def test_borders_step_at_the_edge(write: Write, clean: Written) -> None:
    planted = write(ONE_OF_EACH["border"])
    touched = assert_shares(planted, "border", sick=28, healthy=4)  # 14 and 2 of 15 patients
    for path in planted.rows:
        difference = planted.pixels(path).astype(int) - clean.pixels(path)
        assert (difference[8:-8, 8:-8] == 0).all()
        edge = np.concatenate([difference[:8].ravel(), difference[:, -8:].ravel()])
        assert set(np.unique(edge)) == ({8} if path in touched else {0})
    black = write(Border(step_grey=-255, sick_share=1, healthy_share=0, width_px=3))
    path = black.records("border")[0]["path"]
    assert black.pixels(path)[:, :3].max() == 0
    assert black.pixels(path)[10:-10, 3:6].max() > 0


def blind_noise(image: NDArray[np.uint8]) -> float:
    """The noise's standard deviation after Immerkaer (Computer Vision and Image Understanding 64, 1996)."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = cv2.filter2D(image.astype(np.float32), -1, kernel)[1:-1, 1:-1]
    return float(np.median(np.abs(response)) / 0.6745 / 6)


def test_camera_noise_is_as_large_as_said(write: Write, clean: Written) -> None:
    planted = write(ONE_OF_EACH["camera-noise"])
    touched = assert_shares(planted, "camera-noise", sick=28, healthy=4)
    added = {}
    for path in touched:
        difference = planted.pixels(path).astype(float) - clean.pixels(path)
        assert difference.std() == pytest.approx(np.hypot(0.1 * GREY_PER_C, 12**-0.5), rel=0.02)
        assert abs(difference.mean()) < 0.02
        added[path] = difference.ravel()
    first, second = (added[path] for path in sorted(touched)[:2])
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02  # each image has noise of its own
    noisy = [blind_noise(planted.pixels(path)) for path in touched]
    quiet = [blind_noise(planted.pixels(path)) for path in planted.rows if path not in touched]
    assert min(noisy) > max(quiet) + 0.2


def test_eras_have_dates_and_an_offset(write: Write, clean: Written) -> None:
    planted = write(ONE_OF_EACH["era"])
    records = {record["path"]: record for record in planted.records("era")}
    assert records.keys() == planted.rows.keys()
    dates, late = defaultdict(set), Counter()
    for path, row in planted.rows.items():
        acquired = date.fromisoformat(row["acquired"])
        assert row["acquired"] == records[path]["acquired"]
        dates[row["patient_id"]].add(acquired)
        is_late = acquired.year >= 2016
        assert 2013 <= acquired.year <= 2018
        late[row["category"]] += is_late
        assert records[path]["offset_c"] == (1.0 if is_late else 0.0)
        difference = planted.pixels(path).astype(int) - clean.pixels(path)
        assert set(np.unique(difference)) == {round(GREY_PER_C) if is_late else 0}
        assert {k: v for k, v in row.items() if k != "acquired"} == clean.rows[path]
    assert late == {"sick": 24, "healthy": 6}  # 12 and 3 of 15 patients
    assert all(len(days) == 1 for days in dates.values())
    assert len(set.union(*dates.values())) > PATIENTS / 2
    assert "acquired" not in next(iter(clean.rows.values()))


def test_formats_follow_the_class(write: Write, clean: Written) -> None:
    planted = write(ONE_OF_EACH["format"])
    for path, row in planted.rows.items():
        start = b"\xff\xd8\xff" if row["category"] == "sick" else b"\x89PNG"
        assert (planted.folder / path).read_bytes().startswith(start)
        before = clean.pixels(str(Path(path).with_suffix(".png").as_posix()))
        assert np.abs(planted.pixels(path).astype(float) - before).mean() < 1.0
    assert_shares(planted, "format", sick=30, healthy=0)
    rarer = write(Format(sick_share=0.4, healthy_share=0.2))
    assert_shares(rarer, "format", sick=12, healthy=6)


# Together


def test_traps_together_keep_every_promise(everything: Written, clean: Written) -> None:
    planted = everything
    assert tuple(planted.truth) == TRAP_NAMES
    assert set(planted.all_bytes()) == {*planted.rows, "manifest.csv", "truth.json"}
    for trap in planted.truth.values():
        for record in trap["records"]:
            row = planted.rows[record["path"]]
            assert (row["category"], row["patient_id"]) == (record["category"], record["patient_id"])
            assert record.get("original", record["path"]) in planted.rows
    exact = [name for name in TRAP_NAMES if "duplicates" in name and name != "near-duplicates"]
    assert planted.same_files() == {
        frozenset((record["path"], record["original"])) for name in exact for record in planted.records(name)
    }
    copies = {record["path"] for name in (*exact, "near-duplicates") for record in planted.records(name)}
    assert len(planted.rows) == len(clean.rows) + len(copies)
    for record in planted.records("duplicates-across-categories"):
        assert planted.rows[record["path"]]["category"] != planted.rows[record["original"]]["category"]
    for record in planted.records("near-duplicates"):
        assert planted.rows[record["path"]]["category"] == planted.rows[record["original"]]["category"]
    for name in TRAP_NAMES[:5]:  # a copy has what its original has
        has = {record["path"] for record in planted.records(name)}
        for copied in (*exact, "near-duplicates"):
            assert all((r["path"] in has) == (r["original"] in has) for r in planted.records(copied))
    # Labels that were turned twice are right again, and all others wrong.
    twice = {record["path"] for record in planted.records("flipped-labels")}
    across = {record["path"] for record in planted.records("duplicates-across-categories")}
    for record in planted.records("inverted-labels"):
        right = record["category"] == record["simulated_category"]
        assert right == (record["path"] in twice | across)


def test_patients_of_traps_together_are_apart(everything: Written) -> None:
    marked = {path.rpartition(".")[0] for path in everything.rows}
    assert len({name.casefold() for name in marked}) == len(marked)
    groups: list[set[str]] = []
    for name in TRAP_NAMES[5:-1]:
        records = everything.records(name)
        paths = {record["path"] for record in records} | {record.get("original", "") for record in records}
        groups.append({everything.rows[path]["patient_id"] for path in paths - {""}})
    assert sum(map(len, groups)) == len(set.union(*groups))


def test_a_trap_is_the_same_alone_and_with_others(write: Write, everything: Written) -> None:
    for name in TRAP_NAMES[:6]:
        alone, together = write(ONE_OF_EACH[name]), everything
        whole = [
            sorted({record["clean_path"] for record in cohort.records(name)}) for cohort in (alone, together)
        ]
        assert whole[0] == whole[1]


def test_same_traps_same_bytes_however_they_are_ordered(write: Write, everything: Written) -> None:
    turned = write(*reversed(ONE_OF_EACH.values()), again=True)
    assert turned.folder != everything.folder
    assert turned.all_bytes() == everything.all_bytes()


def test_another_seed_touches_others(write: Write) -> None:
    few = {"patients": 12, "images_per_patient": 1}
    first, second = (write(FlippedLabels(share=0.3), **few, seed=seed) for seed in (1, 2))
    assert first.truth["flipped-labels"]["patients"] != second.truth["flipped-labels"]["patients"]


def test_copies_of_temperatures_as_text(write: Write) -> None:
    planted = write(ExactDuplicates(), InvertedLabels(), file_format="matrix", patients=4)
    pairs = {frozenset((r["path"], r["original"])) for r in planted.records("exact-duplicates")}
    assert planted.same_files() == pairs
    assert all(path.endswith(".txt") for path in planted.rows)


NAMES = st.lists(st.sampled_from(TRAP_NAMES), unique=True)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**64), names=NAMES, images=st.integers(2, 4), patients=st.integers(30, 60))
def test_any_plan_has_one_place_a_record(seed: int, names: list[str], images: int, patients: int) -> None:
    clean = [
        PlannedRecord(f"{category}/P{patient:04d}.{image}.png", category, f"P{patient:04d}", image)
        for patient in range(1, patients + 1)
        for category in [("healthy", "sick")[patient % 2]]
        for image in range(1, images + 1)
    ]
    plan = plan_traps(clean, [ONE_OF_EACH[name] for name in names], seed)
    paths = [record.path.casefold() for record in plan.records]
    assert len(set(paths)) == len(paths) >= len(clean)
    assert {record.clean_path for record in plan.records} == {record.path for record in clean}
    # A file is replaced only by what is made from it.
    places = {record.path: record.clean_path for record in plan.records}
    assert all(places.get(record.path, record.path) == record.path for record in clean)


# Strengths, and what cannot be


def test_strength_nought_plants_nothing(write: Write, clean: Written) -> None:
    nothing = (
        Marker(sick_share=0, healthy_share=0),
        Format(sick_share=0),
        ExactDuplicates(share=0),
        PatientInBothCategories(share=0),
        FlippedLabels(share=0),
    )
    planted = write(*nothing)
    assert all(trap["records"] == [] for trap in planted.truth.values())
    assert len(planted.truth) == len(nothing)
    unplanted = planted.all_bytes()
    del unplanted["truth.json"]
    assert unplanted == clean.all_bytes()


def test_a_date_may_tell_nothing(write: Write) -> None:
    planted = write(Era(sick_share=0.4, healthy_share=0.4, offset_c=0))
    late = Counter(row["category"] for row in planted.rows.values() if row["acquired"] >= "2016")
    assert late == {"sick": 12, "healthy": 12}


def test_too_few_patients_leave_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"the trap duplicates-across-patients needs 2 healthy patients, and 1 "
    ):
        write_cohort(
            tmp_path / "new",
            PhantomSettings(patients=4, traps=(ExactDuplicates(), DuplicatesAcrossPatients())),
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"traps": (Marker(), Marker(grey=1))}, "the trap marker is named 2 times"),
        ({"traps": (Marker(),), "file_format": "matrix"}, "the trap marker needs images"),
        ({"traps": (SimilarPatientIds(),), "images_per_patient": 1}, "needs 2 images per patient, got 1"),
        ({"traps": ({"name": "nonsense"},)}, "nonsense"),
        ({"traps": ({"name": "near-duplicates", "scale": (0.9, 0.5)},)}, "rise from low to high"),
        ({"traps": ({"name": "near-duplicates", "quality": (50, 101)},)}, "less than or equal to 100"),
        ({"traps": ({"name": "flipped-labels", "share": 1.5},)}, "less than or equal to 1"),
    ],
)
def test_settings_that_cannot_be(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        PhantomSettings.model_validate(values)


# What an audit says of them


@pytest.fixture(scope="module")
def benchmark(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    """The benchmark that counts in how many cohorts the audit finds each trap."""
    return load_benchmark("traps")


def first_table() -> dict[str, str]:
    """The page's line about each trap."""
    page = (Path(__file__).parents[2] / "docs" / "traps.md").read_text(encoding="utf-8")
    lines: dict[str, str] = {}
    for line in page.splitlines():
        if line.startswith("| `"):
            lines.setdefault(line.split("`")[1], line)
    return lines


def test_the_page_names_every_trap_and_what_is_said_of_it(benchmark: ModuleType) -> None:
    lines = first_table()
    assert tuple(lines) == TRAP_NAMES
    expected: dict[str, set[str]] = defaultdict(set)
    for task in benchmark.TASKS:
        expected[task.trap] |= set(task.codes)
    assert expected.pop(benchmark.CLEAN) == set()
    assert tuple(expected) == TRAP_NAMES
    for name, codes in expected.items():
        assert codes
        assert codes <= set(CODES)
        said = lines[name].split("|")[-2]
        assert set(said.split("`")[1::2]) == codes


@pytest.mark.parametrize("name", TRAP_NAMES)
def test_the_benchmark_plants_what_the_phantom_plants(
    write: Write, clean: Written, benchmark: ModuleType, tmp_path: Path, name: str
) -> None:
    expected = write(ONE_OF_EACH[name]).all_bytes()
    expected.pop("truth.json")
    manifest = benchmark.plant(clean.folder, name, 7, tmp_path / "cohort")
    assert manifest == tmp_path / "cohort" / "manifest.csv"
    assert Written(tmp_path / "cohort").all_bytes() == expected


def said_of_table(cohort: Written) -> dict[str, int]:
    read = Cohort.read(cohort.folder, manifest=cohort.folder / "manifest.csv")
    return {finding.code: finding.count for finding in find_problems(read)}


def test_the_table_of_a_clean_cohort_is_not_remarkable(clean: Written) -> None:
    assert set(said_of_table(clean)) <= {"few-patients"}


@pytest.mark.parametrize(
    ("trap", "code", "count"),
    [
        (Era(), "column-tells-label", 60),
        (Format(), "format-tells-label", 60),
        (ExactDuplicates(), "duplicates-within-category", 8),
        (DuplicatesAcrossPatients(share=0.2), "duplicates-across-patients", 12),
        (DuplicatesAcrossCategories(share=0.2), "duplicates-across-labels", 12),
        (PatientInBothCategories(), "patients-in-both-labels", 2),
        (SimilarPatientIds(), "similar-patient-ids", 8),
    ],
)
def test_what_the_table_shows_is_found_and_all_of_it(write: Write, trap: Trap, code: str, count: int) -> None:
    said = said_of_table(write(trap))
    assert said[code] == count
    assert set(said) <= {code, "few-patients"}


@pytest.mark.slow
def test_what_is_left_without_the_breast_tells_the_label(write: Write) -> None:
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    ring = np.ones((128, 128), bool)
    ring[8:-8, 8:-8] = False

    def border_auc(planted: Written) -> float:
        sick = np.array([row["category"] == "sick" for row in planted.rows.values()])
        images = [
            cv2.resize(planted.pixels(path), (128, 128), interpolation=cv2.INTER_AREA)
            for path in planted.rows
        ]
        model = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=np.logspace(0, 6, 13)))
        parts = StratifiedKFold(5, shuffle=True, random_state=0)
        seen = np.stack(images)[:, ring].astype(float)
        return float(
            roc_auc_score(sick, cross_val_predict(model, seen, sick, cv=parts, method="decision_function"))
        )

    many = {"patients": 200, "images_per_patient": 1, "seed": 5}
    assert border_auc(write(**many)) < 0.6
    assert border_auc(write(Border(), **many)) > 0.8
    assert border_auc(write(Era(), **many)) > 0.7
    assert border_auc(write(Marker(), **many)) > 0.7
