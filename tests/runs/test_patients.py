"""The table of a run's patients: their scores are those of the figures, their decisions those of ``predict``."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from breastlens.evaluation.by_patient import PatientPoint
from breastlens.evaluation.conformal import SetLimits
from breastlens.runs.directory import Run
from breastlens.runs.patients import patients_table

LIMITS = SetLimits(negative_up_to=0.4, positive_from=0.3, negatives=9, positives=9)
PREDICTIONS = pd.DataFrame(
    [  # patient, label, score, whether it is refused
        ("q", 1, 0.9, 0),
        ("p", 0, 0.1, 0),
        ("p", 0, 0.9, 1),
        ("mixed", 0, 0.35, 0),
        ("mixed", 1, 0.35, 0),
        ("", 1, 0.8, 0),
        ("gone", 1, 0.2, 1),
    ],
    columns=["patient_id", "y_true", "y_score", "novel"],
).assign(split="test")


def table_of(
    predictions: pd.DataFrame, point: PatientPoint | None, limits: SetLimits | None = LIMITS
) -> pd.DataFrame:
    count = len(predictions)
    found = patients_table(predictions, [0.5] * count, [point] * count, [limits] * count)
    assert found is not None
    return found.set_index("patient_id")


def test_score_and_call_count_all_images_and_the_answer_those_not_refused() -> None:
    found = table_of(PREDICTIONS, None)
    assert found.index.tolist() == ["gone", "mixed", "p", "q"]  # who is unknown is no patient
    assert found["y_score"].tolist() == pytest.approx([0.2, 0.35, 0.5, 0.9])
    assert found["y_pred"].tolist() == [0, 0, 1, 1]
    assert found["y_true"].tolist() == [1, pd.NA, 0, 1]
    assert found["images"].tolist() == [1, 2, 2, 1]
    assert found["refused"].tolist() == [1, 0, 1, 0]
    assert found["decision"].tolist() == ["refused", "refer", "negative", "positive"]
    assert found["prediction_set"].fillna("").tolist() == ["", "both", "negative", "positive"]


def test_the_rule_and_the_threshold_for_patients_decide() -> None:
    found = table_of(PREDICTIONS, PatientPoint("max", 0.95, {}))
    assert found.loc["p", "y_score"] == 0.9
    assert found["y_pred"].tolist() == [0, 0, 0, 0]
    assert found.loc["q", "decision"] == "refer"  # its set says positive and the threshold does not


def test_without_limits_the_threshold_decides_alone() -> None:
    found = table_of(PREDICTIONS.drop(columns="novel"), None, None)
    assert found["decision"].tolist() == ["negative", "negative", "positive", "positive"]
    assert found["prediction_set"].isna().all()
    assert found["refused"].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("names", [["a", "b", "c"], ["", "", ""], ["a", "", ""]])
def test_there_is_no_table_where_no_patient_has_several_images(names: list[str]) -> None:
    few = PREDICTIONS.head(3).assign(patient_id=names)
    assert patients_table(few, [0.5] * 3, [None] * 3, [None] * 3) is None


def test_the_patients_of_a_run_are_those_of_its_figures(holdout_run: Run) -> None:
    patients = holdout_run.patients
    for part in ("test", "validation"):
        rows, block = patients[patients["split"] == part], holdout_run.metrics[part]["by_patient"]
        truth, call = rows["y_true"].to_numpy(int), rows["y_pred"].to_numpy(int)
        matrix = [[int(np.sum((truth == a) & (call == b))) for b in (0, 1)] for a in (0, 1)]
        assert matrix == block["confusion_matrix"]
        assert len(rows) == block["n"]
        assert np.mean((rows["y_score"] - truth) ** 2) == pytest.approx(block["brier"], abs=1e-12)
    assert set(patients["decision"]) <= {"negative", "positive", "refer", "refused"}
    assert patients["images"].sum() == len(holdout_run.predictions)
