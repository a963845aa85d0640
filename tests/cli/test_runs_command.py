"""The commands about finished runs, on the smallest that can be read, and what train does when tracking fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from breastlens.cli.runs import NOT_TRACKED, log_trained
from breastlens.errors import RunDirectoryError, TrackingError
from breastlens.progress import Progress

RUN = {
    "format": 1,
    "kind": "training",
    "created": "2026-11-22T17:00:00+00:00",
    "labels": {"positive": ["sick"], "negative": ["healthy"]},
    "backbone": {"name": "vgg16"},
    "data": {"root": "phantoms", "images_without_patient": 0},
    "split": {"kind": "holdout"},
    "operating_point": {"threshold": 0.5},
}


def write_run(place: Path, auc: float) -> Path:
    place.mkdir(parents=True)
    block = {
        "n": 80, "patients": 40, "positives": 40, "negatives": 40, "threshold": 0.5, "auc": auc,
        "confusion_matrix": [[30, 10], [10, 30]],
        "intervals": {"auc": {"value": auc, "low": auc - 0.1, "high": auc + 0.05}},
    }  # fmt: skip
    (place / "run.json").write_text(json.dumps(RUN))
    (place / "metrics.json").write_text(json.dumps({"test": block}))
    return place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, auc in (("weak", 0.7), ("strong", 0.9), ("nested/middle", 0.8)):
        write_run(tmp_path / "runs" / name, auc)
    (tmp_path / "runs" / "bad").mkdir()
    (tmp_path / "runs" / "bad" / "run.json").write_text("[]")
    return tmp_path / "runs"


def test_the_table_names_what_it_skips(command: Callable[..., Any], folder: Path) -> None:
    done = command("runs", folder, "--sort", "-auc", "--where", "auc > 0.75")
    rows = [line.split() for line in done.out.splitlines() if "vgg16" in line]
    assert done.code == 0
    assert [row[0] for row in rows] == ["strong", "nested/middle"]
    assert "0.90 (0.80 to 0.95)" in done.out
    assert done.out.splitlines()[-1] == "2 of 3 runs"
    assert [line for line in done.err.splitlines() if line.startswith("Skipped: ")] == done.err.splitlines()
    assert len(done.err.splitlines()) == 1


def test_json_for_programs(command: Callable[..., Any], folder: Path) -> None:
    told = json.loads(command("runs", folder, "--json", "--sort", "auc").out)
    assert [run["auc"] for run in told["runs"]] == [0.7, 0.8, 0.9]
    assert len(told["skipped"]) == 1


def test_files_in_place_of_the_table(command: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    done = command("runs", folder, "--csv", tmp_path / "t.csv", "--html", tmp_path / "t.html")
    assert done.out == f"3 runs\nTable: {tmp_path / 't.csv'}\nPage: {tmp_path / 't.html'}\n"
    assert (tmp_path / "t.csv").read_text().count("\n") == 4


def test_a_file_that_is_there_is_not_written_over(run: Callable[..., str], folder: Path) -> None:
    assert "exists already: choose another --csv" in run(
        "runs", folder, "--csv", folder / "weak" / "run.json"
    )
    assert "no column 'size'" in run("runs", folder, "--where", "size > 1")


def test_another_tracker_is_refused_before_anything_is_read(run: Callable[..., str], data: Path) -> None:
    assert "no tracker 'wandb'; there is mlflow" in run(
        "train", data, "--track", "wandb", "--weights", "none"
    )


class Refusing:
    """A tracker whose store has gone."""

    def log(self, run_dir: Path) -> bool:
        raise TrackingError("the MLflow store cannot be used: gone")


def test_a_training_that_is_not_tracked_is_whole_and_told_by_the_exit_code(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as left:
        log_trained(Refusing(), folder / "weak", Progress())  # type: ignore[arg-type]
    assert left.value.exit_code == NOT_TRACKED == 3
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert said[0] == (
        "Not tracked: the MLflow store cannot be used: gone. What was trained is whole; "
        f"log it later: breastlens track {folder / 'weak'}"
    )


class Remembering:
    """A tracker that keeps what it was given."""

    place = "memory"

    def __init__(self) -> None:
        self.runs: list[Path] = []

    def log(self, run_dir: Path) -> bool:
        if not run_dir.exists():
            raise RunDirectoryError(f"{run_dir}: there is no such run directory")
        self.runs.append(run_dir)
        return True


def test_all_runs_of_a_folder_can_be_logged_later(
    command: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Remembering()
    monkeypatch.setattr("breastlens.cli.runs.open_tracker", lambda _: tracker)
    done = command("track", folder / "weak", folder / "nested", folder / "nowhere")
    assert tracker.runs == [folder / "weak", folder / "nested" / "middle"]
    assert done.out.splitlines()[-1] == f"{folder / 'nested' / 'middle'}: logged to memory"
    assert done.code == 2
    assert "there is no such run directory" in done.err
