"""A model with all that a training can put into its graph: members, views, sides, crop, bends and 8-bit integers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from breastlens.cohort.records import Cohort
from breastlens.config import ImageRecipe
from breastlens.evaluation.calibration import fit_calibration
from breastlens.export.formats import FORMATS
from breastlens.export.model import export_model
from breastlens.imaging.decode import decode
from breastlens.imaging.preprocess import preprocess
from breastlens.models.bundle import load_bundle
from breastlens.models.quantise import can_quantise
from breastlens.runs.directory import Run
from breastlens.runs.train import train
from breastlens.training import ensemble


@pytest.fixture(scope="module")
def combined(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two backbones, ten views, left against right, cropped, bent; in int8 where that can be made."""
    pytest.importorskip("keras")
    cohort = Cohort.read(
        phantom_dir, manifest=phantom_dir / "manifest.csv", image=ImageRecipe(image_size=32, crop="body")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ensemble, "choose_calibration", lambda raw, labels, *_: fit_calibration("isotonic", raw, labels)
        )
        return train(
            cohort,
            out=tmp_path_factory.mktemp("combined") / "run",
            command=("breastlens", "train", str(phantom_dir)),
            ensemble=("mobilenet:0.25", "mobilenetv2:0.35"),
            tta="flip-shift",
            pooling="sides",
            precision="int8" if can_quantise() else "fp32",
            weights="none",
            audit=False,
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_it_is_exported_whole(name: str, combined: Run, phantom_dir: Path, tmp_path: Path) -> None:
    card = load_bundle(combined.model).card
    assert card.calibration.knots
    made = export_model(combined.directory, name, out=tmp_path / "out")
    told = json.loads((made.directory / "export.json").read_text(encoding="utf-8"))
    check = told["check"]
    assert check["source"] == "images of the run: 12 of validation and 48 of training and test"
    assert check["largest_difference"] <= 1e-4
    quantised = card.precision == "int8"
    assert told["precision"] == ("int8" if quantised and name == "openvino" else "fp32")
    if quantised and name != "openvino":
        assert check["held_to"] == "the network in 32 bits that the bundle's int8 was made of"
        assert check["largest_difference_from_bundle_in_use"] > check["largest_difference"]
    else:
        assert check["held_to"] == "the bundle"
    assert told["preprocessing"]["more_than_resizing"] == ["cropping to the body"]
    # a square that BreastLens prepared, through the opened file once more
    square = preprocess(decode(next((phantom_dir / "sick").glob("*.png"))), card.image).pixels
    opened = FORMATS[name].open(made.directory)
    assert 0 <= opened.score(np.stack([square]), None)[0] <= 1
