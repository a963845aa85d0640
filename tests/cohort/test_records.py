from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from breastlens.cohort import Cohort
from breastlens.cohort.description import count_reasons, describe_json_lines, summarise
from breastlens.cohort.reading import scan
from breastlens.config import ImageRecipe
from breastlens.errors import DataError


@pytest.fixture
def data(tmp_path: Path, write_image) -> Path:
    """Four patients, two a category, each in a folder of their own."""
    for seed, path in enumerate(
        ["healthy/T1/a.png", "healthy/T2/a.png", "healthy/T2/b.png", "sick/2018/T3/a.png", "sick/T4.png"]
    ):
        write_image(path, seed)
    return tmp_path / "data"


def write_manifest(data: Path, text: str, name: str = "manifest.csv", encoding: str = "utf-8") -> Path:
    file = data / name
    file.write_bytes(text.encode(encoding))
    return file


class TestFolder:
    def test_first_folder_is_the_category_and_rows_are_sorted_by_path(self, data):
        cohort = Cohort.read(data)
        assert cohort.table["path"].tolist() == [
            "healthy/T1/a.png",
            "healthy/T2/a.png",
            "healthy/T2/b.png",
            "sick/2018/T3/a.png",
            "sick/T4.png",
        ]
        assert cohort.table["category"].tolist() == ["healthy"] * 3 + ["sick"] * 2
        assert cohort.table["label"].tolist() == [0, 0, 0, 1, 1]
        assert cohort.categories == ("healthy", "sick")
        assert cohort.patients == ()
        assert cohort.patient_source is None
        assert cohort.labels.describe() == "positive (1) = sick; negative (0) = healthy"

    def test_a_table_gathered_in_pieces_is_that_gathered_at_once(self, data, monkeypatch):
        for name in ("healthy/T1/broken.png", "healthy/T1/worse.png"):  # each a piece without measurements
            (data / name).write_bytes(b"not an image")
        at_once = Cohort.read(data).table
        monkeypatch.setattr("breastlens.cohort.reading._RECORDS_AT_ONCE", 1)
        pd.testing.assert_frame_equal(Cohort.read(data).table, at_once)
        assert at_once["width"].isna().sum() == 2

    def test_measures_every_file(self, data):
        row = Cohort.read(data, image=ImageRecipe(image_size=64)).table.iloc[0]
        file = data / "healthy/T1/a.png"
        pixels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        assert (row["width"], row["height"], row["bits"], row["format"]) == (12, 9, 8, "PNG")
        assert row["image_size"] == "64x64"
        assert row["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert row["pixels_sha256"] == hashlib.sha256(b"|u1(9, 12)" + pixels.tobytes()).hexdigest()
        assert row["excluded"] == row["duplicate_group"] == row["patient_id"] == ""

    def test_other_files_are_ignored_but_named_and_hidden_ones_passed_over(self, data, write_image, caplog):
        for name in ("Thumbs.db", "healthy/notes.json", "manifest.csv", "README.txt", ".DS_Store"):
            (data / name).write_text("x")
        write_image(".cache/sick/z.png", 9)
        write_image("sick/.hidden.png", 9)
        cohort = Cohort.read(data)
        assert "manifest.csv lies in" in caplog.text
        assert len(cohort.table) == 5
        assert cohort.ignored == ("README.txt", "Thumbs.db", "healthy/notes.json", "manifest.csv")

    def test_images_beside_the_categories_and_undecodable_files_are_listed(self, data, write_image):
        write_image("stray.png", 9)
        (data / "sick/README.txt").write_text("Taken in 2018 with another camera.")
        (data / "sick/empty.png").write_bytes(b"")
        cohort = Cohort.read(data)
        reasons = cohort.table.set_index("path")["excluded"]
        assert reasons["stray.png"] == "not inside a category folder"
        assert reasons["sick/README.txt"].startswith("unreadable: ")
        assert reasons["sick/empty.png"].startswith("unreadable: ")
        assert len(cohort.included) == 5
        assert cohort.table.set_index("path")["width"].isna().sum() == 3
        assert cohort.included["width"].dtype == np.int64

    def test_a_name_that_is_not_utf8_is_listed_and_the_rest_goes_on(self, data):
        source = data / "sick/T4.png"
        try:
            shutil.copy(bytes(source), bytes(source.parent) + b"/caf\xe9.png")
        except OSError:
            pytest.skip("this file system takes UTF-8 names only")
        cohort = Cohort.read(data)
        strange = cohort.table[cohort.table["excluded"] != ""].iloc[0]
        assert strange["path"] == r"sick/caf\xe9.png"
        assert "not valid UTF-8" in strange["excluded"]
        cohort.table.to_csv(data / "records.csv")

    def test_links_are_followed_but_not_in_circles(self, data, tmp_path, write_image):
        (data / "sick/loop").symlink_to(data / "sick")
        (data / "healthy/up").symlink_to(data)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        shutil.copy(write_image("other/a.png", 9), elsewhere / "a.png")
        shutil.rmtree(data / "other")
        (data / "normal").symlink_to(elsewhere)
        cohort = Cohort.read(data)
        assert len(cohort.table) == 6
        assert cohort.categories == ("healthy", "normal", "sick")

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda data: data / "nowhere", "no such folder: .*nowhere"),
            (lambda data: data / "sick/T4.png", "is a file; expected the folder of images"),
            (
                lambda data: data / "sick/2018/T3",
                r"no images in subfolders of .* \(1 images lie directly in it\)",
            ),
        ],
    )
    def test_a_wrong_folder_is_refused(self, data, make, message):
        with pytest.raises(DataError, match=message):
            Cohort.read(make(data))

    def test_an_empty_folder_is_refused(self, tmp_path):
        with pytest.raises(DataError, match="expected a subfolder a category, such as healthy/ and sick/"):
            Cohort.read(tmp_path)

    def test_nothing_readable_is_refused_with_the_first_reasons(self, tmp_path):
        for category in ("healthy", "sick"):
            (tmp_path / category).mkdir()
            (tmp_path / category / "a.png").write_bytes(b"")
        with pytest.raises(DataError, match=r"none of 2 files .* healthy/a\.png \(unreadable: "):
            Cohort.read(tmp_path)

    def test_progress_is_told_for_every_file_in_the_callers_thread(self, data):
        told: list[tuple[int, int]] = []
        Cohort.read(data, on_progress=lambda done, total: told.append((done, total)), workers=3)
        assert told == [(done, 5) for done in range(1, 6)]


class TestCategories:
    def test_the_positive_category_must_exist(self, data):
        with pytest.raises(
            DataError,
            match=r"no category 'Sick' for --positive; the categories are healthy, sick; did you mean",
        ):
            Cohort.read(data, positive=["Sick"])
        with pytest.raises(DataError, match=r"no category 'tumour' .* name one of them with --positive"):
            Cohort.read(data, positive=["tumour"])

    def test_one_category_is_not_enough(self, data):
        with pytest.raises(DataError, match=r"every category \(healthy, sick\) is positive"):
            Cohort.read(data, positive=["sick", "healthy"])
        shutil.rmtree(data / "sick")
        with pytest.raises(DataError, match="only one category, healthy; expected at least two"):
            Cohort.read(data)

    def test_an_empty_folder_is_named_where_its_category_is_missing(self, data, write_image):
        shutil.rmtree(data / "sick")
        (data / "sick").mkdir()
        (data / ".hidden").mkdir()
        with pytest.raises(
            DataError, match=r"^only one category, healthy; .*; the folder sick has no images in it$"
        ):
            Cohort.read(data)
        (data / "sick/report.pdf").touch()
        (data / "benign").mkdir()
        with pytest.raises(DataError, match=r"; the folders benign, sick have no images in them$"):
            Cohort.read(data)
        write_image("normal/a.png", 9)
        with pytest.raises(
            DataError,
            match=r"no category 'sick' for --positive; the folder sick has no images in it; the categories are",
        ):
            Cohort.read(data)

    @pytest.mark.parametrize(
        ("folder", "positive"),
        [("Sick", "sick"), ("SICK", "sick"), (" sick", "sick"), ("sick ", "sick"), ("Healthy", "healthy")],
    )
    def test_a_spelling_of_the_positive_category_is_not_taken_for_a_negative_one(
        self, data, write_image, folder, positive
    ):
        write_image(f"{folder}/a.png", 9)
        if folder not in {path.name for path in data.iterdir()}:
            pytest.skip("this file system does not tell such names apart")
        with pytest.raises(
            DataError,
            match=f"the categories '{positive}' and '{folder}' differ only in capitals or blanks, and '{folder}' "
            "would be negative; give both one name, or name each with --positive or --negative",
        ):
            Cohort.read(data, positive=positive)
        table = Cohort.read(data, positive=[positive, folder]).table.set_index("path")
        assert table.loc[f"{folder}/a.png", "label"] == 1
        against = Cohort.read(data, positive=positive, negative=[folder])
        assert against.included["label"].tolist().count(0) == 1

    def test_two_spellings_on_the_negative_side_are_accepted(self, data, write_image):
        write_image("Healthy/a.png", 9)
        if "Healthy" not in {path.name for path in data.iterdir()}:
            pytest.skip("this file system does not tell such names apart")
        assert Cohort.read(data).labels.negative == ("Healthy", "healthy")

    def test_spellings_are_compared_in_a_manifest_too(self, data):
        text = "path,category\nhealthy/T1/a.png,healthy\nsick/T4.png,sick\nsick/2018/T3/a.png,Sick\n"
        manifest = write_manifest(data, text)
        with pytest.raises(DataError, match="the categories 'sick' and 'Sick' differ only in capitals"):
            Cohort.read(data, manifest=manifest)
        assert Cohort.read(data, manifest=manifest, positive=["sick", "Sick"]).included["label"].tolist() == [
            0,
            1,
            1,
        ]

    def test_nothing_left_to_use_is_refused_with_the_reasons_counted(self, tmp_path, write_image):
        for number in range(3):
            write_image(f"healthy/{number}.png", 0)
            write_image(f"sick/{number}.png", 0)
        (tmp_path / "data/sick/broken.png").write_bytes(b"")
        cohort = Cohort.read(tmp_path / "data")  # an audit has something to say of it
        with pytest.raises(
            DataError,
            match=r"^no image is left to use: 7 of 7 are left out, because: "
            r"same pixels under healthy and sick \(6\), unreadable \(1\)$",
        ):
            cohort.require_used()

    def test_both_sides_is_refused(self, data):
        with pytest.raises(DataError, match="sick cannot be both"):
            Cohort.read(data, negative=["sick"])

    def test_only_the_named_negatives_are_used(self, data, write_image):
        write_image("unsure/a.png", 9)
        everything = Cohort.read(data)
        assert everything.labels.negative == ("healthy", "unsure")
        named = Cohort.read(data, negative=["healthy"])
        assert named.labels.negative == ("healthy",)
        left_out = named.table[named.table["category"] == "unsure"].iloc[0]
        assert left_out["excluded"] == "category not used"
        assert left_out["label"] is pd.NA
        assert named.included["label"].dtype == np.int64

    def test_several_positives(self, data, write_image):
        write_image("worse/a.png", 9)
        cohort = Cohort.read(data, positive=["sick", "worse"])
        assert cohort.included["label"].tolist() == [0, 0, 0, 1, 1, 1]

    def test_one_name_may_be_given_as_it_is(self, data):
        cohort = Cohort.read(data, positive="healthy", negative="sick")
        assert cohort.included["label"].tolist() == [1, 1, 1, 0, 0]


class TestManifest:
    TEXT = (
        "path,category,patient_id,note\n"
        "healthy/T1/a.png,h,P1,\n"
        "sick/T4.png,s,P2,blurred\n"
        "./sick/2018/T3/a.png,s,P2,\n"
    )

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    @pytest.mark.parametrize("newline", ["\n", "\r\n"])
    def test_reads_the_usual_dialects(self, data, encoding, separator, newline):
        text = self.TEXT.replace(",", separator).replace("\n", newline)
        cohort = Cohort.read(
            data,
            manifest=write_manifest(data, text, encoding=encoding),
            positive=["s"],
            exclude_when=["note"],
        )
        assert cohort.table["path"].tolist() == ["healthy/T1/a.png", "sick/2018/T3/a.png", "sick/T4.png"]
        assert cohort.table["patient_id"].tolist() == ["P1", "P2", "P2"]
        assert cohort.table["note"].tolist() == ["", "", "blurred"]
        assert cohort.table["excluded"].tolist() == ["", "", "note: blurred"]
        assert cohort.patients == ("P1", "P2")
        assert cohort.patient_source == "manifest"

    def test_cells_stay_text(self, data):
        text = "path,category,patient_id,visit\nhealthy/T1/a.png,h,007,NA\nsick/T4.png,s,1e3,1\n"
        cohort = Cohort.read(data, manifest=write_manifest(data, text), positive=["s"])
        assert cohort.patients == ("007", "1e3")
        assert cohort.table["visit"].tolist() == ["NA", "1"]

    def test_windows_paths_are_understood(self, data):
        text = "path,category\nhealthy\\T1\\a.png,h\nsick\\T4.png,s\n"
        cohort = Cohort.read(data, manifest=write_manifest(data, text), positive=["s"])
        assert cohort.table["path"].tolist() == ["healthy/T1/a.png", "sick/T4.png"]

    def test_columns_named_like_measured_ones_are_kept_under_another_name(self, data):
        text = "path,category,label,width\nhealthy/T1/a.png,h,benign,1\nsick/T4.png,s,cancer,2\n"
        cohort = Cohort.read(data, manifest=write_manifest(data, text), positive=["s"], exclude_when=[])
        assert cohort.table["manifest_label"].tolist() == ["benign", "cancer"]
        assert cohort.table["label"].tolist() == [0, 1]
        assert cohort.table["width"].tolist() == [12, 12]

    def test_the_records_of_a_run_are_a_manifest(self, data):
        first = Cohort.read(data)
        first.table.to_csv(data / "records.csv", index=False)
        second = Cohort.read(data, manifest=data / "records.csv", exclude_when=["excluded"])
        assert second.fingerprint == first.fingerprint

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "has no rows"),
            ("path,category\n", "has no rows"),
            ("file,category\nsick/T4.png,s\n", "has no column 'path'; it has file, category"),
            (
                "path,Category\nsick/T4.png,s\n",
                "has a column 'Category'; rename it to 'category'$",
            ),
            ("path,category,category\na,b,c\n", "two columns named 'category'"),
            (
                "path,category,label,manifest_label\nsick/T4.png,s,a,b\n",
                "has the columns 'label' and 'manifest_label'; .* rename or remove one",
            ),
            ("path,category\nsick/T4.png,s,x\n", "line 2: expected 2 columns as in the header, found 3"),
            ("path,category\n\nsick/T4.png,\n", r"rows that have an empty category: line 3"),
            (
                "path,category\nsick/T4.png,s\n./sick//T4.png,h\n",
                r"rows that repeat a path: line 3 \(sick/T4.png\)",
            ),
            ("path,category\n../x.png,s\n", r"not inside the data folder .*line 2 \(../x.png\)"),
            ("path,category\n/etc/passwd,s\nC:\\x.png,h\n", "rows that have a path that is not inside"),
            (
                "path,category\nsick,s\nsick/no.png,s\n" + "a" * 300 + ".png,h\n",
                "names 3 of 3 files that are not in",
            ),
        ],
    )
    def test_a_wrong_manifest_is_refused(self, data, text, message):
        with pytest.raises(DataError, match=message):
            Cohort.read(data, manifest=write_manifest(data, text))

    def test_missing_files_are_counted_and_the_first_named(self, data):
        rows = "".join(f"sick/{number}.png,s\n" for number in range(7))
        with pytest.raises(
            DataError, match=r"names 7 of 8 files .*sick/0\.png.*sick/4\.png and 2 more; paths must"
        ):
            Cohort.read(data, manifest=write_manifest(data, f"path,category\nsick/T4.png,s\n{rows}"))

    def test_other_encodings_and_absent_manifests_are_refused(self, data):
        with pytest.raises(DataError, match="is not UTF-8"):
            Cohort.read(
                data, manifest=write_manifest(data, "path,category\ncafé.png,s\n", encoding="latin-1")
            )
        with pytest.raises(DataError, match="no such manifest"):
            Cohort.read(data, manifest=data / "no.csv")

    def test_exclude_when_needs_a_manifest_with_that_column(self, data):
        manifest = write_manifest(data, self.TEXT)
        with pytest.raises(DataError, match=r"has no column 'notes'; .* did you mean 'note'"):
            Cohort.read(data, manifest=manifest, positive=["s"], exclude_when=["notes"])
        upper = write_manifest(data, self.TEXT.replace("note", "Note"), name="upper.csv")
        with pytest.raises(DataError, match="did you mean 'Note'"):
            Cohort.read(data, manifest=upper, positive=["s"], exclude_when=["note"])
        with pytest.raises(DataError, match="--exclude-when note names a column of a manifest"):
            Cohort.read(data, exclude_when=["note"])


class TestPatients:
    def test_pattern_with_a_named_group(self, data):
        cohort = Cohort.read(data, patient_pattern=r"(?P<patient_id>T\d+)")
        assert cohort.table["patient_id"].tolist() == ["T1", "T2", "T2", "T3", "T4"]
        assert cohort.patient_source == "pattern"
        assert cohort.patients == ("T1", "T2", "T3", "T4")

    @pytest.mark.parametrize(
        ("pattern", "message"),
        [
            ("(", "is not a regular expression"),
            (r"T\d+", "has no group named patient_id"),
            (r"(?P<patient_id>X\d+)", "matches none of 5 paths, such as healthy/T1/a.png"),
            (r"(?P<patient_id>T[12])", "does not match 2 of 5 paths: sick/2018/T3/a.png, sick/T4.png"),
        ],
    )
    def test_a_pattern_that_would_leave_patients_unknown_is_refused(self, data, pattern, message):
        with pytest.raises(DataError, match=message):
            Cohort.read(data, patient_pattern=pattern)

    def test_a_pattern_need_not_match_what_is_left_out_anyway(self, data):
        (data / "sick/notes.txt").write_text("nothing to see")
        assert len(Cohort.read(data, patient_pattern=r"(?P<patient_id>T\d+)").included) == 5

    def test_an_empty_patient_column_is_no_source(self, data):
        text = "path,category,patient_id\nhealthy/T1/a.png,h,\nsick/T4.png,s,\n"
        manifest = write_manifest(data, text)
        assert Cohort.read(data, manifest=manifest, positive="s").patient_source is None
        named = Cohort.read(data, manifest=manifest, positive="s", patient_pattern=r"(?P<patient_id>T\d)")
        assert named.patients == ("T1", "T4")

    def test_two_sources_are_refused(self, data):
        manifest = write_manifest(data, TestManifest.TEXT)
        with pytest.raises(DataError, match="use one of the two"):
            Cohort.read(data, manifest=manifest, positive=["s"], patient_pattern=r"(?P<patient_id>T\d+)")

    def test_from_the_dicom_header_where_nothing_else_is_said(self, data):
        for number, path in enumerate(["healthy/d.dcm", "sick/d.dcm"]):
            _write_dicom(data / path, f"D{number} ", seed=number)
        cohort = Cohort.read(data)
        assert cohort.patient_source == "dicom"
        assert cohort.patients == ("D0", "D1")
        named = Cohort.read(data, patient_pattern=r"(?P<patient_id>\w+)\.\w+$")
        assert "D0" not in named.patients

    def test_from_the_dicom_header_where_the_manifest_is_blank(self, data):
        for number, path in enumerate(["healthy/d.dcm", "sick/d.dcm"]):
            _write_dicom(data / path, f"D{number} ", seed=number)
        text = "path,category,patient_id\nhealthy/T1/a.png,h,\nhealthy/d.dcm,h,\nsick/d.dcm,s,M1\n"
        cohort = Cohort.read(data, manifest=write_manifest(data, text), positive="s")
        assert cohort.table["patient_id"].tolist() == ["", "D0", "M1"]
        assert cohort.patient_source == "manifest"

    def test_a_pattern_that_leaves_a_patient_blank_does_not_mix_in_the_header(self, data):
        _write_dicom(data / "sick/d.dcm", "D0", seed=0)
        with pytest.raises(DataError, match=r"does not match 1 of 6 paths: sick/d\.dcm"):
            Cohort.read(data, patient_pattern=r"(?P<patient_id>T\d+)")

    def test_every_frame_is_a_record_on_request(self, data):
        _write_dicom(data / "sick/d.dcm", "D0", seed=0, frames=3)
        assert len(Cohort.read(data).table) == 6
        table = Cohort.read(data, every_frame=True).table
        frames = table[table["path"] == "sick/d.dcm"]
        assert frames["frame"].tolist() == [0, 1, 2]
        assert frames["pixels_sha256"].nunique() == 3
        assert frames["sha256"].nunique() == 1


class TestDuplicates:
    def test_the_same_pixels_in_another_format_are_found(self, data, write_image):
        write_image("healthy/T1/copy.bmp", 0)
        cohort = Cohort.read(data)
        groups = cohort.table.set_index("path")["duplicate_group"]
        assert groups["healthy/T1/a.png"] == groups["healthy/T1/copy.bmp"] != ""
        assert (groups == "").sum() == 4
        assert len(cohort.included) == 6

    def test_a_grey_image_saved_as_colour_is_still_the_same(self, data):
        grey = cv2.imread(str(data / "sick/T4.png"), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(data / "sick/rgb.png"), cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
        tinted = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
        tinted[0, 0] = 1, 2, 3
        cv2.imwrite(str(data / "sick/tinted.png"), tinted)
        groups = Cohort.read(data).table.set_index("path")["duplicate_group"]
        assert groups[groups != ""].index.tolist() == ["sick/T4.png", "sick/rgb.png"]

    def test_the_same_numbers_in_another_shape_or_type_are_not(self, data, write_image):
        flat = np.zeros((8, 8), np.uint8)
        for name, pixels in {"a": flat, "b": flat.reshape(4, 16), "c": flat.astype(np.uint16)}.items():
            cv2.imwrite(str(data / f"sick/{name}.png"), pixels)
        assert (Cohort.read(data).table["duplicate_group"] == "").all()

    def test_both_copies_under_opposite_labels_are_left_out(self, data, write_image):
        write_image("sick/copy.png", 0)
        cohort = Cohort.read(data)
        reasons = cohort.table.set_index("path")["excluded"]
        expected = "same pixels under healthy and sick: healthy/T1/a.png, sick/copy.png"
        assert reasons[reasons != ""].to_dict() == {"healthy/T1/a.png": expected, "sick/copy.png": expected}

    def test_copies_under_two_negative_categories_stay(self, data, write_image):
        write_image("normal/copy.png", 0)
        assert (Cohort.read(data).table["excluded"] == "").all()

    def test_a_copy_in_a_category_that_is_not_used_contradicts_nobody(self, data, write_image):
        write_image("normal/copy.png", 3)
        cohort = Cohort.read(data, negative=["healthy"])
        assert cohort.table.set_index("path")["excluded"].to_dict()["sick/2018/T3/a.png"] == ""

    def test_a_flagged_copy_still_contradicts(self, data, write_image):
        write_image("sick/copy.png", 0)
        text = (
            "path,category,note\nhealthy/T1/a.png,healthy,\nsick/copy.png,sick,blurred\nsick/T4.png,sick,\n"
        )
        cohort = Cohort.read(data, manifest=write_manifest(data, text), exclude_when=["note"])
        reasons = cohort.table.set_index("path")["excluded"]
        assert reasons["healthy/T1/a.png"].startswith("same pixels under healthy and sick")
        assert reasons["sick/copy.png"] == "note: blurred"


class TestFingerprint:
    def test_depends_on_what_matters_and_on_nothing_else(self, data, write_image, tmp_path):
        first = Cohort.read(data, patient_pattern=r"(?P<patient_id>T\d+)")
        moved = tmp_path / "moved"
        shutil.copytree(data, moved)
        assert (
            Cohort.read(moved, patient_pattern=r"(?P<patient_id>T\d+)", workers=1).fingerprint
            == first.fingerprint
        )
        rows = [f"{row.path},{row.category},{row.patient_id}" for row in first.table.itertuples()]
        manifest = write_manifest(tmp_path, "path,category,patient_id\n" + "\n".join(reversed(rows)))
        assert Cohort.read(data, manifest=manifest).fingerprint == first.fingerprint
        others = [
            Cohort.read(data),
            Cohort.read(data, patient_pattern=r"(?P<patient_id>\w+)\.png"),
            Cohort.read(data, patient_pattern=r"(?P<patient_id>T\d+)", image=ImageRecipe(image_size=64)),
        ]
        write_image("sick/T4.png", 99)
        others.append(Cohort.read(data, patient_pattern=r"(?P<patient_id>T\d+)"))
        assert len({first.fingerprint, *(each.fingerprint for each in others)}) == 5


class TestDescription:
    def test_one_json_object_a_record(self, data):
        (data / "sick/bad.png").write_bytes(b"")
        found = scan(data, patient_pattern=r"(?P<patient_id>T\d+)")
        lines = [json.loads(line) for line in describe_json_lines(found)]
        assert lines[0] == {
            "path": "healthy/T1/a.png",
            "category": "healthy",
            "image_size": "128x128",
            "patient_id": "T1",
            "width": 12,
            "height": 9,
            "format": "PNG",
            "bits": 8,
        }
        bad = lines[-1]
        assert bad["path"] == "sick/bad.png"
        assert bad["patient_id"] is bad["width"] is bad["format"] is None
        assert bad["excluded"].startswith("unreadable: ")

    def test_works_without_a_positive_category(self, data):
        (data / "sick").rename(data / "malignant")
        assert summarise(scan(data))["category"].tolist() == ["healthy", "malignant"]

    def test_images_outside_the_categories_are_counted_too(self, data, write_image):
        write_image("stray.png", 9)
        table = summarise(scan(data)).set_index("category")
        assert table["images"].to_dict() == {"healthy": 3, "sick": 2, "": 1}
        assert table.loc["", "excluded"] == 1

    def test_reasons_are_counted_the_most_frequent_first(self, data, write_image):
        assert count_reasons(scan(data)).empty
        write_image("stray.png", 9)
        for name in ("bad", "worse"):
            (data / f"sick/{name}.png").write_bytes(b"")
        assert count_reasons(scan(data)).to_numpy().tolist() == [
            [2, "unreadable: it is empty"],
            [1, "not inside a category folder"],
        ]
        assert count_reasons(scan(data), shown=1).to_numpy().tolist()[1:] == [[1, "1 other reason"]]

    def test_a_reason_with_a_line_break_stays_on_one_line(self, data):
        text = 'path,category,note\nhealthy/T1/a.png,healthy,"a\nb"\nsick/T4.png,sick,\n'
        found = scan(data, manifest=write_manifest(data, text), exclude_when=["note"])
        assert count_reasons(found)["left_out_because"].tolist() == [r"'note: a\nb'"]

    def test_a_name_with_a_comma_or_line_break_is_quoted(self, data, write_image):
        write_image("odd, or\nnot/x.png", 8)
        cohort = Cohort.read(data)
        assert cohort.labels.describe() == r"positive (1) = sick; negative (0) = healthy, 'odd, or\nnot'"
        assert summarise(cohort)["category"].tolist() == ["healthy", r"'odd, or\nnot'", "sick"]
        assert cohort.categories == ("healthy", "odd, or\nnot", "sick")
        with pytest.raises(DataError, match=r"the categories are healthy, 'odd, or\\nnot', sick"):
            Cohort.read(data, positive="cancer")

    def test_counts_by_category(self, data, write_image):
        write_image("sick/x.bmp", 7, width=20, dtype=np.uint8)
        write_image("sick/T4.tif", 4, dtype=np.uint16)
        (data / "sick/bad.png").write_bytes(b"")
        table = summarise(Cohort.read(data)).set_index("category")
        assert table.loc["healthy"].to_dict() == {
            "images": 3,
            "excluded": 0,
            "patients": 0,
            "formats": "PNG 3",
            "sizes": "12x9 3",
            "bits": "8 3",
        }
        assert table.loc["sick"].to_dict() == {
            "images": 5,
            "excluded": 1,
            "patients": 0,
            "formats": "PNG 2, BMP 1, TIFF 1",
            "sizes": "12x9 3, 20x9 1",
            "bits": "8 3, 16 1",
        }


def _write_dicom(file: Path, patient_id: str, seed: int, frames: int = 1) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    pixels = np.random.default_rng(seed).integers(0, 255, (frames, 6, 8)).astype(np.uint8)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.PatientID = patient_id
    dataset.Rows, dataset.Columns = pixels.shape[1:]
    dataset.NumberOfFrames = frames
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(file, enforce_file_format=True)
