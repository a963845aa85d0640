"""Figures as text."""

import pytest

from breastlens.report.facts import Interval
from breastlens.report.phrasing import figure_text, range_text, short_with_interval, with_interval


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.25, "0.250"), (-0.5, "−0.500"), (-0.0001, "0.000"), (-0.0006, "−0.001")],
)
def test_a_figure_has_three_decimals_and_no_sign_where_it_rounds_to_nothing(
    value: float | None, text: str
) -> None:
    assert figure_text(value) == text


@pytest.mark.parametrize(
    ("low", "high", "known"),
    [(0.0, 1.0, False), (0.0004, 0.9996, False), (-1.0, 1.0, False), (0.001, 1.0, True), (0.0, 0.9, True)],
)
def test_an_interval_of_all_there_is_says_nothing(low: float, high: float, known: bool) -> None:
    interval = Interval(value=0.5, low=low, high=high)
    said = [
        with_interval(0.5, interval),
        short_with_interval(0.5, interval),
        range_text(interval),
        range_text(interval, figure_text),
    ]
    assert [": nothing is known" in one for one in said] == [not known] * 4
    assert range_text(None) == "no interval"
