"""Cross-validation again and again: the same patients dealt into other folds, each time by a seed of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from breastlens.audit.inspection import Inspection
from breastlens.cohort.splits import split_folds
from breastlens.config import TrainingRecipe
from breastlens.evaluation.repeated import evaluate_repeats
from breastlens.models.backbones import Backbone
from breastlens.models.feature_cache import FeatureCache
from breastlens.models.feature_network import FeatureNetwork
from breastlens.models.joint_features import JointFeatures
from breastlens.progress import Progress
from breastlens.runs.facts import describe_split
from breastlens.runs.outcome import Outcome, fit_split
from breastlens.runs.preparation import prove_pairs
from breastlens.training.fit import TrainingImages

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


def repeat_folds(
    used: pd.DataFrame,
    seen: Inspection,
    images: TrainingImages,
    first: Outcome,
    network: JointFeatures,
    *,
    backbone: Backbone,
    recipe: TrainingRecipe,
    cache: FeatureCache,
    progress: Progress,
) -> Repeats:
    """Deal the folds anew for each repeat after the first, train and choose everything inside them, and score.

    Args:
        used: The records in use, with the fold of each in the first repeat.
        seen: What was found of them.
        images: The same as training sees them.
        first: What the first repeat came to.
        network: The starting network.
        backbone: Which that is.
        recipe: How to train, with the seed of the first repeat.
        cache: Where features are kept.
        progress: Where to tell how far it is.

    Raises:
        SplitError: A patient or a copy stands in two folds.
    """
    scored = [(used["split"].to_numpy(), first.y_score, first.thresholds)]
    with progress.task("repeats", recipe.repeats) as advance:
        for repeat in range(2, recipe.repeats + 1):
            advance(repeat - 1)
            own = recipe.model_copy(update={"seed": seed_of(repeat, recipe)})
            split = split_folds(images.labels, images.groups, own.folds or 0, own.seed).astype(str)
            start: JointFeatures | FeatureNetwork = network
            if own.strategy == "scratch":  # its random weights are part of what a seed decides
                start = FeatureNetwork(
                    backbone,
                    image_size=images.pixels.shape[1],
                    weights="none",
                    seed=own.seed,
                    cache=cache,
                )
            one = fit_split(
                images,
                split,
                "folds",
                backbone=backbone,
                build_features_model=start.build,
                frozen_part=start.frozen_part,
                features_model=start.model,
                occluded={},
                recipe=own,
                progress=progress,
                tensorboard=None,
                everyone=first.final,
                repeat=f" repeat {repeat}",
            )
            scored.append((split, one.y_score, one.thresholds))
        advance(recipe.repeats)
    tables, splits = [], []
    for repeat, (split, y_score, thresholds) in enumerate(scored, start=1):
        rows = used.assign(split=split)
        facts = describe_split("folds", rows)
        facts["proof"] |= prove_pairs(seen, split)
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
