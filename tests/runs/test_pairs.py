"""Finished runs compared on the images that all of them judged."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from breastlens.errors import DataError, RunDirectoryError
from breastlens.evaluation.paired import Judged, compare_models
from breastlens.evaluation.significance import holm
from breastlens.report.run_files import RunFiles, read_run_files
from breastlens.runs.compare import compare_runs
from breastlens.runs.directory import Run
from breastlens.runs.pairs import compare_pairs


@pytest.fixture
def copy(holdout_run: Run, tmp_path: Path) -> Callable[..., Path]:
    """Another run on the same images, whose predictions are changed."""

    def make(name: str, change: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table) -> Path:
        place = tmp_path / name
        shutil.copytree(holdout_run.directory, place)
        table = pd.read_csv(place / "predictions.csv", dtype={"patient_id": str}, keep_default_na=False)
        change(table).to_csv(place / "predictions.csv", index=False)
        return place

    return make


def worse(table: pd.DataFrame) -> pd.DataFrame:
    """Scores of every second image turned round."""
    scores = table["y_score"].where(table.index % 2 == 0, 1 - table["y_score"])
    return table.assign(y_score=scores, y_pred=(scores >= 0.5).astype(int))


def test_every_two_are_compared_on_what_all_have_judged(copy: Callable[..., Path], tmp_path: Path) -> None:
    runs = [
        copy("one"),
        copy("two", worse),
        copy("three", lambda table: worse(table)[table.index % 7 != 3]),
    ]
    page = compare_runs(runs, out=tmp_path / "out", margin=0.1)
    assert page == tmp_path / "out" / "comparison.html"
    found = json.loads((page.parent / "comparison.json").read_text())
    tables = [Run.read(run).predictions.query("split == 'test'").set_index("path") for run in runs]
    shared = tables[2].index
    assert 0 < len(shared) < len(tables[0])
    assert found["images"] == len(shared)
    assert found["left_out"] == {
        "one": len(tables[0]) - len(shared),
        "two": len(tables[0]) - len(shared),
        "three": 0,
    }
    assert [(pair["first"], pair["second"]) for pair in found["pairs"]] == [
        ("one", "two"), ("one", "three"), ("two", "three"),
    ]  # fmt: skip
    one, two, _ = (table.loc[sorted(shared)] for table in tables)
    expected = compare_models(
        one["y_true"],
        Judged(one["y_score"], one["y_pred"]),
        Judged(two["y_score"], two["y_pred"]),
        one["patient_id"].tolist(),
    )
    assert found["pairs"][0]["differences"]["auc"] == pytest.approx(expected["differences"]["auc"])
    assert found["pairs"][0]["mcnemar"] == expected["mcnemar"]
    assert found["pairs"][2]["differences"]["auc"]["value"] == 0
    assert found["pairs"][2]["auc_p_holm"] == 1.0
    p_values = [pair["differences"]["auc"]["p_value"] for pair in found["pairs"][:2]]
    assert found["pairs"][0]["auc_p_holm"] == pytest.approx(min(1, 3 * min(p_values)))
    for name in ("accuracy", "sensitivity", "specificity"):
        raw = [pair["mcnemar"][name]["p_value"] for pair in found["pairs"]]
        assert [pair[f"{name}_p_holm"] for pair in found["pairs"]] == pytest.approx(holm(raw))
    assert found["pairs"][0]["not_inferior"] == {
        "first": expected["differences"]["auc"]["low"] > -0.1,
        "second": expected["differences"]["auc"]["high"] < 0.1,
    }
    with (page.parent / "comparison.csv").open(newline="") as stream:
        assert [row["run"] for row in csv.DictReader(stream)] == ["one", "two", "three"]
    html = page.read_text()
    assert "one less two" in html
    specificity = found["pairs"][0]["mcnemar"]["specificity"]["p_value"]
    assert f"<small>alone {specificity:.3f}</small>" in html
    assert f"left out of one {len(tables[0]) - len(shared)}, two" in html
    assert 'href="../one/report.html"' in html
    assert html.count("data:image/png;base64,") == 2


def test_runs_without_a_common_image_are_refused_with_the_counts(
    copy: Callable[..., Path], tmp_path: Path
) -> None:
    first = copy("one", lambda table: table[table["patient_id"] < "P006"])
    second = copy("two", lambda table: table[table["patient_id"] >= "P006"])
    with pytest.raises(
        RunDirectoryError, match=r"one \d+ images of \d+ patients, two .*; 0 patients in common"
    ):
        compare_runs([first, second], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_label_of_the_same_image_is_refused(copy: Callable[..., Path], tmp_path: Path) -> None:
    turned = copy("two", lambda table: table.assign(y_true=1 - table["y_true"]))
    with pytest.raises(RunDirectoryError, match=r"two and one label (\d+) of \1 shared images differently"):
        compare_runs([copy("one"), turned], out=tmp_path / "out")


def change_records(run: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    table = pd.read_csv(run / "records.csv", dtype=str, keep_default_na=False)
    change(table).to_csv(run / "records.csv", index=False)
    return run


def test_it_does_not_matter_which_run_knows_the_patients(copy: Callable[..., Path], tmp_path: Path) -> None:
    known = copy("known", worse)
    unknown = copy("unknown", lambda table: table.assign(patient_id=""))
    found = []
    for number, runs in enumerate(((known, unknown), (unknown, known), (known, copy("also")))):
        page = compare_runs(runs, out=tmp_path / f"out{number}")
        found.append(json.loads((page.parent / "comparison.json").read_text()))
    assert found[0]["patients"] == found[1]["patients"] == found[2]["patients"] > 0
    p_values = [each["pairs"][0]["differences"]["auc"]["p_value"] for each in found]
    assert p_values == pytest.approx([p_values[2]] * 3)
    tests = [each["pairs"][0]["mcnemar"]["accuracy"]["p_value"] for each in found]
    assert tests == [tests[2]] * 3


def test_copies_that_one_run_knows_are_drawn_together(copy: Callable[..., Path]) -> None:
    def make(name: str, turn: bool, start: int | None) -> RunFiles:
        """A run without patients, that holds each three images from ``start`` on for copies; None: none."""
        nobody = copy(
            name,
            lambda table: (
                (worse(table) if turn else table).sample(frac=1, random_state=0).assign(patient_id="")
            ),
        )
        paths = read_run_files(nobody).predictions["path"]
        groups = {} if start is None else {path: f"g{(n + start) // 3}" for n, path in enumerate(paths)}
        change_records(
            nobody,
            lambda table: table.assign(duplicate_group=[groups.get(path, "") for path in table["path"]]),
        )
        return read_run_files(nobody)

    def p_value(one: RunFiles, other: RunFiles) -> float | None:
        found: float | None = compare_pairs({"one": one, "other": other})["pairs"][0]["differences"]["auc"][
            "p_value"
        ]
        return found

    plain, turned = make("plain", False, None), make("turned", True, None)
    linked, turned_linked = make("linked", False, 0), make("turned linked", True, 0)
    together = p_value(linked, turned_linked)
    assert p_value(plain, turned_linked) == p_value(turned_linked, plain) == pytest.approx(together)
    assert p_value(plain, turned) != pytest.approx(together)
    assert p_value(linked, make("shifted", True, 1)) is None, "each set reaches into the next"


def test_other_patients_of_the_same_image_are_refused(copy: Callable[..., Path], tmp_path: Path) -> None:
    other = copy("two", lambda table: table.assign(patient_id="x" + table["patient_id"]))
    with pytest.raises(
        RunDirectoryError, match=r"two and one name different patients for (\d+) of \1 shared"
    ):
        compare_runs([copy("one"), other], out=tmp_path / "out")


def test_another_image_of_the_same_name_is_refused(copy: Callable[..., Path], tmp_path: Path) -> None:
    one, two = copy("one"), copy("two")
    judged = read_run_files(one).predictions["path"].iloc[:3].tolist()
    change_records(
        two,
        lambda table: table.assign(
            pixels_sha256=table["pixels_sha256"].mask(table["path"].isin(judged), "0" * 64)
        ),
    )
    with pytest.raises(RunDirectoryError, match=r"two and one have other pixels under 3 of \d+ shared names"):
        compare_runs([one, two], out=tmp_path / "out")
    change_records(two, lambda table: table.drop(columns="pixels_sha256"))
    assert compare_runs([one, two], out=tmp_path / "out").is_file(), "a run of before does not say"


def test_what_cannot_be_compared_is_told(copy: Callable[..., Path], tmp_path: Path) -> None:
    one = copy("one")
    with pytest.raises(DataError, match="at least two runs, received 1"):
        compare_runs([one])
    with pytest.raises(DataError, match="named twice"):
        compare_runs([one, tmp_path / "one" / ".." / "one"])
    with pytest.raises(DataError, match="margin must lie between 0 and 1, received 5"):
        compare_runs([one, copy("two")], margin=5)
    with pytest.raises(RunDirectoryError, match=r"it has no run\.json"):
        compare_runs([one, tmp_path])


def test_runs_of_one_name_are_known_by_their_paths(copy: Callable[..., Path], tmp_path: Path) -> None:
    one, two = copy("a/run"), copy("b/run", worse)
    page = compare_runs([one, two], out=tmp_path / "out")
    assert json.loads((page.parent / "comparison.json").read_text())["runs"] == [str(one), str(two)]
