"""Options with values that cannot be: exit code 2 and one line that names the option, before any image is read."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from breastlens.cli.options import (
    gathers_options,
    read_augmentation,
    read_image_recipe,
    read_source,
    read_split,
)
from breastlens.cli.reading import Source
from breastlens.config import Augmentation, ImageRecipe
from breastlens.errors import DataError

WRONG_FOR_BOTH = [
    (
        ["--temperature-range", "30", "20"],
        "--temperature-range must rise from low to high, got 30 and 20 deg C",
    ),
    (["--image-size", "7"], "--image-size: Input should be greater than or equal to 32, received 7"),
    (["--crop", "nope"], "--crop: Input should be 'none' or 'body', received 'nope'"),
    (["--fit", "nope"], "--fit: Input should be 'stretch' or 'letterbox', received 'nope'"),
    (["--normalise", "nope"], "--normalise: Input should be 'none' or 'per-image', received 'nope'"),
    (["--folds", "1"], "--folds: Input should be greater than or equal to 2, received 1"),
    (["--seed", "-1"], "--seed: Input should be greater than or equal to 0, received -1"),
    (
        ["--folds", "1", "--seed", "-1"],
        "--folds: Input should be greater than or equal to 2, received 1; --seed: ",
    ),
    (["--backbone", "resnet5"], "no backbone"),
    (["--cache-limit", "-1"], "--cache-limit takes gigabytes, 0 or more, received -1"),
    (["--cache-limit", "nan"], "--cache-limit takes gigabytes, 0 or more, received nan"),
    (
        ["--weights", "nowhere.h5"],
        "no weights at nowhere.h5: expected 'imagenet', 'none', a weights file, or a folder",
    ),
]
WRONG = [
    *WRONG_FOR_BOTH,
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
    (["--strategy", "nope"], "--strategy: Input should be 'probe', 'finetune' or 'scratch', received 'nope'"),
    (["--sensitivity", "2"], "--sensitivity: Input should be less than or equal to 1, received 2.0"),
    (["--epochs", "0"], "--epochs: Input should be greater than or equal to 1, received 0"),
    (["--learning-rate", "0"], "--learning-rate: Input should be greater than 0, received 0.0"),
]


@pytest.fixture
def no_image_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("images are read")

    monkeypatch.setattr("breastlens.cohort.reading.map_in_order", refuse)


@pytest.mark.usefixtures("no_image_is_read")
@pytest.mark.parametrize(
    ("command_name", "options", "said"),
    [("train", *wrong) for wrong in WRONG] + [("audit", *wrong) for wrong in WRONG_FOR_BOTH],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_train_and_audit_refuse(
    run: Callable[..., str], data: Path, command_name: str, options: list[str], said: str
) -> None:
    assert run(command_name, data, *options).startswith(said)
    assert [path.name for path in data.parent.iterdir()] == ["data"]


@pytest.mark.usefixtures("no_image_is_read")
@pytest.mark.parametrize(("also", "most"), [([], 15), (["--hide-border"], 13)])
def test_audit_refuses_a_border_as_wide_as_the_image(
    run: Callable[..., str], data: Path, also: list[str], most: int
) -> None:
    said = run("audit", data, "--image-size", "32", "--border", "16", *also)
    assert said.startswith("the border has 16 px on either side, which is all of an image of 32 px")
    assert said.endswith(f"expected at most {most}")


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
            ["train", "DATA", "--ensemble", ","],
            "--ensemble takes names with commas between them, received ','",
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


def test_every_way_of_preparing_images_is_an_option() -> None:
    assert set(inspect.signature(read_image_recipe).parameters) == set(ImageRecipe.model_fields)
    assert read_image_recipe() == ImageRecipe()


EVERY = [
    "--image-size",
    "64",
    "--fit",
    "letterbox",
    "--crop",
    "body",
    "--hide-marks",
    "--normalise",
    "per-image",
]
EVERY += ["--hide-border", "--temperature-range", "22", "36"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ImageRecipe()),
        (
            EVERY,
            ImageRecipe(
                image_size=64,
                fit="letterbox",
                crop="body",
                hide_marks=True,
                normalise="per-image",
                hide_border=True,
                temperature_range=(22.0, 36.0),
            ),
        ),
    ],
)
@pytest.mark.parametrize("command_name", ["train", "audit"])
def test_options_reach_the_images(
    command: Callable[..., Any],
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    command_name: str,
    options: list[str],
    expected: ImageRecipe,
) -> None:
    given: list[ImageRecipe] = []

    def stop(*_: object, image: ImageRecipe, **__: object) -> None:
        given.append(image)
        raise DataError("enough")

    monkeypatch.setattr("breastlens.cohort.records.Cohort.read", stop)
    assert command(command_name, data, *options).code == 2
    assert given == [expected]


def test_the_options_stand_in_the_place_of_the_argument() -> None:
    def command(data: Path, *, image: ImageRecipe, seed: int = 0) -> None:
        told.append((data, image, seed))

    told: list[tuple[Path, ImageRecipe, int]] = []
    wrapped = gathers_options(command)
    assert list(inspect.signature(wrapped).parameters) == ["data", *ImageRecipe.model_fields, "seed"]
    defaults = {
        name: option.default for name, option in inspect.signature(read_image_recipe).parameters.items()
    }
    wrapped(data=Path("here"), seed=3, **(defaults | {"image_size": 64}))
    assert told == [(Path("here"), ImageRecipe(image_size=64), 3)]


def test_so_do_those_that_say_what_the_images_are() -> None:
    def command(data: Path, *, source: Source, seed: int = 0) -> None:
        told.append(source)

    told: list[Source] = []
    wrapped = gathers_options(command)
    asked = inspect.signature(read_source).parameters
    assert list(inspect.signature(wrapped).parameters) == ["data", *asked, "seed"]
    defaults = {name: option.default for name, option in asked.items()}
    wrapped(data=Path("here"), seed=3, **defaults)
    wrapped(data=Path("here"), seed=3, **(defaults | {"positive": ["ill"], "exclude_when": ["note"]}))
    assert told == [
        Source(None, None, ("sick",), (), (), every_frame=False),
        Source(None, None, ("ill",), (), ("note",), every_frame=False),
    ]
