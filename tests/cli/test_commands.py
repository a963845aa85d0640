"""What each command answers, to people and to programs."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from breastlens import __version__
from breastlens.audit.findings import find_problems
from breastlens.cohort.records import Cohort
from breastlens.errors import DataError
from breastlens.report.wording import RESEARCH_USE
from breastlens.runs.directory import Run

COMMAND = (sys.executable, "-c", "from breastlens.cli import main; main()")


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """Three images as in the issue, and a file that is none."""
    folder = tmp_path / "clinic"
    for category, name, size in (("sick", "T0138.png", (640, 480)), ("healthy", "T0007.png", (320, 240))):
        (folder / category).mkdir(parents=True)
        pixels = np.random.default_rng(0).integers(0, 256, size[::-1], dtype=np.uint8)
        cv2.imwrite(str(folder / category / name), pixels)
    cv2.imwrite(str(folder / "healthy" / "T0008.tiff"), np.full((20, 30), 40_000, np.uint16))
    (folder / "sick" / "T0200.png").write_bytes(b"")
    return folder


def pattern() -> tuple[str, str]:
    return ("--patient-pattern", r"(?P<patient_id>T\d+)")


def test_describe_prints_one_json_line_a_record(command: Callable[..., Any], clinic: Path) -> None:
    done = command("describe", clinic, "--json", *pattern())
    lines = done.out.splitlines()
    assert done.code == 0
    assert [json.loads(line)["path"] for line in lines] == [
        "healthy/T0007.png", "healthy/T0008.tiff", "sick/T0138.png", "sick/T0200.png",
    ]  # fmt: skip
    assert lines[2] == (
        '{"path": "sick/T0138.png", "category": "sick", "image_size": "128x128", "patient_id": "T0138", '
        '"width": 640, "height": 480, "format": "PNG", "bits": 8}'
    )
    tiff, broken = json.loads(lines[1]), json.loads(lines[3])
    assert (tiff["width"], tiff["height"], tiff["format"], tiff["bits"]) == (30, 20, "TIFF", 16)
    assert broken["excluded"] == "unreadable: it is empty"
    assert broken["width"] is None


def test_describe_prints_a_table_for_people(command: Callable[..., Any], clinic: Path) -> None:
    done = command("describe", clinic, "--image-size", "224")
    healthy, sick = (
        line.split() for line in done.out.splitlines() if line.split()[:1] in (["healthy"], ["sick"])
    )
    assert healthy[1:4] == ["2", "0", "0"]
    assert sick[1:4] == ["2", "1", "0"]
    assert ["1", "unreadable:", "it", "is", "empty"] in [line.split() for line in done.out.splitlines()]
    assert "PNG 1, TIFF 1" in done.out
    assert "leakage between images of one patient cannot be excluded" in done.out
    assert "cannot be excluded" not in command("describe", clinic, *pattern()).out


def test_a_name_that_is_not_utf8_is_told_in_a_whole_sentence(clinic: Path) -> None:
    try:
        shutil.copy(clinic / "sick" / "T0138.png", bytes(clinic / "sick") + b"/caf\xe9.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    told = {finding.code: finding.what for finding in find_problems(Cohort.read(clinic))}
    assert told["misplaced-files"] == "1 file left out: name not valid UTF-8: 1."


def test_quiet_says_nothing_but_the_answer(clinic: Path) -> None:
    """In a process of its own, where warnings of the library would reach the terminal."""
    (clinic / "list.csv").write_text("path,category\n")
    call = [*COMMAND, "describe", str(clinic), "--json"]
    loud, quiet = (
        subprocess.run([*call, *more], capture_output=True, text=True, check=True)
        for more in ([], ["--quiet"])
    )
    assert quiet.stderr == ""
    assert quiet.stdout == loud.stdout
    assert "cannot be read" in loud.stderr
    assert "read files: 4 done" in loud.stderr
    assert "list.csv lies in" in loud.stderr


def test_train_answers_with_the_run_and_repeats_it_byte_for_byte(
    command: Callable[..., Any], holdout_run: Run, awkward_dir: Path, tmp_path: Path, quick: dict[str, str]
) -> None:
    out, settings = tmp_path / "run", [f"--{name}={value}" for name, value in quick.items()]
    data = [
        awkward_dir,
        "--manifest",
        awkward_dir / "manifest.csv",
        "--exclude-when",
        "note",
        "--image-size",
        64,
    ]
    done = command("train", *data, *settings, "--out", out, "--json", "--quiet")
    assert done.code == 0
    assert done.err == ""
    answer = json.loads(done.out)
    assert answer["run"] == str(out)
    assert answer["metrics"] == json.loads((out / "metrics.json").read_text())
    for name in ("predictions.csv", "records.csv", "metrics.json"):
        assert (out / name).read_bytes() == (holdout_run.directory / name).read_bytes(), name
    facts = Run.read(out).facts
    assert facts["command"][:3] == ["breastlens", "train", str(awkward_dir)]


def test_a_training_that_failed_goes_on_by_the_name_of_its_run_alone(
    command: Callable[..., Any],
    holdout_run: Run,
    awkward_dir: Path,
    tmp_path: Path,
    quick: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, settings = tmp_path / "run", [f"--{name}={value}" for name, value in quick.items()]
    manifest = ["--manifest", awkward_dir / "manifest.csv", "--exclude-when", "note"]

    def fail(*_: object) -> None:
        raise DataError("nothing can be told of it")

    with monkeypatch.context() as patch:
        patch.setattr("breastlens.runs.conduct.judge_outcome", fail)
        done = command("train", awkward_dir, *manifest, "--image-size", 64, *settings, "--out", out)
    assert done.code == 2
    assert "Error: nothing can be told of it; What was finished is kept: " in done.err
    assert f"breastlens train --resume {out} goes on with it\n" in done.err

    done = command("train", "--resume", out, "--image-size", 96)
    assert done.code == 2
    assert f"{out} was begun otherwise, so it cannot go on: --image-size was 64, is 96" in done.err
    done = command("train", "--resume", out, "--out", tmp_path / "other")
    assert "leave out --out" in done.err
    done = command("train", awkward_dir, *settings, "--out", out)
    assert "was begun and not finished" in done.err

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("what was trained is trained again")

    monkeypatch.setattr("breastlens.runs.trainings.fit_model", refuse)
    done = command("train", awkward_dir, "--resume", out, "--tensorboard", tmp_path / "logs")
    assert done.code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    for name in ("predictions.csv", "records.csv", "metrics.json"):
        assert (out / name).read_bytes() == (holdout_run.directory / name).read_bytes(), name
    done = command("train", "--resume", out)
    assert done.code == 2
    assert "is complete: there is nothing to go on with" in done.err


def test_the_mapping_of_labels_is_told_before_training(
    command: Callable[..., Any], awkward_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(cohort: Cohort, **_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("breastlens.runs.train.train", stop)
    done = command("train", awkward_dir, "--weights", "none", "--manifest", awkward_dir / "manifest.csv")
    assert done.code == 130
    assert "positive (1) = sick; negative (0) = healthy" in done.err
    assert "63 images, 3 left out, 31 patients" in done.err
    turned = command(
        "train",
        awkward_dir,
        "--weights",
        "none",
        "--manifest",
        awkward_dir / "manifest.csv",
        "--positive",
        "healthy",
    )
    assert "positive (1) = healthy; negative (0) = sick" in turned.err


def test_evaluate_answers_with_a_verdict_or_json(
    command: Callable[..., Any], holdout_run: Run, phantom_dir: Path, tmp_path: Path
) -> None:
    data = (holdout_run.directory, phantom_dir, "--manifest", phantom_dir / "manifest.csv")
    done = command("evaluate", *data, "--out", tmp_path / "one")
    assert done.code == 0
    run = Run.read(tmp_path / "one")
    assert done.out.startswith(f"AUC {run.metrics['external']['auc']:.2f} (")
    assert f"Report: {run.report}" in done.out
    assert done.out.rstrip().endswith(RESEARCH_USE)
    answer = json.loads(command("evaluate", *data, "--out", tmp_path / "two", "--json", "-q").out)
    assert answer == {"run": str(tmp_path / "two"), "metrics": run.metrics}


def test_evaluate_takes_data_of_one_category_and_knows_the_training_images(
    command: Callable[..., Any], holdout_run: Run, awkward_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sick").symlink_to(awkward_dir / "sick")
    done = command("evaluate", holdout_run.directory, tmp_path / "data", "--out", tmp_path / "one", "--json")
    assert done.code == 0, done.err
    block = json.loads(done.out)["metrics"]["external"]
    assert block["negatives"] == 0
    assert block["sensitivity"] is not None
    assert block["auc"] is None
    assert block["reasons"]["auc"] == "no negative image in this part"
    same = (awkward_dir, "--manifest", awkward_dir / "manifest.csv", "--exclude-when", "note")
    command("evaluate", holdout_run.directory, *same, "--out", tmp_path / "two")
    first = Run.read(tmp_path / "two").facts["findings"][0]
    assert (first["code"], first["severity"]) == ("evaluated-on-training-images", "error")


def test_predict_refuses_a_place_to_write_before_it_works(
    run: Callable[..., str], holdout_run: Run, awkward_dir: Path, tmp_path: Path
) -> None:
    for out in (tmp_path, tmp_path / "missing" / "scores.csv"):
        told = run("predict", holdout_run.directory, awkward_dir, "--out", out)
        assert told == f"--out {out}: expected the name of a file in a folder that exists"


def test_predict_leaves_a_file_alone_that_is_there(
    run: Callable[..., str],
    holdout_run: Run,
    awkward_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "breastlens.inference.predictor.load", lambda *_, **__: pytest.fail("nothing may be scored")
    )
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,category\n")
    assert run("predict", holdout_run.directory, awkward_dir / "sick", "--out", manifest) == (
        f"{manifest} exists already: choose another --out, or move it away first"
    )
    assert manifest.read_text() == "path,category\n"


def test_predict_refuses_a_path_that_does_not_exist(
    run: Callable[..., str], holdout_run: Run, awkward_dir: Path, tmp_path: Path
) -> None:
    told = run(
        "predict",
        holdout_run.directory,
        awkward_dir / "sick",
        tmp_path / "no.png",
        "--out",
        tmp_path / "new.csv",
    )
    assert told == f"1 of 2 paths do not exist: {tmp_path / 'no.png'}"
    assert not (tmp_path / "new.csv").exists()


def test_predict_prints_a_table_and_goes_on_after_a_bad_file(
    command: Callable[..., Any], holdout_run: Run, awkward_dir: Path
) -> None:
    done = command("predict", holdout_run.directory, awkward_dir / "sick")
    table = pd.read_csv(pd.io.common.StringIO(done.out), keep_default_na=False)
    assert done.code == 0
    assert list(table)[:5] == ["path", "y_score", "y_pred", "category", "error"]
    assert list(table)[5:] == ["decision", "prediction_set", "distance", "novel"]
    failed = table[table["error"] != ""]
    assert failed["path"].tolist() == [str(awkward_dir / "sick" / "broken.png")]
    assert (failed.drop(columns=["path", "error"]) == "").all(axis=None)
    assert f"1 of {len(table)} files could not be read; see the error column" in done.err
    assert len(table) == 33
    assert command("predict", holdout_run.directory, awkward_dir / "sick", "-q").err == ""


def test_predict_rebases_to_a_prevalence_and_says_so(
    command: Callable[..., Any], holdout_run: Run, awkward_dir: Path
) -> None:
    done = command("predict", holdout_run.directory, awkward_dir / "sick", "--prevalence", "0.01")
    table = pd.read_csv(pd.io.common.StringIO(done.out))
    trained_at = json.loads((holdout_run.model / "bundle.json").read_text())["training_prevalence"]
    ratio = (0.01 / 0.99) / (trained_at / (1 - trained_at))
    odds = ratio * table["y_score"] / (1 - table["y_score"])
    np.testing.assert_allclose(table["y_score_at_prevalence"], odds / (1 + odds), rtol=1e-4)
    assert "for a prevalence of 0.01 instead of" in done.err
    refused = command("predict", holdout_run.directory, awkward_dir / "sick", "--prevalence", "5")
    assert refused.code == 2
    assert "--prevalence: expected a share between 0 and 1" in refused.err


def test_predict_knows_patients_by_a_manifest_and_rebases_their_means(
    command: Callable[..., Any], holdout_run: Run, awkward_dir: Path, tmp_path: Path
) -> None:
    csv = tmp_path / "patients.csv"
    asked = ("predict", holdout_run.directory, awkward_dir, "--manifest", awkward_dir / "manifest.csv")
    done = command(*asked, "--patients", csv, "--prevalence", "0.01", "--quiet")
    assert done.code == 0
    images = pd.read_csv(io.StringIO(done.out))
    patients = pd.read_csv(csv).set_index("patient_id")
    manifest = pd.read_csv(awkward_dir / "manifest.csv", dtype=str).set_index("path")["patient_id"]
    assert set(patients.index) == set(manifest)
    assert patients["images"].to_dict() == manifest.value_counts().to_dict()
    images = images.assign(
        patient_id=[manifest[path.removeprefix(f"{awkward_dir}/")] for path in images["path"]]
    )
    used = images[(images["novel"] == False) & images["y_score"].notna()]  # noqa: E712  a column of text
    means = used.groupby("patient_id")["y_score"].mean()
    np.testing.assert_allclose(patients["y_score"].dropna().sort_index(), means.sort_index(), atol=1e-6)
    answered = patients.dropna(subset="y_score")
    assert (answered["y_score_at_prevalence"] < answered["y_score"]).all()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("FOLDER/sick", "--manifest", "CSV"), "names no patient for"),
        (
            ("FOLDER/sick", "FOLDER/healthy", "--manifest", "CSV"),
            "--manifest names images relative to one folder",
        ),
        (
            ("FOLDER", "--manifest", "CSV", "--patient-pattern", "(?P<patient_id>.)"),
            "--patients CSV goes with",
        ),
        (("FOLDER", "--manifest", "CSV", "NOT"), "--patients CSV goes with"),
        (("FOLDER",), "--patients CSV goes with"),
    ],
)
def test_predict_refuses_patients_that_it_cannot_know(
    run: Callable[..., str],
    holdout_run: Run,
    awkward_dir: Path,
    tmp_path: Path,
    asked: tuple[str, ...],
    told: str,
) -> None:
    names = {"CSV": str(awkward_dir / "manifest.csv")}
    words = [names.get(word, word.replace("FOLDER", str(awkward_dir))) for word in asked if word != "NOT"]
    wanted = () if "NOT" in asked else ("--patients", tmp_path / "patients.csv")
    assert told in run("predict", holdout_run.directory, *words, *wanted)


def test_predict_needs_a_place_for_each_answer(
    run: Callable[..., str], holdout_run: Run, awkward_dir: Path
) -> None:
    asked = ("--out", "same.csv", "--patients", "./same.csv", "--manifest", awkward_dir / "manifest.csv")
    told = run("predict", holdout_run.directory, awkward_dir, *asked)
    assert told == "--out, --patients and --maps each need a place of their own"


def test_predict_keeps_scores_where_maps_cannot_be_written(
    run: Callable[..., str],
    holdout_run: Run,
    awkward_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from breastlens.inference.map_picture import MapFolder

    write = MapFolder.write

    def until_the_third(self: MapFolder, number: int, *rest: Any) -> str:
        if number == 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(self.directory / "3.png"))
        return write(self, number, *rest)

    monkeypatch.setattr(MapFolder, "write", until_the_third)
    out = tmp_path / "scores.csv"
    told = run(
        "predict", holdout_run.directory, awkward_dir / "healthy", "--maps", tmp_path / "maps", "--out", out
    )
    assert "no space is left on the disk: free some; choose another --maps" in told
    assert "The tables hold the 2 of " in told
    assert len(pd.read_csv(out)) == 2


def test_predict_draws_a_map_for_each_image_that_it_could_read(
    command: Callable[..., Any], run: Callable[..., str], holdout_run: Run, awkward_dir: Path, tmp_path: Path
) -> None:
    maps, images = tmp_path / "maps", awkward_dir / "sick"
    done = command("predict", holdout_run.directory, images, "--maps", maps, "--quiet")
    table = pd.read_csv(pd.io.common.StringIO(done.out), keep_default_na=False)
    assert table.columns[-1] == "map"
    assert (table["map"] != "").sum() == len(table) - 1
    assert sorted(path.name for path in maps.iterdir()) == sorted(name for name in table["map"] if name)
    assert table.loc[table["map"] == "", "path"].tolist() == [str(images / "broken.png")]
    assert run("predict", holdout_run.directory, images, "--maps", maps).startswith(
        f"--maps {maps}: expected a new"
    )


def test_predict_writes_what_the_run_says(
    command: Callable[..., Any], holdout_run: Run, awkward_dir: Path, tmp_path: Path
) -> None:
    rows = holdout_run.predictions
    paths = [awkward_dir / path for path in rows["path"]]
    done = command(
        "predict", holdout_run.model, *paths, "--out", tmp_path / "scores.csv", "--json", "--quiet"
    )
    table, answer = pd.read_csv(tmp_path / "scores.csv"), json.loads(done.out)
    np.testing.assert_allclose(table["y_score"], rows["y_score"], rtol=0, atol=1e-5)
    answered = ~table["novel"]
    assert table["y_pred"][answered].tolist() == rows["y_pred"][answered].tolist()
    assert [one["y_score"] for one in answer] == table["y_score"].tolist(), "JSON is not rounded"
    assert set(answer[0]) == set(table)
    assert done.err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's device that is always full")
def test_a_full_disk_is_one_line(run: Callable[..., str], holdout_run: Run, awkward_dir: Path) -> None:
    assert run("predict", holdout_run.directory, awkward_dir / "healthy", "--out", "/dev/full") == (
        "cannot write /dev/full: no space is left on the disk: free some; choose another --out"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's device that is always full")
def test_an_answer_that_finds_no_room_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "breastlens", "backbones"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        2,
        "Error: the answer cannot be written: No space left on device\n",
    )


def test_an_answer_that_nobody_reads_is_no_crash(clinic: Path) -> None:
    """As with ``breastlens describe DATA --json | head -1``."""
    for number in range(2000):
        os.link(clinic / "sick" / "T0200.png", clinic / "sick" / f"T{number:0100}.png")
    call = [*COMMAND, "describe", str(clinic), "--json", "--quiet"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())
        process.stdout.close()
        assert process.stderr.read() == ""


def test_backbones_are_listed(command: Callable[..., Any]) -> None:
    done = command("backbones", "--json")
    listed = {one["name"]: one for one in json.loads(done.out)}
    assert {"resnet50", "vgg16", "vgg19", "densenet121", "mobilenetv2", "efficientnetv2b0"} <= set(listed)
    assert listed["vgg16"]["parameters"] == 14_714_688
    people = command("backbones").out
    assert "14,714,688" in people
    assert "CC BY 4.0" in people


def test_phantom_makes_a_cohort(command: Callable[..., Any], tmp_path: Path) -> None:
    done = command(
        "phantom", tmp_path / "new", "--patients", "4", "--images-per-patient", "1", "--format", "matrix"
    )
    assert done.out == f"Manifest: {tmp_path / 'new' / 'manifest.csv'}\n"
    cohort = Cohort.read(tmp_path / "new", manifest=tmp_path / "new" / "manifest.csv")
    assert len(cohort.included) == len(cohort.patients) == 4
    assert set(cohort.included["format"]) == {"MATRIX"}


def test_version_and_help(command: Callable[..., Any]) -> None:
    assert command("--version").out == f"breastlens {__version__}\n"
    assert "For research use only" in " ".join(command().out.split())
    assert command("train", "--help").out.startswith("Usage: breastlens train ")
    assert "[default: sick]" in " ".join(command("train", "--help").out.split())
    assert "[default: sick]" not in " ".join(command("evaluate", "--help").out.split())
    assert "[default: the model's]" in " ".join(command("evaluate", "--help").out.split())
    for name in ("train", "evaluate", "predict", "describe", "demo", "phantom", "backbones"):
        assert name in command("--help").out
        assert command(name, "--help").code == 0


def test_the_demo_leaves_images_and_run_or_nothing(
    command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from breastlens.imaging.phantom import PhantomSettings
    from breastlens.runs import demo

    def quick_train(*args: Any, **options: Any) -> Any:
        from breastlens.runs.train import train

        return train(*args, **options | {"backbone": "mobilenet:0.25"})

    monkeypatch.setattr(demo, "SETTINGS", PhantomSettings(patients=12, images_per_patient=1))
    monkeypatch.setattr(demo, "train", quick_train)
    done = command("demo", "--out", tmp_path / "demo")
    assert done.code == 0
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == ["run", "simulated-images"]
    assert "<h1>simulated-images, MobileNet" in (tmp_path / "demo" / "run" / "report.html").read_text()
    assert f"Report: {tmp_path / 'demo' / 'run' / 'report.html'}" in done.out
    assert "simulated 12 patients" in done.err

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "train", stop)
    shutil.rmtree(tmp_path / "demo")
    assert command("demo", "--out", tmp_path / "demo").code == 130
    assert list(tmp_path.iterdir()) == []


def test_an_error_stays_one_line_whatever_is_in_it(run: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "a\nb :smile: [bold]").mkdir()
    told = run("describe", tmp_path / "a\nb :smile: [bold]")
    assert "a b :smile: [bold]" in told
