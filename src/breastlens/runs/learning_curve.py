"""Probes that learnt from fewer of the training patients, judged on the same held-out ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.audit.shortcuts import FitProbe, Parts, Rows, score_control
from breastlens.evaluation.learning_curve import evaluate_learning_curve
from breastlens.progress import Progress
from breastlens.training.probe import fit_probe

SIZES = 6
"""How many sizes are tried, in equal steps of the logarithm up to all training patients."""

DRAWS = 5
"""How often the training patients of a size are drawn; all of them are one draw."""

FEWEST = 8
"""The smallest size has so many patients of the rarer label, so that inner folds can still choose a strength."""

NEEDED = 12
"""With fewer patients of the rarer label to learn from, the sizes would hardly differ."""


def measure_learning_curve(
    features: NDArray[np.floating],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    parts: Parts,
    judged: Rows,
    patient_id: Sequence[str],
    *,
    seed: int,
    progress: Progress,
    fit: FitProbe = fit_probe,
) -> dict[str, Any]:
    """The AUC of a probe against the number of patients it learnt from, its choices made among these alone.

    In each draw the training patients of each part are put into an order, the two labels apart; a size takes the first
    of either, in proportion. So smaller sizes are contained in larger ones, and all are judged on the same images.

    Args:
        features: Of all images, (n, d).
        labels: 0 or 1, (n,).
        groups: What stays together, (n,).
        parts: Pairs of training rows and held-out rows.
        judged: The held-out rows that count.
        patient_id: Patient of each of these, "" where unknown.
        seed: As for the model itself, whose probe the largest size is.
        progress: Where to tell how far it is.
        fit: What is trained: as many probes as the model has.

    Returns:
        As ``evaluate_learning_curve``, with ``unit``: what is counted, ``patients`` or ``images``.
    """
    trains = [train for train, _ in parts]
    fewest = min(_rarer(labels[train], groups[train]) for train in trains)
    unit = "patients" if any(patient_id) else "images"
    if fewest < NEEDED:
        reason = f"a curve needs at least {NEEDED} training {unit} of either label, and there are {fewest}"
        return {"unit": unit, "points": [], "fit": None, "twice": None, "reason": reason}
    shares = np.geomspace(FEWEST / fewest, 1.0, SIZES)
    counts = np.zeros(SIZES)
    scores: list[list[NDArray[np.float64]]] = []
    with progress.task("learning curve", SIZES) as advance:
        for place, share in enumerate(shares):
            scores.append([])
            for draw in range(DRAWS if share < 1 else 1):
                drawn = [
                    (_take(train, labels, groups, float(share), [seed, draw, number]), held)
                    for number, (train, held) in enumerate(parts)
                ]
                counts[place] = np.mean([np.unique(groups[train]).size for train, _ in drawn])
                found = score_control(features, labels, groups, drawn, seed=seed, fit=fit)
                scores[-1].append(found[judged])
            advance(place + 1)
    told = evaluate_learning_curve(
        labels[judged], counts.tolist(), scores, patient_id, linked=groups[judged], seed=seed
    )
    return {"unit": unit} | told


def _take(
    train: Rows, labels: NDArray[np.int64], groups: NDArray[np.int64], share: float, seed: list[int]
) -> Rows:
    """Those training rows that are of a share of the groups, in a random order that a larger share prolongs."""
    if share >= 1:
        return train
    names, place = np.unique(groups[train], return_inverse=True)
    positive = np.bincount(place, labels[train]) > 0
    generator = np.random.default_rng([*seed, 0x1C])
    kept = np.zeros(names.size, dtype=bool)
    for members in (np.flatnonzero(positive), np.flatnonzero(~positive)):
        order = generator.permutation(members)
        kept[order[: max(2, round(share * members.size))]] = True
    return train[kept[place]]


def _rarer(labels: NDArray[np.int64], groups: NDArray[np.int64]) -> int:
    """Groups with an image of the rarer label."""
    return min(np.unique(groups[labels == label]).size for label in (0, 1))
