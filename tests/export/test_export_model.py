"""An export: kept only if its scores are the bundle's, with all that its user needs beside it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

import breastlens
from breastlens.errors import BundleError, DataError, ExportError, MissingDependencyError, RunDirectoryError
from breastlens.export import formats
from breastlens.export.example import write_example
from breastlens.export.formats import FORMATS
from breastlens.export.model import export_model
from breastlens.inference.predictor import Predictor
from breastlens.models._openvino import import_openvino
from breastlens.models.bundle import load_bundle, save_bundle
from breastlens.models.engine import convert


def run_example(directory, *words):
    """The example of an export as a program."""
    return subprocess.run(
        [sys.executable, directory / "example.py", *words], capture_output=True, text=True, check=False
    )


def score_by_example(directory, image):
    """What the example of an export prints for an image."""
    done = run_example(directory, image)
    assert done.returncode == 0, done.stderr
    score, called = done.stdout.split(maxsplit=1)
    return float(score), called.strip()


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A colour picture that shrinks in one direction and grows in the other."""
    path = tmp_path_factory.mktemp("picture") / "image.png"
    cv2.imwrite(str(path), np.random.default_rng(3).integers(0, 200, (20, 50, 3), dtype=np.uint8))
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_is_whole(name, bundle, picture, tmp_path):
    made = export_model(bundle.directory, name, out=tmp_path / "out", images=[picture])

    facts = json.loads((made.directory / "export.json").read_text(encoding="utf-8"))
    assert facts == made.facts
    files = {
        path.relative_to(made.directory).as_posix() for path in made.directory.rglob("*") if path.is_file()
    }
    assert {"example.py", "prepare.py"} < set(facts["files"])
    assert files == {"export.json", *facts["files"]}
    for path, told in facts["files"].items():
        content = (made.directory / path).read_bytes()
        assert told == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert facts["bundle"]["sha256"] == bundle.version
    assert facts["input"]["shape"] == [None, 32, 32, 3]
    assert facts["output"]["meaning"] == "calibrated probability of positive: sick"
    assert (facts["threshold"], facts["categories"]) == (0.375, ["benign", "healthy", "sick", "unsure"])
    assert facts["check"]["images"] == 1
    assert facts["check"]["largest_difference"] <= 1e-5
    assert facts["check"]["source"] == "1 images that were given"
    assert "research use only" in facts["notice"]
    photograph = tmp_path / "grey.jpg"
    cv2.imwrite(str(photograph), np.random.default_rng(4).integers(0, 256, (61, 45), dtype=np.uint8))
    for path in (picture, photograph):
        expected = Predictor(bundle).predict(path)
        score, called = score_by_example(made.directory, path)
        assert score == pytest.approx(expected.y_score, abs=1e-5)
        assert called == expected.category
    refused = run_example(made.directory, tmp_path / "none.png")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == (
        f"{tmp_path / 'none.png'}: it cannot be read: no such file or directory"
    )
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("batch", [None, 8])
@pytest.mark.parametrize("name", FORMATS)
def test_an_example_has_at_most_15_lines(name, batch, card, tmp_path):
    write_example(tmp_path, name, card, batch)
    described, *lines = filter(None, (tmp_path / "example.py").read_text(encoding="utf-8").splitlines())
    assert described.startswith('"""Score one image')
    assert len(lines) <= 15
    assert max(map(len, lines)) <= 110


def test_a_fixed_batch(bundle, picture, tmp_path):
    made = export_model(bundle.directory, "openvino", out=tmp_path / "out", batch=4, images=[picture])
    assert made.facts["batch"] == 4
    assert made.facts["output"]["shape"] == [4, 1]
    assert score_by_example(made.directory, picture)[0] == pytest.approx(
        Predictor(bundle).predict(picture).y_score, abs=1e-5
    )
    asked = run_example(made.directory)
    assert asked.returncode == 2
    assert asked.stderr.endswith("example.py: error: the following arguments are required: image\n")


def test_other_scores_are_refused_with_the_figure(bundle, picture, tmp_path, monkeypatch):
    honest = FORMATS["openvino"]

    def opened(folder):
        one = honest.open(folder)
        return replace(one, call=lambda images: one.call(images) - 0.0002)

    monkeypatch.setitem(formats.FORMATS, "openvino", replace(honest, open=opened))
    with pytest.raises(
        ExportError, match=r"^refused: in OpenVINO a score differs by 0\.0002 from the bundle, more"
    ):
        export_model(bundle.directory, "openvino", out=tmp_path / "out", images=[picture])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", ["write", "open"])
def test_what_a_converter_or_runtime_cannot_do_is_told_in_one_line(
    broken, bundle, picture, tmp_path, monkeypatch
):
    def fail(*_):
        raise RuntimeError("a long story\nthe operation Foo is unknown\n")

    monkeypatch.setitem(formats.FORMATS, "openvino", replace(FORMATS["openvino"], **{broken: fail}))
    with pytest.raises(ExportError, match=r"openvino: the operation Foo is unknown$") as told:
        export_model(bundle.directory, "openvino", out=tmp_path / "out", images=[picture])
    assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_the_way_out(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(
        formats.importlib.util, "find_spec", lambda module: None if module == "tf2onnx" else 1
    )
    with pytest.raises(MissingDependencyError, match=r"tf2onnx.*pip install 'breastlens\[export\]'"):
        export_model(bundle.directory, "onnx", out=tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"format": "onx"}, DataError, "did you mean onnx"),
        ({"batch": 0}, DataError, "--batch takes free or a number"),
        ({"model": "nowhere"}, BundleError, "no bundle.json in nowhere"),
        ({"images": ["nowhere.png"]}, DataError, "do not exist: nowhere.png"),
    ],
)
def test_wrong_input_is_told(change, error, said, bundle, tmp_path):
    given = {"model": bundle.directory, "format": "openvino", "out": tmp_path / "out"} | change
    with pytest.raises(error, match=said):
        breastlens.export_model(**given)
    assert not (tmp_path / "out").exists()


def test_a_directory_that_is_taken_is_refused(bundle, picture, tmp_path):
    with pytest.raises(RunDirectoryError, match="exists already"):
        export_model(bundle.directory, "openvino", out=picture.parent)


def test_openvino_needs_no_keras_file(bundle, picture, tmp_path):
    import shutil

    shutil.copytree(bundle.directory, tmp_path / "model", ignore=shutil.ignore_patterns("model.keras"))
    assert export_model(
        tmp_path / "model", "openvino", out=tmp_path / "out", images=[picture]
    ).directory.is_dir()
    with pytest.raises(BundleError, match=r"no model\.keras"):
        export_model(tmp_path / "model", "savedmodel", out=tmp_path / "other")


def test_bf16_is_held_to_the_network_in_32_bits(network, card, squares, tmp_path):
    """Its graph is that of 32 bits, and so is what is exported."""
    bundle = save_bundle(
        tmp_path / "model", network, convert(network), card.model_copy(update={"precision": "bf16"})
    )
    for number, square in enumerate(squares):
        cv2.imwrite(str(tmp_path / f"{number}.png"), square[..., ::-1])
    check = export_model(
        bundle.directory, "openvino", out=tmp_path / "out", images=sorted(tmp_path.glob("*.png"))
    ).facts["check"]
    assert check["held_to"] == "the bundle's network computed in 32 bits"
    assert check["largest_difference"] <= 1e-6
    if bundle.engine.precision == "bf16":
        assert check["largest_difference_from_bundle_in_use"] > 1e-5


def test_of_a_trained_model_the_score_alone_is_exported(holdout_run, tmp_path):
    """Its graph gives features and maps, too."""
    made = export_model(holdout_run.directory, "openvino", out=tmp_path / "out")
    graph = import_openvino().Core().read_model(made.directory / "model.xml")
    assert [output.any_name for output in graph.outputs] == ["score"]
    assert {"activation_map", "features"} <= set(load_bundle(holdout_run.model).engine.outputs)
    assert made.facts["check"]["images"] == 64
