"""The figures of each stratum of a set of scored images, and whether the AUC differs between strata."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from breastlens.evaluation.delong import AucEstimates, estimate_aucs
from breastlens.evaluation.inputs import Units, check_labels, check_scores, check_thresholds, find_units
from breastlens.evaluation.intervals import metric_intervals
from breastlens.evaluation.scalars import CLASS_WORD, CLASSES_NEEDED, Floats, Labels, scalar_metrics

FEW_PATIENTS = 10
"""Below so many patients of a class a stratum's figures are warned of: one patient moves them by 0.1 and more."""

FEW_TO_TEST = 20
"""Below so many patients of a class in a stratum the test of one AUC may miss a difference (docs/measurements.md)."""

SHOWN = ("auc", "sensitivity", "specificity")


def evaluate_strata(
    y_true: ArrayLike,
    y_score: ArrayLike,
    threshold: ArrayLike,
    strata: Sequence[str],
    patient_id: Sequence[str] | None = None,
    *,
    linked: NDArray[np.integer] | None = None,
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
) -> dict[str, Any]:
    """Compute the figures within each stratum, at the thresholds that the whole was judged at.

    Args:
        y_true: Labels 0 / 1, (n,).
        y_score: Scores in [0, 1], (n,).
        threshold: Operating point in [0, 1], one for all images or one for each, (n,).
        strata: Stratum of each image, "" where it is unknown.
        patient_id: Patient of each image, "" where unknown; None where no patient is known.
        linked: (n,) which images without a patient belong together, as `find_units` takes it.
        seed: Seed of the bootstrap.
        draws: Number of bootstrap draws.
        level: Coverage that the intervals aim at, between 0 and 1.

    Returns:
        ``images_left_out`` whose stratum is unknown, ``strata`` and ``same_auc``. A stratum has ``stratum``, ``n``,
        ``patients`` (None where unknown), ``positives``, ``negatives``, ``positive_patients`` and
        ``negative_patients`` (images where patients are unknown), ``warning`` ("" or why its figures say little), and
        ``auc``, ``sensitivity`` and ``specificity``, each with ``value``, ``low``, ``high``, ``level``, ``method`` and
        ``reason``. ``same_auc`` holds a test of the strata having one AUC: ``p_value``, ``statistic``, ``degrees``,
        ``reason``, ``warning`` ("" or which strata make "no difference" say little), and ``left_out``, the strata with
        fewer than two patients of a class, which cannot be tested; Cochran's Q (Biometrics 10, 1954) of the log-odds of
        the AUCs with DeLong's variances. It is not made where a stratum has an AUC without a variance, such as 1: to
        leave that out would be to leave out what differs most.

    Raises:
        DataError: As `breastlens.evaluation.metrics.evaluate_scores`.
        ValueError: The number of strata is not that of labels, or ``draws`` or ``level`` is out of range.
    """
    labels = check_labels(y_true)
    scores = check_scores(y_score, labels.size)
    cuts = check_thresholds(threshold, labels.size)
    units = find_units(patient_id, labels.size, linked)
    names = np.array(list(strata), dtype=np.str_)
    if names.shape != labels.shape:
        raise ValueError(f"expected a stratum for each of {labels.size} images, got {names.size}")
    ids = None if patient_id is None else np.array(list(patient_id), dtype=object)
    links = None if linked is None else np.asarray(linked)
    order = sorted(set(names.tolist()) - {""}, key=_natural)
    found, members = [], []
    for name in order:
        rows = np.flatnonzero(names == name)
        own_ids = None if ids is None else ids[rows].tolist()
        own_links = None if links is None else links[rows]
        figures = _figures(
            labels[rows],
            scores[rows],
            cuts[rows],
            own_ids,
            linked=own_links,
            seed=seed,
            draws=draws,
            level=level,
        )
        own = find_units(own_ids, rows.size, own_links)
        found.append({"stratum": name} | _sizes(labels[rows], own) | figures)
        members.append((rows, own))
    return {
        "images_left_out": int(np.count_nonzero(names == "")),
        "strata": found,
        "same_auc": _test_same_auc(labels, scores, units, order, members),
    }


def _figures(
    labels: Labels,
    scores: Floats,
    cuts: Floats,
    patient_id: list[str] | None,
    **options: Any,
) -> dict[str, dict[str, Any]]:
    """AUC, sensitivity and specificity, each with its interval or the reason why it has none."""
    values = scalar_metrics(labels, scores, scores >= cuts, np.ones((1, labels.size)))
    intervals, reasons = metric_intervals(labels, scores, cuts, patient_id, **options)
    told = {}
    for name in SHOWN:
        absent = [CLASS_WORD[label] for label in CLASSES_NEEDED[name] if not (labels == label).any()]
        reason = f"no {' and no '.join(absent)} image in this stratum" if absent else reasons.get(name, "")
        nothing = {
            "value": None if absent else float(values[name][0]),
            "low": None,
            "high": None,
            "level": options["level"],
            "method": None,
        }
        told[name] = intervals.get(name, nothing) | {"reason": reason}
    return told


def _sizes(labels: Labels, units: Units) -> dict[str, Any]:
    people = {label: int(np.unique(units.index[labels == label]).size) for label in (0, 1)}
    noun = "patient" if units.patients else "image"
    few = [
        f"{people[label]} {CLASS_WORD[label]} {noun}{'' if people[label] == 1 else 's'}"
        for label in (1, 0)
        if people[label] < FEW_PATIENTS
    ]
    return {
        "n": int(labels.size),
        "patients": units.patients or None,
        "positives": int(labels.sum()),
        "negatives": int(labels.size - labels.sum()),
        "positive_patients": people[1],
        "negative_patients": people[0],
        "warning": f"only {' and '.join(few)}" if few else "",
    }


def _test_same_auc(
    labels: Labels,
    scores: Floats,
    units: Units,
    names: Sequence[str],
    members: Sequence[tuple[NDArray[np.intp], Units]],
) -> dict[str, Any]:
    smallest = [
        min(np.unique(own.index[labels[rows] == label]).size for label in (0, 1)) for rows, own in members
    ]
    few = [name for name, size in zip(names, smallest, strict=True) if 2 <= size < FEW_TO_TEST]
    noun = "patients" if units.patients else "images"
    told: dict[str, Any] = {
        "p_value": None,
        "statistic": None,
        "degrees": None,
        "left_out": [name for name, size in zip(names, smallest, strict=True) if size < 2],
        "warning": f"fewer than {FEW_TO_TEST} {noun} of a class in {', '.join(few)}" if few else "",
    }
    inside = [set(units.index[rows].tolist()) for rows, _ in members]
    if sum(map(len, inside)) > len(set().union(*inside)):
        return told | {"reason": "some patients have images in several strata"}
    estimates = {
        name: estimate_aucs(labels[rows], scores[np.newaxis, rows], own)
        for name, size, (rows, own) in zip(names, smallest, members, strict=True)
        if size >= 2
    }
    if len(estimates) < 2:
        return told | {"reason": f"fewer than two strata have two {noun} of each class"}
    without = [
        f"{name} ({each.values[0]:.3f})" for name, each in estimates.items() if not each.has_variance(0)
    ]
    if without:
        return told | {"reason": f"the AUC has no variance in {', '.join(without)}"}
    return told | _cochrans_q(list(estimates.values())) | {"reason": ""}


def _cochrans_q(estimates: Sequence[AucEstimates]) -> dict[str, Any]:
    from scipy.stats import chi2

    values = np.array([each.values[0] for each in estimates])
    weights = (values * (1 - values)) ** 2 / np.array([each.covariance[0, 0] for each in estimates])
    log_odds = np.log(values / (1 - values))
    statistic = float(weights @ (log_odds - np.average(log_odds, weights=weights)) ** 2)
    degrees = len(estimates) - 1
    return {
        "p_value": float(chi2.sf(statistic, degrees)),
        "statistic": statistic,
        "degrees": degrees,
    }


def _natural(name: str) -> tuple[bool, float, str]:
    """Numbers by size, then text by letter."""
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name
