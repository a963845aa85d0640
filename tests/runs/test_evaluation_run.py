"""A saved model on other patients: its own threshold, its own way of preparing images, and figures to be had again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as reference

from breastlens.cohort.records import Cohort
from breastlens.config import LabelMap
from breastlens.errors import DataError
from breastlens.imaging.phantom import PhantomSettings, write_cohort
from breastlens.inference.patients import predict_patients
from breastlens.inference.predictor import Predictor, load
from breastlens.runs.directory import Run
from breastlens.runs.evaluate import evaluate

FILES = {
    "run.json", "records.csv", "predictions.csv", "patients.csv", "metrics.json", "report.html",
    *(f"figures/{name}.png" for name in ("confusion_matrix", "roc", "precision_recall", "scores", "most_wrong")),
    "figures/reliability.png", "figures/decision_curve.png",
    "figures/risk_coverage.png", "figures/distances.png",
}  # fmt: skip


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Ten other simulated patients, read with another recipe than the model's."""
    folder = tmp_path_factory.mktemp("others") / "images"
    return Cohort.read(folder, manifest=write_cohort(folder, PhantomSettings(patients=10, seed=9)))


@pytest.fixture(scope="module")
def predictor(holdout_run: Run) -> Predictor:
    return load(holdout_run.directory)


@pytest.fixture(scope="module")
def evaluation(predictor: Predictor, others: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return evaluate(
        predictor, others, out=tmp_path_factory.mktemp("evaluation") / "run", command=("breastlens",)
    )


def test_it_leaves_a_run_without_a_model(evaluation: Run) -> None:
    found = {path.relative_to(evaluation.directory).as_posix() for path in evaluation.directory.rglob("*.*")}
    companions = {name for name in found if name.startswith(("tables/", "checklists."))}
    assert {"tables/metrics_external.csv", "tables/flow.csv", "checklists.html"} <= companions
    assert {name for name in found - companions if not name.endswith("figures")} == FILES
    assert set(evaluation.metrics) == {"external", "abstention", "novelty"}
    assert evaluation.facts["kind"] == "evaluation"
    assert set(evaluation.records["split"]) == {"external"}


def test_images_are_prepared_as_the_model_was_trained(
    evaluation: Run, predictor: Predictor, others: Cohort
) -> None:
    """The cohort was read for 128x128; the model takes 64x64, and its recipe is the one that counts."""
    assert evaluation.facts["image"] == predictor.bundle.card.image.model_dump(mode="json")
    assert set(evaluation.records["image_size"]) == {"64x64"}
    paths = [others.root / path for path in evaluation.predictions["path"]]
    alone = [one.y_score for one in predictor.predict_files(paths)]
    np.testing.assert_array_equal(evaluation.predictions["y_score"], alone)


def test_the_stored_threshold_is_used_and_every_figure_can_be_had_again(
    evaluation: Run, holdout_run: Run
) -> None:
    threshold = holdout_run.facts["operating_point"]["threshold"]
    rows, block = evaluation.predictions, evaluation.metrics["external"]
    assert len(rows) == 20
    assert block["threshold"] == evaluation.facts["operating_point"]["threshold"] == threshold
    assert (rows["y_pred"] == (rows["y_score"] >= threshold)).all()
    y_true, y_pred = rows["y_true"].to_numpy(int), rows["y_pred"].to_numpy(int)
    assert block["auc"] == pytest.approx(reference.roc_auc_score(y_true, rows["y_score"]), abs=1e-12)
    assert block["accuracy"] == pytest.approx(reference.accuracy_score(y_true, y_pred), abs=1e-12)
    assert block["confusion_matrix"] == reference.confusion_matrix(y_true, y_pred).tolist()
    assert block["patients"] == 10


def test_patients_are_answered_as_predict_answers_them(
    evaluation: Run, others: Cohort, predictor: Predictor
) -> None:
    rows, found = evaluation.predictions, evaluation.patients
    predictions = predictor.predict_files([others.root / path for path in rows["path"]])
    told = predict_patients(predictions, rows["patient_id"].tolist(), predictor.bundle.card)
    expected = {
        one.patient_id: (one.images, one.refused, one.decision, one.prediction_set or "") for one in told
    }
    columns = found[["images", "refused", "decision", "prediction_set"]].itertuples(index=False, name=None)
    assert dict(zip(found["patient_id"], columns, strict=True)) == expected
    assert len(expected) == 10
    unrefused = {one.patient_id: one for one in told if not one.refused}
    for row in found.itertuples():
        if row.patient_id in unrefused:
            assert row.y_score == unrefused[row.patient_id].y_score
            assert row.y_pred == unrefused[row.patient_id].y_pred


@pytest.mark.parametrize(
    ("label", "lacking", "word"),
    [(1, ("specificity", "npv"), "no negative image"), (0, ("sensitivity", "ppv"), "no positive image")],
)
def test_one_category_alone_gives_null_with_the_reason(
    predictor: Predictor, others: Cohort, tmp_path: Path, label: int, lacking: tuple[str, ...], word: str
) -> None:
    table = others.table.copy()
    table.loc[table["label"] != label, "excluded"] = "not wanted"
    run = evaluate(predictor, dataclasses.replace(others, table=table), out=tmp_path / "run")
    block = json.loads((run.directory / "metrics.json").read_text())["external"]
    for name in ("auc", "average_precision", "balanced_accuracy", "mcc", "roc", lacking[0]):
        assert block[name] is None, name
        assert word in block["reasons"][name]
    assert block["accuracy"] is not None
    assert sum(map(sum, block["confusion_matrix"])) == block["n"] == len(run.predictions)
    assert word in run.report.read_text()


def test_labels_turned_round_are_refused(predictor: Predictor, others: Cohort, tmp_path: Path) -> None:
    turned = dataclasses.replace(others, labels=LabelMap(positive=("healthy",), negative=("sick",)))
    with pytest.raises(DataError, match="healthy, sick would stand on the other side than in training"):
        evaluate(predictor, turned, out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_the_report_says_what_it_cannot_know(evaluation: Run) -> None:
    page = evaluation.report.read_text()
    assert "that were given for evaluation" in page
    assert "No negative control was run" in page
