"""Cross-validation again and again: the same patients dealt into other folds, each time by a seed of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from breastlens.cohort.splits import split_folds
from breastlens.config import TrainingRecipe
from breastlens.evaluation.repeated import evaluate_repeats
from breastlens.runs.facts import describe_split
from breastlens.runs.material import Material, starting_network
from breastlens.runs.outcome import HeldOut, hold_out
from breastlens.runs.plans import Plan, plan_split
from breastlens.runs.preparation import prove_pairs
from breastlens.runs.trainings import Trained
from breastlens.runs.workplace import Workplace

_SEEDS = 2**32


@dataclass(frozen=True, eq=False)
class Repeats:
    """What the repeats of a cross-validation come to.

    Attributes:
        table: repeats.csv.
        metrics: The key ``repeats`` of metrics.json.
        splits: For each repeat its number, seed, hash, and the proof that nothing crosses its folds.
    """

    table: pd.DataFrame
    metrics: dict[str, Any]
    splits: list[dict[str, Any]]


def seed_of(repeat: int, recipe: TrainingRecipe) -> int:
    """The seed of a repeat, counted from 1: the first has the run's own, so that it is what a run of one gives."""
    return (recipe.seed + repeat - 1) % _SEEDS


def plan_repeats(material: Material, workplace: Workplace) -> list[Plan]:
    """Deal the folds anew for each repeat after the first, to train and choose everything inside them.

    Args:
        material: What the first repeat is trained on.
        workplace: Where to train.
    """
    recipe, images = material.recipe, material.images
    plans = []
    for repeat in range(2, recipe.repeats + 1):
        own = recipe.model_copy(update={"seed": seed_of(repeat, recipe)})
        start = material.network
        if own.strategy == "scratch":  # its random weights are part of what a seed decides
            start = starting_network(material.backbones, images.pixels.shape[1], own, workplace.cache)
        plans.append(
            plan_split(
                workplace.ground(material, start, own, controls=False),
                split_folds(images.labels, images.groups, own.folds or 0, own.seed).astype(str),
                "folds",
                recipe=own,
                everyone=False,
                repeat=f" repeat {repeat}",
            )
        )
    return plans


def describe_repeats(
    material: Material, first: HeldOut, others: Sequence[tuple[Plan, Sequence[Trained]]]
) -> Repeats:
    """Judge the repeats together, and prove each.

    Args:
        material: What they were trained on.
        first: The scores of the first.
        others: The plans of the others, and what their trainings came to.

    Raises:
        SplitError: A patient or a copy stands in two folds.
    """
    recipe, images, used = material.recipe, material.images, material.used
    scored = [(material.split, first.y_score, first.thresholds)]
    for plan, trained in others:
        one = hold_out(plan, trained)
        scored.append((plan.split, one.y_score, one.thresholds))
    tables, splits = [], []
    for repeat, (split, y_score, thresholds) in enumerate(scored, start=1):
        rows = used.assign(split=split)
        facts = describe_split("folds", rows)
        facts["proof"] |= prove_pairs(material.seen, split)
        splits.append({"repeat": repeat, "seed": seed_of(repeat, recipe)} | facts)
        called = (y_score >= thresholds).astype(int)
        tables.append(
            used[["path", "frame"]].assign(repeat=repeat, split=split, y_score=y_score, y_pred=called)
        )
    metrics = evaluate_repeats(
        images.labels,
        [y_score for _, y_score, _ in scored],
        [thresholds for _, _, thresholds in scored],
        used["patient_id"].tolist(),
        linked=images.groups,
        seed=recipe.seed,
    )
    seeds = [each["seed"] for each in splits]
    told = {"count": recipe.repeats, "seeds": seeds, "metrics": metrics}
    table = pd.concat(tables, ignore_index=True)
    return Repeats(table if (table["frame"] > 0).any() else table.drop(columns="frame"), told, splits)
