"""How often a saved model answers on another set of images, and how its prediction sets hold there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.evaluation.conformal import SET_NAMES, find_sets, score_units
from breastlens.evaluation.inputs import find_units
from breastlens.evaluation.selective import describe_patient_sets, describe_sets, risk_coverage
from breastlens.inference.answer import Answer
from breastlens.models.bundle import BundleCard


def answer_columns(answers: Sequence[Answer]) -> dict[str, Any]:
    """What predictions.csv says of them; nothing where the bundle knows no limits."""
    if any(one.novel is None for one in answers):
        return {}
    return {
        "decision": [one.decision for one in answers],
        "prediction_set": [one.prediction_set for one in answers],
        "distance": [one.distance for one in answers],
        "novel": [int(one.novel is True) for one in answers],
    }


def judge_answers(
    card: BundleCard, predictions: pd.DataFrame, groups: NDArray[np.int64], answers: Sequence[Answer]
) -> dict[str, Any]:
    """``abstention`` and ``novelty`` of metrics.json; nothing where the bundle knows no limits.

    Sets and risk are those of all images, refused ones too: what refusing would bring is seen from both.

    Args:
        card: Of the model.
        predictions: The content of predictions.csv.
        groups: What belongs together where patients are unknown, (n,).
        answers: To its rows.
    """
    limits = card.abstention
    if limits is None or any(one.novel is None for one in answers):
        return {}
    labels, scores = predictions["y_true"].to_numpy(), predictions["y_score"].to_numpy()
    sets = np.array([SET_NAMES.index(str(one.prediction_set)) for one in answers])
    units = find_units(predictions["patient_id"].tolist(), len(labels), groups)
    _, of_patients, joint = score_units(units.index, labels, scores, card.patient_rule)
    patients = None
    if units.count < labels.size:
        patients = describe_patient_sets(find_sets(joint, limits.patients), of_patients)
    return {
        "abstention": {
            "coverage": limits.coverage,
            "chosen_on": limits.chosen_on,
            "images": describe_sets(sets, labels, units),
            "patients": patients,
            "risk_coverage": risk_coverage(labels, scores, np.full(labels.size, card.threshold)),
        },
        "novelty": {
            "method": limits.novelty.method,
            "threshold": limits.novelty.threshold,
            "false_alarms": limits.novelty.false_alarms,
            "asked_false_alarms": limits.novelty.asked_false_alarms,
            "images": len(answers),
            "refused": sum(one.novel is True for one in answers),
            "corruptions": {},
            "methods": {},
        },
    }


def say_refused(answers: Sequence[Answer]) -> list[str]:
    """How many images are unlike those of training, in a sentence; none where there is none."""
    novel = sum(one.novel is True for one in answers)
    if not novel:
        return []
    return [
        f"{novel} of {len(answers)} images are unlike those of training: the model refuses them, their scores say "
        "nothing, and the figures count them."
    ]
