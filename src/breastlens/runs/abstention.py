"""When a trained model is not to answer: its prediction sets and its measure of novelty, set and judged in training.

Everything is set on images that were held out. With three parts the limits are those of validation, and the test part,
which is judged, decides nothing. Of a network that was trained further, epoch and calibration were chosen on
validation, too, so its limits may be a little narrow.

With folds the saved model's limits come from all out-of-fold scores and distances. Each fold is judged at limits from
the others and by its own rule for patients, so none of its own scores and distances set its limits. But it is not
without influence: the models that scored the other folds learnt from it, as in cross-conformal prediction (Vovk, Annals
of Mathematics and Artificial Intelligence 74, 2015), and of the measures of novelty that one is taken which best tells
spoilt images from those of the first fold. A network from scratch has no features but those of the saved model, which
has learnt from all folds: there distances are a little small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.config import TrainingRecipe
from breastlens.evaluation.by_patient import PatientPoint, PatientRule
from breastlens.evaluation.conformal import (
    SET_NAMES,
    SetLimits,
    draw_one_each,
    find_sets,
    fit_set_limits,
    largest_conforming,
    score_units,
)
from breastlens.evaluation.inputs import find_units
from breastlens.evaluation.selective import describe_patient_sets, describe_sets, risk_coverage
from breastlens.inference.answer import decide
from breastlens.inference.reference_file import pack_reference
from breastlens.models.abstention import Abstention, NoveltyLimit
from breastlens.runs.novelty_choice import choose_novelty
from breastlens.runs.outcome import Outcome

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Abstaining:
    """When a trained model does not answer, and how that was on images that were held out.

    Attributes:
        card: For bundle.json.
        reference: The content of reference.npz.
        numbers: What the images that it was made of are called, (k,).
        columns: For predictions.csv, a row an image with a held-out score: ``decision``, ``prediction_set``,
            ``distance``, ``novel``.
        patient_limits: For each of these images the limits that its patient's joint score is held against.
        metrics: For metrics.json: ``abstention`` and ``novelty``.
    """

    card: Abstention
    reference: bytes
    numbers: NDArray[np.int64]
    columns: pd.DataFrame
    patient_limits: list[SetLimits]
    metrics: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Judged:
    """Images with a held-out score, in the order of ``Outcome.scored``.

    Attributes:
        labels: 0 or 1, (n,).
        units: The patient of each, or, where that is unknown, what it belongs together with, (n,).
        y_score: (n,).
        decides: Which of them may decide limits, (n,).
        turns: For each turn, which of those decide, which are judged by that, and the rule from the scores of a
            patient's images to the patient's.
    """

    labels: NDArray[np.int64]
    units: NDArray[np.int64]
    y_score: Values
    decides: NDArray[np.bool_]
    turns: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_], PatientRule]]


def set_abstention(
    used: pd.DataFrame,
    numbers: NDArray[np.integer],
    groups: NDArray[np.int64],
    pixels: NDArray[np.uint8],
    features: NDArray[np.float32],
    features_of: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    outcome: Outcome,
    recipe: TrainingRecipe,
) -> Abstaining:
    """Set when a trained model does not answer.

    Args:
        used: The records in use, with ``label``, ``patient_id`` and ``split``.
        numbers: What each of them is called where it is shown as similar to another, (n,).
        groups: What belongs together, (n,).
        pixels: Their squares, uint8 (n, s, s, 3).
        features: Their features by the saved model, (n, d).
        features_of: Gives its features of other squares, (m, d).
        outcome: What was trained, with its held-out scores.
        recipe: Coverage, false alarms and seed.
    """
    labels, split = used["label"].to_numpy(), used["split"].to_numpy()
    scored, folds = outcome.scored, "validation" not in set(split)
    novelty = choose_novelty(used, numbers, groups, pixels, features, features_of, outcome, recipe.seed)
    part = split[scored]
    everyone = np.ones(scored.size, dtype=bool)
    patient_id = used["patient_id"].iloc[scored]
    rule = _rule(outcome.final.patient_point)
    judged = Judged(
        labels[scored],
        find_units(patient_id.tolist(), scored.size, groups[scored]).index,
        outcome.y_score,
        everyone if folds else part == "validation",
        [
            (part != fold, part == fold, _rule(outcome.patient_points[int(np.argmax(part == fold))]))
            for fold in sorted(set(part))
        ]
        if folds
        else [(part == "validation", everyone, rule)],
    )
    limit, promised, units = _novelty_limit(judged, novelty.distances, judged.decides, recipe)
    images, patients = _set_limits(judged, judged.decides, rule, recipe)
    several = len(np.unique(judged.units)) < scored.size
    card = Abstention(
        coverage=recipe.coverage,
        chosen_on=_say_chosen_on(folds=folds, own_features=outcome.final.kept == "scratch"),
        images=images,
        patients=patients,
        novelty=NoveltyLimit(
            method=novelty.method,
            threshold=limit,
            false_alarms=promised,
            asked_false_alarms=recipe.false_alarms,
            units=units,
        ),
    )
    columns, by_patient, patient_limits = _judge(judged, novelty.distances, recipe)
    columns.insert(
        0,
        "decision",
        [
            decide(name, positive=bool(positive), novel=bool(novel))
            for name, positive, novel in zip(
                columns["prediction_set"],
                outcome.y_score >= outcome.thresholds,
                columns["novel"],
                strict=True,
            )
        ],
    )
    rows = everyone if folds else part == "test"
    near = find_units(patient_id[rows].tolist(), int(rows.sum()), groups[scored][rows])
    sets = columns["prediction_set"].map(SET_NAMES.index).to_numpy()[rows]
    metrics: dict[str, Any] = {
        "abstention": {
            "coverage": recipe.coverage,
            "chosen_on": card.chosen_on,
            "images": describe_sets(sets, judged.labels[rows], near, seed=recipe.seed),
            "patients": _describe_patients(by_patient, recipe.seed) if several else None,
            "risk_coverage": risk_coverage(
                judged.labels[rows], judged.y_score[rows], outcome.thresholds[rows]
            ),
        },
        "novelty": {
            "method": novelty.method,
            "threshold": limit,
            "false_alarms": promised,
            "asked_false_alarms": recipe.false_alarms,
            "images": int(rows.sum()),
            "refused": int(columns["novel"].to_numpy()[rows].sum()),
            "corruptions": {
                name: {
                    "auc": novelty.aucs[novelty.method][name],
                    "refused": float(np.mean(far > limit)),
                    "images": far.size,
                }
                for name, far in novelty.corrupted.items()
            },
            "methods": novelty.mean_aucs,
        },
    }
    return Abstaining(
        card, pack_reference(novelty.reference), novelty.reference.numbers, columns, patient_limits, metrics
    )


def _say_chosen_on(*, folds: bool, own_features: bool) -> str:
    """Which scores and distances decide the limits of the saved model."""
    if not folds:
        return "the validation part"
    if own_features:
        return (
            "out-of-fold scores by models that did not learn from the patient, and out-of-fold distances in the "
            "features of the saved network, which has learnt from everyone"
        )
    return "out-of-fold scores and distances, each by models that did not learn from the patient"


def _rule(point: PatientPoint | None) -> PatientRule:
    return "mean" if point is None else point.rule


def _set_limits(
    judged: Judged, rows: NDArray[np.bool_], rule: PatientRule, recipe: TrainingRecipe
) -> tuple[SetLimits, SetLimits]:
    """Limits for images and for the scores of patients by a rule, from some of the rows."""
    labels, units, scores = judged.labels[rows], judged.units[rows], judged.y_score[rows]
    drawn = draw_one_each(units, labels, recipe.seed)
    images = fit_set_limits(labels[drawn], scores[drawn], recipe.coverage)
    _, of_units, joint = score_units(units, labels, scores, rule)
    if not of_units.size:
        return images, images
    return images, fit_set_limits(of_units, joint, recipe.coverage)


def _novelty_limit(
    judged: Judged, distances: Values, rows: NDArray[np.bool_], recipe: TrainingRecipe
) -> tuple[float, float, int]:
    """The threshold, the share of false alarms that it promises, and how many units decided it.

    It is that of a conformal anomaly detector (Laxhammar and Falkman, 2010): an image of a new patient, exchangeable
    with these, is refused no more often than was promised. Where there are too few units for what was asked, it is the
    largest distance.
    """
    among = distances[rows]
    drawn = draw_one_each(judged.units[rows], np.zeros(among.size, dtype=np.int64), recipe.seed)
    limit = largest_conforming(among[drawn], 1 - recipe.false_alarms)
    if limit is None:
        return float(among[drawn].max()), 1 / (drawn.size + 1), drawn.size
    return limit, recipe.false_alarms, drawn.size


def _judge(
    judged: Judged, distances: Values, recipe: TrainingRecipe
) -> tuple[pd.DataFrame, list[tuple[NDArray[np.int64], NDArray[np.int64]]], list[SetLimits]]:
    """Sets and refusals of all rows, of each turn the sets and labels of the patients, and of all rows their limits."""
    sets, novel = np.zeros(judged.labels.size, dtype=np.int64), np.zeros(judged.labels.size, dtype=np.int64)
    by_patient = []
    patient_limits: dict[int, SetLimits] = {}
    for deciding, apply, rule in judged.turns:
        images, patients = _set_limits(judged, deciding, rule, recipe)
        sets[apply] = find_sets(judged.y_score[apply], images)
        novel[apply] = distances[apply] > _novelty_limit(judged, distances, deciding, recipe)[0]
        others = apply & ~deciding
        _, labels, joint = score_units(
            judged.units[others], judged.labels[others], judged.y_score[others], rule
        )
        by_patient.append((find_sets(joint, patients), labels))
        patient_limits |= dict.fromkeys(np.flatnonzero(apply).tolist(), patients)
    columns = pd.DataFrame(
        {"prediction_set": [SET_NAMES[one] for one in sets], "distance": distances, "novel": novel}
    )
    return columns, by_patient, [patient_limits[row] for row in range(judged.labels.size)]


def _describe_patients(
    by_patient: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], seed: int
) -> dict[str, Any] | None:
    sets, labels = (np.concatenate(each) for each in zip(*by_patient, strict=True))
    return describe_patient_sets(sets, labels, seed=seed)
