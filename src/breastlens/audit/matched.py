"""Comparing like with like: strata made of a column, and how strongly an image gives such a column away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.acquisition import Association
from breastlens.audit.columns import LARGEST_NUMBER, Column, list_extra_columns, read_column, show_text
from breastlens.audit.finding import Finding
from breastlens.audit.properties import PROPERTY_COLUMNS
from breastlens.cohort.spelling import find_similar
from breastlens.cohort.splits import split_folds
from breastlens.errors import DataError, SplitError
from breastlens.evaluation.intervals import auc_interval
from breastlens.evaluation.stratified import stratified_auc
from breastlens.training.probe import fit_probe

FOLDS = 5
FEWEST_PATIENTS = 10
"""On each side; with fewer the AUC would be too coarse to tell anything."""

MEASURED = ("format", "bits", "width", "height")
"""What BreastLens measures itself and that can be matched on as well."""

TAKEN = "taken"
"""The column of the properties that holds the date in the files."""

_DATE_OF_THE_FILE = "the date of the file"
_PARTS = ("year", "month", "quartile")
_SUPPORTED = "expected a column's name, NAME:year or NAME:month for dates, or NAME:quartile for numbers"


def strata(
    used: pd.DataFrame, specification: str, properties: pd.DataFrame | None = None
) -> NDArray[np.str_]:
    """Turns a column into strata within which images can be compared.

    ``NAME`` alone takes categories as they are, numbers by quartile and dates by year. ``NAME:year``, ``NAME:month``
    and ``NAME:quartile`` say which. Quartiles are those of the images in use; a value on a border belongs to the lower.

    Args:
        used: The images in use.
        specification: Such as "site", "acquired:year" or "age:quartile"; of the files "taken:year", "model" or
            "jpeg_quality".
        properties: From `survey.survey_images`, a row for each of ``used``, in its order; None where files are not
            known. A column of the manifest goes before one of the same name here.

    Returns:
        (n,) names, "" where the value is blank.

    Raises:
        DataError: There is no such column, or it does not hold what the specification says.
    """
    values, part = _find_values(used, specification, properties)
    name = str(values.name)
    column = read_column(values.tolist(), name)
    part = part or {"date": "year", "number": "quartile"}.get(column.kind, "")
    if part in ("year", "month"):
        if column.kind != "date":
            raise DataError(
                f"the column {name!r} holds no dates, so it has no {part}; {_SUPPORTED}{_say_example(column)}"
            )
        return _name_dates(column, part)
    if part == "quartile":
        numbers = _read_numbers(column)
        if numbers is None:
            raise DataError(
                f"the column {name!r} holds no numbers, so it has no quartiles; {_SUPPORTED}{_say_example(column)}"
            )
        return _name_quartiles(numbers)
    return column.texts


def find_column(
    used: pd.DataFrame, specification: str, properties: pd.DataFrame | None = None
) -> pd.Series[Any]:
    """Finds the column that a specification names, whatever part of it is asked for.

    Args:
        used: The images in use.
        specification: As `strata` takes it.
        properties: As `strata` takes them.

    Returns:
        Its values, (n,), under the column's name.

    Raises:
        DataError: There is no such column.
    """
    return _find_values(used, specification, properties)[0]


def check_specification(used: pd.DataFrame, specification: str) -> None:
    """Refuses what cannot be matched on, before any file was surveyed.

    What files hold is not known yet: whether ``taken:year`` finds dates only `strata` can tell.

    Args:
        used: The images in use.
        specification: As `strata` takes it.

    Raises:
        DataError: There is no such column in the manifest or among the properties of files, or the manifest's column
            does not hold what the specification says.
    """
    unknown = pd.DataFrame(None, index=used.index, columns=list(PROPERTY_COLUMNS), dtype=object)
    found = find_column(used, specification, unknown)
    if str(found.name) in used:
        strata(used, specification)


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
    found = auc_interval(target, scores, [str(group) for group in groups[rows]], seed=seed)
    told |= {"auc": found["value"], **{key: found[key] for key in ("low", "high", "level")}}
    told["method"] = f"{FOLDS} folds by patient; {found['method']}"
    return told | {"reason": found["reason"]} if "reason" in found else told


def _find_values(
    used: pd.DataFrame, specification: str, properties: pd.DataFrame | None
) -> tuple[pd.Series[Any], str]:
    """The column and what is asked of it, "" for nothing in particular."""
    files = [] if properties is None else [str(name) for name in properties]
    name, part = _find_column(used, specification, files)
    return (used if name in used or properties is None else properties)[name], part


def _name_part(column: str, used: pd.DataFrame, properties: pd.DataFrame | None) -> str:
    """A date with ":year", anything else as it is."""
    values, _ = _find_values(used, column, properties)
    return f"{column}:year" if read_column(values.tolist(), column).kind == "date" else column


def _find_column(used: pd.DataFrame, specification: str, files: Sequence[str] = ()) -> tuple[str, str]:
    """The column and what is asked of it, "" for nothing in particular; a column's own colon goes first."""
    known = [*list_extra_columns(used), *(name for name in MEASURED if name in used)]
    known += [name for name in files if name not in used]
    if specification in known:
        return specification, ""
    name, colon, part = specification.rpartition(":")
    if colon and name in known:
        if part not in _PARTS:
            raise DataError(f"{specification!r} asks for {part!r} of the column {name!r}; {_SUPPORTED}")
        return name, part
    wanted = (name or specification).strip()
    # A manifest's own column of a name that BreastLens needs itself was kept under another.
    meant = next((each for each in known if each == f"manifest_{wanted}"), find_similar(wanted, known))
    hint = f"; did you mean {meant!r}?" if meant else ""
    listed = ", ".join(map(repr, known)) or "none"
    raise DataError(f"there is no column {(name or specification)!r} to match on; there are {listed}{hint}")


def _say_example(column: Column) -> str:
    given = column.texts[column.texts != ""].tolist()
    return f"; received such as {show_text(given[0])!r}" if given else "; it is blank everywhere"


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
    numbers = np.where(np.abs(parsed) <= LARGEST_NUMBER, parsed, np.nan)
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
        return (column.texts[rows] == commonest).astype(np.int64), f"{show_text(commonest)} from the rest"
    middle = float(np.median(column.numbers[rows]))
    above = (column.numbers[rows] > middle).astype(np.int64)
    if column.kind == "date":
        return above, f"later than {pd.Timestamp.fromordinal(int(middle)).date().isoformat()} from the rest"
    return above, f"more than {middle:g} from the rest"
