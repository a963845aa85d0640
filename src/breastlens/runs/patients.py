"""The table of the patients of a run: what their images say together, and whether that is an answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from breastlens.evaluation.by_patient import PatientPoint, score_patients
from breastlens.evaluation.conformal import SetLimits
from breastlens.evaluation.inputs import find_units
from breastlens.inference.patients import answer_patient


def patients_table(
    predictions: pd.DataFrame,
    thresholds: Sequence[float],
    points: Sequence[PatientPoint | None],
    limits: Sequence[SetLimits | None],
) -> pd.DataFrame | None:
    """Lay out patients.csv.

    Score and call are those that the figures by patient count: of all images, refused ones too. Decision and prediction
    set are what `breastlens predict --patients` answers, which leaves refused images out.

    Args:
        predictions: The content of predictions.csv.
        thresholds: The operating point of each of its images, the same for all images of a patient, (n,).
        points: How the patient of each is scored and called, the same likewise; None: by means.
        limits: And the limits of their prediction set; None where there are none.

    Returns:
        A row a patient in the order of the ids: ``patient_id``, ``split``, ``images``, ``refused``, ``y_true`` (none
        where a patient has images in both classes), ``y_score``, ``y_pred``, ``decision``, ``prediction_set``. None
        where no patient has several images.
    """
    units = find_units(predictions["patient_id"].tolist(), len(predictions))
    if units.patients in (0, int(np.sum(units.index < units.patients))):
        return None
    scores, labels = predictions["y_score"].to_numpy(), predictions["y_true"].to_numpy()
    nobody = np.zeros(len(predictions), dtype=bool)
    novel = predictions["novel"].to_numpy().astype(bool) if "novel" in predictions else nobody
    rows = []
    for own in np.split(np.argsort(units.index, kind="stable"), np.cumsum(np.bincount(units.index))[:-1]):
        first = int(own[0])
        if units.index[first] >= units.patients:
            continue
        point = points[first]
        rule = "mean" if point is None else point.rule
        threshold = float(thresholds[first]) if point is None else point.threshold
        joint = float(score_patients(scores[own], np.zeros(own.size, dtype=np.int64), rule)[0])
        kept = own[~novel[own]]
        answer = answer_patient(scores[kept].tolist(), rule, threshold, limits[first]) if kept.size else None
        rows.append(
            {
                "patient_id": predictions["patient_id"].iloc[first],
                "split": predictions["split"].iloc[first],
                "images": own.size,
                "refused": int(novel[own].sum()),
                "y_true": int(labels[first]) if np.ptp(labels[own]) == 0 else None,
                "y_score": joint,
                "y_pred": int(joint >= threshold),
                "decision": "refused" if answer is None else answer.decision,
                "prediction_set": None if answer is None else answer.prediction_set,
            }
        )
    return pd.DataFrame(rows).astype({"y_true": "Int64"})
