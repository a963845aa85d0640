"""Negative controls: what the denied model sees, and that it is judged on held-out images only."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from breastlens.audit.finding import Finding
from breastlens.audit.judgement import corrected_auc, describe_control, judge_controls
from breastlens.audit.shortcuts import (
    Judged,
    hidden,
    occlusions,
    run_label_control,
    score_control,
    shuffle_labels,
)
from breastlens.config import ImageRecipe
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


@pytest.mark.parametrize(("size", "width"), [(128, 8), (224, 14), (64, 4), (100, 6), (32, 2)])
def test_the_border_is_a_sixteenth_of_the_side(size: int, width: int) -> None:
    assert ImageRecipe(image_size=size).border_px == width
    assert f"a border of {width} pixels was" in occlusions(ImageRecipe(image_size=size))[0].what


def test_the_border_of_hidden_borders_is_what_lies_inside() -> None:
    pixels = np.full((1, 64, 64, 3), 9, np.uint8)
    border = occlusions(ImageRecipe(image_size=64, hide_border=True), 3)[0]
    (ring,) = border.hide(pixels, 0)
    assert np.flatnonzero(ring[32, :, 0]).tolist() == [4, 5, 6, 57, 58, 59]
    assert "a border of 3 pixels that begins 4 pixels from the edge" in border.what


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
    scores = score_control(features, labels, groups, parts, seed=5)
    for train, held_out in parts:
        alone = fit_probe(features[train], labels[train], groups[train], seed=5).scores(features[held_out])
        np.testing.assert_array_equal(scores[held_out], alone)
    assert np.isnan(scores[fold == 3]).all()


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
    assert found["method"] == "DeLong over patients, scale of log-odds"


def test_one_class_gives_nulls_that_json_can_hold() -> None:
    scores = np.linspace(0.1, 0.9, 6)
    found = describe_control("A ring", np.ones(6, int), scores, scores, [""] * 6)
    assert found["auc"] is None
    assert found["low"] is None
    assert found["margin"]["value"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def control(
    auc: float | None,
    low: float | None,
    high: float | None,
    margin: tuple[Any, Any, Any] | None = (0.3, 0.2, 0.4),
) -> dict[str, Any]:
    """A control by hand; its margin is far from 0 unless said otherwise."""
    made: dict[str, Any] = {
        "what": "Only that was shown",
        "auc": auc,
        "low": low,
        "high": high,
        "level": 0.95,
        "method": "bootstrap",
    }
    if margin is not None:
        ends = dict(zip(("value", "low", "high"), margin, strict=True))
        made["margin"] = ends | {"level": 0.95, "method": "bootstrap"}
    return made


def judged(**controls: dict[str, Any]) -> dict[str, Finding]:
    found = judge_controls(controls, 40)
    assert len({finding.code for finding in found}) == len(found)
    return {finding.code: finding for finding in found}


@pytest.mark.parametrize("name", ["border", "background", "noise", "shuffled", "intensity", "file"])
@pytest.mark.parametrize(
    ("auc", "low", "high", "told"),
    [
        (0.8, 0.61, 0.9, True),
        (0.8, 0.6, 0.9, False),
        (0.8, 0.59, 0.9, False),
        (0.95, None, None, False),
        (1.0, None, None, True),  # not one mistake: no draw of patients differs, so there is no interval
        (None, None, None, False),
    ],
)
def test_an_interval_above_six_tenths_is_a_shortcut(
    name: str, auc: float | None, low: float | None, high: float | None, told: bool
) -> None:
    found = judged(**{name: control(auc, low, high)})
    assert list(found) == ([f"shortcut-{name}"] if told else [])
    if told:
        finding = found[f"shortcut-{name}"]
        assert (finding.severity, finding.count) == ("warning", 40)
        assert finding.what.startswith(
            "Only that was shown; a model still told the classes apart with an AUC of "
        )
        assert finding.evidence is not None
        assert (finding.evidence.value, finding.evidence.low) == (auc, low)


def test_the_sentence_gives_the_interval_where_there_is_one() -> None:
    assert judged(border=control(0.8, 0.7, 0.9))["shortcut-border"].what.endswith("0.800 (0.700 to 0.900).")
    assert judged(border=control(1.0, None, None))["shortcut-border"].what.endswith("an AUC of 1.000.")


@pytest.mark.parametrize(
    ("margin", "told"),
    [
        ((0.1, 0.001, 0.2), False),
        ((0.1, 0.0, 0.2), True),
        ((0.1, -0.01, 0.2), True),
        ((-0.2, -0.3, -0.1), True),
        ((0.0, None, None), True),  # both without a mistake
        ((0.1, None, None), False),
        ((None, None, None), False),
    ],
)
def test_a_margin_that_reaches_nought_shows_no_breast(margin: tuple[Any, Any, Any], told: bool) -> None:
    found = judged(border=control(0.56, 0.51, 0.6, margin))
    assert list(found) == (["breast-not-shown"] if told else [])
    assert not told or found["breast-not-shown"].severity == "error"
    assert judged(file=control(0.56, 0.51, 0.6, margin)) == {}  # no network is shown the file


def test_where_no_control_is_above_chance_it_is_a_warning() -> None:
    weak = control(0.5, 0.4, 0.6, (0.05, -0.1, 0.2))
    told = judged(border=weak, noise=control(0.45, 0.3, 0.6, (0.1, -0.05, 0.2)))["breast-not-shown"]
    assert told.severity == "warning"
    assert told.what.startswith(
        "The data cannot show that a model sees the breast, though this control is not shown"
    )
    assert "“border” is 0.050 (-0.100 to 0.200), the smallest of 2" in told.what
    strong = control(0.56, 0.51, 0.6, (0.2, 0.0, 0.3))
    graver = judged(border=weak, noise=strong)["breast-not-shown"]
    assert graver.severity == "error"
    assert "“noise” is 0.200" in graver.what


def test_of_several_margins_the_smallest_is_told_once() -> None:
    found = judged(
        border=control(0.56, 0.51, 0.6, (0.05, -0.1, 0.2)),
        shuffled=control(0.56, 0.51, 0.6, (-0.02, -0.2, 0.1)),
        noise=control(0.56, 0.51, 0.6, (-0.5, 0.1, 0.2)),
    )
    told = found["breast-not-shown"]
    assert list(found) == ["breast-not-shown"]
    assert (
        "“shuffled” is -0.020 (-0.200 to 0.100), the smallest of 2 margins that are not above 0" in told.what
    )
    assert told.evidence is not None
    assert told.evidence.value == -0.02


@pytest.mark.parametrize(
    ("auc", "low", "high", "told"),
    [
        (0.65, 0.56, 0.7, True),
        (0.65, 0.55, 0.7, False),
        (0.9, None, None, False),
        (1.0, None, None, True),
        (0.2, 0.1, 0.3, False),
    ],
)
def test_labels_dealt_anew_above_chance_are_a_leak_and_no_shortcut(
    auc: float, low: float | None, high: float | None, told: bool
) -> None:
    found = judged(labels=control(auc, low, high, None))
    assert list(found) == (["evaluation-leaks"] if told else [])
    assert not told or found["evaluation-leaks"].severity == "error"


def test_no_control_no_finding() -> None:
    assert judge_controls({}, 0) == []


def test_the_corrected_auc_is_half_above_the_margin() -> None:
    whole = control(0.9, 0.85, 0.95, None)
    found = corrected_auc(whole, control(0.6, 0.5, 0.7, (0.3, 0.2, 0.35)))
    assert found is not None
    assert (found["value"], found["low"], found["high"]) == pytest.approx((0.8, 0.7, 0.85))
    assert (found["level"], found["method"]) == (0.95, "bootstrap")
    without = corrected_auc(whole, control(0.6, 0.5, 0.7, (0.3, None, None)))
    assert without is not None
    assert (without["value"], without["low"], without["high"]) == (0.8, None, None)
    assert corrected_auc(whole, control(None, None, None, (None, None, None))) is None


def test_a_control_below_chance_does_not_add_to_the_score() -> None:
    found = corrected_auc(control(0.98, 0.95, 1.0, None), control(0.44, 0.3, 0.55, (0.54, 0.4, 0.63)))
    assert found is not None
    assert (found["value"], found["low"], found["high"]) == (0.98, 0.95, 1.0)


def in_folds(groups: np.ndarray, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    fold = groups % count
    return [(np.flatnonzero(fold != one), np.flatnonzero(fold == one)) for one in range(count)]


@given(sizes=st.lists(st.integers(1, 4), min_size=4, max_size=15), seed=st.integers(0, 2**32 - 1))
def test_labels_are_dealt_to_whole_patients_within_parts(sizes: list[int], seed: int) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    by_group = np.arange(len(sizes)) // 2 % 2
    labels, parts = np.repeat(by_group, sizes), in_folds(groups, 2)
    dealt = shuffle_labels(labels, groups, parts, seed)
    given_to = np.array([int(dealt[groups == group][0]) for group in range(len(sizes))])
    np.testing.assert_array_equal(dealt, np.repeat(given_to, sizes))
    for _, held_out in parts:
        inside = np.unique(groups[held_out])
        assert given_to[inside].sum() == by_group[inside].sum()
    np.testing.assert_array_equal(dealt, shuffle_labels(labels, groups, parts, seed))


def test_patients_with_both_labels_keep_as_many_of_either() -> None:
    groups, labels = np.repeat(np.arange(30), 2), np.tile([0, 1], 30)
    dealt = shuffle_labels(labels, groups, in_folds(groups, 5), 0)
    assert dealt.sum() == 30
    assert (dealt != labels).any()


def test_dealing_keeps_nothing_of_the_labels() -> None:
    groups = np.arange(400)
    labels = groups // 2 % 2
    dealt = [shuffle_labels(labels, groups, in_folds(groups, 2), seed) for seed in range(20)]
    agreement = [(each == labels).mean() for each in dealt]
    assert max(agreement) < 0.65
    assert np.mean(agreement) == pytest.approx(0.5, abs=0.02)


def label_control(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, parts: Any) -> dict[str, Any]:
    judged_on = Judged(
        labels, groups, parts, np.arange(labels.size), np.zeros(labels.size), [""] * labels.size, 0
    )
    return run_label_control(features, judged_on)


def test_patients_torn_between_parts_are_a_leak_and_whole_ones_are_none() -> None:
    """Features that tell who it is and nothing else: forty patients, five images each."""
    generator = np.random.default_rng(3)
    groups = np.repeat(np.arange(40), 5)
    labels = np.repeat(np.arange(40) // 5 % 2, 5)
    features = np.repeat(generator.gamma(2, 1, (40, 60)), 5, axis=0) + generator.normal(0, 0.05, (200, 60))
    whole = label_control(features, labels, groups, in_folds(groups, 5))
    torn = label_control(features, labels, groups, in_folds(np.arange(200), 5))
    assert judge_controls({"labels": whole}, 200) == []
    assert [finding.code for finding in judge_controls({"labels": torn}, 200)] == ["evaluation-leaks"]


def test_occlusions_are_named_as_their_findings_and_made_in_chunks() -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (300, 32, 32, 3), dtype=np.uint8)
    shown = occlusions(ImageRecipe(image_size=32))
    assert [each.name for each in shown] == ["border", "background", "noise", "shuffled"]
    assert "a border of 2 pixels" in shown[0].what
    assert "a border of 5 pixels" in occlusions(ImageRecipe(image_size=32), 5)[0].what
    for each in shown:
        chunks = list(hidden(pixels, each, seed=3))
        assert [len(chunk) for chunk in chunks] == [256, 44]
        chosen = np.array([270, 3])
        np.testing.assert_array_equal(
            np.concatenate(list(hidden(pixels[chosen], each, seed=3))), np.concatenate(chunks)[chosen]
        )
    border = np.concatenate(list(hidden(pixels, shown[0], seed=3)))
    np.testing.assert_array_equal(border, keep_border(pixels, 2))


def test_among_few_patients_nothing_is_dealt() -> None:
    groups = np.arange(19)
    labels = (groups >= 10).astype(int)
    found = label_control(np.eye(19), labels, groups, in_folds(groups, 3))
    assert found["auc"] is None
    assert judge_controls({"labels": found}, 19) == []
