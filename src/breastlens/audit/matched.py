"""Matched evaluation: which columns to score within, and the score within their strata."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.acquisition import Association
from breastlens.audit.columns import read_column
from breastlens.audit.finding import Finding
from breastlens.audit.strata import find_column, strata
from breastlens.evaluation.stratified import stratified_auc

TAKEN = "taken"
"""The column of the properties that holds the date in the files."""

_DATE_OF_THE_FILE = "the date of the file"


def flagged_specifications(
    associations: Sequence[Association],
    used: pd.DataFrame,
    properties: pd.DataFrame | None = None,
    findings: Iterable[Finding] = (),
) -> list[str]:
    """What to score within: columns that tell the label, the strongest first, and dates that hardly overlap.

    Args:
        associations: Everything that was tested against the label.
        used: The images in use.
        properties: As `strata` takes them; without them the date in the files is left out.
        findings: What was found, those of `dates.find_hardly_overlapping_dates` among it.

    Returns:
        Specifications as `strata` takes them; a date is named with its part, such as "acquired:year".
    """
    apart = [found.what for found in findings if found.code == "dates-hardly-overlap"]
    flagged = []
    for each in sorted(associations, key=lambda each: -each.strength):
        column = each.manifest_column
        if not column and each.name == _DATE_OF_THE_FILE and properties is not None:
            column = TAKEN
        # Such a finding is told by the name of the date that it is about.
        if column and (each.tells or any(what.startswith(f"By {each.name}, ") for what in apart)):
            flagged.append(column)
    return [_name_part(column, used, properties) for column in dict.fromkeys(flagged)]


def score_within(
    used: pd.DataFrame,
    y_score: NDArray[np.floating],
    specifications: Iterable[str],
    *,
    seed: int,
    properties: pd.DataFrame | None = None,
    linked: NDArray[np.integer] | None = None,
    rows: NDArray[np.integer] | None = None,
) -> list[dict[str, Any]]:
    """Scores again within the strata of columns, so that what a column tells cannot help.

    Args:
        used: The images in use, all of which decide what a column holds and where its quartiles lie.
        y_score: The scores, (n,), or (m,) of the ``rows``.
        specifications: Columns, as `strata` takes them.
        seed: Of the bootstrap.
        properties: As `strata` takes them.
        rows: (m,) the rows that were scored; None for all.
        linked: (n,) which images without a patient belong together, as for `stratified_auc`.

    Returns:
        For each column ``column``, ``auc`` (value, low, high, level, method), ``pairs``, ``images``,
        ``images_left_out``, ``strata`` that hold both labels, and ``reason`` where there is no AUC.

    Raises:
        DataError: There is no such column.
    """
    told = []
    scored = np.arange(len(used)) if rows is None else rows
    for column in dict.fromkeys(specifications):
        found = stratified_auc(
            used["label"].to_numpy()[scored],
            y_score,
            strata(used, column, properties)[scored].tolist(),
            used["patient_id"].iloc[scored].tolist(),
            linked=None if linked is None else linked[scored],
            seed=seed,
        )
        told.append(
            {
                "column": column,
                "auc": {name: found[name] for name in ("value", "low", "high", "level", "method")},
                "pairs": found["pairs"],
                "images": found["images_used"],
                "images_left_out": found["images_left_out"],
                "strata": list(found["strata_used"]),
                "reason": found.get("reason", ""),
            }
        )
    return told


def _name_part(column: str, used: pd.DataFrame, properties: pd.DataFrame | None) -> str:
    """A date with ":year", anything else as it is."""
    values = find_column(used, column, properties)
    return f"{column}:year" if read_column(values.tolist(), column).kind == "date" else column
