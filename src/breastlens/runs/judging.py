"""The blocks of metrics.json: of each judged part metrics, calibration, operating points and the decision curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.evaluation.by_patient import PatientPoint
from breastlens.evaluation.decisions import assess_operating_point, decision_curve
from breastlens.evaluation.metrics import evaluate_scores
from breastlens.evaluation.reliability import assess_calibration
from breastlens.evaluation.stratified import stratified_auc
from breastlens.evaluation.thresholds import OperatingPoint
from breastlens.runs.material import Material
from breastlens.runs.outcome import Outcome


def judge(
    y_true: NDArray[np.integer],
    y_score: NDArray[np.float64],
    raw_logit: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    points: Sequence[Sequence[OperatingPoint]],
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
        points: What they are, the one in use first, of each training that gave some of the scores.
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
            # that a target was not reached is said where no training reached it
            "rule": min((each.rule for each in chosen), key=len),
            "in_use": number == 0,
            "threshold": float(own[0]) if np.ptp(own) == 0 else None,
            "threshold_range": [float(own.min()), float(own.max())],
            "threshold_interval": _threshold_interval(chosen),
            **assess_operating_point(y_true, y_score, own, patient_id, prevalence=prevalence, **of_patients),
        }
        for number, (chosen, own) in enumerate(zip(zip(*points, strict=True), thresholds, strict=True))
    ]
    block["decision_curve"] = decision_curve(
        y_true, y_score, patient_id, prevalence=prevalence, trained_at=trained_at, **of_patients
    )
    block["prevalence"] = {"stated": prevalence, "trained_at": trained_at}
    return block


def _threshold_interval(chosen: Sequence[OperatingPoint]) -> dict[str, Any]:
    """The interval of one threshold; of several, each chosen by a training of its own, all that theirs span."""
    ends = [(each.low, each.high) for each in chosen if each.low is not None and each.high is not None]
    known = len(ends) == len(chosen)
    return {
        "value": chosen[0].threshold if len(chosen) == 1 else None,
        "low": min(low for low, _ in ends) if known else None,
        "high": max(high for _, high in ends) if known else None,
        "level": 0.95,
    }


def judge_outcome(
    material: Material, outcome: Outcome, predictions: pd.DataFrame, trained_at: float
) -> dict[str, Any]:
    """Judge a training where it was not trained: the test part and validation, or all images out of fold.

    Args:
        material: What was trained on.
        outcome: What was trained.
        predictions: Its held-out scores, in the order of ``outcome.scored``.
        trained_at: The prevalence that the scores are made for.

    Returns:
        ``test`` and ``validation``, or ``out_of_fold`` and ``within_folds``.
    """
    linked, seed = material.groups[outcome.scored], material.recipe.seed

    def block(rows: NDArray[np.bool_]) -> dict[str, Any]:
        part = predictions[rows]
        return judge(
            part["y_true"].to_numpy(),
            part["y_score"].to_numpy(),
            outcome.raw_logit[rows],
            outcome.operating_points[:, rows],
            outcome.chosen_points,
            part["patient_id"].tolist(),
            linked=linked[rows],
            prevalence=material.recipe.prevalence,
            trained_at=trained_at,
            patient_points=[outcome.patient_points[row] for row in np.flatnonzero(rows)],
            seed=seed,
        )

    split = predictions["split"].to_numpy()
    if material.kind == "folds":
        within = stratified_auc(
            predictions["y_true"].to_numpy(),
            predictions["y_score"].to_numpy(),
            split.tolist(),
            predictions["patient_id"].tolist(),
            linked=linked,
            seed=seed,
        )
        return {"out_of_fold": block(np.ones(len(split), dtype=bool)), "within_folds": within}
    return {"test": block(split == "test"), "validation": block(split == "validation")}
