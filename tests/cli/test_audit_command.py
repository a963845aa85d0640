"""The ``audit`` command: what it prints, its exit codes, and one line for what a user gets wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from breastlens.errors import WeightsError
from breastlens.models import feature_network
from breastlens.report.wording import RESEARCH_USE
from breastlens.runs import audit as audits

SMALL = ("--image-size", "32", "--folds", "2")


@pytest.fixture(autouse=True)
def no_weights(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """ImageNet weights are out of reach, so that the probes use texture; files are looked up as ever."""
    look_up = feature_network.resolve_weights

    def refuse(weights: str, *others: Any) -> Any:
        if weights == "imagenet":
            raise WeightsError("the network is unreachable")
        return look_up(weights, *others)

    monkeypatch.setattr(feature_network, "resolve_weights", refuse)


def write_images(folder: Path, count: int, pixels: Callable[[str, int], np.ndarray]) -> Path:
    for category in ("healthy", "sick"):
        (folder / category).mkdir(parents=True)
        for number in range(count):
            cv2.imwrite(str(folder / category / f"{number:02d}.png"), pixels(category, number))
    return folder


@pytest.fixture
def told_apart(tmp_path: Path) -> Path:
    """Ten flat images a category, darker in one: grey values tell the label and texture does not."""
    return write_images(
        tmp_path / "flat",
        10,
        lambda category, number: np.full((40, 40), number + 120 * (category == "sick"), np.uint8),
    )


@pytest.fixture
def manifest(told_apart: Path) -> Callable[..., Path]:
    """Writes a manifest of those images with further columns, from functions of the row's number."""

    def write(**columns: Callable[[int], object]) -> Path:
        paths = sorted(path.relative_to(told_apart).as_posix() for path in told_apart.rglob("*.png"))
        lines = [",".join(["path", "category", "patient_id", *columns])]
        for number, path in enumerate(paths):
            values = [str(each(number)) for each in columns.values()]
            lines.append(",".join([path, path.split("/")[0], f"P{number}", *values]))
        (told_apart / "manifest.csv").write_text("\n".join(lines) + "\n")
        return told_apart / "manifest.csv"

    return write


def test_the_answer_stands_on_standard_output(command: Any, told_apart: Path, tmp_path: Path) -> None:
    done = command("audit", told_apart, *SMALL, "--out", tmp_path / "a")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("AUC 0.")
    assert lines[0].endswith(
        "; a model that gets statistics of the grey values alone reaches 1.00 (no interval). 2 serious findings and 3 "
        "warnings. The AUC is not above 0.5: on these data a model may be no better than guessing."
    )
    assert lines[-2:] == [f"Report: {tmp_path / 'a' / 'audit.html'}", RESEARCH_USE]
    assert "breast-not-shown" in done.out
    assert "shortcut-intensity" in done.out
    assert (tmp_path / "a" / "findings.json").is_file()
    assert "positive (1) = sick; negative (0) = healthy" in done.err


def test_findings_are_folded_where_standard_output_is_no_terminal(
    command: Any, told_apart: Path, tmp_path: Path
) -> None:
    lines = command("audit", told_apart, *SMALL, "--out", tmp_path / "a").out.splitlines()
    findings = json.loads((tmp_path / "a" / "findings.json").read_text())["findings"]
    first = next(number for number, line in enumerate(lines) if line.startswith("error "))
    told = lines[first:-2]
    assert max(map(len, told)) <= 100
    assert any(len(each["what"]) > 100 for each in findings)
    together = " ".join(" ".join(told).split())
    for each in findings:
        assert f"{each['severity']} {each['code']}" in together
        assert " ".join(each["what"].split()) in together


def test_without_out_nothing_is_written(
    command: Any, told_apart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = sorted(tmp_path.rglob("*"))
    assert "Report:" not in command("audit", told_apart, *SMALL).out
    assert sorted(tmp_path.rglob("*")) == before


def test_json_is_all_of_standard_output(command: Any, told_apart: Path, tmp_path: Path) -> None:
    done = command("audit", told_apart, *SMALL, "--json", "--quiet", "--out", tmp_path / "a")
    facts = json.loads(done.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert facts == json.loads((tmp_path / "a" / "findings.json").read_text())
    assert facts["kind"] == "audit"
    assert facts["command"][:2] == ["breastlens", "audit"]
    assert done.err == ""


def test_quiet_says_the_answer_alone(command: Any, told_apart: Path) -> None:
    done = command("audit", told_apart, *SMALL, "--quiet")
    assert done.err == ""
    assert done.out.startswith("AUC ")


def test_strict_ends_with_one_where_there_is_an_error(command: Any, told_apart: Path, tmp_path: Path) -> None:
    done = command("audit", told_apart, *SMALL, "--strict", "--out", tmp_path / "a")
    assert done.code == 1
    assert "Traceback" not in done.err
    assert (tmp_path / "a" / "audit.html").is_file()
    assert command("audit", told_apart, *SMALL).code == 0


def test_strict_ends_with_nought_where_there_is_none(
    command: Any, told_apart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audits, "judge_controls", lambda *_: [])
    monkeypatch.setattr("breastlens.audit.inspection.find_file_problems", lambda *_, **__: [])
    done = command("audit", told_apart, *SMALL, "--strict", "--json", "--quiet")
    assert {each["severity"] for each in json.loads(done.out)["findings"]} == {"warning"}
    assert done.code == 0


def test_one_image_a_category(command: Any, tmp_path: Path) -> None:
    data = write_images(tmp_path / "two", 1, lambda category, _: np.full((40, 40), len(category), np.uint8))
    done = command("audit", data, *SMALL, "--out", tmp_path / "a")
    assert done.code == 0, done.err
    assert done.out.startswith(
        "No model was trained, so shortcuts were not looked for. 2 serious findings and 1 warning."
    )
    assert "few-patients" in done.out
    assert "blank-images" in done.out
    assert "at least 2 are needed" in (tmp_path / "a" / "audit.html").read_text()


@pytest.mark.parametrize("apart", [True, False])
def test_fifty_identical_images(command: Any, tmp_path: Path, apart: bool) -> None:
    data = write_images(
        tmp_path / "same",
        25,
        lambda category, _: np.full((40, 40), 90 + 60 * (apart and category == "sick"), np.uint8),
    )
    done = command("audit", data, *SMALL)
    assert done.code == 0, done.err
    assert "No model was trained" in done.out
    assert f"duplicates-{'within-category' if apart else 'across-labels'}" in done.out


def test_a_column_with_one_value_and_one_without_any(
    command: Any, told_apart: Path, manifest: Callable[..., Path]
) -> None:
    table = manifest(site=lambda _: "A", acquired=lambda _: "")
    done = command("audit", told_apart, "--manifest", table, *SMALL, "--within", "site", "--json", "--quiet")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    untested = {each["name"]: each["untested"] for each in facts["properties"] if each["untested"]}
    assert untested["the column 'site'"] == "it has one value only"
    assert "column-tells-label" not in {each["code"] for each in facts["findings"]}
    (matched,) = facts["matched"]
    assert (matched["column"], matched["images"], matched["images_left_out"]) == ("site", 20, 0)
    assert matched["auc"]["value"] == facts["whole"]["auc"]  # one stratum is no stratum


def test_a_column_that_is_the_label_leaves_nothing_to_compare(
    command: Any, told_apart: Path, manifest: Callable[..., Path]
) -> None:
    table = manifest(
        site=lambda number: "AB"[number >= 10], acquired=lambda number: f"20{10 + number:02d}-05-01"
    )
    done = command("audit", told_apart, "--manifest", table, *SMALL, "--json", "--quiet")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert {"column-tells-label", "shortcut-file"} <= {each["code"] for each in facts["findings"]}
    by_column = {each["column"]: each for each in facts["matched"]}
    assert by_column["site"]["auc"]["value"] is None
    assert by_column["site"]["reason"]


def test_dates_that_are_all_missing_cannot_be_scored_within(
    run: Any, told_apart: Path, manifest: Callable[..., Path]
) -> None:
    table = manifest(acquired=lambda _: "")
    told = run("audit", told_apart, "--manifest", table, *SMALL, "--within", "acquired:year")
    assert told.startswith("the column 'acquired' holds no dates, so it has no year; expected ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--within", "nosuch"), "there is no column 'nosuch' to divide by; there are 'format', "),
        (("--within", "width:year"), "the column 'width' holds no dates, so it has no year; expected "),
        (("--folds", "1"), "--folds: Input should be greater than or equal to 2, received 1"),
        (("--border", "0"), "--border: Input should be greater than or equal to 1, received 0"),
        (("--border", "16"), "the border has 16 px on either side, which is all of an image of 32 px; "),
        (("--seed", "-1"), "--seed: Input should be greater than or equal to 0, received -1"),
        (("--backbone", "nonet"), "no backbone is called 'nonet'. Known: resnet50, "),
        (("--weights", "nowhere.h5"), "no weights at nowhere.h5: expected 'imagenet', 'none', "),
        (("--model", "nowhere"), "no bundle.json in nowhere: expected "),
        (("--positive", "sikc"), "no category 'sikc' for --positive; "),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(
    run: Any, told_apart: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    assert run("audit", told_apart, *SMALL, "--out", tmp_path / "a", *options).startswith(said)
    assert not (tmp_path / "a").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flat"]


def test_out_that_exists_is_refused_before_anything_is_read(
    run: Any, told_apart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "breastlens.cohort.records.Cohort.read", lambda *_, **__: pytest.fail("images were read")
    )
    out = told_apart.parent / "run"
    out.mkdir()
    (out / "precious.txt").write_text("keep me")
    told = run("audit", told_apart, *SMALL, "--out", out)
    assert told == f"{out} exists already: choose another --out, or move it away first"
    assert (out / "precious.txt").read_text() == "keep me"


def test_weights_that_do_not_fit(run: Any, told_apart: Path, tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    file = tmp_path / "mobilenet.weights.h5"
    keras.applications.MobileNet(
        alpha=0.25, include_top=False, weights=None, input_shape=(32, 32, 3)
    ).save_weights(file)
    told = run("audit", told_apart, *SMALL, "--backbone", "mobilenet:0.5", "--weights", file)
    assert told.startswith(
        f"{file} does not fit mobilenet:0.5: layer conv1 expected 3x3x3x16, found 3x3x3x8; "
    )


def test_without_controls_no_probe_is_trained_and_no_weights_are_wanted(
    command: Callable[..., Any], phantom_dir: Path, tmp_path: Path
) -> None:
    manifest = phantom_dir / "manifest.csv"
    options = ("--manifest", manifest, "--image-size", "32", "--no-controls", "--weights", "nowhere.h5")
    done = command("audit", phantom_dir, *options, "--out", tmp_path / "audit", "--json", "--quiet")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert "whole" not in facts
    assert "controls" not in facts
    assert facts["notes"] == ["No probe was trained, as was asked for."]
    assert facts["verdict"].startswith("No model was trained, so shortcuts were not looked for.")
    assert facts["properties"], "files are looked at all the same"
    assert "No probe was trained, as was asked for" in (tmp_path / "audit" / "audit.html").read_text()


@pytest.mark.parametrize("needs", [("--remedies",), ("--within", "patient_id")])
def test_what_needs_probes_is_refused_without_them(
    run: Callable[..., str], phantom_dir: Path, needs: tuple[str, ...]
) -> None:
    told = run("audit", phantom_dir, "--no-controls", *needs)
    assert told == "without controls no probe is trained, which remedies and within need"
