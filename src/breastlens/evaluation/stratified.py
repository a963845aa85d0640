"""The AUC within strata: a positive is only compared with negatives of the same year, site or device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from breastlens.errors import DataError
from breastlens.evaluation.inputs import check_labels, check_scores, find_units
from breastlens.evaluation.resampling import (
    bootstrap_interval,
    check_options,
    draw_figures,
    find_lone_classes,
    name_bootstrap,
)
from breastlens.evaluation.scalars import Floats, Labels, weighted_auc


def stratified_auc(
    y_true: ArrayLike,
    y_score: ArrayLike,
    strata: Sequence[str],
    patient_id: Sequence[str] | None = None,
    *,
    linked: NDArray[np.integer] | None = None,
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
) -> dict[str, Any]:
    """Give the share of pairs in which the positive scores higher, over pairs within a stratum only.

    Won pairs are counted in each stratum and added up, and so are all pairs, as in the stratified concordance of
    Therneau's R package survival; every pair weighs the same. Whatever is alike in all images of a stratum cannot help
    such a score. (The covariate-adjusted AUC of Janes and Pepe, Biometrika 96, 2009, is the same but for the weights:
    there every positive weighs the same.) Ties count half.

    The interval is the bootstrap's: patients are drawn, those with a positive image and the others separately, among
    the images that are used; see `breastlens.evaluation.resampling`.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score: Scores in [0, 1], (n,).
        strata: Stratum of each image, (n,); "" where it is unknown, and then the image is left out.
        patient_id: Patient of each image, "" where unknown; None where no patient is known.
        linked: (n,) which images without a patient belong together, as for `find_units`.
        seed: Seed of the draws.
        draws: Number of draws, at least 1.
        level: Coverage aimed at, between 0 and 1.

    Returns:
        ``value``, ``low``, ``high``, ``level`` and ``method``; ``reason`` where one of the first three is None;
        ``pairs``, how many were compared; ``images_used``, ``images_left_out``, ``patients_used``,
        ``patients_left_out`` (known patients without an image that is used); ``strata_used`` and ``strata_left_out``,
        name to images of label 0 and of label 1.

    Raises:
        DataError: As `breastlens.evaluation.metrics.evaluate_scores`, or a stratum is not text.
        ValueError: ``draws`` or ``level`` is out of range.
    """
    labels = check_labels(y_true)
    scores = check_scores(y_score, labels.size)
    names = _check_strata(strata, labels.size)
    find_units(patient_id, labels.size, linked)  # also complains of ids that are no text
    check_options(draws, level)

    counts = {
        name: [int(((names == name) & (labels == label)).sum()) for label in (0, 1)]
        for name in sorted(set(names.tolist()) - {""})
    }
    used = [name for name, count in counts.items() if min(count) > 0]
    rows = np.flatnonzero(np.isin(names, used))
    known = np.array([""] * labels.size if patient_id is None else list(patient_id), dtype=np.str_)
    patients = set(known[rows].tolist()) - {""}
    found: dict[str, Any] = {
        "value": None,
        "low": None,
        "high": None,
        "level": level,
        "method": None,
        "pairs": sum(counts[name][0] * counts[name][1] for name in used),
        "images_used": int(rows.size),
        "images_left_out": int(labels.size - rows.size),
        "patients_used": len(patients),
        "patients_left_out": len(set(known.tolist()) - {""} - patients),
        "strata_used": {name: counts[name] for name in used},
        "strata_left_out": {name: count for name, count in counts.items() if name not in used},
    }
    if not used:
        reason = (
            "no stratum holds images of both labels" if counts else "the stratum of every image is unknown"
        )
        return found | {"reason": reason}

    members = [np.flatnonzero(names[rows] == name) for name in used]
    own_labels, own_scores = labels[rows], scores[rows]
    units = find_units(known[rows].tolist(), rows.size, None if linked is None else np.asarray(linked)[rows])
    within = f"{len(used)} {'stratum' if len(used) == 1 else 'strata'}"
    method = f"pairs within {within}, {name_bootstrap(own_labels, units)}"
    drawn = draw_figures(
        lambda weights: {"auc": _pooled_auc(own_labels, own_scores, members, weights)},
        own_labels,
        units,
        seed,
        draws,
    )["auc"]
    interval = bootstrap_interval(drawn, level, method, find_lone_classes(own_labels, units))
    if isinstance(interval, str):
        return found | {"value": drawn.value, "method": method, "reason": interval}
    return found | interval


def _pooled_auc(
    labels: Labels, scores: Floats, members: Sequence[NDArray[np.intp]], weights: Floats
) -> Floats:
    """Won pairs over all pairs for each weighting, (draws,); NaN where no stratum has a pair."""
    won, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for rows in members:
        own = weights[:, rows]
        positive = labels[rows] == 1
        compared = own[:, positive].sum(axis=1) * own[:, ~positive].sum(axis=1)
        won += np.where(compared > 0, weighted_auc(labels[rows], scores[rows], own) * compared, 0.0)
        pairs += compared
    return np.divide(won, pairs, out=np.full_like(won, np.nan), where=pairs > 0)


def _check_strata(strata: Sequence[str], count: int) -> NDArray[np.str_]:
    """Return the strata as text, (n,).

    Raises:
        DataError: There is another number of them, or one is not text.
    """
    names = list(strata)
    if len(names) != count:
        raise DataError(f"strata must hold one name for each of the {count} labels, got {len(names)}")
    for position, name in enumerate(names):
        if not isinstance(name, str):
            raise DataError(
                f'strata must be text ("" where unknown), got {name!r} at position {position}; '
                "turn numbers into text first"
            )
    return np.array(names, dtype=np.str_)
