"""One look at every image, and what follows from it for the splits."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from breastlens.audit.inspection import inspect_cohort
from breastlens.audit.properties import PROPERTY_COLUMNS
from breastlens.audit.survey import survey_images
from breastlens.cohort import Cohort
from breastlens.cohort.batches import load_images
from breastlens.errors import DecodeError
from breastlens.imaging import decode as decoding
from breastlens.imaging.phantom import PhantomSettings, write_cohort


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images of twelve patients, without a manifest."""
    write_cohort(tmp_path / "x", PhantomSettings(patients=12, images_per_patient=1, seed=3))
    (tmp_path / "x" / "manifest.csv").unlink()
    return tmp_path / "x"


def test_each_file_is_decoded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = Cohort.read(folder)
    opened: list[Path] = []
    real = decoding.decode

    def counted(path: Path, **options: object) -> object:
        opened.append(path)
        return real(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("breastlens.cohort.batches.decode", counted)
    seen = survey_images(cohort)
    assert sorted(opened) == [cohort.root / path for path in cohort.included["path"]]
    np.testing.assert_array_equal(seen.loaded.pixels, load_images(cohort, cohort.included).pixels)
    assert list(seen.properties.columns) == list(PROPERTY_COLUMNS)
    assert len(seen.measures) == len(seen.thumbnails) == 12


def test_a_file_that_has_gone_is_named(folder: Path) -> None:
    cohort = Cohort.read(folder)
    gone = cohort.root / cohort.included["path"].iloc[3]
    gone.unlink()
    with pytest.raises(DecodeError, match=gone.name):
        survey_images(cohort)


def test_a_brightened_copy_stays_with_its_original(folder: Path) -> None:
    original = sorted((folder / "sick").glob("*.png"))[0]
    pixels = cv2.imread(str(original), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(folder / "healthy" / "zz.png"), cv2.add(pixels, 6))
    cohort = Cohort.read(folder)
    seen = inspect_cohort(cohort)
    paths = seen.used["path"].tolist()
    one, two = paths.index(f"sick/{original.name}"), paths.index("healthy/zz.png")
    assert seen.groups[one] == seen.groups[two]
    assert len(set(seen.groups)) == len(paths) - 1
    assert "near-duplicates-across-labels" in {finding.code for finding in seen.findings}


def test_copies_are_left_out_and_still_link_their_patients(folder: Path) -> None:
    images = sorted((folder / "sick").glob("*.png"))
    first, other = images[0].name.split(".")[0], images[-1].name.split(".")[0]
    assert first != other
    shutil.copy(images[0], folder / "sick" / f"{other}.2.png")
    cohort = Cohort.read(folder, patient_pattern=r"(?P<patient_id>P\d+)")
    kept = cohort.without_copies()
    assert len(kept.included) == len(cohort.included) - 1
    (row,) = kept.table.index[kept.table["excluded"] != ""]
    assert kept.table.at[row, "excluded"] == f"same pixels as sick/{images[0].name}"
    groups = dict(zip(kept.included["patient_id"], kept.groups(), strict=True))
    assert groups[first] == groups[other]
    assert len(set(groups.values())) == 11
    assert (cohort.table["excluded"] == "").all()  # the original is not changed


def test_links_are_numbers_of_images_in_use(folder: Path) -> None:
    cohort = Cohort.read(folder)
    linked = np.arange(12)
    linked[7] = 0
    groups = cohort.groups(linked)
    assert groups[0] == groups[7]
    assert len(set(groups)) == 11
