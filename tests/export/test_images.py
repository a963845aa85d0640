"""What an exported file is checked on, and that it is said."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest

from breastlens.config import ImageRecipe
from breastlens.errors import DataError
from breastlens.export.images import choose_images
from breastlens.imaging.decode import decode
from breastlens.imaging.preprocess import preprocess

RECIPE = ImageRecipe(image_size=64)


@pytest.fixture
def run(holdout_run, awkward, tmp_path):
    """The files of a training that name its folder and its images, as the command leaves them."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("records.csv", "metrics.json"):
        shutil.copy(holdout_run.directory / name, folder)
    facts = holdout_run.facts | {"command": ["breastlens", "train", str(awkward.root), "--seed", "0"]}
    (folder / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


def test_validation_comes_first(run, holdout_run, awkward):
    chosen = choose_images(run, (), RECIPE)
    used = holdout_run.records.query("split != ''")
    validation = used[used["split"] == "validation"]
    rest = len(used) - len(validation)
    assert (
        chosen.source == f"images of the run: {len(validation)} of validation and {rest} of training and test"
    )
    assert chosen.pixels.shape == (len(used), 64, 64, 3)
    expected = preprocess(decode(awkward.root / validation["path"].iloc[0]), RECIPE).pixels
    assert np.array_equal(chosen.pixels[0], expected)


def test_images_that_changed_since_are_not_taken(run, holdout_run, awkward, tmp_path):
    copy = shutil.copytree(awkward.root, tmp_path / "copy")
    facts = json.loads((run / "run.json").read_text(encoding="utf-8")) | {"command": ["x", str(copy)]}
    (run / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    used = holdout_run.records.query("split != ''")
    cv2.imwrite(str(copy / used["path"].iloc[0]), np.zeros((9, 9), np.uint8))
    assert len(choose_images(run, (), RECIPE).pixels) == len(used) - 1


def test_without_the_folder_they_are_simulated(holdout_run):
    chosen = choose_images(holdout_run.directory, (), RECIPE)
    assert chosen.source.startswith("32 simulated thermograms and 32 squares of noise, since no image")
    assert chosen.pixels.shape == (64, 64, 64, 3)
    assert len(np.unique(chosen.pixels.reshape(64, -1), axis=0)) == 64


def test_given_images_win_and_unreadable_ones_are_passed_over(run, awkward, tmp_path):
    chosen = choose_images(run, [awkward.root / "sick"], RECIPE)
    readable = len(list((awkward.root / "sick").iterdir())) - 1
    assert chosen.source == f"{readable} images that were given"
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="none of 1 files can be read"):
        choose_images(run, [tmp_path / "broken.png"], RECIPE)
