"""thumbnails.npz: pictures of training images go in and come out by number; anything else is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from breastlens.cohort.records import Cohort
from breastlens.errors import BundleError
from breastlens.inference.predictor import load
from breastlens.inference.reference_file import read_reference
from breastlens.inference.thumbnails import SIDE_PX, pack_thumbnails, read_thumbnails
from breastlens.models.bundle import load_bundle
from breastlens.runs.directory import Run


def test_each_picture_comes_back_under_its_number(tmp_path: Path) -> None:
    pixels = np.stack([np.full((64, 64, 3), (20 * place, 0, 200), np.uint8) for place in range(6)])
    (tmp_path / "t.npz").write_bytes(pack_thumbnails(pixels, np.array([9, 4, 7, 1, 2, 30])))
    found = read_thumbnails(tmp_path / "t.npz")
    assert list(found) == [9, 4, 7, 1, 2, 30]
    for square, picture in zip(pixels, found.values(), strict=True):
        shown = cv2.cvtColor(
            cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB
        )
        assert shown.shape == (SIDE_PX, SIDE_PX, 3)
        assert np.abs(shown.mean(axis=(0, 1)) - square.mean(axis=(0, 1))).max() < 4


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.pop("ends"),
        lambda arrays: arrays.update(ends=arrays["ends"][:-1]),
        lambda arrays: arrays.update(ends=arrays["ends"][::-1]),
        lambda arrays: arrays.update(ends=arrays["ends"] + 1),
        lambda arrays: arrays.update(pictures=arrays["pictures"].reshape(1, -1)),
        lambda arrays: arrays.update(numbers=np.array(["a", "b"])),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    path = tmp_path / "t.npz"
    path.write_bytes(pack_thumbnails(np.zeros((2, 64, 64, 3), np.uint8), np.array([1, 2])))
    with np.load(path) as found:
        arrays = dict(found)
    change(arrays)
    np.savez(path, **arrays)
    with pytest.raises(BundleError, match=r"t\.npz cannot be read"):
        read_thumbnails(path)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"PK", b"nothing"):
        (tmp_path / "t.npz").write_bytes(content)
        with pytest.raises(BundleError, match=r"t\.npz cannot be read"):
            read_thumbnails(tmp_path / "t.npz")
    with pytest.raises(BundleError, match="No such file"):
        read_thumbnails(tmp_path / "none.npz")


@pytest.mark.usefixtures("figures_not_drawn")
def test_a_bundle_has_those_of_its_training_images_only_where_that_was_asked_for(
    holdout_run: Run, awkward: Cohort, quick: dict[str, Any], tmp_path: Path
) -> None:
    from breastlens.runs.train import train

    assert load_bundle(holdout_run.model).thumbnails_path is None
    run = train(awkward, out=tmp_path / "run", command=("breastlens",), thumbnails=True, audit=False, **quick)
    bundle = load_bundle(run.model)
    assert bundle.thumbnails_path is not None
    assert bundle.reference_path is not None
    shown = read_thumbnails(bundle.thumbnails_path)
    assert sorted(shown) == sorted(read_reference(bundle.reference_path).numbers.tolist())
    records = run.records.reset_index(drop=True)
    assert {records["split"][number - 1] for number in shown} == {"train"}
    number = min(shown)
    found = load(run.directory, similar=1).predict(awkward.root / records["path"][number - 1])
    assert found.similar[0].number == number
    (run.model / "thumbnails.npz").write_bytes(b"another")
    with pytest.raises(BundleError, match=r"thumbnails\.npz is not the file"):
        load_bundle(run.model)
