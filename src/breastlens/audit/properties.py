"""What is known of images besides their pixels, brought to one form so that each can be tested in the same way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.columns import (
    Column,
    Kind,
    list_extra_columns,
    read_column,
    say_why_untested,
    show_text,
)
from breastlens.cohort.description import name_sizes
from breastlens.imaging.metadata import FileMetadata

PRESENCE = ", filled in or blank,"
PROPERTY_COLUMNS = (*(field.name for field in fields(FileMetadata)), "grey_levels")
"""What `describe_file` tells of each image."""

MOST_CATEGORIES = 50
"""Rarer values are taken together: alone they could not tell anything, and a table of thousands would take long."""

_BLANK, _RARE = "none", "rarer values"
_COMPRESSION, _DEVICE = "compression-tells-label", "device-tells-label"


@dataclass(frozen=True, eq=False)
class Property:
    """One thing known of the images.

    Attributes:
        name: What it is, such as "the JPEG quality" or "the column 'site'".
        code: The finding that it may raise.
        kind: What it holds.
        texts: Its values, (m,); of categories at most `MOST_CATEGORIES`, the rarer ones under one name.
        numbers: float64 (m,), finite for numbers and dates (days).
        rows: The images that have a value, (m,).
        untested: Why it must not be tested, "" if it may.
        manifest_column: The manifest's column whose values these are, "" for anything else.
    """

    name: str
    code: str
    kind: Kind
    texts: NDArray[np.str_]
    numbers: NDArray[np.float64]
    rows: NDArray[np.intp]
    untested: str = ""
    manifest_column: str = ""


@dataclass(frozen=True, eq=False)
class Source:
    """A column whose kind has to be found out: what the manifest added, or the date in the files.

    Attributes:
        name: As of `Property`.
        code: As of `Property`.
        column: Its values.
        untested: As of `Property`.
        manifest_column: As of `Property`.
    """

    name: str
    code: str
    column: Column
    untested: str
    manifest_column: str


def describe_file(metadata: FileMetadata, grey_levels: int) -> dict[str, object]:
    """Tells how an image's file was made, and how many grey levels it has.

    Args:
        metadata: What its header tells.
        grey_levels: The number of different values among its pixels.

    Returns:
        The columns `PROPERTY_COLUMNS`: the fields of `FileMetadata`, and ``grey_levels``.
    """
    return asdict(metadata) | {"grey_levels": grey_levels}


def list_sources(used: pd.DataFrame, properties: pd.DataFrame) -> list[Source]:
    """Reads the date of the files and every column that the manifest added.

    Args:
        used: The images in use.
        properties: A row an image, the columns `PROPERTY_COLUMNS` as far as they are known.
    """
    named = (
        [("the date of the file", "date-tells-label", "taken", properties)] if "taken" in properties else []
    )
    named += [
        (f"the column {show_text(name)!r}", "column-tells-label", name, used)
        for name in list_extra_columns(used)
    ]
    patients = used["patient_id"].tolist()
    sources = []
    for shown, code, name, table in named:
        column = read_column(table[name].tolist(), name)
        untested = say_why_untested(name, column, patients)
        sources.append(Source(shown, code, column, untested, name if table is used else ""))
    return sources


def list_properties(used: pd.DataFrame, properties: pd.DataFrame) -> Iterator[Property]:
    """Lists everything that is to be tested, and what must not be with the reason.

    Args:
        used: The images in use.
        properties: As of `list_sources`, with the same index; what is missing there is left out.
    """
    yield from _list_file_properties(used, properties)
    for source in list_sources(used, properties):
        yield from _list_source_properties(source)


def property_matrix(properties: Iterable[Property], count: int) -> NDArray[np.float64]:
    """What is known of the images without looking at a pixel, as numbers that a probe can use.

    A category becomes a column a value, 0 or 1; a number or date one column, with the mean where it is missing, and
    another that says where. What is not tested is left out, and so is the number of grey levels, which pixels tell.

    Args:
        properties: From `list_properties`.
        count: Number of images, n.

    Returns:
        float64 (n, k); k may be 0.
    """
    columns: list[NDArray[np.float64]] = []
    for each in properties:
        if each.untested or each.code == "grey-levels-tell-label" or each.rows.size == 0:
            continue
        missing = np.ones(count)
        missing[each.rows] = 0.0
        if each.kind == "category":
            for value in np.unique(each.texts):
                column = np.zeros(count)
                column[each.rows] = each.texts == value
                columns.append(column)
        else:
            column = np.full(count, each.numbers.mean())
            column[each.rows] = each.numbers
            columns += [(column - column.mean()) / (column.std() or 1.0), missing]
    told = [column for column in columns if np.ptp(column) > 0]
    return np.column_stack(told) if told else np.zeros((count, 0))


def _list_file_properties(used: pd.DataFrame, properties: pd.DataFrame) -> Iterator[Property]:
    commonest = used["format"] == used["format"].mode().get(0)
    size = "size-tells-label"
    yield _category("the file format", "format-tells-label", used["format"])
    yield _category("the stored size", size, name_sizes(used))
    yield _number("the number of pixels", size, used["width"] * used["height"])
    yield _number("the ratio of width to height", size, used["width"] / used["height"])
    yield _category("the number of stored bits", "bits-tell-label", used["bits"])
    categories = (
        ("the kind of compression", _COMPRESSION, "compression"),
        ("the set of JPEG tables", _COMPRESSION, "jpeg_tables"),
        ("the chroma subsampling", _COMPRESSION, "chroma_subsampling"),
        ("the storage as colour or grey", "colour-tells-label", "colour"),
        ("the storage of transparency", "colour-tells-label", "alpha"),
        ("the maker of the device", _DEVICE, "maker"),
        ("the model of the device", _DEVICE, "model"),
        ("the software", _DEVICE, "software"),
        ("the pattern of file names", "name-tells-label", "name_pattern"),
    )
    for name, code, column in categories:
        if column in properties:
            values = properties[column]
            # Formats are compared themselves, so that compression is compared within the commonest of them.
            yield _category(name, code, values.where(commonest) if code == _COMPRESSION else values)
    if "jpeg_quality" in properties:
        yield _number("the JPEG quality", _COMPRESSION, properties["jpeg_quality"].where(commonest))
    if "grey_levels" in properties:
        yield _number("the number of grey levels", "grey-levels-tell-label", properties["grey_levels"])


def _list_source_properties(source: Source) -> Iterator[Property]:
    column = source.column
    if column.kind == "category":
        texts = _pool(np.where(column.texts == "", _BLANK, column.texts))
        # Where only some are blank that is a value of its own.
        rows = np.arange(texts.size if (column.texts != "").any() else 0)
        yield Property(
            source.name,
            source.code,
            "category",
            texts[rows],
            column.numbers[rows],
            rows,
            source.untested,
            source.manifest_column,
        )
        return
    known = np.isfinite(column.numbers)
    rows = np.flatnonzero(known)
    numbers = column.numbers[rows]
    yield Property(
        source.name,
        source.code,
        column.kind,
        column.texts[rows],
        numbers,
        rows,
        source.untested,
        source.manifest_column,
    )
    if not source.untested and not known.all():
        unread = np.where(column.texts == "", "blank", f"not a {column.kind}")
        yield _category(
            f"{source.name}{PRESENCE}", source.code, pd.Series(np.where(known, "filled in", unread))
        )


def _category(name: str, code: str, values: pd.Series[Any]) -> Property:
    """Missing values are left out, but a device that is not named is a habit of its own."""
    known = np.asarray(values.notna())
    if code == _DEVICE and known.any():
        values, known = values.fillna(_BLANK), np.ones_like(known)
    rows = np.flatnonzero(known)
    texts = _pool(np.array([str(value) for value in values.tolist()], dtype=np.str_)[rows])
    return Property(name, code, "category", texts, np.full(rows.size, np.nan), rows)


def _pool(texts: NDArray[np.str_]) -> NDArray[np.str_]:
    values, counts = np.unique(texts, return_counts=True)
    if values.size <= MOST_CATEGORIES:
        return texts
    commonest = values[np.argsort(-counts, kind="stable")[:MOST_CATEGORIES]]
    return np.where(np.isin(texts, commonest), texts, _RARE)


def _number(name: str, code: str, values: pd.Series[Any]) -> Property:
    numbers = np.asarray(pd.to_numeric(values, errors="coerce"), dtype=np.float64)
    rows = np.flatnonzero(np.isfinite(numbers))
    texts = np.array([f"{value:g}" for value in numbers[rows]], dtype=np.str_)
    return Property(name, code, "number", texts, numbers[rows], rows)
