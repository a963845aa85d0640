"""What a column of a table holds: categories, numbers or dates, or something that must not be tested."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.cohort.reading import COLUMN_ORDER

Kind = Literal["category", "number", "date"]

MOST_NUMERIC_CATEGORIES = 10
"""A column of numbers with at most as many different ones is taken as categories: sites, visits, grades."""

LEAST_PARSED = 0.9
"""Share of the values that must be numbers; a few slips of the pen do not make a column text."""

LEAST_DATES = 0.5
"""Share of the values that must be dates. Few other texts look like one, and dates must not go untested for the days
that there never were."""

LARGEST_NUMBER = 1e100
"""What is larger stands for a missing value, and its square would be too large for a float."""

MOST_OWN_VALUES = 0.5
"""Above this share of different values a text column names images rather than describes them."""

FREE_TEXT_WORDS = 4

_BLANK = frozenset({"", "nan", "na", "n/a", "none", "null", "nat", "-", "?", "unknown"})
_EARLIEST_YEAR, _LATEST_YEAR = 1900, 2100
# A further dot and digit make a version or a number of it; ".0" is what a table program adds to whole numbers.
_END = r"(?=\D|$)(?!\.0*[1-9])"
_YEAR_FIRST = re.compile(rf"(\d{{4}})([-/.:])(\d{{1,2}})\2(\d{{1,2}}){_END}")
_COMPACT = re.compile(rf"(\d{{4}})(\d{{2}})(\d{{2}}){_END}")
_COMPACT_MONTH = re.compile(r"(\d{4})(\d{2})(?:\.0)?$")
_YEAR_LAST = re.compile(rf"(\d{{1,2}})([-/.])(\d{{1,2}})\2(\d{{4}}){_END}")
_YEAR_AND_MONTH = re.compile(r"(\d{4})[-/](\d{1,2})$")
_YEAR_ALONE = re.compile(r"\d{4}$")
_SHORT_YEAR_LAST = re.compile(r"(?=\d\d\.\d\d\.|\d{1,2}/)(\d{1,2})([/.])(\d{1,2})\2(\d{2})(?![\d.])")
_DAY_AND_WORD = re.compile(r"(\d{1,2})[-. ]{0,2}([A-Za-z]{3,9})[-., ]{0,2}(\d{4}|\d{2})(?!\d)")
_WORD_AND_DAY = re.compile(r"([A-Za-z]{3,9})\.? (\d{1,2}),? (\d{4})(?!\d)")
_WORD_AND_YEAR = re.compile(r"([A-Za-z]{3,9})[-. ]{1,2}(\d{4})$")
_MONTHS = tuple(
    "january february march april may june july august september october november december".split()  # noqa: SIM905
)
_MONTH_NUMBERS, _ONLY_DAYS = range(1, 13), range(13, 32)
_SPREADSHEET_DAY = re.compile(r"(\d{5})(?:[.,]\d+)?$")
_SPREADSHEET_DAYS = range(20_000, 65_000)  # 1954 to 2077
_BEFORE_THE_FIRST_DAY = date(1899, 12, 30)
_NAME_OF_A_DATE = re.compile(r"date|acquired|scanned|taken", re.IGNORECASE)
_NAME_OF_A_MONTH = re.compile(r"(?<![a-z])(?i:month|date)|Month|Date")
_FIRST_SHORT_YEAR = 69  # as POSIX has it: 69 to 99 are of the last century
_SHOWN_LETTERS = 60
_DIAGNOSIS = re.compile(
    r"diagnos\w*|findings?|patholog\w*|histolog\w*|labels?|class|category|outcome|cancer|malignan\w*|benign|tumou?rs?"
    r"|lesions?|birads|rads|grade|stage|target|truth|biops\w*",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, eq=False)
class Column:
    """A column, read as what it is.

    Attributes:
        kind: What it holds.
        texts: Its values without surrounding blanks, "" where there is none, (n,).
        numbers: float64 (n,): its numbers, or days since 0001-01-01 of its dates; NaN where there is none and for
            categories.
        years: int64 (n,): the year of its dates, 0 where there is none and for other kinds.
    """

    kind: Kind
    texts: NDArray[np.str_]
    numbers: NDArray[np.float64]
    years: NDArray[np.int64]


def list_extra_columns(table: pd.DataFrame) -> list[str]:
    """The columns that a manifest added, in their order: what BreastLens knows nothing of."""
    return [str(name) for name in table.columns if name not in COLUMN_ORDER]


def read_column(values: Iterable[object], name: str = "") -> Column:
    """Tells what a column holds by its values.

    Dates may be written year first or year last, with or without a time, with the English name of the month, or as
    the days of a spreadsheet if the column's name says that it is a date. Without anything between year, month and
    day a date has 8 digits; 6 digits are year and month if the column's name has the word month or date. Years of two
    digits come last, as in 03.05.21, 3/5/21 and 3-MAY-21: 21-05-03 may be read in two ways, and 3.5.21 may be a
    version. A year alone counts as a date if the column's name has the word year or most other values are dates. With
    the year last, day and month are taken in one order throughout the column: in that which more of the dates with a
    number above 12 allow, day first where these are as many or none. What is no date in it is not read.

    Args:
        values: One a record; None, NaN and words such as "n/a" or "unknown" are blank.
        name: The column's name.
    """
    texts = np.array([_clean(value) for value in values], dtype=np.str_)
    filled = texts != ""
    days = _read_dates(texts.tolist(), name)
    nothing = np.full(texts.size, np.nan)
    no_years = np.zeros(texts.size, dtype=np.int64)
    if filled.any() and sum(day is not None for day in days) >= LEAST_DATES * filled.sum():
        numbers = np.array([math.nan if day is None else day.toordinal() for day in days])
        years = np.array([0 if day is None else day.year for day in days], dtype=np.int64)
        return Column("date", texts, numbers, years)
    numbers = np.array([_read_number(text) for text in texts.tolist()], dtype=np.float64)
    known = np.isfinite(numbers)
    enough = known.sum() >= LEAST_PARSED * filled.sum()
    if filled.any() and enough and np.unique(numbers[known]).size > MOST_NUMERIC_CATEGORIES:
        return Column("number", texts, numbers, no_years)
    return Column("category", texts, nothing, no_years)


def say_why_untested(name: str, column: Column, patient_id: Iterable[str]) -> str:
    """Tells why a manifest's column is not tested against the label; "" if it can be.

    Args:
        name: The column's name.
        column: What it holds.
        patient_id: Patient of each record, "" where unknown.
    """
    filled = column.texts != ""
    given = column.texts[filled]
    distinct = np.unique(given).size
    if distinct == 0:
        return "it is blank everywhere"
    if np.unique(column.texts).size == 1:
        return "it has one value only"
    if any(_DIAGNOSIS.fullmatch(word) for word in _WORD.findall(name)):
        return "its name says that it tells the diagnosis itself"
    if column.kind == "date":
        return ""
    measured = column.kind == "number" and not _all_whole(column.numbers[filled])
    if measured:
        return ""
    if distinct == given.size and distinct > 2:
        return "every image has a value of its own"
    if _names_patients(column.texts, np.array(list(patient_id), dtype=np.str_)):
        return "it names the patients"
    if column.kind == "number":
        return ""
    if distinct > max(2.0, MOST_OWN_VALUES * given.size):
        return "most images have a value of their own"
    words = np.mean([len(text.split()) for text in given.tolist()])
    if distinct > MOST_NUMERIC_CATEGORIES and words >= FREE_TEXT_WORDS:
        return "it is free text"
    return ""


def _clean(value: object) -> str:
    text = "" if value is None else " ".join(str(value).split())
    return "" if text.lower() in _BLANK else text


def show_text(text: str) -> str:
    """Writes a value or a name so that it can stand in a sentence: what is long is cut, what cannot be seen escaped."""
    seen = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    half = _SHOWN_LETTERS // 2
    return seen if len(seen) <= _SHOWN_LETTERS else f"{seen[:half]}\N{HORIZONTAL ELLIPSIS}{seen[-half:]}"


def _read_dates(texts: list[str], name: str) -> list[date | None]:
    month_first = _is_month_first(texts)
    days = [_read_date(text, month_first=month_first) if text else None for text in texts]
    if _NAME_OF_A_DATE.search(name):
        days = [day or _read_spreadsheet_day(text) for day, text in zip(days, texts, strict=True)]
    if _NAME_OF_A_MONTH.search(name):
        days = [day or _read_compact_month(text) for day, text in zip(days, texts, strict=True)]
    known = sum(day is not None for day in days)
    if "year" in name.lower() or known >= LEAST_DATES * sum(text != "" for text in texts):
        days = [
            _make_date(text, "1", "1") if day is None and _YEAR_ALONE.match(text) else day
            for day, text in zip(days, texts, strict=True)
        ]
    return days


def _is_month_first(texts: list[str]) -> bool:
    """Whether more of the dates with the year last can only be read month first than only day first."""
    found = [_find_year_last(text) for text in texts]
    places = [(int(each[1]), int(each[3])) for each in found if each]
    month_first = sum(first in _MONTH_NUMBERS and second in _ONLY_DAYS for first, second in places)
    day_first = sum(first in _ONLY_DAYS and second in _MONTH_NUMBERS for first, second in places)
    return month_first > day_first


def _find_year_last(text: str) -> re.Match[str] | None:
    return _YEAR_LAST.match(text) or _SHORT_YEAR_LAST.match(text)


def _read_date(text: str, *, month_first: bool) -> date | None:
    if found := _YEAR_FIRST.match(text):
        return _make_date(found[1], found[3], found[4])
    if found := _COMPACT.match(text):
        return _make_date(found[1], found[2], found[3])
    if found := _find_year_last(text):
        month, day = (found[1], found[3]) if month_first else (found[3], found[1])
        return _make_date(found[4], month, day)
    if found := _YEAR_AND_MONTH.match(text):
        return _make_date(found[1], found[2], "1")
    if found := _DAY_AND_WORD.match(text):
        return _make_date(found[3], _read_month(found[2]), found[1])
    if found := _WORD_AND_DAY.match(text):
        return _make_date(found[3], _read_month(found[1]), found[2])
    if found := _WORD_AND_YEAR.match(text):
        return _make_date(found[2], _read_month(found[1]), "1")
    return None


def _read_month(word: str) -> str:
    """The number of a month by its English name or the beginning of it; 0, which is no month, for other words."""
    places = (place for place, month in enumerate(_MONTHS, start=1) if month.startswith(word.lower()))
    return str(next(places, 0))


def _read_compact_month(text: str) -> date | None:
    found = _COMPACT_MONTH.match(text)
    return _make_date(found[1], found[2], "1") if found else None


def _read_spreadsheet_day(text: str) -> date | None:
    found = _SPREADSHEET_DAY.match(text)
    days = int(found[1]) if found else 0
    return _BEFORE_THE_FIRST_DAY + timedelta(days=days) if days in _SPREADSHEET_DAYS else None


def _make_date(year: str, month: str, day: str) -> date | None:
    if len(year) == len("21"):
        year = ("19" if int(year) >= _FIRST_SHORT_YEAR else "20") + year
    if not _EARLIEST_YEAR <= int(year) <= _LATEST_YEAR:
        return None
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


def _read_number(text: str) -> float:
    if not text or "_" in text:  # Python takes 1_0 for 10
        return math.nan
    try:
        number = float(text.replace(",", ".") if text.count(",") == 1 and "." not in text else text)
    except ValueError:
        return math.nan
    return number if abs(number) <= LARGEST_NUMBER else math.nan


def _all_whole(numbers: NDArray[np.float64]) -> bool:
    known = numbers[np.isfinite(numbers)]
    return bool((known == np.round(known)).all())


def _names_patients(texts: NDArray[np.str_], patients: NDArray[np.str_]) -> bool:
    """Whether values and patients are the same thing under two names, so that some patient has several images."""
    known = (texts != "") & (patients != "")
    pairs = set(zip(texts[known].tolist(), patients[known].tolist(), strict=True))
    values, people = {value for value, _ in pairs}, {patient for _, patient in pairs}
    return len(people) > MOST_NUMERIC_CATEGORIES and len(pairs) == len(values) == len(people)
