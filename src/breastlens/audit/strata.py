"""Strata made of a column, within which like is compared with like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.columns import LARGEST_NUMBER, Column, list_extra_columns, read_column, show_text
from breastlens.audit.properties import PROPERTY_COLUMNS
from breastlens.cohort.spelling import find_similar
from breastlens.errors import DataError

MEASURED = ("format", "bits", "width", "height")
"""What BreastLens measures itself and that can be matched on as well."""

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


def _find_values(
    used: pd.DataFrame, specification: str, properties: pd.DataFrame | None
) -> tuple[pd.Series[Any], str]:
    """The column and what is asked of it, "" for nothing in particular."""
    files = [] if properties is None else [str(name) for name in properties]
    name, part = _find_column(used, specification, files)
    return (used if name in used or properties is None else properties)[name], part


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
    raise DataError(f"there is no column {(name or specification)!r} to divide by; there are {listed}{hint}")


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
