"""The bootstrap in which whole patients are drawn, not images: draws, and the interval that they give a figure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.evaluation.inputs import Units
from breastlens.evaluation.scalars import CLASS_WORD, Floats, Labels

Figures = Callable[[Floats], Mapping[str, Floats]]
"""From weights of the images, (draws, n), to figures by name, (draws,) each, NaN where one has no value."""

ALIKE = "it is the same in nearly every draw, which says nothing about how certain it is"
"""Why a figure has no interval that would be the same for other patients, such as an AUC of 1."""

_WEIGHTS_AT_ONCE = 2_000_000
"""Weights held at once (16 MB); more draws than fit are done in turns."""

_MOST_LEFT_OUT = 500
"""In so many turns at most are units left out of a stratum, several at a time where it has more."""

_UNDEFINED_SHARE = 0.05
"""Draws in which a metric has no value are left out of its interval, up to this share of all draws."""

_NO_WIDTH = 1e-12
"""Widths below this are rounding errors of sums."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure of the images as they are, and what it is when patients are drawn anew.

    Attributes:
        value: As they are; NaN where it has no value.
        draws: (draws,), NaN where it has none.
        acceleration: How its spread changes with its value, from leaving units out in turn; NaN where unknown.
    """

    value: float
    draws: Floats
    acceleration: float


def draw_figures(
    figures: Figures, labels: Labels | None, units: Units, seed: int, draws: int
) -> dict[str, Drawn]:
    """Give every figure for the images as they are, for each draw of units, and its acceleration.

    Units with a positive image and units without one are drawn separately, each as many as there are, so the classes
    keep their sizes; where one of the two has a single unit, which could not vary, all are drawn together.

    Args:
        figures: What is to be judged.
        labels: 0 or 1, (n,); None where all units are drawn together, for figures that vary with how many are positive.
        units: Which images are drawn together.
        seed: Of the draws.
        draws: How many.
    """
    values = figures(np.ones((1, units.index.size)))
    strata = _find_strata(labels, units)
    drawn = _collect(figures, resample(labels, units, seed, draws))
    # turn by turn, since the strata have different numbers of them
    left_out = [_collect(figures, _leave_out(members, units)) for members in strata if members.size > 1]
    return {
        name: Drawn(float(values[name][0]), drawn[name], _acceleration([turns[name] for turns in left_out]))
        for name in values
    }


def resample(labels: Labels | None, units: Units, seed: int, draws: int) -> Iterator[Floats]:
    """Yield how often each image was drawn, (some draws, n) at a time, ``draws`` rows in all."""
    strata = _find_strata(labels, units)
    # A stream for each stratum: its draws do not depend on the size of the other.
    streams = [np.random.default_rng([seed, number]) for number in range(len(strata))]
    rows = max(1, _WEIGHTS_AT_ONCE // units.index.size)
    for start in range(0, draws, rows):
        batch = min(rows, draws - start)
        times = np.zeros((batch, units.count))
        for members, stream in zip(strata, streams, strict=True):
            size = members.size
            if size:
                picks = stream.integers(size, size=(batch, size)) + size * np.arange(batch)[:, None]
                times[:, members] = np.bincount(picks.ravel(), minlength=batch * size).reshape(batch, size)
        yield times[:, units.index]


def bootstrap_interval(
    found: Drawn, level: float, method: str, lone: Sequence[str] = ()
) -> dict[str, Any] | str:
    """The interval of a figure, bias-corrected and accelerated where that is defined, or the reason why there is none.

    BCa (Efron, Journal of the American Statistical Association 82, 1987) moves the percentiles by how far the draws
    lie to one side of the figure and by its acceleration; for strata as in Davison and Hinkley, Bootstrap methods and
    their application (1997), section 5.3. Where all draws lie on one side, the percentiles stay as they are.

    Args:
        found: The figure and its draws.
        level: Coverage aimed at.
        method: What was drawn, in words.
        lone: Classes of one unit, from ``find_lone_classes``.
    """
    if np.isnan(found.value):
        return "the figure itself has no value"
    if lone:
        return lone_reason(lone)
    defined = found.draws[~np.isnan(found.draws)]
    undefined = found.draws.size - defined.size
    if undefined > _UNDEFINED_SHARE * found.draws.size:
        return f"it has no value in {undefined} of {found.draws.size} draws"
    ends = np.array([(1 - level) / 2, (1 + level) / 2])
    moved = _move(ends, found, defined)
    kind = "percentile" if moved is None else "BCa"
    low, high = np.quantile(defined, ends if moved is None else moved)
    if high - low < _NO_WIDTH:
        return ALIKE
    return {
        "value": found.value,
        "low": float(low),
        "high": float(high),
        "level": level,
        "method": f"{method}, {kind}, {found.draws.size} draws"
        + (f", without {undefined} undefined" if undefined else ""),
    }


def name_bootstrap(labels: Labels | None, units: Units) -> str:
    """What is drawn, in words."""
    by_class = len(_find_strata(labels, units)) > 1
    return f"bootstrap of {name_units(units)}{', stratified by class' if by_class else ''}"


def name_units(units: Units) -> str:
    """What varies, in words: patients, or images where these are unknown."""
    images, sets = units.images_without_patient, units.units_without_patient
    linked = images > sets
    if units.patients == 0:
        return f"{f'{sets} sets of linked images' if linked else 'images'} (patients unknown)"
    if images:
        apart = f"in {sets} sets of linked ones" if linked else "each on its own"
        return f"patients ({images} images without a patient {apart})"
    return "patients"


def find_lone_classes(labels: Labels, units: Units, classes: Sequence[int] = (0, 1)) -> list[str]:
    """Those of the classes whose images are all of one unit, which cannot vary, in words."""
    return [CLASS_WORD[label] for label in classes if np.unique(units.index[labels == label]).size == 1]


def lone_reason(lone: Sequence[str]) -> str:
    """Why a class of one unit leaves no interval."""
    return f"a class has one patient only, the {' and the '.join(lone)} one; an interval needs at least two"


def check_options(draws: int, level: float) -> None:
    """Refuse a number of draws or a level that makes no interval.

    Raises:
        ValueError: Fewer than one draw, or a level outside (0, 1).
    """
    if draws < 1 or not 0 < level < 1:
        raise ValueError(f"draws must be at least 1 and level between 0 and 1, got {draws} and {level}")


def _collect(figures: Figures, weightings: Iterator[Floats]) -> dict[str, Floats]:
    batches = [figures(weights) for weights in weightings]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _find_strata(labels: Labels | None, units: Units) -> list[NDArray[np.int64]]:
    """The units with a positive image, and the others; all together without labels or where either would be one."""
    if labels is None:
        return [np.arange(units.count)]
    positive = np.bincount(units.index, weights=labels, minlength=units.count) > 0
    strata = [np.flatnonzero(positive), np.flatnonzero(~positive)]
    if any(members.size == 1 for members in strata):
        return [np.arange(units.count)]
    return [members for members in strata if members.size]


def _leave_out(members: NDArray[np.int64], units: Units) -> Iterator[Floats]:
    """Weights, (some turns, n) at a time, of leaving out some units of a stratum, whose others stand in for them."""
    turns = min(members.size, _MOST_LEFT_OUT)
    sizes = np.bincount(np.arange(members.size) % turns)
    rows = max(1, _WEIGHTS_AT_ONCE // units.index.size)
    for start in range(0, turns, rows):
        batch = np.arange(start, min(start + rows, turns))
        times = np.ones((batch.size, units.count))
        stays = np.arange(members.size) % turns != batch[:, None]
        times[:, members] = stays * (members.size / np.maximum(1, members.size - sizes[batch]))[:, None]
        yield times[:, units.index]


def _acceleration(strata: Sequence[Floats]) -> float:
    """A sixth of the skewness of the figure's influences; NaN where one is unknown or all are alike."""
    squares = cubes = 0.0
    for turns in strata:
        influence = (turns.size - 1) * (turns.mean() - turns)
        squares += float((influence**2).sum()) / turns.size**2
        cubes += float((influence**3).sum()) / turns.size**3
    return cubes / (6 * squares**1.5) if squares > 0 else float("nan")


def _move(ends: Floats, found: Drawn, defined: Floats) -> Floats | None:
    """The percentiles to take instead; None where BCa is not defined."""
    from scipy.special import ndtr, ndtri

    below = (np.sum(defined < found.value) + np.sum(defined == found.value) / 2) / defined.size
    if not 0 < below < 1 or np.isnan(found.acceleration):
        return None
    bias = ndtri(below)
    shifted = bias + ndtri(ends)
    stretch = 1 - found.acceleration * shifted
    return np.asarray(ndtr(bias + shifted / stretch)) if np.all(stretch > 0) else None
