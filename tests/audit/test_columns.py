"""What columns of a manifest hold, as people and spreadsheets write it."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breastlens.audit.acquisition import measure_associations
from breastlens.audit.columns import read_column, show_text
from breastlens.audit.properties import list_properties


class TestDates:
    @pytest.mark.parametrize(
        ("text", "day"),
        [
            ("03/04/21", "2021-04-03"),
            ("12/31/99", "1999-12-31"),
            ("13.05.20", "2020-05-13"),
            ("12 March 2021", "2021-03-12"),
            ("Mar 3, 2020", "2020-03-03"),
            ("3-MAY-19", "2019-05-03"),
            ("03Sep2019", "2019-09-03"),
            ("May 2018", "2018-05-01"),
            ("2021-03-01T23:30:00+02:00", "2021-03-01"),
        ],
    )
    def test_as_they_are_written_by_hand_and_by_databases(self, text: str, day: str) -> None:
        column = read_column([text])
        assert column.kind == "date"
        assert column.numbers[0] == pd.Timestamp(day).toordinal()

    @pytest.mark.parametrize(
        "text", ["21-05-03", "3.2.11", "10.1.12", "12 Foo 2021", "31 June 2021", "1.2.3.45"]
    )
    def test_what_might_be_something_else_is_none(self, text: str) -> None:
        assert read_column([text]).kind == "category"

    def test_the_days_of_a_spreadsheet_need_a_name_that_says_so(self) -> None:
        days = ["44256", "43891.5"]
        column = read_column(days, "Date acquired")
        assert column.years.tolist() == [2021, 2020]
        assert column.numbers[0] == pd.Timestamp("2021-03-01").toordinal()
        assert read_column(days, "patient number").kind == "category"
        assert read_column(["120", "99999"], "date").kind == "category"

    def test_a_year_alone_is_a_date_beside_dates(self) -> None:
        column = read_column(["2021-03-01", "1.3.2020", "2019"])
        assert column.years.tolist() == [2021, 2020, 2019]

    def test_days_that_never_were_do_not_keep_the_others_from_being_tested(self) -> None:
        dates = [f"{2000 + row}-05-01" for row in range(30)]
        dates[20:] = [f"{2000 + row}-02-30" for row in range(20, 30)]
        column = read_column(dates, "acquired")
        assert column.kind == "date"
        assert (column.years > 0).tolist() == [True] * 20 + [False] * 10

    @pytest.mark.parametrize(
        ("texts", "days"),
        [
            (["3/1/2015", "3/5/2015", "3/20/2015"], ["2015-03-01", "2015-03-05", "2015-03-20"]),
            (["3/5/15", "3/20/15"], ["2015-03-05", "2015-03-20"]),
            (["3/5/2015", "20/3/2015"], ["2015-05-03", "2015-03-20"]),
            (["03.05.2015", "1.12.2015"], ["2015-05-03", "2015-12-01"]),
            (
                ["3/5/2015", "20/3/2015", "3/20/2015", "3/21/2015"],
                ["2015-03-05", "", "2015-03-20", "2015-03-21"],
            ),
            (["3/5/2015", "20/3/2015", "3/20/2015"], ["2015-05-03", "2015-03-20", ""]),
            (["3/5/2015", "2/30/2015", "2015-13-01"], ["2015-03-05", "", ""]),
            (["3/5/2015", "20/20/2015", "0/13/2015", "4/5/2015"], ["2015-05-03", "", "", "2015-05-04"]),
        ],
    )
    def test_day_and_month_stand_in_one_order_throughout_a_column(
        self, texts: list[str], days: list[str]
    ) -> None:
        column = read_column([*texts, "2015-01-31", "2015-02-01", "2015-02-02"])
        assert column.kind == "date"
        read = [
            pd.Timestamp.fromordinal(int(day)).date().isoformat() if day > 0 else "" for day in column.numbers
        ]
        assert read[: len(texts)] == days

    @given(st.lists(st.dates(date(1950, 1, 1), date(2068, 12, 31)), min_size=1))
    def test_dates_written_month_first_are_read_back_if_a_day_tells_it(self, written: list[date]) -> None:
        written = [*written, date(2015, 3, 28)]
        column = read_column([f"{day.month}/{day.day}/{day.year}" for day in written])
        assert column.numbers.tolist() == [day.toordinal() for day in written]


@pytest.mark.parametrize("text", ["1e308", "-1.7e308", "9e120", "inf", "-inf", "1e400"])
def test_a_number_too_large_to_be_squared_is_missing(text: str) -> None:
    column = read_column([text, *map(str, range(20))])
    assert column.kind == "number"
    assert np.isnan(column.numbers[0])
    assert np.isfinite(column.numbers[1:]).all()


def test_what_is_shown_is_short_and_can_be_seen() -> None:
    assert show_text("Größe <b>") == "Größe <b>"
    assert show_text("a\x1b[31mb\u202ec") == r"a\x1b[31mb\u202ec"
    shown = show_text("begin" + "x" * 5000 + "end")
    assert len(shown) < 70
    assert shown.startswith("begin")
    assert shown.endswith("end")


class TestInAnAudit:
    def used(self, **columns: list[str]) -> pd.DataFrame:
        known = {"format": "PNG", "bits": 8, "width": 40, "height": 40}
        ids = [f"P{row}" for row in range(40)]
        labels = np.arange(40) // 20
        return pd.DataFrame({"path": ids, "patient_id": ids, "label": labels, **known, **columns})

    def measure(self, **columns: list[str]):
        used = self.used(**columns)
        found = measure_associations(used, pd.DataFrame(index=used.index), seed=0)
        return {each.name: each for each in found}

    def test_values_are_shown_short_and_without_control_characters(self) -> None:
        found = self.measure(site=["\x1b[31mred"] * 20 + ["v" * 5000] * 20)["the column 'site'"]
        assert found.effect == pytest.approx(1)
        assert "\x1b" not in found.negative
        assert len(found.positive) < 80

    def test_a_long_name_is_cut_and_still_known_in_full(self) -> None:
        name = "n" * 300
        (found,) = [each for each in self.measure(**{name: list("AB") * 20}).values() if each.manifest_column]
        assert len(found.name) < 90
        assert found.manifest_column == name

    def test_a_blank_column_is_of_no_image(self) -> None:
        found = self.measure(site=["", "n/a"] * 20)["the column 'site'"]
        assert (found.untested, found.images, found.distinct) == ("it is blank everywhere", 0, 0)

    def test_days_that_never_were_are_told_from_blanks(self) -> None:
        dates = ["2020-02-30"] * 10 + [""] * 2 + [f"2020-03-{1 + row:02}" for row in range(28)]
        properties = {each.name: each for each in list_properties(self.used(acquired=dates), pd.DataFrame())}
        assert properties["the column 'acquired'"].kind == "date"
        presence = properties["the column 'acquired', filled in or blank,"]
        assert np.unique(presence.texts, return_counts=True)[1].tolist() == [2, 28, 10]
        assert set(presence.texts) == {"blank", "filled in", "not a date"}
