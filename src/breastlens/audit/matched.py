"""Comparing like with like: strata made of a column, and how strongly an image gives such a column away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.acquisition import Association
from breastlens.audit.columns import Column, list_extra_columns, read_column
from breastlens.cohort.spelling import find_similar
from breastlens.cohort.splits import split_folds
from breastlens.errors import DataError, SplitError
from breastlens.evaluation.stratified import stratified_auc
from breastlens.training.probe import fit_probe

FOLDS = 5
FEWEST_PATIENTS = 10
"""On each side; with fewer the AUC would be too coarse to tell anything."""

MEASURED = ("format", "bits", "width", "height")
"""What BreastLens measures itself and that can be matched on as well."""

_PARTS = ("year", "month", "quartile")
_SUPPORTED = "expected a column's name, NAME:year or NAME:month for dates, or NAME:quartile for numbers"


def strata(used: pd.DataFrame, specification: str) -> NDArray[np.str_]:
    """Turns a column into strata within which images can be compared.

    ``NAME`` alone takes categories as they are, numbers by quartile and dates by year. ``NAME:year``, ``NAME:month``
    and ``NAME:quartile`` say which. Quartiles are those of the images in use; a value on a border belongs to the lower.

    Args:
        used: The images in use.
        specification: Such as "site", "acquired:year" or "age:quartile".

    Returns:
        (n,) names, "" where the value is blank.

    Raises:
        DataError: There is no such column, or it does not hold what the specification says.
    """
    name, part = _find_column(used, specification)
    column = read_column(used[name].tolist(), name)
    part = part or {"date": "year", "number": "quartile"}.get(column.kind, "")
    if part in ("year", "month"):
        if column.kind != "date":
            raise DataError(f"the column {name!r} holds no dates, so it has no {part}; {_SUPPORTED}")
        return _name_dates(column, part)
    if part == "quartile":
        numbers = _read_numbers(column)
        if numbers is None:
            raise DataError(f"the column {name!r} holds no numbers, so it has no quartiles; {_SUPPORTED}")
        return _name_quartiles(numbers)
    return column.texts


def flagged_columns(associations: Sequence[Association]) -> list[str]:
    """The manifest's columns that tell the label, the strongest first."""
    flagged = sorted(
        (each for each in associations if each.tells and each.manifest_column),
        key=lambda each: -each.strength,
    )
    return list(dict.fromkeys(each.manifest_column for each in flagged))


def score_within(
    used: pd.DataFrame, y_score: NDArray[np.floating], specifications: Iterable[str], *, seed: int
) -> list[dict[str, Any]]:
    """Scores again within the strata of columns, so that what a column tells cannot help.

    Args:
        used: The images that were scored.
        y_score: Their scores, (n,).
        specifications: Columns, as `strata` takes them.
        seed: Of the bootstrap.

    Returns:
        For each column ``column``, ``auc`` (value, low, high, level, method), ``pairs``, ``images``,
        ``images_left_out``, ``strata`` that hold both labels, and ``reason`` where there is no AUC.

    Raises:
        DataError: There is no such column.
    """
    told = []
    for column in dict.fromkeys(specifications):
        found = stratified_auc(
            used["label"].to_numpy(),
            y_score,
            strata(used, column).tolist(),
            used["patient_id"].tolist(),
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


def nuisance_auc(
    features: NDArray[np.floating],
    column_values: Iterable[object],
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    *,
    seed: int,
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

    Returns:
        ``auc``, ``low``, ``high``, ``level``, ``method``; ``label``, within which it was measured; ``asked``, what was
        told from what; ``images`` and ``images_asked`` (those on the side asked for). ``auc`` is None with a
        ``reason`` where it cannot be had, ``low`` and ``high`` alone where only the interval cannot.
    """
    column = read_column(column_values)
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
    found = stratified_auc(
        target, scores, ["all"] * rows.size, [str(group) for group in groups[rows]], seed=seed
    )
    told |= {"auc": found["value"], **{key: found[key] for key in ("low", "high", "level")}}
    told["method"] = f"{FOLDS} folds by patient; {found['method']}"
    return told | {"reason": found["reason"]} if "reason" in found else told


def _find_column(used: pd.DataFrame, specification: str) -> tuple[str, str]:
    """The column and what is asked of it, "" for nothing in particular; a column's own colon goes first."""
    known = [*list_extra_columns(used), *(name for name in MEASURED if name in used)]
    if specification in known:
        return specification, ""
    name, _, part = specification.rpartition(":")
    if name in known:
        if part not in _PARTS:
            raise DataError(f"{specification!r} asks for {part!r} of the column {name!r}; {_SUPPORTED}")
        return name, part
    meant = find_similar(name or specification, known)
    hint = f"; did you mean {meant!r}?" if meant else ""
    listed = ", ".join(map(repr, known)) or "none"
    raise DataError(f"there is no column {(name or specification)!r} to match on; there are {listed}{hint}")


def _name_dates(column: Column, part: str) -> NDArray[np.str_]:
    known = np.isfinite(column.numbers)
    length = len("YYYY") if part == "year" else len("YYYY-MM")
    days = np.where(known, column.numbers, 1).astype(np.int64).tolist()
    names = [pd.Timestamp.fromordinal(day).date().isoformat()[:length] if day > 1 else "" for day in days]
    return np.array(names, dtype=np.str_)


def _read_numbers(column: Column) -> NDArray[np.float64] | None:
    """The column's numbers, also where so few differ that they count as categories; None where there are none."""
    if column.kind == "number":
        return column.numbers
    parsed = pd.to_numeric(pd.Series(column.texts), errors="coerce").to_numpy(dtype=np.float64)
    numbers = np.where(np.isfinite(parsed), parsed, np.nan)
    given = column.texts != ""
    return (
        numbers if column.kind == "category" and given.any() and np.isfinite(numbers[given]).all() else None
    )


def _name_quartiles(numbers: NDArray[np.float64]) -> NDArray[np.str_]:
    known = np.isfinite(numbers)
    borders = np.quantile(numbers[known], [0.25, 0.5, 0.75])
    quartile = 1 + np.searchsorted(borders, numbers, side="left")
    return np.array(
        [f"quartile {number}" if is_known else "" for number, is_known in zip(quartile, known, strict=True)]
    )


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
        return (column.texts[rows] == commonest).astype(np.int64), f"{commonest} from the rest"
    middle = float(np.median(column.numbers[rows]))
    above = (column.numbers[rows] > middle).astype(np.int64)
    if column.kind == "date":
        return above, f"later than {pd.Timestamp.fromordinal(int(middle)).date().isoformat()} from the rest"
    return above, f"more than {middle:g} from the rest"
