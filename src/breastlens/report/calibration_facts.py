"""What a page shows of a part's calibration, operating points and decision curve, as metrics.json has it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from breastlens.report.facts import Block, Facts, Interval


class Chance(Facts):
    """The expected calibration error of scores that are the true probabilities."""

    mean: float
    high: float


class Decomposition(Facts):
    """Murphy's split of the Brier score, and what is left over."""

    bins: int
    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float


class Assessed(Facts):
    """How far scores are probabilities."""

    intercept: Interval
    slope: Interval
    brier: Interval
    expected_calibration_error: Interval
    error_by_chance: Chance
    brier_decomposition: Decomposition
    mean_score: float


class Calibration(Facts):
    """The same before and after calibration."""

    before: Assessed
    after: Assessed


class Point(Facts):
    """An operating point on the judged part."""

    rule: str
    in_use: bool
    threshold: float | None
    threshold_range: tuple[float, float]
    threshold_interval: Interval | None = None
    sensitivity: Interval
    specificity: Interval
    ppv: Interval
    npv: Interval
    ppv_at_prevalence: Interval | None = None
    npv_at_prevalence: Interval | None = None


class DecisionCurve(Facts):
    """Net benefit by threshold probability."""

    threshold: list[float]
    net_benefit: list[float]
    low: list[float] | None = None
    high: list[float] | None = None
    over_treat_all_low: list[float] | None = None
    treat_all: list[float]
    prevalence: float


class Prevalence(Facts):
    """Of those to be screened, and that for which the scores are made."""

    stated: float | None = None
    trained_at: float | None = None


class Decisions(Facts):
    """All of it; an older run has none."""

    calibration: Calibration | None = None
    operating_points: tuple[Point, ...] = ()
    decision_curve: DecisionCurve | None = None
    prevalence: Prevalence = Field(default_factory=Prevalence)


def decisions_of(block: Block) -> Decisions:
    """What a block of metrics.json says of them."""
    given: dict[str, Any] = block.model_dump(include=set(Decisions.model_fields), exclude_none=True)
    return Decisions.model_validate(given)
