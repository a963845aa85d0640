"""Which split a training uses, and what it makes of a manifest that brings its own."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.cohort.records import Cohort
from breastlens.cohort.splits import split_folds, split_from_manifest, split_holdout
from breastlens.config import TrainingRecipe
from breastlens.runs.subgroups import check_subgroups


def split_records(
    used: pd.DataFrame, groups: NDArray[np.int64], recipe: TrainingRecipe
) -> tuple[str, NDArray[np.str_]]:
    """Divide the records as the recipe or the manifest says: folds go before the manifest, and that before shares.

    Args:
        used: The records in use.
        groups: What stays together, (n,).
        recipe: Folds, or shares of the three parts.

    Returns:
        "folds", "manifest" or "holdout", and the part of each record, (n,).

    Raises:
        SplitError: As for ``refuse_unsplittable``.
    """
    labels = used["label"].to_numpy()
    if recipe.folds is not None:
        return "folds", split_folds(labels, groups, recipe.folds, recipe.seed).astype(str)
    if "split" in used:
        return "manifest", split_from_manifest(used)
    return "holdout", split_holdout(labels, groups, recipe.split, recipe.seed)


def refuse_unsplittable(cohort: Cohort, recipe: TrainingRecipe) -> None:
    """Refuse what cannot be split before thousands of images are looked at.

    Copies count here, so that a manifest whose parts share one is refused and not set right by leaving out whichever
    of the two comes later.

    Raises:
        DataError: No image is left in use, or a column makes no subgroups.
        SplitError: There are too few patients, or the manifest's parts share a patient, a copy or a file.
    """
    cohort.require_used()
    check_subgroups(cohort.included, recipe.subgroups)
    split_records(cohort.included, cohort.groups(), recipe)


def say_unused(kind: str, cohort: Cohort, recipe: TrainingRecipe) -> list[str]:
    """What was asked for or given, and not used."""
    shares_given = "split" in recipe.model_fields_set
    notes = []
    if kind == "folds" and "split" in cohort.table:
        notes.append("The manifest's split column was not used, since folds were asked for.")
    if kind == "folds" and shares_given:
        notes.append("The shares of the split were not used, since folds were asked for.")
    if kind == "manifest" and shares_given:
        notes.append("The shares of the split were not used, since the manifest has a split column.")
    return notes
