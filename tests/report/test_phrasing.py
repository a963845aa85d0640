"""Figures as text."""

import pytest

from breastlens.report.phrasing import figure_text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.25, "0.250"), (-0.5, "−0.500"), (-0.0001, "0.000"), (-0.0006, "−0.001")],
)
def test_a_figure_has_three_decimals_and_no_sign_where_it_rounds_to_nothing(
    value: float | None, text: str
) -> None:
    assert figure_text(value) == text
