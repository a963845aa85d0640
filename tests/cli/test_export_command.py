"""What export answers, to people and to programs."""

from __future__ import annotations

import json

import pytest


def test_it_says_what_was_compared_and_where_it_lies(command, holdout_run, tmp_path) -> None:
    done = command("export", holdout_run.directory, "--format", "openvino", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("OpenVINO gives the scores of the bundle: the largest difference is ")
    assert lines[0].endswith("since no image of the training could be reached).")
    assert lines[1].startswith("Not exported: refusing images unlike those of training")
    assert lines[2] == f"Export: {tmp_path / 'out'}"
    assert lines[3].startswith("Research use only.")


def test_json_holds_what_the_file_does(command, holdout_run, phantom_dir, tmp_path) -> None:
    done = command(
        "export", holdout_run.directory, "--format", "openvino", "--out", tmp_path / "out",
        "--batch", "2", "--images", phantom_dir / "sick", "--json",
    )  # fmt: skip
    told = json.loads(done.out)
    assert told["export"] == str(tmp_path / "out")
    assert told["facts"] == json.loads((tmp_path / "out" / "export.json").read_text(encoding="utf-8"))
    assert told["facts"]["check"]["source"] == "30 images that were given"
    assert told["facts"]["batch"] == 2


BATCH = "--batch takes free or a number of images, 1 or more, received "


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["onx"], "no format is called 'onx'; did you mean onnx? Known: onnx, openvino, litert, savedmodel"),
        (["onnx", "--batch", "many"], f"{BATCH}'many'"),
        (["onnx", "--batch", "0"], f"{BATCH}0"),
    ],
)
def test_wrong_options(run, tmp_path, options, said) -> None:
    assert run("export", tmp_path, "--format", *options) == said
