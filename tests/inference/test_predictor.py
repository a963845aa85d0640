"""Image files in, calibrated scores out: the training's own, in order, whatever else lies among them."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from breastlens.cohort.batches import load_images, prepare_each
from breastlens.cohort.records import Cohort
from breastlens.errors import BundleError, DataError, DecodeError
from breastlens.imaging.decode import DecodedImage, decode
from breastlens.imaging.preprocess import PreparedImage
from breastlens.inference import inputs
from breastlens.inference import predictor as room
from breastlens.inference.predictor import Prediction, Predictor, find_images, load, predictions_table
from breastlens.progress import Advance, Progress
from breastlens.runs.directory import Run


@pytest.fixture(scope="module")
def predictor(holdout_run: Run) -> Predictor:
    return load(holdout_run.directory)


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Makes empty files below a new folder."""

    def make(*names: str) -> Path:
        for name in names:
            (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "tree" / name).touch()
        return tmp_path / "tree"

    return make


def test_scores_are_those_of_the_run(predictor: Predictor, holdout_run: Run, awkward_dir: Path) -> None:
    rows = holdout_run.predictions
    found = list(predictor.predict_files([awkward_dir / path for path in rows["path"]]))
    np.testing.assert_allclose([one.y_score for one in found], rows["y_score"], rtol=0, atol=1e-5)
    answered = [one for one in found if not one.novel]
    assert len(answered) > 0.7 * len(found)
    calls = [call for call, one in zip(rows["y_pred"], found, strict=True) if not one.novel]
    assert [one.y_pred for one in answered] == calls
    assert [one.category for one in answered] == [("healthy", "sick")[call] for call in calls]
    np.testing.assert_allclose([one.distance for one in found], rows["distance"], rtol=0, atol=1e-3)
    sets = [each for each, one in zip(rows["prediction_set"], found, strict=True) if not one.novel]
    assert [one.prediction_set for one in answered] == sets


def test_one_image_scores_the_same_as_among_others(predictor: Predictor, awkward_dir: Path) -> None:
    paths = sorted((awkward_dir / "healthy").glob("*.png"))[:5]
    together = [one.y_score for one in predictor.predict_files(paths)]
    assert [predictor.predict(str(path)).y_score for path in paths] == together
    assert len(set(together)) > 1


def test_a_run_and_its_bundle_are_the_same_model(
    predictor: Predictor, holdout_run: Run, awkward_dir: Path
) -> None:
    path = next((awkward_dir / "sick").glob("P*.png"))
    assert load(str(holdout_run.model)).predict(path) == predictor.predict(path)


def test_a_score_at_the_threshold_is_positive(holdout_run: Run, awkward_dir: Path) -> None:
    predictor, path = load(holdout_run.directory), next((awkward_dir / "sick").glob("P*.png"))
    score = predictor.predict(path).y_score
    card = predictor.bundle.card
    for threshold, call, category in ((score, 1, "sick"), (np.nextafter(score, 1), 0, "healthy")):
        predictor.bundle.card = card.model_copy(update={"threshold": threshold})
        found = predictor.predict(path)
        assert (found.y_score, found.y_pred, found.category) == (score, call, category)


def test_an_unreadable_file_gets_a_row_and_the_rest_go_on(
    predictor: Predictor, awkward_dir: Path, tmp_path: Path
) -> None:
    good = sorted((awkward_dir / "sick").glob("P*.png"))[:2]
    (tmp_path / "empty.png").touch()
    paths = [
        good[0],
        awkward_dir / "sick" / "broken.png",
        tmp_path / "gone.png",
        tmp_path / "empty.png",
        good[1],
    ]
    found = list(predictor.predict_files(paths))
    assert [one.path for one in found] == [str(path) for path in paths]
    assert [one.error == "" for one in found] == [True, False, False, False, True]
    assert "no such file" in found[2].error
    assert found[3] == Prediction(str(paths[3]), None, None, None, "it is empty")
    assert found[4] == predictor.predict(good[1])
    with pytest.raises(DecodeError, match=r"broken\.png"):
        predictor.predict(paths[1])


def test_slow_and_unreadable_files_among_many_keep_their_places(
    predictor: Predictor, awkward_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading ahead, and stopping where too many in a row are unreadable, change neither order nor scores."""
    good = sorted((awkward_dir / "sick").glob("P*.png"))
    alone = {path: predictor.predict(path).y_score for path in good}
    gone = [awkward_dir / f"gone-{number}.png" for number in range(12)]
    paths = [*gone[:8], *good[:9], gone[8], *good[9:], good[0], *gone[9:]]

    def decode_slowly(path: str, **options: Any) -> DecodedImage:
        time.sleep(0.02 * (paths.index(Path(path)) % 3))
        return decode(path, **options)

    monkeypatch.setattr(inputs, "decode", decode_slowly)
    monkeypatch.setattr(room, "_MOST_UNREAD", 3)
    told = Told()
    found = list(predictor.predict_files(paths, told))
    assert [one.path for one in found] == [str(path) for path in paths]
    assert [one.y_score for one in found] == [alone.get(path) for path in paths]
    assert [one.error != "" for one in found] == [path in gone for path in paths]
    assert told.done == list(range(1, len(paths) + 1))
    assert told.total == len(paths)


@pytest.mark.parametrize("readable", [True, False])
def test_a_few_files_are_read_ahead_however_many_there_are(
    predictor: Predictor, awkward_dir: Path, monkeypatch: pytest.MonkeyPatch, readable: bool
) -> None:
    begun: list[str] = []

    def note_and_decode(path: str, **options: Any) -> DecodedImage:
        begun.append(path)
        return decode(path, **options)

    monkeypatch.setattr(inputs, "decode", note_and_decode)
    path = next((awkward_dir / "sick").glob("P*.png")) if readable else awkward_dir / "gone.png"
    found = predictor.predict_files([path] * 50_000)
    most = max(64, 8 * (os.cpu_count() or 1)) + room._ANSWERED_TOGETHER + room._MOST_UNREAD * (not readable)
    for taken in range(1, 4):
        next(found)
        while len(begun) <= taken + 1:  # they are read while nobody asks
            time.sleep(0.001)
        time.sleep(0.1)  # whoever reads without bounds gets far
        assert len(begun) <= taken + most
    found.close()


@pytest.mark.parametrize("end", ["close", "forget", "interrupt"])
def test_no_thread_outlives_an_iterator_that_is_given_up(
    predictor: Predictor, awkward_dir: Path, end: str
) -> None:
    before = set(threading.enumerate())
    paths = sorted(awkward_dir.rglob("*.png")) * 20
    found = predictor.predict_files(paths, Told(interrupt_at=3 if end == "interrupt" else None))
    next(found)
    assert set(threading.enumerate()) > before
    if end == "close":
        found.close()
    elif end == "forget":
        del found
    else:
        with pytest.raises(KeyboardInterrupt):
            list(found)
    assert set(threading.enumerate()) == before
    assert predictor.predict(paths[0]).y_score is not None, "and the network is as good as before"


class Told(Progress):
    """Keeps what it was told; interrupts as Ctrl-C would once so many are done."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.done: list[int] = []
        self.total: int | None = None
        self._interrupt_at = interrupt_at

    @contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[Advance]:
        self.total = total

        def advance(done: int, *, total: int | None = None, **figures: float) -> None:
            self.done.append(done)
            if done == self._interrupt_at:
                raise KeyboardInterrupt

        yield advance


def test_the_bundles_recipe_is_used(predictor: Predictor, holdout_run: Run, awkward_dir: Path) -> None:
    """Bars at the edges, which training did not have, would give another score."""
    path = next((awkward_dir / "sick").glob("P*.png"))
    other = load(holdout_run.directory)
    card = other.bundle.card
    other.bundle.card = card.model_copy(update={"image": card.image.model_copy(update={"fit": "letterbox"})})
    assert other.predict(path).y_score != predictor.predict(path).y_score


def test_prepared_images_are_scored_as_files_are(predictor: Predictor, awkward: Cohort) -> None:
    rows = awkward.included.head(6)
    scores = predictor.score_pixels(load_images(awkward, rows).pixels)
    np.testing.assert_array_equal(
        scores, [predictor.predict(awkward.root / path).y_score for path in rows["path"]]
    )
    assert predictor.score_pixels(np.empty((0, 64, 64, 3), np.uint8)).shape == (0,)


def test_what_stands_for_an_image_goes_through_without_a_score(predictor: Predictor, awkward: Cohort) -> None:
    rows = awkward.included.head(3)
    images: list[PreparedImage | str] = list(prepare_each(awkward, rows))
    expected = predictor.score_pixels(load_images(awkward, rows).pixels)
    images.insert(1, "not read")
    found = list(predictor.score_each(images))
    assert [image for image, _ in found] == images
    np.testing.assert_array_equal([score for _, score in found], np.insert(expected, 1, np.nan))
    found = list(predictor.score_each(["not read", "nor this"]))
    assert [image for image, _ in found] == ["not read", "nor this"]
    assert np.isnan([score for _, score in found]).all()
    assert list(predictor.score_each([])) == []


def test_an_altered_model_is_refused(holdout_run: Run, tmp_path: Path) -> None:
    shutil.copytree(holdout_run.model, tmp_path / "model")
    with (tmp_path / "model" / "model.bin").open("r+b") as file:
        file.seek(1000)
        file.write(b"\x00\x01\x02\x03")
    with pytest.raises(BundleError, match=r"model\.bin is not the file that was saved"):
        load(tmp_path)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        load(tmp_path / "nowhere")


def test_folders_are_searched_and_files_taken_as_given(tree: Callable[..., Path], tmp_path: Path) -> None:
    root = tree(
        "b/2.PNG", "b/1.jpg", "a/deep/er.dcm", "notes.md", ".hidden.png", ".git/x.png", "b/.cache/y.png"
    )
    (tmp_path / "no-suffix").touch()
    found = find_images([tmp_path / "no-suffix", str(root), root / "notes.md"])
    expected = ["no-suffix", "tree/a/deep/er.dcm", "tree/b/1.jpg", "tree/b/2.PNG", "tree/notes.md"]
    assert [path.relative_to(tmp_path).as_posix() for path in found] == expected


def test_a_manifest_beside_folders_of_images_is_not_taken_for_one(
    tree: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    root = tree("sick/1.csv", "healthy/2.png", "manifest.csv", "README.txt")
    names = [path.relative_to(root).as_posix() for path in find_images([root])]
    assert names == ["healthy/2.png", "sick/1.csv"]
    assert "manifest.csv lies beside folders of images" in caplog.text
    caplog.clear()
    names = [path.relative_to(root).as_posix() for path in find_images([root], root / "manifest.csv")]
    assert "manifest.csv" not in caplog.text
    assert "manifest.csv" not in names
    assert "README.txt lies beside folders of images" in caplog.text
    names = [path.name for path in find_images([root / "sick", root / "README.txt"])]
    assert names == ["1.csv", "README.txt"], "where the images lie, and what is named, is taken"
    flat = tree("flat/1.png", "flat/who.csv") / "flat"
    assert [path.name for path in find_images([flat], flat / "who.csv")] == ["1.png"]


def test_linked_folders_are_searched_once(tree: Callable[..., Path], tmp_path: Path) -> None:
    root = tree("sick/1.png")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "2.png").touch()
    (root / "healthy").symlink_to(tmp_path / "elsewhere")
    (root / "sick" / "round").symlink_to(root)
    (root / "gone.png").symlink_to(tmp_path / "nowhere.png")
    found = [path.relative_to(root).as_posix() for path in find_images([root])]
    assert found == ["gone.png", "healthy/2.png", "sick/1.png"]


def test_paths_that_are_not_there_are_told_together(tree: Callable[..., Path], tmp_path: Path) -> None:
    root = tree("1.png")
    with pytest.raises(DataError, match=r"2 of 3 paths do not exist: .*a\.png, .*b\.png"):
        find_images([tmp_path / "a.png", root, tmp_path / "b.png"])
    with pytest.raises(DataError, match="do not exist"):
        find_images(["x" * 5000])
    with pytest.raises(DataError, match="no image file was found in"):
        find_images([tree("empty/notes.md") / "empty"])


@pytest.mark.skipif(os.name != "posix", reason="such names exist on POSIX only")
def test_a_name_that_is_no_text_is_scored_and_printable(
    predictor: Predictor, awkward_dir: Path, tmp_path: Path
) -> None:
    path = tmp_path / os.fsdecode(b"Aufn\xe4hme.png")
    shutil.copy(next((awkward_dir / "sick").glob("P*.png")), path)
    found = predictor.predict(path)
    assert found.y_score is not None
    assert found.path.encode("utf-8").endswith(b"Aufn\\xe4hme.png")


def test_the_table_leaves_empty_what_could_not_be_scored() -> None:
    table = predictions_table(
        [Prediction("a.png", 0.25, 0, "healthy"), Prediction("b.png", None, None, None, "it is empty")]
    )
    assert table.to_csv(index=False) == (
        "path,y_score,y_pred,category,error,decision,prediction_set,distance,novel\n"
        "a.png,0.25,0,healthy,,,,,\nb.png,,,,it is empty,,,,\n"
    )
    assert list(predictions_table([], similar=True))[-1] == "similar"
    assert table["y_pred"].dtype == pd.Int64Dtype()


def test_sixteen_bit_and_colour_are_read_as_in_training(
    predictor: Predictor, awkward_dir: Path, tmp_path: Path
) -> None:
    path = next((awkward_dir / "sick").glob("P*.png"))
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(tmp_path / "colour.png"), cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
    assert predictor.predict(tmp_path / "colour.png").y_score == predictor.predict(path).y_score


def test_a_file_that_is_given_twice_is_taken_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    found = find_images([tmp_path / "b.png", tmp_path, str(tmp_path / "a.png")])
    assert [path.name for path in found] == ["b.png", "a.png"]
    assert "given twice are taken once: 2" in caplog.text
