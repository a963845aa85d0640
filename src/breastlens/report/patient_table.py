"""The report's table of patients: what the model says of each, the wrong and the unanswered first."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from breastlens.report.phrasing import count_text, figure_text
from breastlens.report.run_files import RunFiles

MOST_SHOWN = 200
"""How many rows the page has; the table as CSV has all of them."""
_SIDES = ("negative", "positive")


class PatientRow(NamedTuple):
    """One patient, in the words of the page."""

    patient: str
    images: int
    refused: int
    true_label: str
    joint_score: str
    call: str
    call_is_wrong: bool
    decision: str
    decision_is_wrong: bool
    prediction_set: str


def patient_rows(files: RunFiles) -> list[PatientRow]:
    """A row a patient; nothing where no patient has several images, or the run is from before that was recorded.

    First stand those called or decided wrongly, the most confident mistake first; then those that the model does not
    answer; then those whose images stand in both classes; then all others.
    """
    table = files.patients
    if table.empty:
        return []
    sides = (files.facts.labels.negative_name, files.facts.labels.positive_name)
    names = dict(zip(_SIDES, sides, strict=True))
    truth = table["y_true"].map({"0": "negative", "1": "positive"})
    call = table["y_pred"].map({0: "negative", 1: "positive"})
    answered = table["decision"].isin(_SIDES)
    wrong_call = truth.notna() & (truth != call)
    wrong_decision = truth.notna() & answered & (truth != table["decision"])
    wrong = wrong_call | wrong_decision
    order = pd.DataFrame(
        {
            "rank": pd.Series(3, truth.index).mask(truth.isna(), 2).mask(~answered, 1).mask(wrong, 0),
            "sure": -((truth == "positive") - table["y_score"]).abs().where(wrong, 0.0),
            "patient": table["patient_id"],
        }
    ).sort_values(["rank", "sure", "patient"])
    words = {"both": "both", "none": "neither", **names}
    return [
        PatientRow(
            patient=table["patient_id"][row],
            images=int(table["images"][row]),
            refused=int(table["refused"][row]),
            true_label=names.get(truth[row], "both, image by image"),
            joint_score=figure_text(table["y_score"][row]),
            call=names[call[row]],
            call_is_wrong=bool(wrong_call[row]),
            decision=names.get(table["decision"][row], table["decision"][row]),
            decision_is_wrong=bool(wrong_decision[row]),
            prediction_set=words.get(table["prediction_set"][row], table["prediction_set"][row]),
        )
        for row in order.index
    ]


def patients_note(rows: list[PatientRow]) -> str:
    """What the table holds and in which order."""
    wrong = [row.call_is_wrong or row.decision_is_wrong for row in rows]
    unanswered = sum(
        row.decision in ("refer", "refused") and not one for row, one in zip(rows, wrong, strict=True)
    )
    said = f"{sum(wrong):,} wrong first, then {unanswered:,} that the model leaves to somebody else"
    said += f", then the others: {count_text(len(rows), 'patient')} in all."
    if len(rows) > MOST_SHOWN:
        said += f" Shown are the first {MOST_SHOWN:,}; all of them stand in tables/patients.csv."
    return said
