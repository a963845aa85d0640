"""Negative controls: the score of a model that was denied the breast, on the same patients and parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.evaluation.intervals import paired_difference
from breastlens.evaluation.metrics import evaluate_scores
from breastlens.training.probe import fit_probe

BORDER_SHARE = 8 / 128
"""Width of the border that the control is left with, as a share of the image's side."""


def border_width(image_size: int) -> int:
    """Width in pixels of the border ring for images of this side: 8 of 128."""
    return max(1, round(BORDER_SHARE * image_size))


def keep_border(pixels: NDArray[np.uint8], width_px: int) -> NDArray[np.uint8]:
    """Black out all but a ring at the border.

    Args:
        pixels: uint8 (n, s, s, 3).
        width_px: Width of the ring, at least 1 and less than half the side.

    Returns:
        A copy, uint8 (n, s, s, 3).
    """
    side = pixels.shape[1]
    if not 1 <= width_px < side / 2:
        raise ValueError(
            f"expected a border of 1 to {(side - 1) // 2} px for images of {side} px, received {width_px}"
        )
    ring = pixels.copy()
    ring[:, width_px:-width_px, width_px:-width_px] = 0
    return ring


def score_control(
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    parts: Sequence[tuple[NDArray[np.integer], NDArray[np.integer]]],
    *,
    seed: int,
    on_done: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """Train the control's probe on each part's training rows and score the rows held out, as for the real model.

    Args:
        features: Of the images that were blacked out, (n, d).
        labels: 0 or 1, (n,).
        groups: What stays together, (n,).
        parts: Pairs of training rows and held-out rows.
        seed: As for the real model.
        on_done: Told how many parts are finished.

    Returns:
        Calibrated probability of positive, (n,); NaN for rows in no held-out part.
    """
    scores = np.full(labels.size, np.nan)
    for number, (train, held_out) in enumerate(parts, start=1):
        scores[held_out] = fit_probe(features[train], labels[train], groups[train], seed=seed).scores(
            features[held_out]
        )
        if on_done is not None:
            on_done(number)
    return scores


def describe_control(
    what: str,
    y_true: NDArray[np.integer],
    y_score: NDArray[np.floating],
    control_score: NDArray[np.floating],
    patient_id: list[str],
) -> dict[str, Any]:
    """Hold a control against the real model on the same images.

    Args:
        what: One sentence: what the control saw.
        y_true: 0 or 1, (n,).
        y_score: The real model's scores, (n,).
        control_score: The control's scores, (n,).
        patient_id: "" where unknown.

    Returns:
        ``what``, ``auc``, ``low``, ``high`` of the control, and ``margin``: the real model's AUC minus the control's,
        with a paired bootstrap interval over patients.
    """
    block = evaluate_scores(y_true, control_score, 0.5, patient_id)
    interval = block["intervals"].get("auc", {})
    return {
        "what": what,
        "auc": block["auc"],
        "low": interval.get("low"),
        "high": interval.get("high"),
        "level": interval.get("level"),
        "method": interval.get("method"),
        "margin": paired_difference(y_true, y_score, control_score, patient_id),
    }
