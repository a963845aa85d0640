"""Negative controls: what the denied model sees, and that it is judged on held-out images only."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from breastlens.audit.shortcuts import border_width, describe_control, score_control
from breastlens.imaging.occlusions import keep_border
from breastlens.training.probe import fit_probe


@pytest.fixture
def cohort() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (80, 12) of which the first tells the label a little, labels, and two images a patient."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(40) % 2, 2)
    features = generator.gamma(2.0, 1.0, (80, 12))
    features[:, 0] += 0.7 * labels
    return features.astype(np.float32), labels, np.repeat(np.arange(40), 2)


@pytest.mark.parametrize(("size", "width"), [(128, 8), (224, 14), (64, 4), (100, 6), (32, 2), (8, 1)])
def test_the_border_is_a_sixteenth_of_the_side(size: int, width: int) -> None:
    assert border_width(size) == width


@pytest.mark.parametrize(("side", "width"), [(8, 1), (9, 4), (16, 3)])
def test_only_the_ring_is_left(side: int, width: int) -> None:
    pixels = np.random.default_rng(1).integers(1, 256, (3, side, side, 3), dtype=np.uint8)
    before = pixels.copy()
    ring = keep_border(pixels, width)
    rows, columns = np.mgrid[:side, :side]
    to_edge = np.minimum.reduce([rows, columns, side - 1 - rows, side - 1 - columns])
    np.testing.assert_array_equal(ring, np.where((to_edge < width)[None, ..., None], before, 0))
    np.testing.assert_array_equal(pixels, before)
    assert ring.dtype == np.uint8


@pytest.mark.parametrize("width", [0, -1, 4, 9])
def test_a_ring_that_is_none_or_everything_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match=r"expected a border of 1 to 3 px for images of 8 px, received"):
        keep_border(np.zeros((1, 8, 8, 3), np.uint8), width)


def test_each_part_is_scored_by_a_probe_that_never_saw_it(cohort: tuple[np.ndarray, ...]) -> None:
    features, labels, groups = cohort
    fold = groups % 4
    parts = [(np.flatnonzero(fold != one), np.flatnonzero(fold == one)) for one in range(3)]
    done: list[int] = []
    scores = score_control(features, labels, groups, parts, seed=5, on_done=done.append)
    for train, held_out in parts:
        alone = fit_probe(features[train], labels[train], groups[train], seed=5).scores(features[held_out])
        np.testing.assert_array_equal(scores[held_out], alone)
    assert np.isnan(scores[fold == 3]).all()
    assert done == [1, 2, 3]


def test_labels_of_held_out_images_change_nothing(cohort: tuple[np.ndarray, ...]) -> None:
    features, labels, groups = cohort
    part = (np.arange(50), np.arange(50, 80))
    turned = labels.copy()
    turned[50:] = 1 - turned[50:]
    first, second = (score_control(features, one, groups, [part], seed=0)[50:] for one in (labels, turned))
    np.testing.assert_array_equal(first, second)


def test_a_control_is_held_against_the_model_on_the_same_images() -> None:
    generator = np.random.default_rng(2)
    y_true = np.repeat(np.arange(60) % 2, 2)
    good, poor = (
        np.clip(0.5 + lift * (y_true - 0.5) + generator.normal(0, 0.15, 120), 0, 1) for lift in (0.6, 0.1)
    )
    patients = [f"P{number // 2}" for number in range(120)]
    found = describe_control("Only a ring was shown", y_true, good, poor, patients)
    assert found["what"] == "Only a ring was shown"
    assert found["auc"] == pytest.approx(roc_auc_score(y_true, poor), abs=1e-12)
    assert found["low"] < found["auc"] < found["high"]
    margin = found["margin"]
    assert margin["value"] == pytest.approx(
        roc_auc_score(y_true, good) - roc_auc_score(y_true, poor), abs=1e-12
    )
    assert 0 < margin["low"] < margin["value"] < margin["high"]
    assert "patient bootstrap" in found["method"]


def test_one_class_gives_nulls_that_json_can_hold() -> None:
    scores = np.linspace(0.1, 0.9, 6)
    found = describe_control("A ring", np.ones(6, int), scores, scores, [""] * 6)
    assert found["auc"] is None
    assert found["low"] is None
    assert found["margin"]["value"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found
