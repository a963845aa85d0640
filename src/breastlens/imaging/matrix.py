"""Temperature matrices: text (.txt, .csv) and NumPy (.npy) tables of deg C, one number a pixel."""

from __future__ import annotations

import ast
import re
from typing import Literal

import numpy as np

from breastlens.imaging.header import Header, Pixels, Window, require_finite, unpack

MEDIAN_RANGE_C = (5.0, 45.0)
VALUE_RANGE_C = (-50.0, 150.0)
"""What an infrared camera can report; beyond it the numbers are no temperatures in deg C."""

_NPY_DTYPE = re.compile(r"[<>|=]?[fiu]\d{1,2}")


def text_header(data: bytes) -> Header:
    """Rows and columns of a text matrix, counted without reading its numbers.

    Raises:
        ValueError: It is not text, has no row of numbers, or has fewer than two rows or columns.
    """
    lines = _lines(data)
    if not any(map(_holds_numbers_alone, lines)):
        raise ValueError(
            "no row of it holds numbers alone: it is a note, or text stands in every row; expected a table of"
            " temperatures in deg C"
        )
    delimiter, _ = _punctuation(lines)
    return _header(len(lines), len(_strip(lines[0], delimiter).split(delimiter)), 32)


def read_text(data: bytes, header: Header, frame: int) -> tuple[Pixels, Window | None]:
    """Read a text matrix.

    Numbers are separated by spaces, tabs, semicolons or commas; the decimal mark is a point, or a comma where
    the comma does not separate. A separator at the end of every line is allowed, and so are empty lines and
    lines that begin with ``#``. Everything else has to be a number.

    Returns:
        float32 (h, w) in deg C, and no window: temperatures are shown on the recipe's fixed range.

    Raises:
        ValueError: A cell is no number, a row is shorter or longer than the first, or the values are no
            temperatures.
    """
    lines = _lines(data)
    delimiter, decimal = _punctuation(lines)
    rows = [_strip(line, delimiter) for line in lines]
    if delimiter == "," and not any("." in row for row in rows):
        raise ValueError(
            "its numbers have commas and no points: a comma may separate numbers or be a decimal mark;"
            " separate the numbers with semicolons or blanks"
        )
    if decimal == ",":
        rows = [row.replace(",", ".") for row in rows]
    try:
        values = np.loadtxt(rows, delimiter=delimiter, comments=None, ndmin=2)
    except ValueError:  # NumPy's own message would quote the file's text
        raise ValueError(_first_fault(rows, delimiter)) from None
    return _temperatures(values), None


def npy_header(data: bytes) -> Header:
    """Shape and dtype of a .npy file, without creating the array.

    Raises:
        ValueError: It is truncated, holds objects, or is not a table of real numbers.
    """
    (rows, columns), dtype, _, _ = _npy_layout(data)
    return _header(rows, columns, dtype.itemsize * 8)


def read_npy(data: bytes, header: Header, frame: int) -> tuple[Pixels, Window | None]:
    """Read a .npy matrix of any integer or float dtype, byte order and memory order.

    Returns:
        float32 (h, w) in deg C, and no window.

    Raises:
        ValueError: It is truncated or its values are no temperatures.
    """
    shape, dtype, order, offset = _npy_layout(data)
    count = shape[0] * shape[1]
    if len(data) - offset < count * dtype.itemsize:
        raise ValueError(
            f"it is truncated: {shape[0]}x{shape[1]} values need {count * dtype.itemsize} bytes,"
            f" {len(data) - offset} are there"
        )
    values = np.frombuffer(data, dtype, count, offset).reshape(shape, order=order)
    return _temperatures(values), None


def _header(rows: int, columns: int, bits: int) -> Header:
    if rows < 2 or columns < 2:
        raise ValueError(
            f"it holds {rows} rows and {columns} columns of numbers, expected a table of at least 2x2 deg C"
        )
    return Header("MATRIX", columns, rows, bits, quantity="temperature_c")


def _lines(data: bytes) -> list[str]:
    """The lines that hold numbers."""
    if b"\0" in data:
        raise ValueError("it is not plain text, expected a table of temperatures in deg C (UTF-8)")
    text = data.decode("utf-8-sig", errors="replace")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise ValueError("it holds no numbers, expected a table of temperatures in deg C")
    return lines


def _punctuation(lines: list[str]) -> tuple[str | None, str]:
    """The separator (None for blanks) and the decimal mark that a table is written with.

    The first row shows the separator. Where that is no comma, one comma anywhere makes it the decimal mark: a
    row of whole degrees has none.
    """
    line = lines[0]
    separator = next((mark for mark in (";", "\t") if mark in line), None)
    if separator is not None or "," not in line:
        return separator, "," if any("," in row for row in lines) else "."
    # Blanks and commas together: after every comma a blank means that commas separate.
    blanks_follow = re.search(r",\S", line.strip()) is None
    if blanks_follow or not re.search(r"\S\s+\S", line):
        return ",", "."
    return None, ","


def _holds_numbers_alone(line: str) -> bool:
    """Whether all that stands in a row can be a number, whatever separates them and marks their decimals."""
    try:
        for cell in re.split(r"[;,\s]+", line.strip(";,\t ")):
            float(cell)
    except ValueError:
        return False
    return True


def _strip(line: str, delimiter: str | None) -> str:
    """The row without blanks around it and without a separator after its last number."""
    row = line.strip(" " if delimiter == "\t" else None)
    return row if delimiter is None else row.removesuffix(delimiter)


def _first_fault(rows: list[str], delimiter: str | None) -> str:
    """Where a table that NumPy could not read goes wrong, without quoting what stands there."""
    width = len(rows[0].split(delimiter))
    for number, row in enumerate(rows, start=1):
        cells = row.split(delimiter)
        for column, cell in enumerate(cells, start=1):
            try:
                float(cell)
            except ValueError:
                return (
                    f"row {number}, column {column} is not a number, expected temperatures in deg C only;"
                    " remove headings and units"
                )
        if len(cells) != width:
            return f"row {number} has {len(cells)} numbers where row 1 has {width}; every row needs as many"
    return "it is not a table of numbers"


def _npy_layout(data: bytes) -> tuple[tuple[int, int], np.dtype[np.generic], Literal["C", "F"], int]:
    """Shape, dtype, memory order and offset of the numbers (NumPy's .npy format, versions 1.0 to 3.0)."""
    (major,) = unpack("B", data, 6)
    length_layout = "<H" if major == 1 else "<I"
    (length,) = unpack(length_layout, data, 8)
    begin = 10 if major == 1 else 12
    (text,) = unpack(f"{min(length, 65536)}s", data, begin)
    try:
        fields = ast.literal_eval(text.decode("latin-1").strip())
        descr, fortran, shape = fields["descr"], fields["fortran_order"], fields["shape"]
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError):
        raise ValueError("its NumPy header is damaged") from None
    if not isinstance(descr, str) or _NPY_DTYPE.fullmatch(descr) is None:
        raise ValueError(
            "its NumPy array does not hold plain integers or floats, expected temperatures in deg C"
        )
    try:
        dtype = np.dtype(descr)
    except TypeError:
        raise ValueError(f"its NumPy dtype {descr} does not exist here") from None
    if not (
        isinstance(shape, tuple)
        and len(shape) == 2
        and all(type(side) is int and side >= 0 for side in shape)
    ):
        raise ValueError("its NumPy array is not a table, expected two dimensions (rows, columns)")
    return shape, dtype, "F" if fortran else "C", begin + length


def _temperatures(values: Pixels) -> Pixels:
    """The values as float32, once they can be temperatures of skin and room in deg C.

    The rule: all finite, all within -50 to 150, the median within 5 to 45. Kelvin, Fahrenheit, raw counts,
    grey levels and empty tables fail it.

    Raises:
        ValueError: They cannot.
    """
    require_finite(values)
    low, high, median = float(values.min()), float(values.max()), float(np.median(values))
    if (
        VALUE_RANGE_C[0] <= low
        and high <= VALUE_RANGE_C[1]
        and MEDIAN_RANGE_C[0] <= median <= MEDIAN_RANGE_C[1]
    ):
        return np.ascontiguousarray(values, dtype=np.float32)
    guess = "check its unit and decimal mark"
    if 273.15 + MEDIAN_RANGE_C[0] <= median <= 273.15 + MEDIAN_RANGE_C[1]:
        guess = "it looks like kelvin: subtract 273.15"
    elif MEDIAN_RANGE_C[1] < median <= 1.8 * MEDIAN_RANGE_C[1] + 32:
        guess = "if it is Fahrenheit, convert it: (F - 32) / 1.8"
    raise ValueError(
        f"its values from {low:g} to {high:g}, median {median:g}, are not temperatures of a body in deg C"
        f" (expected a median of {MEDIAN_RANGE_C[0]:g} to {MEDIAN_RANGE_C[1]:g}, all within"
        f" {VALUE_RANGE_C[0]:g} to {VALUE_RANGE_C[1]:g}); {guess}"
    )
