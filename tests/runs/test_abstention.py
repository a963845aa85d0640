"""Setting when a model does not answer: nothing about an image or its patient decides how it is judged."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from breastlens.config import TrainingRecipe
from breastlens.evaluation.by_patient import PatientPoint
from breastlens.evaluation.conformal import SET_NAMES, draw_one_each, find_sets, fit_set_limits, score_units
from breastlens.evaluation.selective import describe_patient_sets
from breastlens.imaging.layout import describe_layout
from breastlens.inference.novelty import measure_novelty
from breastlens.inference.reference_file import read_reference
from breastlens.runs.abstention import set_abstention

PATIENTS, EACH, SIDE = 60, 2, 32
COUNT = PATIENTS * EACH


@dataclass(frozen=True)
class Trained:
    """What of an ``Outcome`` is asked for."""

    scored: np.ndarray
    y_score: np.ndarray
    thresholds: np.ndarray
    held_out_from: list
    final: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(patient_point=None, kept="probe"))
    patient_points: list = field(default_factory=lambda: [None] * COUNT)


def features_of(pixels):
    """Of eight by eight cells: a stand-in for a network."""
    cells = pixels[..., 0].reshape(len(pixels), 8, SIDE // 8, 8, SIDE // 8).mean(axis=(2, 4))
    return cells.reshape(len(pixels), -1).astype(np.float32)


@pytest.fixture(scope="module")
def images():
    """Squares that are bright below and dark above, more or less, of patients with two each."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(PATIENTS), EACH)
    slope = np.linspace(40, 200, SIDE)[:, None] + 10 * random.normal(size=(PATIENTS, 1, 1))[groups]
    grey = np.clip(slope + 5 * random.normal(size=(COUNT, SIDE, SIDE)), 0, 255).astype(np.uint8)
    labels = (np.arange(PATIENTS) % 2)[groups]
    used = pd.DataFrame({"label": labels, "patient_id": [f"P{name}" for name in groups], "split": "0"})
    score = 1 / (1 + np.exp(-(1.5 * (2 * labels - 1) + random.normal(size=COUNT))))
    return used, groups, np.repeat(grey[..., None], 3, axis=3), score


def in_folds(used, groups, score):
    fold = groups % 4
    parts = [(np.flatnonzero(fold != one), np.flatnonzero(fold == one)) for one in range(4)]
    return used.assign(split=fold.astype(str)), Trained(np.arange(COUNT), score, np.full(COUNT, 0.5), parts)


def in_parts(used, groups, score):
    part = np.array(["train", "validation", "validation", "test"])[groups % 4]
    train, validation, test = (np.flatnonzero(part == name) for name in ("train", "validation", "test"))
    scored = np.concatenate([validation, test])
    trained = Trained(scored, score[scored], np.full(scored.size, 0.5), [(train, scored)])
    return used.assign(split=part), trained


def abstain(images, divide, score=None, **settings):
    used, groups, pixels, own = images
    used, trained = divide(used, groups, own if score is None else score)
    recipe = TrainingRecipe(**settings)
    found = set_abstention(
        used, np.arange(COUNT), groups, pixels, features_of(pixels), features_of, trained, recipe
    )
    return found, used, groups, trained


def test_the_limits_of_the_bundle_are_those_of_one_image_a_patient_on_validation(images):
    found, used, groups, trained = abstain(images, in_parts, coverage=0.8)
    rows = np.flatnonzero(used["split"] == "validation")
    drawn = rows[draw_one_each(groups[rows], used["label"].to_numpy()[rows], 0)]
    limits = fit_set_limits(used["label"].to_numpy()[drawn], images[3][drawn], 0.8)
    assert found.card.images == limits
    expected = [SET_NAMES[one] for one in find_sets(trained.y_score, limits)]
    assert found.columns["prediction_set"].tolist() == expected
    assert (limits.negatives, limits.positives) == (15, 15)
    assert found.metrics["abstention"]["images"]["n"] == (used["split"] == "test").sum()


def test_a_fold_is_judged_at_the_limits_of_the_others(images):
    found, used, groups, trained = abstain(images, in_folds, coverage=0.8)
    labels = used["label"].to_numpy()
    for inside, outside in trained.held_out_from:
        drawn = inside[draw_one_each(groups[inside], labels[inside], 0)]
        limits = fit_set_limits(labels[drawn], images[3][drawn], 0.8)
        expected = [SET_NAMES[one] for one in find_sets(images[3][outside], limits)]
        assert found.columns["prediction_set"][outside].tolist() == expected


def test_a_patient_is_held_against_limits_that_others_decided(images):
    score = images[3]
    for divide in (in_folds, in_parts):
        found, used, groups, trained = abstain(images, divide, coverage=0.8)
        split, labels = used["split"].to_numpy(), used["label"].to_numpy()
        for row, limits in zip(trained.scored, found.patient_limits, strict=True):
            deciding = split != split[row] if divide is in_folds else split == "validation"
            _, truth, joint = score_units(groups[deciding], labels[deciding], score[deciding])
            assert limits == fit_set_limits(truth, joint, 0.8)


def test_spoilt_images_are_told_and_few_usual_ones_refused(images):
    found, *_ = abstain(images, in_folds, false_alarms=0.1)
    novelty = found.metrics["novelty"]
    assert novelty["asked_false_alarms"] == novelty["false_alarms"] == 0.1
    assert novelty["refused"] / COUNT < 0.2
    assert set(novelty["corruptions"]) >= {"inverted", "upside down", "noise", "blank"}
    assert min(novelty["corruptions"][name]["auc"] for name in ("inverted", "upside down", "noise")) > 0.99
    assert novelty["corruptions"]["upside down"]["refused"] == 1.0
    best = max(novelty["methods"].values())
    assert novelty["methods"][novelty["method"]] == pytest.approx(best, abs=1e-4)


def test_too_few_patients_promise_less_than_was_asked(images):
    found, *_ = abstain(images, in_parts, false_alarms=0.01)
    limit = found.card.novelty
    assert limit.units == 30
    assert limit.false_alarms == pytest.approx(1 / 31)
    assert limit.asked_false_alarms == 0.01


def test_patients_are_judged_by_their_mean(images):
    found, *_ = abstain(images, in_folds)
    told = found.metrics["abstention"]["patients"]
    assert told["n"] == PATIENTS
    assert 0.85 < told["coverage"]["value"] <= 1


def test_patients_of_one_image_are_not_judged_twice(images):
    used, groups, pixels, score = (each[::EACH] for each in images)
    used, fold = used.reset_index(drop=True), groups % 4
    parts = [(np.flatnonzero(fold != one), np.flatnonzero(fold == one)) for one in range(4)]
    trained = Trained(np.arange(PATIENTS), score, np.full(PATIENTS, 0.5), parts)
    used = used.assign(split=fold.astype(str))
    found = set_abstention(
        used, groups, groups, pixels, features_of(pixels), features_of, trained, TrainingRecipe()
    )
    assert found.metrics["abstention"]["patients"] is None
    assert found.card.patients == found.card.images


def test_with_folds_the_saved_limit_refuses_as_many_new_images_as_was_asked(tmp_path):
    def pixels_of(values):
        return (values[:, :16, :, 0] / 255).reshape(len(values), -1).astype(np.float32)

    count, refused = 160, []
    for seed in range(2):
        noise = np.random.default_rng(seed).integers(0, 256, (count + 500, SIDE, SIDE, 1), dtype=np.uint8)
        known, new = np.split(np.repeat(noise, 3, axis=3), [count])
        number = np.arange(count)
        fold = number % 5
        parts = [(np.flatnonzero(fold != one), np.flatnonzero(fold == one)) for one in range(5)]
        trained = Trained(number, np.full(count, 0.5), np.full(count, 0.5), parts)
        used = pd.DataFrame({"label": number // 5 % 2, "patient_id": "", "split": fold.astype(str)})
        recipe = TrainingRecipe(false_alarms=0.1)
        with threadpool_limits(limits=1, user_api="blas"):  # many small fits
            found = set_abstention(used, number, number, known, pixels_of(known), pixels_of, trained, recipe)
        path = tmp_path / "reference.npz"
        path.write_bytes(found.reference)
        limit = found.card.novelty
        far = measure_novelty(read_reference(path), limit.method, pixels_of(new), describe_layout(new))
        refused.append(np.mean(far > limit.threshold))
    assert 0.05 < np.mean(refused) < 0.16


def test_a_fold_is_judged_by_its_own_rule_for_patients(images):
    used, groups, _, score = images
    labels = used["label"].to_numpy()
    used, trained = in_folds(used, groups, score)
    rules = ("mean", "max", "noisy-or", "max")
    points = [PatientPoint(rules[int(fold)], 0.5, {}) for fold in used["split"]]
    trained = replace(
        trained,
        patient_points=points,
        final=SimpleNamespace(patient_point=PatientPoint("noisy-or", 0.5, {}), kept="probe"),
    )
    found, *_ = abstain(images, lambda *_: (used, trained), coverage=0.8)
    sets, truth = [], []
    for (inside, outside), rule in zip(trained.held_out_from, rules, strict=True):
        (_, known, deciding), (_, own, judged) = (
            score_units(groups[rows], labels[rows], score[rows], rule) for rows in (inside, outside)
        )
        sets.append(find_sets(judged, fit_set_limits(known, deciding, 0.8)))
        truth.append(own)
    expected = describe_patient_sets(np.concatenate(sets), np.concatenate(truth))
    assert found.metrics["abstention"]["patients"]["sets"] == expected["sets"]
    assert found.card.patients == fit_set_limits(*score_units(groups, labels, score, "noisy-or")[1:], 0.8)


def test_patients_are_who_they_are_though_their_images_are_linked(images):
    used, groups, pixels, score = images
    linked = groups // 4 * 4 + groups % 2  # two patients of one label
    found, *_ = abstain((used, linked, pixels, score), in_folds, coverage=0.8)
    labels = used["label"].to_numpy()
    assert found.metrics["abstention"]["patients"]["n"] == PATIENTS
    assert found.card.patients == fit_set_limits(*score_units(groups, labels, score)[1:], 0.8)
    assert found.card.novelty.units == PATIENTS


def test_it_says_so_where_features_have_learnt_from_everyone(images):
    used, groups, _, score = images
    used, trained = in_folds(used, groups, score)
    trained = replace(trained, final=SimpleNamespace(patient_point=None, kept="scratch"))
    found, *_ = abstain(images, lambda *_: (used, trained))
    assert found.card.chosen_on.startswith("out-of-fold scores by models that did not learn from the patient")
    assert "which has learnt from everyone" in found.card.chosen_on
