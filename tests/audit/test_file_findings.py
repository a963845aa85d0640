"""Images that are not what the others are: each finding on what should raise it, and silence on what should not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from breastlens.audit.files import (
    FileMeasures,
    find_file_problems,
    find_wrong_extensions,
    is_wrong_extension,
    measure_file,
)
from breastlens.audit.finding import Finding
from breastlens.audit.survey import survey_images
from breastlens.cohort import Cohort
from breastlens.imaging.acquisition_traps import Marker
from breastlens.imaging.decode import decode
from breastlens.imaging.marks import Kind, Marks
from breastlens.imaging.measures import ImageMeasures, measure
from breastlens.imaging.metadata import read_metadata
from breastlens.imaging.phantom import PhantomSettings, write_cohort

NO_MARKS = Marks((), (), 0.0, 0.0)
PLAIN = ImageMeasures(200, 0.7, 0.2, 0.0, 0.0001, 0.12, colour=False)


def measure_path(path: Path) -> FileMeasures:
    data = path.read_bytes()
    return measure_file(data, read_metadata(data, path.name), decode(path).pixels)


def measure_paths(root: Path, used: pd.DataFrame) -> list[FileMeasures]:
    return [measure_path(root / path) for path in used["path"]]


def make_used(count: int = 100, patients: list[str] | None = None) -> pd.DataFrame:
    labels = [int(row < count // 2) for row in range(count)]
    return pd.DataFrame(
        {
            "path": [f"{'sick' if label else 'healthy'}/{row:03}.png" for row, label in enumerate(labels)],
            "frame": 0,
            "label": labels,
            "patient_id": patients or [f"P{row}" for row in range(count)],
            "width": 640,
            "height": 480,
        }
    )


def plain(count: int = 100) -> list[FileMeasures]:
    """Images alike, but for the sharpness, which spreads as that of real ones does."""
    sharpness = 0.12 * np.exp(np.linspace(-0.6, 0.4, count))
    return [FileMeasures(replace(PLAIN, sharpness=float(each)), NO_MARKS, 0.0) for each in sharpness]


def with_image(measures: list[FileMeasures], rows: list[int], **figures: float) -> list[FileMeasures]:
    changed = list(measures)
    for row in rows:
        each = changed[row]
        changed[row] = replace(each, image=replace(each.image, **figures))
    return changed


def with_marks(measures: list[FileMeasures], rows: list[int], *kinds: Kind) -> list[FileMeasures]:
    marks = Marks(tuple((0, 0, 9, 9) for _ in kinds), kinds, 0.01, 0.9)
    changed = list(measures)
    for row in rows:
        each = changed[row]
        changed[row] = replace(each, marks=marks)
    return changed


def look(used: pd.DataFrame, measures: list[FileMeasures], image_size: int = 128) -> list[Finding]:
    return find_file_problems(used, measures, image_size=image_size)


def only(used: pd.DataFrame, measures: list[FileMeasures], image_size: int = 128) -> Finding:
    found = look(used, measures, image_size)
    assert len(found) == 1, [finding.code for finding in found]
    return found[0]


def test_images_alike_are_no_problem() -> None:
    assert look(make_used(), plain()) == []
    assert look(make_used(0), []) == []


@pytest.mark.parametrize("seed", range(4))
def test_clean_phantoms_are_no_problem(tmp_path: Path, seed: int) -> None:
    out = tmp_path / "images"
    write_cohort(
        out,
        PhantomSettings(
            patients=10, images_per_patient=2, seed=seed, file_format="matrix" if seed == 3 else "png"
        ),
    )
    cohort = Cohort.read(out, manifest=out / "manifest.csv")
    assert look(cohort.included, survey_images(cohort).measures) == []


def test_blank_images_are_an_error_and_nothing_else() -> None:
    measures = with_image(plain(), [3, 60], contrast=0.01, clipped_bright=0.99, sharpness=0.0)
    found = only(make_used(), measures)
    assert (found.code, found.severity, found.count) == ("blank-images", "error", 2)
    assert found.records == ("healthy/060.png", "sick/003.png")


def test_saturation_of_a_few_warns_and_of_most_informs() -> None:
    found = only(make_used(), with_image(plain(), [1, 2], clipped_bright=0.3))
    assert (found.code, found.severity, found.count) == ("saturated-images", "warning", 2)
    assert found.evidence is not None
    assert found.evidence.value == 0.3
    assert only(make_used(), with_image(plain(), list(range(60)), clipped_bright=0.3)).severity == "info"
    assert look(make_used(), with_image(plain(), [1], clipped_bright=0.05)) == []


def test_blur_is_told_of_outliers_alone() -> None:
    found = only(make_used(), with_image(plain(), [5], sharpness=0.02))
    assert (found.code, found.count, found.records) == ("blurred-images", 1, ("sick/005.png",))
    soft = with_image(plain(), list(range(100)), sharpness=0.01)
    assert look(make_used(), soft) == []
    alike = with_image(plain(), list(range(100)), sharpness=0.10)
    assert look(make_used(), with_image(alike, [7], sharpness=0.06)) == []
    assert only(make_used(), with_image(alike, [7], sharpness=0.04)).code == "blurred-images"
    assert look(make_used(8), with_image(plain(8), [5], sharpness=0.001)) == []


def test_images_below_the_networks_size() -> None:
    used = make_used()
    assert look(used, plain(), image_size=480) == []
    found = only(used, plain(), image_size=481)
    assert (found.code, found.count) == ("very-small-images", 100)
    assert "480 px" in found.what


def test_odd_sizes_are_few_among_one_size() -> None:
    used = make_used()
    used.loc[[4, 70], ["width", "height"]] = [480, 640]
    found = only(used, plain())
    assert (found.code, found.severity, found.count) == ("odd-sizes", "info", 2)
    assert "640x480" in found.what
    used.loc[:9, "width"] = 500
    assert look(used, plain()) == []


def test_transparent_pixels_are_counted_and_opaque_alpha_is_not(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    opaque = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    cut = opaque.copy()
    cut[:10, :, 3] = 0
    for name, pixels in {"grey": grey, "opaque": opaque, "cut": cut}.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), pixels)
    used = make_used(3).assign(path=["grey.png", "opaque.png", "cut.png"], width=50, height=40)
    measures = measure_paths(tmp_path, used)
    assert [each.transparent for each in measures] == [0.0, 0.0, 0.25]
    found = {finding.code: finding for finding in look(used, measures, image_size=32)}["transparent-images"]
    assert (found.count, found.records) == (1, ("cut.png",))
    assert "25%" in found.what


def test_marks_on_both_labels_alike_are_good_to_know() -> None:
    measures = with_marks(plain(), list(range(0, 100, 2)), "text", "cross", "cross")
    found = only(make_used(), measures)
    assert (found.code, found.severity, found.count) == ("burned-in-marks", "info", 50)
    assert "letters 50, calliper crosses 50" in found.what


def test_marks_of_one_label_warn() -> None:
    measures = with_marks(plain(), list(range(40)), "cross")
    found = {finding.code: finding for finding in look(make_used(), measures)}
    assert set(found) == {"burned-in-marks", "marks-tell-label"}
    telling = found["marks-tell-label"]
    assert (telling.severity, telling.count) == ("warning", 40)
    assert "80% of positive and 0% of negative" in telling.what
    assert telling.evidence is not None
    assert telling.evidence.value == pytest.approx(
        0.816, abs=0.01
    )  # sqrt(2/3), before the correction for bias


def test_a_kind_that_tells_is_found_among_marks_that_do_not() -> None:
    measures = with_marks(plain(), list(range(100)), "square")
    measures = with_marks(measures, list(range(30)), "square", "text")
    telling = {finding.code: finding for finding in look(make_used(), measures)}["marks-tell-label"]
    assert "letters in 60% of positive and 0% of negative" in telling.what


def test_marks_of_one_patient_with_many_images_tell_nothing() -> None:
    patients = ["A"] * 40 + [f"B{row % 3}" for row in range(10)] + [f"C{row % 4}" for row in range(50)]
    measures = with_marks(plain(), list(range(40)), "text")
    assert only(make_used(patients=patients), measures).code == "burned-in-marks"


def test_a_planted_marker_tells_the_label(tmp_path: Path) -> None:
    out = tmp_path / "images"
    trap = Marker(sick_share=1.0, healthy_share=0.0)
    write_cohort(out, PhantomSettings(patients=24, images_per_patient=1, seed=2, traps=(trap,)))
    cohort = Cohort.read(out, manifest=out / "manifest.csv")
    found = look(cohort.included, survey_images(cohort).measures)
    assert [finding.code for finding in found] == ["marks-tell-label", "burned-in-marks"]
    assert found[0].count == cohort.included["label"].sum()


def test_wrong_extensions_are_told_apart_from_other_unreadable_files(
    phantom_dir: Path, tmp_path: Path
) -> None:
    for category in ("healthy", "sick"):
        (tmp_path / category).mkdir()
        for path in sorted((phantom_dir / category).glob("*.png"))[:3]:
            (tmp_path / category / path.name).write_bytes(path.read_bytes())
    first = next((tmp_path / "sick").iterdir())
    first.rename(first.with_suffix(".jpg"))
    (tmp_path / "sick" / "broken.png").write_bytes(b"not an image at all")
    table = Cohort.read(tmp_path).table
    assert table.loc[is_wrong_extension(table), "path"].tolist() == [f"sick/{first.stem}.jpg"]
    (found,) = find_wrong_extensions(table)
    assert (found.code, found.severity, found.count) == ("wrong-extension", "warning", 1)
    assert list(find_wrong_extensions(table[~is_wrong_extension(table)])) == []


def test_findings_do_not_depend_on_the_index() -> None:
    measures = with_marks(with_image(plain(), [5], sharpness=0.02), list(range(40)), "cross")
    used = make_used()
    assert look(used, measures) == look(used.set_index(used.index + 1000), measures)


@pytest.mark.real
def test_thermograms(shared_dir: Path) -> None:
    root = shared_dir / "data/dmr"
    used = Cohort.read(root, manifest=root / "manifest.csv").included
    measures = [FileMeasures(measure(decode(root / path).pixels), NO_MARKS, 0.0) for path in used["path"]]
    found = only(used, measures)
    assert (found.code, found.count) == ("blurred-images", 4)
    assert set(used.loc[used["note"] == "blurred", "path"]) < set(found.records)
    few = used.iloc[::10]
    assert sum("square" in each.marks.kinds for each in measure_paths(root, few)) >= 24


@pytest.mark.real
def test_ultrasound(shared_dir: Path) -> None:
    root = shared_dir / "data/busi"
    used = Cohort.read(root, positive=["malignant"]).included
    marked = used[used["path"].isin(["benign/benign (259).png", "benign/benign (52).png"])]
    kinds = [each.marks.kinds for each in measure_paths(root, marked)]
    assert ["cross" in each for each in kinds] == [True, False]
    assert all("text" in each for each in kinds)
