"""How far a figure may be off: bootstrap intervals in which whole patients are drawn, not images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from breastlens.evaluation.inputs import Units, check_labels, check_scores, check_thresholds, find_units
from breastlens.evaluation.scalars import (
    CLASS_WORD,
    CLASSES_NEEDED,
    SCALAR_METRICS,
    Floats,
    Labels,
    scalar_metrics,
    weighted_auc,
)

#: Weights held at once (16 MB); more draws than fit are done in turns.
_WEIGHTS_AT_ONCE = 2_000_000
#: Draws in which a metric has no value are left out of its interval, up to this share of all draws.
_UNDEFINED_SHARE = 0.05
#: Widths below this are rounding errors of sums.
_NO_WIDTH = 1e-12


def bootstrap_intervals(
    y_true: ArrayLike,
    y_score: ArrayLike,
    threshold: ArrayLike,
    patient_id: Sequence[str] | None = None,
    *,
    linked: NDArray[np.integer] | None = None,
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Give percentile bootstrap intervals of every scalar metric, drawing patients within each class.

    Images of one patient resemble each other, so patients are drawn, with all their images (the cluster
    bootstrap; Field and Welsh, 2007, "Bootstrapping clustered data"). Patients with a positive image and
    patients without one are drawn separately, each as many as there are, so the classes keep their sizes;
    where one of the two has a single patient, who could not vary, all are drawn together. An image without a
    patient id is drawn on its own, or with those it is linked with. The ends are percentiles of the draws
    (Efron, 1979).

    The model and the threshold are held fixed: an interval says how the figure would vary over other
    patients, not over other trainings.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score: Scores in [0, 1], (n,).
        threshold: Operating point in [0, 1], one for all images or one for each, (n,).
        patient_id: Patient of each image, "" where unknown; None where no patient is known.
        linked: (n,) which images without a patient belong together, as `find_units` takes it.
        seed: Seed of the draws; the order of records does not matter where patients are known.
        draws: Number of draws, at least 1.
        level: Coverage aimed at, between 0 and 1.

    Returns:
        For each metric either an interval ``{"value", "low", "high", "level", "method"}`` in the first
        dictionary or, in the second, the reason why there is none: the metric has no value; fewer than two
        patients with images of a class that it needs; undefined in more than 5 % of the draws; or all draws
        alike, as when nothing was called wrong, since an interval of no width would claim certainty.

    Raises:
        DataError: As `breastlens.evaluation.metrics.evaluate_scores`.
        ValueError: ``draws`` or ``level`` is out of range.
    """
    labels = check_labels(y_true)
    scores = check_scores(y_score, labels.size)
    cut = check_thresholds(threshold, labels.size)
    units = find_units(patient_id, labels.size, linked)
    check_options(draws, level)

    values = scalar_metrics(labels, scores, cut, np.ones((1, labels.size)))
    method = name_method(units, draws, labels)
    batches = [
        scalar_metrics(labels, scores, cut, weights) for weights in resample(labels, units, seed, draws)
    ]
    intervals: dict[str, dict[str, Any]] = {}
    reasons: dict[str, str] = {}
    for name in SCALAR_METRICS:
        counted = CLASSES_NEEDED[name] or tuple(np.unique(labels).tolist())
        drawn = np.concatenate([batch[name] for batch in batches])
        lone = find_lone_classes(labels, units, counted)
        found = percentile_interval(float(values[name][0]), drawn, level, method, lone)
        if isinstance(found, str):
            reasons[name] = found
        else:
            intervals[name] = found
    return intervals, reasons


def auc_interval(
    y_true: ArrayLike,
    y_score: ArrayLike,
    patient_id: Sequence[str] | None = None,
    *,
    linked: NDArray[np.integer] | None = None,
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
) -> dict[str, Any]:
    """Give the AUC and its interval, the same as that of `bootstrap_intervals` without the other metrics.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score: Scores in [0, 1], (n,).
        patient_id: Patient of each image, "" where unknown; None where no patient is known.
        linked: (n,) which images without a patient belong together, as `find_units` takes it.
        seed: Seed of the draws.
        draws: Number of draws, at least 1.
        level: Coverage aimed at, between 0 and 1.

    Returns:
        ``value``, ``low``, ``high``, ``level`` and ``method``. ``value``, ``low`` and ``high`` are None, with a
        ``reason``, where they cannot be had; see `bootstrap_intervals`.

    Raises:
        DataError: As `breastlens.evaluation.metrics.evaluate_scores`.
        ValueError: ``draws`` or ``level`` is out of range.
    """
    labels = check_labels(y_true)
    scores = check_scores(y_score, labels.size)
    units = find_units(patient_id, labels.size, linked)
    check_options(draws, level)
    return _draw_interval(
        lambda weights: weighted_auc(labels, scores, weights),
        labels,
        units,
        name_method(units, draws, labels),
        seed=seed,
        draws=draws,
        level=level,
    )


def paired_difference(
    y_true: ArrayLike,
    y_score_a: ArrayLike,
    y_score_b: ArrayLike,
    patient_id: Sequence[str] | None = None,
    *,
    linked: NDArray[np.integer] | None = None,
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
) -> dict[str, Any]:
    """Give the difference in AUC of two scores of the same images, with its interval over the same patients.

    Both scores are weighted by the same draws, so what makes a patient easy or hard for both cancels.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score_a: Scores in [0, 1], (n,).
        y_score_b: Scores in [0, 1] of the same images in the same order, (n,).
        patient_id: Patient of each image, "" where unknown; None where no patient is known.
        linked: (n,) which images without a patient belong together, as `find_units` takes it.
        seed: Seed of the draws; the same seed draws the same patients as `bootstrap_intervals`.
        draws: Number of draws, at least 1.
        level: Coverage aimed at, between 0 and 1.

    Returns:
        ``value`` (AUC of a minus AUC of b), ``low``, ``high``, ``level`` and ``method``. ``value``, ``low``
        and ``high`` are None, with a ``reason``, where they cannot be had; see `bootstrap_intervals`.

    Raises:
        DataError: As `breastlens.evaluation.metrics.evaluate_scores`.
        ValueError: ``draws`` or ``level`` is out of range.
    """
    labels = check_labels(y_true)
    scores_a = check_scores(y_score_a, labels.size)
    scores_b = check_scores(y_score_b, labels.size)
    units = find_units(patient_id, labels.size, linked)
    check_options(draws, level)

    def difference(weights: Floats) -> Floats:
        return weighted_auc(labels, scores_a, weights) - weighted_auc(labels, scores_b, weights)

    method = f"{name_method(units, draws, labels)}, paired"
    return _draw_interval(difference, labels, units, method, seed=seed, draws=draws, level=level)


def _draw_interval(
    figure: Callable[[Floats], Floats],
    labels: Labels,
    units: Units,
    method: str,
    *,
    seed: int,
    draws: int,
    level: float,
) -> dict[str, Any]:
    """A figure that needs both classes, and its interval; the figure is a function of weights (draws, n)."""
    value = float(figure(np.ones((1, labels.size)))[0])
    drawn = np.concatenate([figure(weights) for weights in resample(labels, units, seed, draws)])
    found = percentile_interval(value, drawn, level, method, find_lone_classes(labels, units))
    if isinstance(found, str):
        return {
            "value": None if np.isnan(value) else value,
            "low": None,
            "high": None,
            "level": level,
            "method": method,
            "reason": found,
        }
    return found


def _find_strata(labels: Labels, units: Units) -> list[NDArray[np.int64]]:
    """The units with a positive image, and the others; all together where either would be one unit only."""
    positive = np.bincount(units.index, weights=labels, minlength=units.count) > 0
    strata = [np.flatnonzero(positive), np.flatnonzero(~positive)]
    return [np.arange(units.count)] if any(members.size == 1 for members in strata) else strata


def resample(labels: Labels, units: Units, seed: int, draws: int) -> Iterator[Floats]:
    """Yield how often each image was drawn, (some draws, n) at a time, ``draws`` rows in all."""
    strata = _find_strata(labels, units)
    # A stream for each stratum: its draws do not depend on the size of the other.
    streams = [np.random.default_rng([seed, number]) for number in range(len(strata))]
    rows = max(1, _WEIGHTS_AT_ONCE // labels.size)
    for start in range(0, draws, rows):
        batch = min(rows, draws - start)
        times = np.zeros((batch, units.count))
        for members, stream in zip(strata, streams, strict=True):
            size = members.size
            if size:
                picks = stream.integers(size, size=(batch, size)) + size * np.arange(batch)[:, None]
                times[:, members] = np.bincount(picks.ravel(), minlength=batch * size).reshape(batch, size)
        yield times[:, units.index]


def find_lone_classes(labels: Labels, units: Units, classes: Sequence[int] = (0, 1)) -> list[str]:
    """Those of the classes whose images are all of one unit, which cannot vary, in words."""
    return [CLASS_WORD[label] for label in classes if np.unique(units.index[labels == label]).size == 1]


def percentile_interval(
    value: float, drawn: Floats, level: float, method: str, lone: Sequence[str] = ()
) -> dict[str, Any] | str:
    """The interval, or the reason why there is none, such as a class of one patient."""
    if np.isnan(value):
        return "the figure itself has no value"
    if lone:
        return f"a class has one patient only, the {' and the '.join(lone)} one; drawing patients needs at least two"
    defined = drawn[~np.isnan(drawn)]
    undefined = drawn.size - defined.size
    if undefined > _UNDEFINED_SHARE * drawn.size:
        return f"it has no value in {undefined} of {drawn.size} draws"
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    if high - low < _NO_WIDTH:
        return "it is the same in nearly every draw, which says nothing about how certain it is"
    return {
        "value": value,
        "low": float(low),
        "high": float(high),
        "level": level,
        "method": f"{method}, without {undefined} undefined" if undefined else method,
    }


def name_method(units: Units, draws: int, labels: Labels | None = None) -> str:
    """What was drawn and how often, in words; without labels as if the classes were drawn separately."""
    images, sets = units.images_without_patient, units.units_without_patient
    linked = images > sets
    if units.patients == 0:
        drawn = f"bootstrap of {sets} sets of linked images" if linked else "image bootstrap"
        drawn = f"{drawn} (patients unknown)"
    elif images:
        apart = f"in {sets} sets of linked ones" if linked else "each on its own"
        drawn = f"patient bootstrap ({images} images without a patient {apart})"
    else:
        drawn = "patient bootstrap"
    by_class = labels is None or len(_find_strata(labels, units)) > 1
    return f"{drawn}{', stratified by class' if by_class else ''}, percentile, {draws} draws"


def check_options(draws: int, level: float) -> None:
    """Refuse a number of draws or a level that makes no interval.

    Raises:
        ValueError: Fewer than one draw, or a level outside (0, 1).
    """
    if draws < 1 or not 0 < level < 1:
        raise ValueError(f"draws must be at least 1 and level between 0 and 1, got {draws} and {level}")
