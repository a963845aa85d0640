"""Trainings that cannot be done or are cut short: one clear error, and nothing is left."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from breastlens.cohort.records import Cohort
from breastlens.errors import BreastLensError, DataError, RunDirectoryError, SplitError, WeightsError
from breastlens.runs.train import train


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"folds": 1}, "folds: Input should be greater than or equal to 2, received 1"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0, received -1"),
        ({"strategy": "nope"}, "strategy: Input should be 'probe', 'finetune' or 'scratch', received 'nope'"),
        (
            {"split": (0.5, 0.5, 0.5)},
            r"the split takes three positive shares that add up to 1, got 0.5, 0.5, 0.5",
        ),
        ({"epoch": 3}, "epoch: Extra inputs are not permitted, received 3"),
        ({"folds": 1, "seed": -1}, "folds: .*; seed: "),
        ({"augmentation": {"zoom_range": "much"}}, "augmentation: .*received 'much'"),
    ],
)
def test_a_setting_that_is_not_valid_is_named(
    awkward: Cohort, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        train(awkward, out=tmp_path / "run", **settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"backbone": "resnet5"}, BreastLensError, "resnet50"),
        ({"weights": "nowhere.h5"}, WeightsError, r"no weights at nowhere\.h5"),
        ({"folds": 40}, SplitError, "at most 1[0-9] folds would work"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_image_is_read(
    awkward: Cohort,
    quick: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    kind: type[Exception],
    said: str,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("images are read")

    monkeypatch.setattr("breastlens.runs.preparation.inspect_cohort", refuse)
    with pytest.raises(kind, match=said):
        train(awkward, out=tmp_path / "run", **quick | settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a bug of ours")])
def test_a_training_that_is_cut_short_leaves_nothing(
    awkward: Cohort,
    quick: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    def cut_short(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("breastlens.runs.preparation.inspect_cohort", cut_short)
    with pytest.raises(type(error)):
        train(awkward, out=tmp_path / "run", **quick)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_at_the_end_leaves_what_was_trained(
    awkward: Cohort, quick: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("keras")

    def full(path: Path, _: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("breastlens.runs.conduct.write_table", full)
    with pytest.raises(RunDirectoryError) as told:
        train(awkward, out=tmp_path / "run", **quick)
    assert str(told.value) == (
        f"cannot write {tmp_path / 'run'}: no space is left on the disk: free some; choose another --out"
    )
    assert told.value.__notes__ == [
        "What was finished is kept: the same call with resume=True goes on with it"
    ]
    monkeypatch.undo()
    train(awkward, out=tmp_path / "run", resume=True, **quick)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_log_folder_that_is_a_file_is_told(awkward: Cohort, quick: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("")
    with pytest.raises(RunDirectoryError, match=r"--tensorboard .*logs is a file, not a folder"):
        train(
            awkward, out=tmp_path / "run", tensorboard=tmp_path / "logs", **quick | {"strategy": "finetune"}
        )
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]
