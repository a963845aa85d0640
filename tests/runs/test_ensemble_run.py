"""A run of several backbones and views: one bundle that scores as its members did, and what the files say of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from breastlens.cohort.records import Cohort
from breastlens.errors import DataError
from breastlens.evaluation.by_patient import score_patients
from breastlens.inference.predictor import Predictor
from breastlens.models.bundle import load_bundle
from breastlens.runs.directory import Run
from breastlens.runs.train import train

MEMBERS = ("mobilenet:0.25", "mobilenetv2:0.35")


@pytest.fixture(scope="module")
def ensemble_run(awkward: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Run:
    pytest.importorskip("keras")
    return train(
        awkward,
        out=tmp_path_factory.mktemp("ensemble") / "run",
        ensemble=MEMBERS,
        ensemble_weights="learnt",
        tta="flip",
        patient_score="max",
        weights="none",
        audit=False,
    )


def test_the_bundle_scores_as_the_probes_did(ensemble_run: Run, awkward: Cohort) -> None:
    told = pd.read_csv(ensemble_run.directory / "predictions.csv").head(8)
    predictor = Predictor(load_bundle(ensemble_run.directory / "model"))
    found = list(predictor.predict_files([awkward.root / path for path in told["path"]]))
    assert [one.y_score for one in found] == pytest.approx(told["y_score"].tolist(), abs=1e-3)


def test_an_image_and_its_mirror_image_have_one_score(ensemble_run: Run) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    engine = load_bundle(ensemble_run.directory / "model").engine
    one, other = engine.run(pixels), engine.run(np.ascontiguousarray(pixels[:, :, ::-1]))
    assert one["score"] == pytest.approx(other["score"], abs=1e-5)
    shown = one["activation_map"]
    assert shown == pytest.approx(
        np.flip(other["activation_map"], axis=-1), abs=float(1e-4 * np.abs(shown).max())
    )


def test_the_files_name_every_member(ensemble_run: Run) -> None:
    told = ensemble_run.facts["backbone"]
    assert told["name"] == "+".join(MEMBERS) == load_bundle(ensemble_run.directory / "model").card.backbone
    assert told["title"] == "MobileNet (alpha 0.25) and MobileNetV2 (alpha 0.35)"
    history = pd.read_csv(ensemble_run.directory / "history.csv")
    assert sorted(history["member"].unique()) == [0, 1]
    assert (history.groupby("member").size() > 1).all()


def test_patients_are_scored_by_their_highest_image(ensemble_run: Run) -> None:
    block = ensemble_run.metrics["test"]["by_patient"]
    assert block["rules"] == {"max": block["n"]}
    point = ensemble_run.facts["patient_score"]
    card = load_bundle(ensemble_run.directory / "model").card
    assert card.patient_point is not None
    assert (card.patient_rule, card.patient_threshold) == ("max", point["threshold"])
    told = pd.read_csv(ensemble_run.directory / "predictions.csv")
    test = told[told["split"] == "test"]
    patients, index = np.unique(test["patient_id"], return_inverse=True)
    truth = test.groupby("patient_id")["y_true"].max().reindex(patients).to_numpy()
    called = score_patients(test["y_score"], index, "max") >= point["threshold"]
    assert block["accuracy"] == pytest.approx(np.mean(called == truth))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ensemble": ("vgg16",)}, "two backbones or more, received vgg16 alone"),
        ({"ensemble": ("vgg16", "vgg16")}, "names a backbone twice"),
        ({"ensemble": ("vgg16", "resnet50"), "strategy": "finetune"}, "are for --strategy probe"),
        ({"tta": "flip", "strategy": "scratch"}, "are for --strategy probe"),
        ({"ensemble_weights": "learnt"}, "needs --ensemble"),
        ({"ensemble": ("vgg16", "resnet50"), "backbone": "vgg19"}, "give one of them"),
        ({"ensemble": ("vgg16", "resnet5")}, "did you mean resnet50"),
        ({"tta": "rotate"}, "tta"),
    ],
)
def test_what_does_not_go_together_is_said_in_one_line(
    awkward: Cohort, tmp_path: Path, settings: dict[str, object], said: str
) -> None:
    with pytest.raises(DataError, match=said) as told:
        train(awkward, out=tmp_path / "run", **settings)
    assert "\n" not in str(told.value)
