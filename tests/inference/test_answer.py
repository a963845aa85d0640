"""What a model answers and whether it should: decisions, refusals, patients, and bundles from before all that."""

import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from breastlens.errors import BundleError, DataError
from breastlens.evaluation.conformal import SetLimits
from breastlens.inference.answer import decide, name_set
from breastlens.inference.patients import name_patients, patients_table, predict_patients
from breastlens.inference.predictor import Prediction, load, predictions_table

LIMITS = SetLimits(negative_up_to=0.4, positive_from=0.6, negatives=50, positives=50)
ACROSS = SetLimits(negative_up_to=0.6, positive_from=0.4, negatives=50, positives=50)


@pytest.mark.parametrize(
    ("score", "threshold", "limits", "expected"),
    [
        (0.2, 0.5, LIMITS, ("negative", "negative")),
        (0.6, 0.5, LIMITS, ("positive", "positive")),
        (0.5, 0.5, LIMITS, ("none", "refer")),
        (0.5, 0.5, ACROSS, ("both", "refer")),
        (0.35, 0.3, LIMITS, ("negative", "refer")),
        (0.65, 0.7, LIMITS, ("positive", "refer")),
    ],
)
def test_a_side_is_decided_where_set_and_threshold_agree(score, threshold, limits, expected):
    name = name_set(score, limits)
    assert (name, decide(name, positive=score >= threshold)) == expected
    assert decide(name, positive=True, novel=True) == "refused"


@pytest.fixture(scope="module")
def predictor(holdout_run):
    return load(holdout_run.directory, similar=3)


@pytest.fixture
def noise(tmp_path):
    path = tmp_path / "P999_noise.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8))
    return path


def test_noise_is_refused_and_its_score_stays(predictor, noise):
    found = predictor.predict(noise)
    assert (found.decision, found.novel) == ("refused", True)
    assert (found.y_pred, found.category, found.prediction_set) == (None, None, None)
    assert 0 <= found.y_score <= 1
    assert found.distance > predictor.bundle.card.abstention.novelty.threshold
    table = predictions_table([found])
    assert table.loc[0, "decision"] == "refused"
    assert pd.isna(table.loc[0, "y_pred"])


def test_training_images_are_found_again_by_number_and_label(predictor, holdout_run, awkward_dir):
    records = holdout_run.records
    row = int(np.flatnonzero(records["split"] == "train")[4])
    nearest, *others = predictor.predict(awkward_dir / records["path"][row]).similar
    assert (nearest.number, nearest.label) == (row + 1, records["label"][row])
    assert nearest.distance < 0.05 * min(one.distance for one in others)
    assert len(others) == 2


def test_the_bundle_names_nobody(predictor, holdout_run):
    with np.load(predictor.bundle.reference_path, allow_pickle=False) as arrays:
        assert {arrays[name].dtype.kind for name in arrays} == {"f", "i"}
    said = json.dumps(predictor.bundle.card.abstention.model_dump())
    assert not any(name in said for name in set(holdout_run.records["patient_id"]) if len(name) > 2)


def test_a_patient_has_the_mean_of_what_was_not_refused(predictor):
    card = predictor.bundle.card.model_copy(update={"threshold": 0.5})
    card = card.model_copy(update={"abstention": card.abstention.model_copy(update={"patients": LIMITS})})
    one = Prediction("a", 0.9, 1, "sick", decision="positive", prediction_set="positive", novel=False)
    images = [
        one,
        replace(one, path="b", y_score=0.5),
        replace(one, path="c", y_score=0.0, novel=True),
        Prediction("d", None, None, None, "it is empty"),
        replace(one, path="e", y_score=0.1, novel=True),
        Prediction("f", None, None, None, "it is empty"),
        replace(one, path="g", y_score=0.5),
    ]
    found = predict_patients(images, ["p", "p", "p", "p", "q", "r", "s"], card)
    table = patients_table(found).set_index("patient_id")
    assert table.loc["p", ["images", "unreadable", "refused"]].tolist() == [4, 1, 1]
    assert table.loc["p", "y_score"] == pytest.approx(0.7)
    assert table["decision"].fillna("").to_dict() == {"p": "positive", "q": "refused", "r": "", "s": "refer"}
    assert table["prediction_set"].fillna("").to_dict() == {"p": "positive", "q": "", "r": "", "s": "none"}
    assert table["y_pred"].isna().to_dict() == {"p": False, "q": True, "r": True, "s": False}


def test_images_of_unknown_patients_stand_alone(predictor):
    images = [Prediction(name, score, None, None) for name, score in (("a", 0.1), ("b", 0.9), ("c", 0.4))]
    found = predict_patients(images, ["", "p", ""], predictor.bundle.card)
    assert [(one.patient_id, one.images, one.y_score) for one in found] == [
        ("", 1, 0.1), ("p", 1, 0.9), ("", 1, 0.4),
    ]  # fmt: skip


def test_patients_are_named_by_a_pattern_or_refused():
    assert name_patients(["x/P01_2.png", "x/P7_1.png"], r"(?P<patient_id>P\d+)_") == ["P01", "P7"]
    with pytest.raises(DataError, match=r"finds no patient in 1 of 2 paths, such as x/none\.png"):
        name_patients(["x/P01_2.png", "x/none.png"], r"(?P<patient_id>P\d+)_")
    with pytest.raises(DataError, match="needs a group named patient_id"):
        name_patients(["x"], r"(P\d+)")
    with pytest.raises(DataError, match="is no regular expression"):
        name_patients(["x"], "(")


def test_a_bundle_from_before_decides_at_the_threshold(holdout_run, awkward_dir, tmp_path):
    old = shutil.copytree(holdout_run.model, tmp_path / "old")
    card = json.loads((old / "bundle.json").read_text())
    del card["abstention"], card["files"]["reference.npz"]
    (old / "reference.npz").unlink()
    (old / "bundle.json").write_text(json.dumps(card))
    path = next((awkward_dir / "sick").glob("P*.png"))
    found, now = load(old).predict(path), load(holdout_run.model).predict(path)
    assert (found.prediction_set, found.distance, found.novel) == (None, None, None)
    assert found.decision == ("negative", "positive")[found.y_pred]
    assert found.y_score == now.y_score


def test_a_bundle_that_lost_its_reference_is_refused(holdout_run, tmp_path):
    lost = shutil.copytree(holdout_run.model, tmp_path / "lost")
    card = json.loads((lost / "bundle.json").read_text())
    del card["files"]["reference.npz"]
    (lost / "bundle.json").write_text(json.dumps(card))
    with pytest.raises(BundleError, match=r"reference\.npz is not the file that was saved"):
        load(lost)


def test_the_run_says_how_it_answers(holdout_run):
    sets, novelty = holdout_run.metrics["abstention"], holdout_run.metrics["novelty"]
    rows = holdout_run.predictions
    test = rows[rows["split"] == "test"]
    assert sets["images"]["n"] == len(test) == novelty["images"]
    counted = test["prediction_set"].value_counts()
    assert {name: count for name, count in sets["images"]["sets"].items() if count} == counted.to_dict()
    assert novelty["refused"] == test["novel"].sum()
    assert (test["novel"] == (test["distance"] > novelty["threshold"])).all()
    assert novelty["corruptions"]["noise"]["auc"] > 0.99
    assert "When it does not answer" in holdout_run.report.read_text(encoding="utf-8")
