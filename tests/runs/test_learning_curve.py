"""Subsets of the training patients: nested, whole, stratified, and the largest is the model's own probe."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from breastlens.audit.shortcuts import FitProbe, score_control
from breastlens.cohort.splits import split_folds
from breastlens.evaluation.metrics import auc
from breastlens.progress import Progress
from breastlens.runs import learning_curve as room

GROUPS = np.repeat(np.arange(50), 2)
LABELS = (GROUPS % 5 < 2).astype(np.int64)


def measure(features: np.ndarray, folds: int = 3, groups: np.ndarray = GROUPS) -> tuple[dict, list]:
    held = split_folds(LABELS, groups, folds, 0)
    parts = [(np.flatnonzero(held != fold), np.flatnonzero(held == fold)) for fold in range(folds)]
    patients = [f"p{group}" for group in groups]
    every = np.arange(LABELS.size)
    told = room.measure_learning_curve(
        features, LABELS, groups, parts, every, patients, seed=4, progress=Progress()
    )
    return told, parts


def test_the_auc_grows_and_ends_at_that_of_the_whole_training_part(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[tuple[np.ndarray, np.ndarray]]] = []

    def watch(
        features: np.ndarray, labels: np.ndarray, groups: np.ndarray, parts: list, *, seed: int, fit: FitProbe
    ) -> np.ndarray:
        seen.append(parts)
        return score_control(features, labels, groups, parts, seed=seed, fit=fit)

    monkeypatch.setattr(room, "score_control", watch)
    monkeypatch.setattr(room, "DRAWS", 2)
    generator = np.random.default_rng(0)
    features = generator.normal(size=(100, 6)) + 0.8 * LABELS[:, None]
    told, parts = measure(features)
    whole = score_control(features, LABELS, GROUPS, parts, seed=4)
    assert told["points"][-1]["auc"]["value"] == auc(LABELS, whole)
    assert told["points"][0]["auc"]["value"] < told["points"][-1]["auc"]["value"]
    assert told["unit"] == "patients"
    assert [len(point["values"]) for point in told["points"]] == [2, 2, 2, 2, 2, 1]

    sizes = [point["patients"] for point in told["points"]]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == pytest.approx(50 * 2 / 3)
    assert len(seen) == 11
    for fold in range(3):
        for draw in range(2):
            nested = [set(seen[2 * size + draw][fold][0].tolist()) for size in range(5)]
            nested.append(set(seen[10][fold][0].tolist()))
            assert all(small < large for small, large in itertools.pairwise(nested))
            for rows in nested:
                kept = np.array(sorted(rows))
                assert not rows & set(parts[fold][1].tolist())
                assert np.isin(GROUPS, GROUPS[kept]).sum() == kept.size  # whole patients
                assert LABELS[kept].mean() == pytest.approx(0.4, abs=0.06)
    assert set(seen[0][0][0].tolist()) != set(seen[1][0][0].tolist())
    for each in seen:
        assert [held.tolist() for _, held in each] == [held.tolist() for _, held in parts]


def test_too_few_patients_give_a_reason_and_no_points() -> None:
    told, _ = measure(np.zeros((100, 2)), groups=np.arange(100) // 10 * 2 + LABELS)
    assert told["points"] == []
    assert told["reason"] == "a curve needs at least 12 training patients of either label, and there are 6"
