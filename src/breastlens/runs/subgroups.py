"""The figures within the strata of columns that the user named: which columns, and the block of metrics.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.strata import strata
from breastlens.errors import DataError
from breastlens.evaluation.significance import holm
from breastlens.evaluation.subgroups import evaluate_strata

MOST_STRATA = 30
"""More than a table can show and any cohort can fill."""

_NO_SUBGROUPS = frozenset({"category", "label", "patient_id", "split"})


def check_subgroups(used: pd.DataFrame, specifications: Sequence[str]) -> None:
    """Refuse columns that make no subgroups, before any work is put into them.

    Args:
        used: The images in use.
        specifications: Columns of the manifest, or format, bits, width and height, as `breastlens.audit.strata.strata`
            takes them.

    Raises:
        DataError: There is no such column, it does not hold what is asked of it, or it has too many values.
    """
    for each in specifications:
        if each.partition(":")[0] in _NO_SUBGROUPS:
            raise DataError(f"--subgroups {each}: the label, the patient and the part make no subgroups")
        try:
            _divide(used, each)
        except DataError as error:
            raise DataError(f"--subgroups {each}: {error}") from error


def subgroup_metrics(
    used: pd.DataFrame,
    rows: NDArray[np.integer],
    y_score: NDArray[np.floating],
    thresholds: NDArray[np.floating] | float,
    specifications: Sequence[str],
    *,
    seed: int,
    linked: NDArray[np.integer] | None = None,
) -> dict[str, Any]:
    """Judge the scores again within the strata of each column.

    Args:
        used: The images in use, all of which decide what a column holds and where its quartiles lie.
        rows: (m,) those that were judged.
        y_score: Their scores, (m,).
        thresholds: Their operating point, one or (m,).
        specifications: Columns; nothing is computed where there are none.
        seed: Of the bootstrap.
        linked: (n,) which images without a patient belong together.

    Returns:
        ``{"subgroups": [...]}`` with an entry a column, or an empty dictionary.

    Raises:
        DataError: As `check_subgroups`.
    """
    if not specifications:
        return {}
    judged = used.iloc[rows]
    found = []
    for each in dict.fromkeys(specifications):
        names = _divide(used, each)[rows]
        told = evaluate_strata(
            judged["label"].to_numpy(),
            y_score,
            thresholds,
            names.tolist(),
            judged["patient_id"].tolist(),
            linked=None if linked is None else linked[rows],
            seed=seed,
        )
        found.append({"column": each} | told)
    tested = [each["same_auc"] for each in found if each["same_auc"]["p_value"] is not None]
    for test, corrected in zip(tested, holm([test["p_value"] for test in tested]), strict=True):
        test["p_holm"] = float(corrected)
    return {"subgroups": found}


def _divide(used: pd.DataFrame, specification: str) -> NDArray[np.str_]:
    names = strata(used, specification)
    count = np.unique(names[names != ""]).size
    if count > MOST_STRATA:
        raise DataError(
            f"--subgroups {specification}: expected at most {MOST_STRATA} different values, found {count}; "
            "numbers can be taken as NAME:quartile and dates as NAME:year"
        )
    if not count:
        raise DataError(f"--subgroups {specification}: the column is blank for every image in use")
    return names
