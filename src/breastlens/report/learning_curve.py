"""The section about a learning curve: what metrics.json says of it, in rows and words."""

from __future__ import annotations

from typing import NamedTuple

from breastlens.report.facts import Facts, Interval
from breastlens.report.phrasing import figure_text, range_text, with_interval
from breastlens.report.run_files import RunFiles

KEY = "learning_curve"
"""Of metrics.json, and the name of the figure."""

EXTRAPOLATION = (
    "This is an extrapolation: it holds as far as more patients would be like these, and as the curve goes on as it "
    "began, which such curves need not do (Viering and Loog, 2022)."
)


class Point(Facts):
    """What was reached with so many training patients."""

    patients: float
    auc: Interval
    values: tuple[float, ...] = ()


class Band(Facts):
    """The fitted curve and its ends, place by place."""

    patients: list[float]
    auc: list[float]
    low: list[float]
    high: list[float]


class PowerLaw(Facts):
    """``auc = a - b * patients ** -c``."""

    a: float
    b: float
    c: float
    band: Band


class Twice(Facts):
    """The curve at twice the most patients, and how far that is above the curve at the most."""

    patients: float
    auc: Interval
    gain: Interval


class LearningCurve(Facts):
    """The key of metrics.json."""

    unit: str = "patients"
    points: tuple[Point, ...] = ()
    fit: PowerLaw | None = None
    twice: Twice | None = None
    reason: str = ""


class PointRow(NamedTuple):
    """One size as text."""

    patients: str
    auc: str
    interval: str
    draws: str


def read_learning_curve(files: RunFiles) -> LearningCurve | None:
    """What metrics.json says of a learning curve; None where none was asked for."""
    return LearningCurve.model_validate(files.further[KEY]) if KEY in files.further else None


def point_rows(curve: LearningCurve) -> list[PointRow]:
    """A row a size, the smallest first."""
    return [
        PointRow(
            f"{point.patients:,.0f}",
            figure_text(point.auc.value),
            range_text(point.auc, figure_text),
            f"{figure_text(min(point.values))} to {figure_text(max(point.values))}"
            if len(point.values) > 1
            else "one draw",
        )
        for point in curve.points
    ]


def measured_sentence(files: RunFiles, curve: LearningCurve) -> str:
    """What was tried, and by which model."""
    if not curve.points:
        return f"No learning curve: {curve.reason}."
    strategy = files.facts.recipe.get("strategy", "probe")
    said = f"Probes learnt from {curve.points[0].patients:,.0f} to {curve.points[-1].patients:,.0f} {curve.unit} and "
    said += "were judged on the same held-out ones, with every choice made inside what they learnt from."
    if strategy != "probe":
        said += f" They are probes on the features of the starting network although the model is not ({strategy})."
    return said


def twice_sentence(curve: LearningCurve) -> str:
    """What twice the data might bring, and that this is an extrapolation."""
    if curve.twice is None:
        return f"No curve was fitted: {curve.reason}." if curve.points else ""
    gain = curve.twice.gain
    said = f"The curve puts the AUC with twice as many ({curve.twice.patients:,.0f} {curve.unit}) at "
    said += f"{with_interval(curve.twice.auc.value, curve.twice.auc)}: {with_interval(gain.value, gain)} more than it "
    said += "has with all of them. "
    if gain.low is not None and gain.low < 0.0005:
        said += "So more of the same data may bring nothing. "
    return said + EXTRAPOLATION
