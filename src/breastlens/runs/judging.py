"""One judged part's block of metrics.json: metrics, calibration, operating points and the decision curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.evaluation.by_patient import PatientPoint
from breastlens.evaluation.decisions import assess_operating_point, decision_curve
from breastlens.evaluation.metrics import evaluate_scores
from breastlens.evaluation.reliability import assess_calibration
from breastlens.evaluation.thresholds import OperatingPoint


def judge(
    y_true: NDArray[np.integer],
    y_score: NDArray[np.float64],
    raw_logit: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    points: Sequence[OperatingPoint],
    patient_id: Sequence[str],
    *,
    linked: NDArray[np.integer],
    prevalence: float | None,
    trained_at: float | None,
    patient_points: Sequence[PatientPoint | None] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """Judge the scores of a part.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score: Calibrated scores, (n,).
        raw_logit: Log-odds before calibration, (n,).
        thresholds: Of each operating point for each image, (points, n).
        points: What they are, the one in use first.
        patient_id: Patient of each image.
        linked: Which images without a patient belong together, (n,).
        prevalence: Of those to be screened; None leaves that out.
        trained_at: The prevalence that the scores are made for; None where a model does not know it.
        patient_points: For each image how its patient is scored and called; empty or None: by means.
        seed: Of the draws.
    """
    of_patients: dict[str, Any] = {"linked": linked, "seed": seed}
    block = evaluate_scores(
        y_true, y_score, thresholds[0], patient_id, patient_points=patient_points, **of_patients
    )
    block["calibration"] = assess_calibration(y_true, y_score, raw_logit, patient_id, **of_patients)
    block["operating_points"] = [
        {
            "rule": point.rule,
            "in_use": number == 0,
            "threshold": float(own[0]) if np.ptp(own) == 0 else None,
            "threshold_range": [float(own.min()), float(own.max())],
            "threshold_interval": {
                "value": point.threshold,
                "low": point.low,
                "high": point.high,
                "level": 0.95,
            }
            if np.ptp(own) == 0
            else None,
            **assess_operating_point(y_true, y_score, own, patient_id, prevalence=prevalence, **of_patients),
        }
        for number, (point, own) in enumerate(zip(points, thresholds, strict=True))
    ]
    block["decision_curve"] = decision_curve(
        y_true, y_score, patient_id, prevalence=prevalence, trained_at=trained_at, **of_patients
    )
    block["prevalence"] = {"stated": prevalence, "trained_at": trained_at}
    return block
