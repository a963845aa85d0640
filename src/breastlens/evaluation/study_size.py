"""How many patients a study has to judge, so that an interval gets a wanted width.

The intervals are those that `breastlens.evaluation.intervals` will give the study: the AUC's on the scale of its
log-odds with Student's t, Wilson's for a proportion. `benchmarks/study_size.py` compares the widths.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from breastlens.errors import DataError

ScoreModel = Literal["normal", "exponential"]
Ends = tuple[float, float]

MOST_PATIENTS = 10_000_000
"""Beyond this no study is planned."""

FEWEST_PLANNED = 10
"""With fewer patients of a class the formulas, which are for large numbers, are rough."""

_FEWEST = 2
_NAMES = {"auc": "an AUC", "sensitivity": "a sensitivity", "specificity": "a specificity"}


@dataclass(frozen=True)
class Cluster:
    """Several images of a patient, which say less than as many patients.

    Attributes:
        images: Of each patient, at least 1.
        correlation: The intraclass correlation of their scores within a class, from 0 (as good as patients of their
            own) to 1 (copies).
    """

    images: int = 1
    correlation: float = 0.5

    @property
    def worth(self) -> float:
        """How many independent images a patient's are worth (Kish, Survey Sampling, 1965: the design effect)."""
        return self.images / (1 + (self.images - 1) * self.correlation)


@dataclass(frozen=True)
class StudySize:
    """The smallest study in which a figure has an interval of the wanted width.

    Attributes:
        figure: ``auc``, ``sensitivity`` or ``specificity``.
        expected: The figure that was expected.
        patients: To be judged in all.
        positives: Of them with the positive label.
        negatives: The others.
        low: Lower end of the interval that such a study is expected to give.
        high: Its upper end.
    """

    figure: str
    expected: float
    patients: int
    positives: int
    negatives: int
    low: float
    high: float


def auc_variance(auc: float, positives: float, negatives: float, scores: ScoreModel = "normal") -> float:
    """Variance of the AUC of independent images.

    The formula is that of Bamber (Journal of Mathematical Psychology 12, 1975) and Hanley and McNeil (Radiology 143,
    1982). It needs the probabilities Q1 that two positives score above one negative, and Q2 that one positive scores
    above two negatives, which depend on how scores are distributed:

    - ``exponential``: Q1 = A / (2 - A), Q2 = 2 A^2 / (1 + A), Hanley and McNeil's own choice.
    - ``normal``: both classes normal with one spread, which is nearer to log-odds. Then Q1 = Q2 is the probability that
      two standard normals of correlation 1/2 both lie below the quantile of A (by Owen's T function, 1956).

    Args:
        auc: Area expected, above 0 and below 1.
        positives: Number of positive images, at least 1.
        negatives: Number of negative images, at least 1.
        scores: How scores are distributed.
    """
    if scores == "exponential":
        two_positives, two_negatives = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    else:
        two_positives = two_negatives = _both_below(auc, 0.5)
    return (
        auc * (1 - auc)
        + (positives - 1) * (two_positives - auc**2)
        + (negatives - 1) * (two_negatives - auc**2)
    ) / (positives * negatives)


def expected_auc_interval(
    auc: float,
    positives: int,
    negatives: int,
    *,
    level: float = 0.95,
    cluster: Cluster | None = None,
    scores: ScoreModel = "normal",
) -> Ends:
    """The interval of an AUC in a study of so many patients, as `AucEstimates.interval` would give it.

    Args:
        auc: Area expected, above 0 and below 1.
        positives: Patients with the positive label, at least 2.
        negatives: The others, at least 2.
        level: Coverage aimed at.
        cluster: Images of each patient; None: one.
        scores: How scores are distributed.
    """
    from scipy.special import expit, logit, stdtrit

    worth = _of_placements(auc, cluster or Cluster(), scores).worth
    error = np.sqrt(auc_variance(auc, positives * worth, negatives * worth, scores))
    half = stdtrit(min(positives, negatives) - 1, (1 + level) / 2) * error / (auc * (1 - auc))
    return float(expit(logit(auc) - half)), float(expit(logit(auc) + half))


def expected_proportion_interval(
    share: float, patients: int, *, level: float = 0.95, cluster: Cluster | None = None
) -> Ends:
    """Wilson's interval (1927) of a share of so many patients, or of what their images are worth.

    Args:
        share: Expected, above 0 and below 1.
        patients: Of the class that it is about, at least 1.
        level: Coverage aimed at.
        cluster: Images of each patient; None: one.
    """
    from scipy.special import ndtri

    z = float(ndtri((1 + level) / 2))
    count = patients * (cluster or Cluster()).worth
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return float(middle - half), float(middle + half)


def plan_study(
    auc: float,
    width: float,
    prevalence: float,
    *,
    sensitivity: float | None = None,
    specificity: float | None = None,
    level: float = 0.95,
    images_per_patient: int = 1,
    intraclass_correlation: float = 0.5,
    scores: ScoreModel = "normal",
) -> list[StudySize]:
    """The smallest study for each figure, so that its interval is at most so wide.

    Args:
        auc: Area expected, above 0.5 and below 1.
        width: Of the interval, upper end less lower end, above 0 and below 1.
        prevalence: Share of positive patients, above 0 and below 1.
        sensitivity: Expected, above 0 and below 1; None: not asked.
        specificity: Expected, above 0 and below 1; None: not asked.
        level: Coverage aimed at, above 0 and below 1.
        images_per_patient: At least 1.
        intraclass_correlation: Of the scores of a patient's images within a class, 0 to 1; without effect on one image.
        scores: How scores are distributed.

    Returns:
        For the AUC, then for what else was asked.

    Raises:
        DataError: A number is out of its range, or no study of up to `MOST_PATIENTS` reaches the width.
    """
    _require_inside("AUC", auc, 0.5, 1)
    asked = {"sensitivity": sensitivity, "specificity": specificity}
    expected = {name: value for name, value in asked.items() if value is not None}
    between = {"width": width, "prevalence": prevalence, "level": level} | expected
    for name, value in between.items():
        _require_inside(name, value, 0, 1)
    if images_per_patient < 1:
        raise DataError(f"a patient has at least 1 image, received {images_per_patient}")
    if not 0 <= intraclass_correlation <= 1:
        raise DataError(
            f"the intraclass correlation must lie between 0 and 1, received {intraclass_correlation:g}"
        )
    if scores not in get_args(ScoreModel):
        raise DataError(
            f"the scores' distribution is one of {', '.join(get_args(ScoreModel))}, received {scores!r}"
        )
    cluster = Cluster(images_per_patient, intraclass_correlation)
    intervals: dict[str, Callable[[int, int], Ends]] = {
        "auc": lambda positives, negatives: expected_auc_interval(
            auc, positives, negatives, level=level, cluster=cluster, scores=scores
        )
    }
    if sensitivity is not None:
        intervals["sensitivity"] = lambda positives, _: expected_proportion_interval(
            sensitivity, positives, level=level, cluster=cluster
        )
    if specificity is not None:
        intervals["specificity"] = lambda _, negatives: expected_proportion_interval(
            specificity, negatives, level=level, cluster=cluster
        )
    return [
        _smallest(name, auc if name == "auc" else expected[name], interval, width, prevalence)
        for name, interval in intervals.items()
    ]


def _both_below(auc: float, correlation: float) -> float:
    """The probability that two standard normals both lie below the quantile of an AUC (Owen, 1956)."""
    from scipy.special import ndtri, owens_t

    return auc - 2 * float(owens_t(ndtri(auc), np.sqrt((1 - correlation) / (1 + correlation))))


def _of_placements(auc: float, cluster: Cluster, scores: ScoreModel) -> Cluster:
    """The correlation of what the AUC is a mean of: of each image the share of the other class that it beats.

    Of normal scores it follows from theirs and is a little smaller. Of others theirs is taken, which plans for more.
    """
    if scores != "normal":
        return cluster
    chance = auc**2
    shared = _both_below(auc, cluster.correlation / 2) - chance
    return Cluster(cluster.images, shared / (_both_below(auc, 0.5) - chance))


def _smallest(
    figure: str, expected: float, interval: Callable[[int, int], Ends], width: float, prevalence: float
) -> StudySize:
    def study(patients: int) -> StudySize:
        positives = min(max(_FEWEST, round(patients * prevalence)), patients - _FEWEST)
        low, high = interval(positives, patients - positives)
        return StudySize(figure, expected, patients, positives, patients - positives, low, high)

    def is_enough(patients: int) -> bool:
        found = study(patients)
        return found.high - found.low <= width

    few = many = 2 * _FEWEST
    while not is_enough(many):
        if many == MOST_PATIENTS:
            raise DataError(
                f"no study of up to {MOST_PATIENTS:,} patients gives {_NAMES[figure]} of {expected:g} an interval of "
                f"width {width:g} at a prevalence of {prevalence:g}; allow a wider one"
            )
        few, many = many, min(2 * many, MOST_PATIENTS)
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if is_enough(middle) else (middle, many)
    return study(many)


def _require_inside(name: str, value: float, low: float, high: float) -> None:
    if not low < value < high:
        raise DataError(f"the {name} must lie above {low:g} and below {high:g}, received {value:g}")
