"""What a model that may decline to answer is worth: coverage of its sets, and risk against the share answered."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from breastlens.evaluation.conformal import SET_NAMES, holds
from breastlens.evaluation.inputs import Units, find_units
from breastlens.evaluation.intervals import wilson_interval
from breastlens.evaluation.resampling import (
    Drawn,
    bootstrap_interval,
    draw_figures,
    find_lone_classes,
    name_bootstrap,
)
from breastlens.evaluation.scalars import Floats

_CURVE_POINTS = 200
_LEVEL = 0.95


class _Share(NamedTuple):
    """A share of images: which are successes, among which, and the classes that those need."""

    of: NDArray[np.bool_]
    among: NDArray[np.bool_]
    classes: tuple[int, ...]


def describe_patient_sets(
    sets: NDArray[np.int64], labels: NDArray[np.int64], *, seed: int = 0
) -> dict[str, Any] | None:
    """As `describe_sets`, of one set a patient; None where there is none.

    Args:
        sets: From ``find_sets``, (n,).
        labels: 0 or 1, (n,).
        seed: Of the bootstrap.
    """
    if not sets.size:
        return None
    stand_ins = [f"{number:09d}" for number in range(sets.size)]
    return describe_sets(sets, labels, find_units(stand_ins, sets.size), seed=seed)


def describe_sets(
    sets: NDArray[np.int64], labels: NDArray[np.int64], units: Units, *, seed: int = 0, draws: int = 1000
) -> dict[str, Any]:
    """Count sets, and give the share of them that hold the true label, overall and by class.

    Args:
        sets: From ``find_sets``, (n,).
        labels: 0 or 1, (n,).
        units: Which images are drawn together.
        seed: Of the bootstrap.
        draws: Of the bootstrap.

    Returns:
        ``n``; ``sets``: how many by name; ``answered``: the share with one label; ``right``: the share of these whose
        label is the true one; ``intervals`` of these two; ``coverage``, ``coverage_negative`` and ``coverage_positive``
        with their intervals. Those are Wilson's or the bootstrap's, as for
        `breastlens.evaluation.intervals.metric_intervals`.
    """
    held, single = holds(sets, labels), (sets == 1) | (sets == 2)
    everyone = np.ones(labels.size, dtype=bool)
    shares = {
        "answered": _Share(single, everyone, ()),
        "right": _Share(held, single, (0, 1)),
        "coverage": _Share(held, everyone, (0, 1)),
        "coverage_negative": _Share(held, labels == 0, (0,)),
        "coverage_positive": _Share(held, labels == 1, (1,)),
    }
    drawn = draw_figures(
        lambda weights: {name: _weigh(weights, each) for name, each in shares.items()},
        labels,
        units,
        seed,
        draws,
    )
    figures = {name: _with_interval(each, drawn[name], labels, units) for name, each in shares.items()}
    beside = {name: figures.pop(name) for name in ("answered", "right")}
    return {
        "n": int(labels.size),
        "sets": {name: int(np.sum(sets == number)) for number, name in enumerate(SET_NAMES)},
        **{name: each["value"] for name, each in beside.items()},
        "intervals": beside,
        **figures,
    }


def risk_coverage(y_true: ArrayLike, y_score: ArrayLike, thresholds: ArrayLike) -> dict[str, Any]:
    """Accuracy of what is answered against the share answered, the surest first, and the area above it.

    How sure a score is of its call is its distance from the threshold as a share of what there is on that side, so
    that the least sure are those at the threshold whatever that is. The area under the risk is that of El-Yaniv and
    Wiener (Journal of Machine Learning Research 11, 2010) and Geifman and El-Yaniv (NeurIPS 2017); scores that are
    equally sure are answered together.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score: Scores in [0, 1], (n,).
        thresholds: The operating point, one or one for each.

    Returns:
        ``answered`` (rising shares) and ``accuracy`` at each, at most some 200 points; ``area``, the mean risk over
        all shares (smaller is better); ``area_at_best``, that of the same errors if all of them came last;
        ``area_at_random``, if nothing were known of how sure a score is.
    """
    labels = np.asarray(y_true) == 1
    scores, cut = np.asarray(y_score, dtype=np.float64), np.asarray(thresholds, dtype=np.float64)
    called = scores >= cut
    room = np.where(called, np.maximum(1 - cut, 1e-12), np.maximum(cut, 1e-12))
    sure = np.abs(scores - cut) / room
    levels, place = np.unique(-sure, return_inverse=True)
    answered = np.cumsum(np.bincount(place, minlength=levels.size))
    wrong = np.cumsum(np.bincount(place, weights=called != labels, minlength=levels.size))
    count, errors = labels.size, int(wrong[-1])
    steps = np.diff(answered, prepend=0) / count
    ranks = np.arange(1, count + 1)
    shown = np.unique(np.linspace(0, levels.size - 1, min(_CURVE_POINTS, levels.size)).astype(int))
    return {
        "answered": (answered[shown] / count).tolist(),
        "accuracy": (1 - wrong[shown] / answered[shown]).tolist(),
        "area": float(np.sum(steps * wrong / answered)),
        "area_at_best": float(np.mean(np.maximum(0, ranks - (count - errors)) / ranks)),
        "area_at_random": errors / count,
    }


def _weigh(weights: Floats, share: _Share) -> Floats:
    whole = weights @ share.among
    part = weights @ (share.of & share.among)
    return np.asarray(np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0))


def _with_interval(share: _Share, drawn: Drawn, labels: NDArray[np.int64], units: Units) -> dict[str, Any]:
    found = wilson_interval(share.of, share.among, units, _LEVEL)
    if found is not None:
        return found
    method = name_bootstrap(labels, units)
    told = bootstrap_interval(drawn, _LEVEL, method, find_lone_classes(labels, units, share.classes))
    if not isinstance(told, str):
        return told
    value = None if np.isnan(drawn.value) else drawn.value
    return {"value": value, "low": None, "high": None, "level": _LEVEL, "method": method, "reason": told}
