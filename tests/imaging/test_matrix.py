"""Temperature matrices: every way of writing the same numbers gives the same image, and other numbers are refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from breastlens.config import ImageRecipe, ReadingLimits
from breastlens.errors import DecodeError
from breastlens.imaging.decode import decode
from breastlens.imaging.preprocess import preprocess

CELSIUS = np.round(22 + np.add.outer(np.arange(12), np.arange(15)) * 0.53, 2)


def table(
    separator: str = " ", decimal: str = ".", end: str = "\n", tail: str = "", values: np.ndarray = CELSIUS
) -> str:
    return "".join(
        separator.join(f"{value:.2f}" for value in row).replace(".", decimal) + tail + end for row in values
    )


def from_text(tmp_path: Path, text: str | bytes, name: str = "a.txt") -> np.ndarray:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    image = decode(path)
    assert (image.format, image.bits, image.quantity) == ("MATRIX", 32, "temperature_c")
    assert image.pixels.dtype == np.float32
    assert (image.height, image.width) == image.pixels.shape
    return image.pixels


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=version)
    return stream.getvalue()


def from_npy(tmp_path: Path, data: bytes) -> np.ndarray:
    path = tmp_path / "a.npy"
    path.write_bytes(data)
    return decode(path).pixels


@pytest.mark.parametrize(
    "text",
    [
        table(" "),
        table("   "),
        table("\t"),
        table(","),
        table(", "),
        table(";"),
        table("; "),
        table(" ", ","),
        table("\t", ","),
        table(";", ","),
        table("; ", ","),
        table(";", ",", tail=";"),
        table("\t", tail="\t"),
        table(",", tail=","),
        table(" ", tail=" "),
        table(" ", end="\r\n"),
        table(";", ",", end="\r\n", tail=";"),
        table(" ", end="\r"),
        "\ufeff" + table(";"),
        "# camera 7, deg C\n" + table(" "),
        "\n\n" + table(" ", end="\n\n"),
        table(" ").rstrip("\n"),
        "  " + table(" ").replace("\n", "\n  "),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.csv"])
def test_every_way_of_writing_gives_the_same_matrix(tmp_path: Path, text: str, name: str) -> None:
    np.testing.assert_array_equal(from_text(tmp_path, text, name), CELSIUS.astype(np.float32))


@pytest.mark.parametrize("separator", [";", "\t", " "])
def test_a_first_row_of_whole_degrees_does_not_hide_the_decimal_comma(tmp_path: Path, separator: str) -> None:
    text = "30 31 32\n30,5 31,5 32,5\n".replace(" ", separator)
    np.testing.assert_array_equal(from_text(tmp_path, text), np.float32([[30, 31, 32], [30.5, 31.5, 32.5]]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.lists(st.floats(6, 44), min_size=3, max_size=3), min_size=2, max_size=5),
    separator=st.sampled_from([" ", "\t", ";", "; ", " \t "]),
    decimal=st.sampled_from([".", ","]),
)
def test_numbers_survive_text(
    tmp_path: Path, values: list[list[float]], separator: str, decimal: str
) -> None:
    text = "\n".join(separator.join(f"{value:.4f}".replace(".", decimal) for value in row) for row in values)
    np.testing.assert_allclose(from_text(tmp_path, text), np.array(values), atol=6e-5)


@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", ">f4", "<f2", "|u1", "<i2", ">i4", "<u2", "<i8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_of_every_dtype_and_order(
    tmp_path: Path, dtype: str, order: str, version: tuple[int, int]
) -> None:
    array = np.array(CELSIUS, dtype=dtype, order=order)
    np.testing.assert_array_equal(from_npy(tmp_path, npy(array, version)), array.astype(np.float32))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[{}, {}]], dtype=object), "plain integers or floats"),
        (np.array([["30", "31"], ["32", "33"]]), "plain integers or floats"),
        (CELSIUS.astype(complex), "plain integers or floats"),
        (CELSIUS > 25, "plain integers or floats"),
        (np.zeros((4, 4), dtype=[("a", "<f4"), ("b", "<f4")]), "plain integers or floats"),
        (np.zeros((2, 3, 4)), "two dimensions"),
        (np.zeros(12), "two dimensions"),
        (np.zeros((0, 3)), "expected a table of at least 2x2"),
    ],
)
def test_npy_that_is_no_table_of_numbers(tmp_path: Path, array: np.ndarray, message: str) -> None:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    with pytest.raises(DecodeError, match=message):
        from_npy(tmp_path, stream.getvalue())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (CELSIUS + 273.15, "looks like kelvin: subtract 273.15"),
        (CELSIUS * 1.8 + 32, "Fahrenheit"),
        ((CELSIUS + 273.15) * 100, "not temperatures of a body in deg C"),
        (CELSIUS * 0, "from 0 to 0, median 0, are not temperatures"),
        (np.where(CELSIUS > 23, CELSIUS, 255.0), "from .* to 255"),
        (CELSIUS - 40, "not temperatures of a body"),
        (np.where(CELSIUS > 28, np.nan, CELSIUS), r"of 180 values are not finite.*row 1, column 13"),
        (np.where(np.isclose(CELSIUS, CELSIUS[3, 4]), np.inf, CELSIUS), r"8 of 180 values are not finite"),
    ],
)
def test_numbers_that_are_no_temperatures(tmp_path: Path, values: np.ndarray, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        from_npy(tmp_path, npy(values))
    with pytest.raises(DecodeError, match=message):
        from_text(tmp_path, table(values=values))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("30.1 30.2\n30.3\n", r"row 2 has 1 numbers where row 1 has 2"),
        ("30.1 30.2\n30.3 30.4 30.5\n", r"row 2 has 3 numbers where row 1 has 2"),
        ("30.1;30.2\n30.3;\n30.4;30.5", r"row 2 has 1 numbers"),
        ("30.1;;30.2\n30.3;30.4;30.5\n", r"row 1, column 2 is not a number"),
        ("30.1 30.2\n30.3 warm\n", r"row 2, column 2 is not a number.*remove headings"),
        ("Temperature,deg C\n30.1,30.2\n", r"row 1, column 1 is not a number"),
        ("30,1,30,2\n30,3,30,4\n", "commas and no points"),
        ("30.1\n30.2\n", "2 rows and 1 columns"),
        ("30.1 30.2 30.3\n", "1 rows and 3 columns"),
        ("\n \n# nothing\n", "holds no numbers"),
        ("Patient moved, see the letter of 3 May\n", "no row of it holds numbers alone: it is a note"),
        ("Taken at 30.5 and 31,2\n\nRepeat in 3 months\n", "no row of it holds numbers alone: it is a note"),
        ("left;30.1;30.2\nright;30.3;30.4\n", "text stands in every row"),
        (table().encode("utf-16"), "not plain text"),
    ],
)
def test_text_that_is_no_table(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        from_text(tmp_path, text)


def test_size_is_known_before_the_numbers_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "loadtxt", lambda *_, **__: pytest.fail("the numbers were read"))
    path = tmp_path / "a.txt"
    path.write_text(table(";", ",", tail=";"))
    with pytest.raises(DecodeError, match="15x12 px, more than the limit of 179"):
        decode(path, limits=ReadingLimits(pixels=179))


def test_range_is_fixed_so_that_people_stay_comparable(tmp_path: Path) -> None:
    cool, warm = np.full((40, 40), 29.0), np.full((40, 40), 33.5)
    recipe = ImageRecipe(image_size=40)
    for values, grey in ((cool, 128), (warm, 191)):  # 255 * (29 - 20) / 18 = 127.5, rounded to even
        path = tmp_path / "a.npy"
        path.write_bytes(npy(values))
        prepared = preprocess(decode(path), recipe)
        assert np.unique(prepared.pixels).tolist() == [grey]
        assert (prepared.low, prepared.high) == (20.0, 38.0)


def test_beyond_the_range_is_clipped_and_another_range_is_obeyed(tmp_path: Path) -> None:
    values = np.tile([10.0, 25.0, 30.0, 60.0], (4, 10)).repeat(10, axis=0)
    path = tmp_path / "a.npy"
    path.write_bytes(npy(values))
    prepared = preprocess(decode(path), ImageRecipe(image_size=40, temperature_range=(25.0, 30.0)))
    np.testing.assert_array_equal(prepared.pixels[0, :, 0], np.tile([0, 0, 255, 255], 10))
    assert (prepared.low, prepared.high) == (25.0, 30.0)
