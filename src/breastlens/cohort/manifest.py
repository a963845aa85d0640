"""Reading a manifest: a CSV that names the images, their categories and what else is known of them."""

from __future__ import annotations

import csv
import io
import posixpath
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from breastlens.cohort.folder import Listing, require_folder
from breastlens.cohort.spelling import find_similar
from breastlens.errors import DataError

MEASURED_COLUMNS = (
    "frame",
    "label",
    "image_size",
    "width",
    "height",
    "format",
    "bits",
    "sha256",
    "pixels_sha256",
    "duplicate_group",
    "excluded",
    "window_low",
    "window_high",
    "crop_box",
)

if TYPE_CHECKING:
    import pandas as pd
"""What BreastLens finds out itself. A manifest's own column of such a name is kept as ``manifest_NAME``."""

_REQUIRED = ("path", "category")
_OPTIONAL = ("patient_id", "split")
_OUTSIDE = r"/|[A-Za-z]:/|\.\.?(?:/|$)"


def read_manifest(manifest: Path, root: Path, exclude_when: tuple[str, ...] = ()) -> Listing:
    """Reads a manifest and checks it before any image is opened.

    The file is UTF-8 (a byte order mark is allowed), separated by commas, semicolons or tabs, whichever is the
    most frequent in its first line, with the columns ``path`` and ``category``, optionally ``patient_id`` and
    ``split``, and any others, which are kept. Paths are relative to the data root. Absolute paths and paths
    that leave the root are refused, because the tables of a run must mean the same on another machine and must
    not reveal this one's folders; links inside the root may point anywhere.

    Args:
        manifest: The CSV.
        root: The data root.
        exclude_when: Columns; a record that has text there is left out for that reason.

    Returns:
        The rows in path order, all columns as text without surrounding blanks.

    Raises:
        DataError: The manifest cannot be read, lacks a column, has two that would get one name, rows of
            another width, empty or repeated paths, or names files that are not there.
    """
    require_folder(root)
    table = _read_rows(manifest)
    _refuse_capitals(table, manifest)
    _require_columns(table, _REQUIRED, manifest)
    _require_columns(table, exclude_when, manifest)
    _refuse_taken_names(table, manifest)
    for column in _REQUIRED:
        _refuse_rows(table.index[table[column] == ""], f"have an empty {column}", manifest)
    table["path"] = [_normalise(path, root) for path in table["path"]]
    outside = table.index[table["path"].str.match(_OUTSIDE)]
    _refuse_rows(outside, f"have a path that is not inside the data folder {root}", manifest, table["path"])
    _refuse_rows(table.index[table["path"].duplicated()], "repeat a path", manifest, table["path"])
    missing = [path for path in table["path"] if not _is_file(root / path)]
    if missing:
        raise DataError(
            f"{manifest} names {len(missing)} of {len(table)} files that are not in {root}: "
            f"{_first(missing)}; paths must be relative to the data folder"
        )
    reasons = _reasons(table, exclude_when)
    table = table.rename(columns={name: f"manifest_{name}" for name in MEASURED_COLUMNS})
    return Listing(table.assign(excluded=reasons).sort_values("path", ignore_index=True))


def read_patients(manifest: Path, root: Path) -> dict[Path, str]:
    """Reads from a manifest whose image each file is; no other column is looked at.

    Args:
        manifest: As for ``read_manifest``, with the columns ``path`` and ``patient_id``.
        root: The folder that its paths are relative to.

    Returns:
        The patient id of each file, "" where it is unknown.

    Raises:
        DataError: The manifest cannot be read, lacks one of the two columns, or repeats a path.
    """
    table = _read_rows(manifest)
    _refuse_capitals(table, manifest)
    _require_columns(table, ("path", "patient_id"), manifest)
    paths = table["path"].map(lambda path: _normalise(path, root))
    _refuse_rows(table.index[paths.duplicated()], "repeat a path", manifest, paths)
    return {root / path: patient for path, patient in zip(paths, table["patient_id"], strict=True)}


def _read_rows(manifest: Path) -> pd.DataFrame:
    """The manifest as text columns; the index is the line in the file where each row ends."""
    import pandas as pd

    try:
        text = manifest.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"no such manifest: {manifest}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{manifest} is not UTF-8 (byte {error.start}); save it as CSV UTF-8") from error
    except OSError as error:
        raise DataError(f"{manifest} cannot be read: {error.strerror}") from error
    first_line = text.partition("\n")[0]
    separator = max(",;\t", key=first_line.count)
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append([cell.strip() for cell in row])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{manifest} line {reader.line_num}: {error}") from error
    if len(rows) < 2:
        raise DataError(
            f"{manifest} has no rows; expected a header with path and category, then a row an image"
        )
    header = rows[0]
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise DataError(f"{manifest} has two columns named {repeated[0]!r}")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            raise DataError(
                f"{manifest} line {line}: expected {len(header)} columns as in the header, found {len(row)}"
            )
    return pd.DataFrame(rows[1:], columns=header, index=lines[1:], dtype=str)


def _require_columns(table: pd.DataFrame, names: tuple[str, ...], manifest: Path) -> None:
    for name in names:
        if name not in table.columns:
            meant = find_similar(name, table.columns)
            hint = f"; did you mean {meant!r}?" if meant else ""
            raise DataError(f"{manifest} has no column {name!r}; it has {', '.join(table.columns)}{hint}")


def _refuse_capitals(table: pd.DataFrame, manifest: Path) -> None:
    """Refuses ``Patient_ID`` where there is no ``patient_id``: kept as any other column, it would name no patient."""
    for name in (*_REQUIRED, *_OPTIONAL):
        twin = next((each for each in table.columns if each.lower() == name), name)
        if name not in table.columns and twin != name:
            raise DataError(f"{manifest} has a column {twin!r}; rename it to {name!r}")


def _refuse_taken_names(table: pd.DataFrame, manifest: Path) -> None:
    """Refuses a column that cannot be kept under its other name, because another column has that already."""
    for name in MEASURED_COLUMNS:
        if {name, f"manifest_{name}"} <= set(table.columns):
            raise DataError(
                f"{manifest} has the columns {name!r} and 'manifest_{name}'; the first would be kept under the "
                "second's name, because BreastLens finds it out itself; rename or remove one of them"
            )


def _normalise(path: str, root: Path) -> str:
    """POSIX form without ``.`` and ``..``; backslashes become slashes unless a file is really named so."""
    if "\\" in path and not _is_file(root / path):
        path = path.replace("\\", "/")
    return posixpath.normpath(path)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for the file system, or a folder that may not be entered
        return False


def _refuse_rows(
    lines: pd.Index[int], what: str, manifest: Path, values: pd.Series[str] | None = None
) -> None:
    if len(lines) == 0:
        return
    named = [f"line {line}" if values is None else f"line {line} ({values[line]})" for line in lines]
    raise DataError(f"{manifest}: rows that {what}: {_first(named)}")


def _reasons(table: pd.DataFrame, columns: tuple[str, ...]) -> list[str]:
    """For each row the texts of the given columns, each with its column's name, or ""."""
    return [
        "; ".join(f"{column}: {row[column]}" for column in columns if row[column])
        for row in table.to_dict(orient="records")
    ]


def _first(names: list[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
