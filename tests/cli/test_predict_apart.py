"""Very many images to one CSV: the rows of ``predict``, each exactly once, whatever happens on the way."""

from __future__ import annotations

import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from breastlens.errors import BundleError, WorkerError
from breastlens.inference import shards as room
from breastlens.inference.inputs import list_inputs
from breastlens.inference.predictor import load
from breastlens.inference.shards import PartlyScored, ScoredShard, Scoring, score_shard, shards
from breastlens.progress import Progress
from breastlens.runs.directory import Run
from breastlens.runs.scoring import lacks_scores, score_to_csv
from breastlens.work.run import Failed, Here, do_packed
from breastlens.work.unit import Unit


@pytest.fixture
def images(awkward_dir: Path, tmp_path: Path) -> Path:
    """A folder of 40 images, one of them unreadable."""
    folder = tmp_path / "images"
    folder.mkdir()
    sources = sorted(awkward_dir.glob("*/*.png"))
    for number in range(39):
        shutil.copy(sources[number % len(sources)], folder / f"{number:02}.png")
    (folder / "39.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def scoring(holdout_run: Run) -> Scoring:
    return Scoring.of(load(holdout_run.model).bundle, similar=2, rebased=(0.5, 0.01))


class DiesAfter(Here):
    """A process that ends in the middle of a job."""

    def __init__(self, units: int) -> None:
        self.left = units

    def do(self, units: Any) -> Iterator[tuple[Unit, Any]]:
        for done in super().do(units):
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            yield done


@pytest.mark.parametrize("place", ["processes:2", "file://"])
def test_rows_are_those_of_predict_wherever_they_are_made(
    command: Callable[..., Any],
    holdout_run: Run,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    more = ["--similar", 2, "--prevalence", 0.01]
    assert command("predict", holdout_run.directory, "images", *more, "--out", "here.csv").code == 0
    if place == "file://":
        pytest.importorskip("fsspec")
        done = command("predict", holdout_run.directory, f"file://{images}", *more, "--out", "there.csv")
    else:
        done = command("predict", holdout_run.directory, "images", *more, "--out", "there.csv", "--on", place)
    assert done.code == 0, done.err
    assert "1 of 40 files could not be read" in done.err
    there = Path("there.csv").read_text().replace(f"file://{images}", "images")
    assert there == Path("here.csv").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here.csv", "images", "there.csv"]


def test_what_was_scored_before_the_end_is_not_scored_again(
    images: Path, tmp_path: Path, scoring: Scoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "__defaults__", (8,))
    names, out = list(list_inputs([str(images)])), tmp_path / "scores.csv"
    with pytest.raises(KeyboardInterrupt):
        score_to_csv(names, out, scoring, DiesAfter(3), Progress())
    assert not out.exists()
    assert len(list((tmp_path / ".scores.csv.units").glob("*.npz"))) == 3
    counts = score_to_csv(names, out, scoring, DiesAfter(2), Progress())
    assert (counts.images, counts.unread, counts.set_aside) == (40, 1, 0)
    assert pd.read_csv(out)["path"].tolist() == names
    assert not (tmp_path / ".scores.csv.units").exists()


def test_a_part_that_cannot_be_scored_has_rows_that_say_so(
    images: Path, tmp_path: Path, scoring: Scoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "__defaults__", (8,))
    predict = room.score_shard

    def fail(scoring: Scoring, names: tuple[str, ...], some_are_there: bool) -> Any:
        if "08.png" in names[0]:
            raise MemoryError("no room")
        return predict(scoring, names, some_are_there)

    monkeypatch.setattr(room, "score_shard", fail)
    names, out = list(list_inputs([str(images)])), tmp_path / "scores.csv"
    counts = score_to_csv(names, out, scoring, Here(), Progress())
    assert (counts.images, counts.set_aside) == (40, 8)
    table = pd.read_csv(out)
    assert table["path"].tolist() == names
    assert table["error"].eq("not scored: no room").sum() == 8
    assert table["y_score"].notna().sum() == 31


def test_another_model_under_the_same_path_is_refused(scoring: Scoring, images: Path) -> None:
    with pytest.raises(BundleError, match="another model here"):
        score_shard(replace(scoring, version="0" * 64), [str(images / "00.png")], True)


def test_what_was_scored_of_a_part_travels_although_some_was_not() -> None:
    shard = ScoredShard("a.png,0.5\n", 8, unread=1, novel=2, set_aside=3)
    again = pickle.loads(do_packed(pickle.dumps(Unit("", "", _raise_partly, (shard,)))))
    assert isinstance(again, Failed)
    assert isinstance(again.error, PartlyScored)
    assert again.error.shard == shard
    assert str(again.error) == "the store failed for 3 of 8"


def _raise_partly(shard: ScoredShard) -> None:
    raise PartlyScored(shard)


def test_a_worker_that_does_not_see_the_images_says_so(scoring: Scoring, images: Path) -> None:
    (unit,) = shards([str(images / "00.png"), str(images / "gone.png")], scoring)
    (images / "00.png").unlink()
    with pytest.raises(WorkerError, match=f"{images} cannot be seen from a worker"):
        unit.do()
    (never_there,) = shards([str(images / "gone.png")], scoring)
    assert never_there.do().unread == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "need --out CSV"),
        (["--out", "x.csv", "--maps", "maps"], "--maps goes with --on here"),
        (["--out", "x.csv", "--json"], "--json goes with --on here"),
        (["--out", "/dev/null"], "expected a new file, not a device"),
        (["--out", "images/00.png/x.csv"], "expected the name of a file in a folder that exists"),
    ],
)
def test_what_does_not_go_together_is_told(
    command: Callable[..., Any],
    holdout_run: Run,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command("predict", holdout_run.directory, "images", "--on", "processes:1", *more)
    assert done.code == 2
    assert said in done.err


def test_no_image_at_all_is_told(
    run: Callable[..., str], holdout_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "none").mkdir()
    said = run("predict", holdout_run.directory, "empty", "none", "--on", "processes:1", "--out", "x.csv")
    assert said == "no image file was found in empty, none"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "none"]


@pytest.fixture
def addresses(images: Path, served: Any, monkeypatch: pytest.MonkeyPatch, no_pauses: None) -> Any:
    """The images behind HTTP, eight of them a part; one address leads nowhere."""
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(shards, "__defaults__", (8,))
    shutil.copytree(images, served.folder, dirs_exist_ok=True)
    return served


def test_a_store_that_is_busy_for_a_moment_changes_nothing(
    command: Callable[..., Any], holdout_run: Run, images: Path, addresses: Any, tmp_path: Path
) -> None:
    gone = f"{addresses.address}/gone.png?v=2"
    addresses.failing |= {"/": 1, "/12.png": 2, "/30.png": 3}
    out, here = tmp_path / "there.csv", tmp_path / "here.csv"
    done = command("predict", holdout_run.directory, addresses.address, "--out", out)
    assert done.code == 0, done.err
    assert command("predict", holdout_run.directory, images, "--out", here).code == 0
    assert out.read_text().replace(addresses.address, str(images)) == here.read_text()
    done = command("predict", holdout_run.directory, gone, "--out", tmp_path / "gone.csv")
    assert done.code == 0
    table = pd.read_csv(tmp_path / "gone.csv")
    assert table[["path", "error"]].values.tolist() == [[gone, "it cannot be read: it is not there"]]


def test_what_a_store_did_not_give_is_tried_again_by_the_same_command(
    command: Callable[..., Any], holdout_run: Run, images: Path, addresses: Any, tmp_path: Path
) -> None:
    out, here = tmp_path / "there.csv", tmp_path / "here.csv"
    asked = ("predict", holdout_run.directory, f"{addresses.address}/", "--out", out)
    addresses.failing |= {"/12.png": 1000, **{f"/{number}.png": 1000 for number in range(24, 32)}}
    for _ in range(2):
        done = command(*asked)
        assert done.code == 2
        assert "images 9 to 16 could not all be scored: the store failed for 1 of 8" in done.err
        assert f"9 of 40 images could not be scored; their rows in {out} say why" in done.err
        assert "The same command tries them again" in done.err
        table = pd.read_csv(out)
        assert table["path"].tolist() == [f"{addresses.address}/{number:02}.png" for number in range(40)]
        unscored = table["error"].str.contains("^not scored: .*.png: the store failed 4 times", na=False)
        assert unscored.tolist() == [number == 12 or 24 <= number < 32 for number in range(40)]
        assert table["y_score"].isna().tolist() == [*unscored[:39], True]
    before = out.read_bytes()
    for other in (("--similar", 1), (f"{addresses.address}/39.png",)):
        done = command(*asked, *other)
        assert (done.code, out.read_bytes()) == (2, before)
        assert "exists already" in done.err
    out.write_bytes(before.replace(b"not scored", b"seen by hand"))
    assert f"{out} was changed meanwhile" in command(*asked).err
    assert b"seen by hand" in out.read_bytes()
    out.unlink()
    addresses.asked.clear()
    addresses.failing.clear()
    done = command(*asked)
    assert done.code == 0, done.err
    assert {path for path in addresses.asked if path != "/"} == {
        f"/{number:02}.png" for number in (*range(8, 16), *range(24, 32))
    }
    assert command("predict", holdout_run.directory, images, "--out", here).code == 0
    assert out.read_text().replace(addresses.address, str(images)) == here.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here.csv", "images", "served", "there.csv"]
    assert "exists already" in command(*asked).err


def test_also_where_nothing_at_all_was_scored(
    command: Callable[..., Any], holdout_run: Run, addresses: Any, tmp_path: Path
) -> None:
    out = tmp_path / "scores.csv"
    asked = ("predict", holdout_run.directory, f"{addresses.address}/", "--out", out)
    addresses.failing |= {f"/{number:02}.png": 1000 for number in range(40)}
    assert "40 of 40 images could not be scored" in command(*asked).err
    assert pd.read_csv(out)["error"].str.startswith("not scored: ").all()
    addresses.failing.clear()
    assert command(*asked).code == 0
    assert pd.read_csv(out)["y_score"].notna().sum() == 39


def test_a_store_that_lets_nobody_in_is_tried_again_by_the_same_command(
    command: Callable[..., Any], holdout_run: Run, addresses: Any, tmp_path: Path
) -> None:
    out = tmp_path / "scores.csv"
    asked = ("predict", holdout_run.directory, f"{addresses.address}/", "--out", out)
    addresses.status = 403
    addresses.failing |= {f"/{number:02}.png": 1000 for number in range(15, 40)}
    done = command(*asked)
    assert done.code == 2
    assert "24 of 40 images could not be scored" in done.err
    error = pd.read_csv(out)["error"]
    assert error.str.startswith("it cannot be read: access is denied").tolist()[:16] == [False] * 15 + [True]
    assert error[16:].str.contains("^not scored: none of 8 could be had, the last: .*access is denied").all()
    addresses.failing.clear()
    assert command(*asked).code == 0
    assert pd.read_csv(out)["y_score"].notna().sum() == 38


@pytest.mark.parametrize("units", [7, 20])
def test_many_parts_in_a_row_that_cannot_be_had_are_told_and_then_end_the_command(
    command: Callable[..., Any],
    holdout_run: Run,
    addresses: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    units: int,
) -> None:
    monkeypatch.setattr(shards, "__defaults__", (1,))
    addresses.status = 401
    addresses.failing |= {f"/{number:02}.png": 1000 for number in range(1, units + 1)}
    done = command(
        "predict", holdout_run.directory, f"{addresses.address}/", "--out", tmp_path / "scores.csv"
    )
    assert done.code == 2
    assert done.err.count("could not all be scored") == 5
    assert ("nor could 2 other parts" in done.err) == (units == 7)
    ended = "20 parts in a row could not be had; the last: none of 1 .*/20.png: the store lets nobody in"
    assert bool(re.search(ended, done.err)) == (units == 20)
    assert ("the same command goes on with it" in done.err) == (units == 20)
    assert (tmp_path / "scores.csv").exists() == (units == 7)
    assert len([path for path in addresses.asked if path != "/"]) == (40 if units == 7 else 21)
    assert len(list((tmp_path / ".scores.csv.units").glob("*.npz"))) == (33 if units == 7 else 1)


def test_a_process_that_ends_as_the_csv_takes_its_name_is_gone_on_with(
    images: Path, tmp_path: Path, scoring: Scoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, out = list(list_inputs([str(images)])), tmp_path / "scores.csv"

    def end(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("breastlens.runs.scoring.sync_folder", end)
        with pytest.raises(KeyboardInterrupt):
            score_to_csv(names, out, scoring, Here(), Progress())
    before = out.read_bytes()
    assert lacks_scores(out, names, scoring)
    score_to_csv(names, out, scoring, Here(), Progress())
    assert out.read_bytes() == before
    assert not lacks_scores(out, names, scoring)
