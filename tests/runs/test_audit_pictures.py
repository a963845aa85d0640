"""Which images an audit draws: those that prove its findings, the gravest first, and none where none was found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from breastlens.audit.inspection import Inspection, inspect_cohort
from breastlens.cohort.near_duplicates import NearDuplicate
from breastlens.cohort.records import Cohort
from breastlens.config import AuditRecipe, ImageRecipe, LabelMap
from breastlens.imaging.marks import Marks
from breastlens.report.canvas import NEGATIVE, POSITIVE
from breastlens.report.image_sheet import TileSet
from breastlens.runs import audit_pictures
from breastlens.runs.audit_distributions import choose_distributions
from breastlens.runs.audit_pictures import _choose_marked, draw_audit

EACH = 16
RED_BOX = (40, 20, 10, 6)


def texture(seed: int, height: int = 96, width: int = 128) -> np.ndarray:
    """Blobs of several sizes, uint8 (h, w)."""
    generator = np.random.default_rng(seed)
    layers = [
        cv2.resize(generator.normal(size=(n, n)), (width, height), interpolation=cv2.INTER_CUBIC)
        for n in (6, 12, 24)
    ]
    image = sum(layers) + generator.normal(size=(height, width)) * 0.3
    return np.clip(120 + 30 * image, 20, 230).astype(np.uint8)


def write_images(folder: Path) -> None:
    """Thirty-two textures and one of each thing that can be wrong."""
    rows: list[dict[str, str]] = []

    def add(name: str, pixels: np.ndarray, patient: str) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels)
        sick = name.startswith("sick")
        year = (2016 if sick else 2012) + len(rows) % 3
        date = f"{year}-0{1 + len(rows) % 9}-11"
        rows.append({"path": name, "category": name.split("/")[0], "patient_id": patient, "acquired": date})

    for number in range(2 * EACH):
        side = ("healthy", "sick")[number % 2]
        add(f"{side}/{number:02d}.png", texture(number), f"P{number}")
    add("sick/contradiction.png", texture(0), "P0")
    add("healthy/copy.png", texture(2), "P90")
    add("sick/copy.png", texture(3), "P3")
    add("sick/near.png", cv2.flip(texture(4), 1), "P91")
    add("sick/blank.png", np.full((96, 128), 80, np.uint8), "P92")
    add("sick/soft.png", cv2.GaussianBlur(texture(50), (0, 0), 6), "P93")
    add("healthy/bright.png", np.where(texture(51) > 140, 255, texture(51)).astype(np.uint8), "P94")
    add("healthy/odd.png", texture(52, 120, 128), "P95")
    clear = np.dstack([texture(53)] * 3 + [np.full((96, 128), 255, np.uint8)])
    clear[:24, :, 3] = 0
    add("healthy/clear.png", clear, "P96")
    marked = np.dstack([texture(54)] * 3)
    x, y, width, height = RED_BOX
    marked[y : y + height, x : x + width] = (0, 0, 255)
    add("healthy/marked.png", marked, "P97")
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("pictures")
    write_images(folder)
    return Cohort.read(folder, manifest=folder / "manifest.csv", image=ImageRecipe(image_size=48))


@pytest.fixture(scope="module")
def inspection(cohort: Cohort) -> Inspection:
    return inspect_cohort(cohort)


def facts_of(inspection: Inspection, **more: Any) -> dict[str, Any]:
    return {"findings": [each.model_dump(mode="json") for each in inspection.findings], **more}


@pytest.fixture
def sheets(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[list[TileSet], str]]:
    """What would be drawn, by the picture's name: sets, and the note above."""
    seen: dict[str, tuple[list[TileSet], str]] = {}

    def kept(sets: list[TileSet], path: Path, **given: Any) -> Path:
        seen[path.stem] = (sets, given.get("note", ""))
        path.touch()
        return path

    monkeypatch.setattr(audit_pictures, "draw_tiles", kept)
    return seen


Sheets = dict[str, tuple[list[TileSet], str]]


def named(each: TileSet) -> list[str]:
    return [tile.lines[-1][0] for tile in each.tiles]


def test_every_finding_is_proved_by_its_images(
    cohort: Cohort, inspection: Inspection, sheets: Sheets, tmp_path: Path
) -> None:
    draw_audit(tmp_path / "figures", facts_of(inspection), cohort, inspection, None, AuditRecipe())
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert drawn == {"duplicates", "near_duplicates", "marks", "files", "distributions"}
    sets, note = sheets["duplicates"]
    assert [(each.lines, named(each)) for each in sets] == [
        (("Under both labels, so left out",), ["healthy/00.png", "sick/contradiction.png"]),
        (("Under different patients",), ["healthy/02.png", "healthy/copy.png"]),
        (("Within one category",), ["sick/03.png", "sick/copy.png"]),
    ]
    assert note == ""
    for each in sets:
        np.testing.assert_array_equal(each.tiles[0].pixels, each.tiles[1].pixels)
    assert sets[0].tiles[0].lines[:2] == (("healthy", NEGATIVE), ("patient P0", audit_pictures.MUTED))
    assert sets[0].tiles[1].lines[0] == ("sick", POSITIVE)
    (pair,), _ = sheets["near_duplicates"]
    assert pair.lines[0] == "Under both labels"
    assert pair.lines[1].endswith("flipped left to right")
    assert named(pair) == ["healthy/04.png", "sick/near.png"]
    wrong = {named(each)[0]: each.lines[0] for each in sheets["files"][0]}
    assert wrong.pop("sick/soft.png").endswith("% of the usual sharpness")
    assert wrong.pop("healthy/bright.png").endswith("% at the brightest level")
    assert wrong == {
        "sick/blank.png": "Nearly one grey level",
        "healthy/odd.png": "128x120 px, most are 128x96",
        "healthy/clear.png": "25% transparent, read as black",
    }


def test_a_box_is_where_the_mark_is_in_the_decoded_image(
    cohort: Cohort, inspection: Inspection, sheets: Sheets, tmp_path: Path
) -> None:
    draw_audit(tmp_path / "figures", facts_of(inspection), cohort, inspection, None, AuditRecipe())
    marked = {named(each)[0]: each.tiles[0] for each in sheets["marks"][0]}
    tile = marked["healthy/marked.png"]
    assert tile.size_px == (128, 96)
    assert tile.boxes == ((RED_BOX, audit_pictures._COLOURS["colour"]),)
    assert tile.lines[1][0] == "colour"
    x, y, width, height = RED_BOX
    assert (tile.pixels[y : y + height, x : x + width] == (255, 0, 0)).all()


def test_only_the_gravest_are_drawn_and_the_rest_is_counted(
    cohort: Cohort, inspection: Inspection, sheets: Sheets, tmp_path: Path
) -> None:
    used = inspection.used
    alike = [row for row in range(len(used)) if used["path"][row][-6:-4].isdecimal()]
    half = len(alike) // 2
    pairs = [
        NearDuplicate(one, two, 0.9 + one / 1000, "rotated by 2 degrees")
        for one, two in zip(alike[:half], alike[half:], strict=False)
    ]
    many = replace(inspection, pairs=pairs)
    draw_audit(tmp_path / "figures", {"findings": []}, cohort, many, None, AuditRecipe())
    sets, note = sheets["near_duplicates"]
    assert len(sets) == 12
    assert note == f"12 of {len(pairs)} sets, the gravest first; for more see findings.json"
    across = [each.lines[0] == "Under both labels" for each in sets]
    assert across == [True] * 12
    similar = [float(each.lines[1].split()[1].rstrip(",")) for each in sets]
    assert similar == sorted(similar, reverse=True)


def test_pairs_that_no_finding_tells_of_are_not_drawn(
    cohort: Cohort, inspection: Inspection, sheets: Sheets, tmp_path: Path
) -> None:
    used = inspection.used.assign(patient_id="P1")
    rows = {path: row for row, path in enumerate(used["path"])}
    same_pixels = NearDuplicate(rows["healthy/02.png"], rows["healthy/copy.png"], 1.0, "x")
    two_views = NearDuplicate(rows["sick/05.png"], rows["sick/07.png"], 0.9, "x")
    both = replace(inspection, used=used, pairs=[same_pixels, two_views])
    draw_audit(tmp_path / "a", {"findings": []}, cohort, both, None, AuditRecipe())
    assert "near_duplicates" not in sheets
    parted = replace(
        both, used=used.assign(split=["train", "test"] * (len(used) // 2) + ["train"] * (len(used) % 2))
    )
    parts = parted.used["split"]
    draw_audit(tmp_path / "b", {"findings": []}, cohort, parted, None, AuditRecipe())
    assert ("near_duplicates" in sheets) is (parts[two_views.first] != parts[two_views.second])


def test_doubtful_labels_stand_with_what_was_given_and_what_the_probe_says(
    cohort: Cohort, inspection: Inspection, sheets: Sheets, tmp_path: Path
) -> None:
    labels = inspection.used["label"].to_numpy()
    y_score = np.where(labels == 1, 0.9, 0.1)
    wrong = int(np.flatnonzero(labels == 1)[3])
    y_score[wrong] = 0.031
    facts = {"findings": [{"code": "doubtful-labels", "count": 1}]}
    draw_audit(tmp_path / "figures", facts, cohort, inspection, y_score, AuditRecipe())
    first = sheets["doubtful_labels"][0][0].tiles[0]
    assert first.lines[:2] == (
        ("given: sick", POSITIVE),
        ("probability of positive 0.031", audit_pictures.INK),
    )
    assert first.lines[-1][0] == inspection.used["path"][wrong]
    np.testing.assert_array_equal(first.pixels, inspection.loaded.pixels[wrong])


def test_where_nothing_was_found_only_the_folder_is_made(
    cohort: Cohort, inspection: Inspection, tmp_path: Path
) -> None:
    unmarked = tuple(replace(each, marks=Marks((), (), 0.0, 0.0)) for each in inspection.measures)
    quiet = replace(inspection, pairs=[], associations=(), findings=[], measures=unmarked)
    alone = replace(cohort, table=cohort.table.assign(duplicate_group=""))
    draw_audit(tmp_path / "figures", {"findings": []}, alone, quiet, np.zeros(len(quiet.used)), AuditRecipe())
    assert list((tmp_path / "figures").iterdir()) == []


def test_controls_and_what_they_are_shown_are_drawn_where_probes_were_trained(
    cohort: Cohort, inspection: Inspection, tmp_path: Path
) -> None:
    whole = {"auc": 0.9, "low": 0.8, "high": 0.95}
    facts = facts_of(inspection, whole=whole, controls={"border": whole})
    draw_audit(tmp_path / "figures", facts, cohort, inspection, None, AuditRecipe())
    drawn = {path.stem: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert {"controls", "occlusions", "duplicates", "near_duplicates", "marks", "files"} < set(drawn)
    assert all(png.startswith(b"\x89PNG") for png in drawn.values())


def test_the_surest_kinds_of_marks_are_shown_from_both_labels() -> None:
    def mark(kind: Any, share: float) -> Marks:
        return Marks(((0, 0, 5, 5),), (kind,), share, 0.5)

    marks = [mark("line", 0.1), *(mark("text", share) for share in (0.1, 0.3, 0.2)), Marks((), (), 0.0, 0.0)]
    marks += [mark("square", 0.1)] * 3
    labels = np.array([0, 0, 0, 1, 1, 0, 0, 0])
    assert _choose_marked(marks, labels) == [3, 2, 5, 6, 0]
    assert _choose_marked(marks[1:4], labels[1:4]) == [2, 1, 0]
    assert _choose_marked([Marks((), (), 0.0, 0.0)], np.array([1])) == []


def test_dates_are_drawn_by_year_and_each_category_has_its_own_bars(inspection: Inspection) -> None:
    (dates, *_) = choose_distributions(inspection, LabelMap(positive=("sick",), negative=("healthy",)))
    assert dates.title.startswith("The column 'acquired' (Cliff's delta ")
    assert dates.names == tuple(map(str, range(2012, 2019)))
    healthy, sick = dates.series
    assert (healthy.name, healthy.colour, sick.name, sick.colour) == ("healthy", NEGATIVE, "sick", POSITIVE)
    assert set(healthy.values) == {2012, 2013, 2014}
    assert set(sick.values) == {2016, 2017, 2018}
    used = inspection.used
    assert healthy.values.size == (used["category"] == "healthy").sum()
    assert dates.edges is not None
    assert dates.edges.tolist() == [year - 0.5 for year in range(2012, 2020)]


def test_many_categories_are_drawn_by_side(inspection: Inspection) -> None:
    used = inspection.used
    split = used["category"] + np.where(
        np.arange(len(used)) % 3 == 0, "", (np.arange(len(used)) % 3).astype(str)
    )
    labels = LabelMap(positive=("sick", "sick1", "sick2"), negative=("healthy", "healthy1", "healthy2"))
    by_side = choose_distributions(replace(inspection, used=used.assign(category=split)), labels)
    assert [each.name for each in by_side[0].series] == [
        "healthy or healthy1 or healthy2",
        "sick or sick1 or sick2",
    ]
    fewer = used.assign(category=split.str.replace("2", "1"))
    own = choose_distributions(replace(inspection, used=fewer), labels)[0].series
    assert [each.name for each in own] == ["healthy", "healthy1", "sick", "sick1"]
    assert len({each.colour for each in own}) == 4
