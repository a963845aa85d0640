"""How strongly an image gives away what is not the disease, such as the year or the site."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.columns import Column, read_column, show_text
from breastlens.cohort.splits import split_folds
from breastlens.errors import SplitError
from breastlens.evaluation.intervals import auc_interval
from breastlens.training.probe import fit_probe

FOLDS = 5
FEWEST_PATIENTS = 10
"""On each side; with fewer the AUC would be too coarse to tell anything."""


def nuisance_auc(
    features: NDArray[np.floating],
    column_values: Iterable[object],
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    *,
    seed: int,
    name: str = "",
) -> dict[str, Any]:
    """Measures how well the image gives a column away, such as the year or the site.

    Only images of one label are used, so that the label cannot help: the label in which the smaller side has more
    patients. The column is split in two: the later dates or larger numbers (above the median) against the rest, or the
    commonest category against the rest. The probe that is trained for the label is trained for that instead and scores
    each patient in a fold that it was not trained on. If it succeeds, a network could learn the column instead of the
    disease wherever the column tells the label.

    Args:
        features: Pooled activations, (n, d).
        column_values: The column, (n,); None, NaN and "" are blank and left out.
        labels: 0 or 1, (n,).
        groups: What stays together, (n,).
        seed: Of the folds and the interval.
        name: The column's name, which tells a year from a number.

    Returns:
        ``auc``, ``low``, ``high``, ``level``, ``method``; ``label``, within which it was measured; ``asked``, what was
        told from what; ``images`` and ``images_asked`` (those on the side asked for). ``auc`` is None with a
        ``reason`` where it cannot be had, ``low`` and ``high`` alone where only the interval cannot.
    """
    column = read_column(column_values, name)
    labels, groups = np.asarray(labels), np.asarray(groups)
    candidates = []
    for label in (1, 0):
        rows = np.flatnonzero((labels == label) & _find_known(column))
        target, asked = _split_in_two(column, rows)
        fewest = min((np.unique(groups[rows][target == side]).size for side in (0, 1)), default=0)
        candidates.append((fewest, label, rows, target, asked))
    fewest, label, rows, target, asked = max(candidates, key=lambda candidate: candidate[0])
    told: dict[str, Any] = {
        "auc": None,
        "low": None,
        "high": None,
        "level": None,
        "method": None,
        "label": label,
        "asked": asked,
        "images": int(rows.size),
        "images_asked": int(target.sum()),
    }
    if fewest < FEWEST_PATIENTS:
        return told | {
            "reason": f"within either label, one side of the column has fewer than {FEWEST_PATIENTS} patients"
        }
    scores = np.full(rows.size, np.nan)
    try:
        folds = split_folds(target, groups[rows], FOLDS, seed)
    except SplitError as error:
        return told | {"reason": str(error)}
    for fold in range(FOLDS):
        inside, outside = rows[folds != fold], rows[folds == fold]
        probe = fit_probe(features[inside], target[folds != fold], groups[inside], seed=seed)
        scores[folds == fold] = probe.scores(features[outside])
    found = auc_interval(target, scores, [str(group) for group in groups[rows]])
    told |= {"auc": found["value"], **{key: found[key] for key in ("low", "high", "level")}}
    told["method"] = f"{FOLDS} folds by patient; {found['method']}"
    return told | {"reason": found["reason"]} if "reason" in found else told


def _find_known(column: Column) -> NDArray[np.bool_]:
    known = column.texts != "" if column.kind == "category" else np.isfinite(column.numbers)
    return np.asarray(known, dtype=np.bool_)


def _split_in_two(column: Column, rows: NDArray[np.intp]) -> tuple[NDArray[np.int64], str]:
    """1 for the side that is asked for, and its name."""
    if rows.size == 0:
        return np.zeros(0, dtype=np.int64), "nothing, since every value is blank"
    if column.kind == "category":
        counts = Counter(column.texts[rows].tolist())
        commonest = min(counts, key=lambda value: (-counts[value], value))
        return (column.texts[rows] == commonest).astype(np.int64), f"{show_text(commonest)} from the rest"
    middle = float(np.median(column.numbers[rows]))
    above = (column.numbers[rows] > middle).astype(np.int64)
    if column.kind == "date":
        return above, f"later than {pd.Timestamp.fromordinal(int(middle)).date().isoformat()} from the rest"
    return above, f"more than {middle:g} from the rest"
