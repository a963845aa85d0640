"""Options with values that cannot be: exit code 2 and one line that names the option, before any image is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from breastlens.cli.options import read_augmentation, read_split
from breastlens.config import Augmentation
from breastlens.errors import DataError

WRONG = [
    (["--split", "0.5,0.5"], "--split takes three shares such as 0.6,0.2,0.2, received '0.5,0.5'"),
    (["--split", "a,b,c"], "--split takes three shares such as 0.6,0.2,0.2, received 'a,b,c'"),
    (
        ["--split", "0.5,0.5,0.5"],
        "the split takes three positive shares that add up to 1, got 0.5, 0.5, 0.5",
    ),
    (
        ["--augment", "nonsense=1"],
        "--augment takes NAME=VALUE or none, received 'nonsense=1'; names: rotation_range, ",
    ),
    (["--augment", "zoom_range"], "--augment takes NAME=VALUE or none, received 'zoom_range'; names: "),
    (["--augment", "rotation_range=much"], "--augment rotation_range: Input should be a valid number"),
    (
        ["--augment", "rotation_range=-3"],
        "--augment rotation_range: Input should be greater than or equal to 0",
    ),
    (["--augment", "zoom_range=a,b"], "--augment zoom_range: "),
    (
        ["--temperature-range", "30", "20"],
        "the temperature range must rise from low to high, got 30 and 20 deg C",
    ),
    (["--image-size", "7"], "--image-size: Input should be greater than or equal to 32, received 7"),
    (["--strategy", "nope"], "--strategy: Input should be 'probe', 'finetune' or 'scratch', received 'nope'"),
    (["--crop", "nope"], "--crop: Input should be 'none' or 'body', received 'nope'"),
    (["--fit", "nope"], "--fit: Input should be 'stretch' or 'letterbox', received 'nope'"),
    (["--folds", "1"], "--folds: Input should be greater than or equal to 2, received 1"),
    (["--seed", "-1"], "--seed: Input should be greater than or equal to 0, received -1"),
    (["--sensitivity", "2"], "--sensitivity: Input should be less than or equal to 1, received 2.0"),
    (["--epochs", "0"], "--epochs: Input should be greater than or equal to 1, received 0"),
    (["--learning-rate", "0"], "--learning-rate: Input should be greater than 0, received 0.0"),
    (
        ["--folds", "1", "--seed", "-1"],
        "--folds: Input should be greater than or equal to 2, received 1; --seed: ",
    ),
    (["--backbone", "resnet5"], "no backbone"),
    (
        ["--weights", "nowhere.h5"],
        "no weights at nowhere.h5: expected 'imagenet', 'none', a weights file, or a folder",
    ),
]


@pytest.mark.parametrize(("options", "said"), WRONG, ids=[" ".join(options) for options, _ in WRONG])
def test_train_refuses(
    run: Callable[..., str], data: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], said: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("images are read")

    monkeypatch.setattr("breastlens.cohort.reading.map_in_order", refuse)
    assert run("train", data, *options).startswith(said)
    assert [path.name for path in data.parent.iterdir()] == ["data"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["describe", "DATA", "--image-size", "7"],
            "--image-size: Input should be greater than or equal to 32",
        ),
        (["describe", "DATA", "--patient-pattern", "("], "--patient-pattern '(' is not a regular expression"),
        (["describe", "DATA", "--exclude-when", "note"], "--exclude-when note names a column of a manifest"),
        (
            ["phantom", "DATA/new", "--format", "gif"],
            "--format: Input should be 'png' or 'matrix', received 'gif'",
        ),
        (
            ["phantom", "DATA/new", "--patients", "1"],
            "--patients: Input should be greater than or equal to 2",
        ),
        (["phantom", "DATA"], "expected a new or empty folder"),
        (["predict", "DATA", "DATA"], "no bundle.json in "),
        (["evaluate", "DATA", "DATA"], "no bundle.json in "),
        (["evaluate", "DATA", "DATA", "--out", "DATA"], "exists already: choose another --out"),
        (["demo", "--out", "DATA"], "exists already: choose another --out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_other_commands_refuse(run: Callable[..., str], data: Path, options: list[str], said: str) -> None:
    assert said in run(*(option.replace("DATA", str(data)) for option in options))
    assert sorted(path.name for path in data.iterdir()) == ["healthy", "sick"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["train", "DATA", "--folds", "three"],
        ["train", "DATA", "--temperature-range", "30"],
        ["train", "DATA", "--no-such-option"],
        ["no-such-command"],
    ],
)
def test_what_typer_refuses_has_the_same_exit_code(
    command: Callable[..., Any], data: Path, arguments: list[str]
) -> None:
    done = command(*(argument.replace("DATA", str(data)) for argument in arguments))
    assert done.code == 2
    assert "Error: " in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def test_shares_are_numbers_in_order() -> None:
    assert read_split("0.7,0.15,0.15") == (0.7, 0.15, 0.15)
    assert read_split("0.7, 0.2, 0.1") == (0.7, 0.2, 0.1)
    with pytest.raises(DataError):
        read_split("0.7,0.15,0.15,")


def test_augmentation_is_read_by_keras_names() -> None:
    assert read_augmentation(None) is None
    assert read_augmentation(["none"]) == Augmentation()
    pairs = ["rotation_range=15", "zoom_range=0.8,1.2", "horizontal_flip=true", "brightness_range=0.9,1.1"]
    assert read_augmentation([*pairs, "fill_mode=reflect"]) == Augmentation(
        rotation_range=15,
        zoom_range=(0.8, 1.2),
        horizontal_flip=True,
        brightness_range=(0.9, 1.1),
        fill_mode="reflect",
    )
    assert read_augmentation(["zoom_range=0.2"]) == Augmentation(zoom_range=0.2)
