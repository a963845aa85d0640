"""What can be said about a cohort from its table, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from breastlens.audit.finding import Finding, Severity, most_severe_first, name_records, say_count
from breastlens.cohort.description import count_values, name_sizes
from breastlens.cohort.reading import NEVER_READ, find_unreadable
from breastlens.cohort.records import Cohort

FEWEST_PATIENTS = 30
"""With 30 patients the 95 % interval of a sensitivity of 0.9 is 0.74 to 0.97 (Wilson, JASA 22, 1927)."""

USELESS_PATIENTS = 10
"""With 10 patients the same interval is 0.60 to 0.98: no two models could be told apart."""

RAREST_SHARE = 0.2
TELLING_ASSOCIATION = 0.2
"""Cramer's V from which a property of the file is reported; Cohen (1988) calls 0.1 small and 0.3 medium."""

TELLING_P_VALUE = 0.01

_REPEATS = "Remove the copies, since each counts as an image of its own."
_DUPLICATES: dict[str, tuple[Severity, str, str]] = {
    "duplicates-across-labels": (
        "warning",
        "under a positive and a negative category; left out",
        "One of the labels is wrong: look the images up and correct it.",
    ),
    "duplicates-across-patients": (
        "warning",
        "under different patients; kept together in every split",
        "One of the patient ids is wrong: look the images up and correct it.",
    ),
    "duplicates-across-categories": (
        "info",
        "in different categories of the same label; kept together in every split",
        _REPEATS,
    ),
    "duplicates-within-category": ("info", "within a category; kept together in every split", _REPEATS),
}


def find_problems(cohort: Cohort) -> list[Finding]:
    """Looks for what makes a score on these images untrustworthy, as far as files and labels show it.

    Args:
        cohort: The labelled images.

    Returns:
        Findings, the most severe first.
    """
    used = cohort.included
    found = [
        *_find_unknown_patients(used),
        *_find_unused_files(cohort),
        *_find_duplicates(cohort.table),
        *_find_patients_in_both_labels(used),
        *_find_imbalance(used),
        *_find_telling_properties(used),
    ]
    return most_severe_first(found)


def measure_association(values: pd.Series[str], labels: pd.Series[int]) -> tuple[float, float]:
    """Measures how far a property of the file tells the label.

    Cramer's V with the bias correction of Bergsma (Journal of the Korean Statistical Society 42, 2013), which
    stays near 0 when every image has a value of its own.

    Args:
        values: (n,) categories of the property.
        labels: (n,) of 0 and 1.

    Returns:
        V from 0 to 1, and the p value of the chi-square test; (0, 1) where either is constant.
    """
    from scipy.stats import chi2_contingency

    counts = pd.crosstab(values, labels).to_numpy()
    rows, columns = counts.shape
    if rows < 2 or columns < 2:
        return 0.0, 1.0
    n = counts.sum()
    test = chi2_contingency(counts, correction=False)
    squared = max(0.0, test.statistic / n - (rows - 1) * (columns - 1) / (n - 1))
    smaller = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1))
    strength = np.sqrt(squared / (smaller - 1)) if smaller > 1 else 0.0
    return float(strength), float(test.pvalue)


def _find_unknown_patients(used: pd.DataFrame) -> Iterator[Finding]:
    nameless = used[used["patient_id"] == ""]
    if len(nameless) == 0:
        return
    if len(nameless) == len(used):
        yield Finding(
            code="no-patient-ids",
            severity="warning",
            what=f"No patient is known for any of {say_count(len(used), 'image')}, so leakage between images "
            "of one patient cannot be excluded.",
            count=len(used),
            advice="Give a patient_id column in a manifest, or --patient-pattern if paths tell the patient.",
        )
    else:
        yield Finding(
            code="some-patient-ids-missing",
            severity="warning",
            what=f"{len(nameless)} of {say_count(len(used), 'image')} have no patient, so leakage between them "
            "and other images of the same patient cannot be excluded.",
            count=len(nameless),
            records=name_records(nameless["path"]),
            advice="Complete the patient_id column.",
        )


def _find_unused_files(cohort: Cohort) -> Iterator[Finding]:
    unreadable = cohort.table[find_unreadable(cohort.table)]
    if len(unreadable):
        yield Finding(
            code="unreadable-files",
            severity="warning",
            what=f"{len(unreadable)} of {say_count(len(cohort.table), 'image')} cannot be read and are left out "
            f"({count_values(unreadable['category'])}).",
            count=len(unreadable),
            records=name_records(unreadable["path"]),
            advice="The reasons stand in records.csv; fetch the files again or remove them.",
        )
    misplaced = cohort.table[cohort.table["excluded"].isin(NEVER_READ)]
    if len(misplaced):
        yield Finding(
            code="misplaced-files",
            severity="warning",
            what=f"{say_count(len(misplaced), 'file')} left out: {count_values(misplaced['excluded'])}.",
            count=len(misplaced),
            records=name_records(misplaced["path"]),
            advice="Move them into their category's folder or rename them.",
        )
    if cohort.ignored:
        yield Finding(
            code="ignored-files",
            severity="info",
            what=f"{say_count(len(cohort.ignored), 'file')} ignored as no images.",
            count=len(cohort.ignored),
            records=name_records(cohort.ignored),
            advice="If some are images (DICOM files often have no suffix), name them in a manifest.",
        )


def _find_duplicates(table: pd.DataFrame) -> Iterator[Finding]:
    """One finding a kind; each set of identical images is told once, under its gravest kind."""
    kinds: dict[str, list[pd.DataFrame]] = {code: [] for code in _DUPLICATES}
    repeated = table[(table["duplicate_group"] != "") & table["label"].notna()]
    for _, members in repeated.groupby("duplicate_group"):
        if len(members) > 1:
            kinds[_tell_kind(members)].append(members)
    for code, (severity, where, advice) in _DUPLICATES.items():
        if sets := kinds[code]:
            images = pd.concat(sets)
            yield Finding(
                code=code,
                severity=severity,
                what=f"{len(images)} images ({say_count(len(sets), 'set')} with the same pixels) {where}.",
                count=len(images),
                records=name_records(images["path"]),
                advice=advice,
            )


def _tell_kind(members: pd.DataFrame) -> str:
    if members["label"].nunique() > 1:
        return "duplicates-across-labels"
    if len(set(members["patient_id"]) - {""}) > 1:
        return "duplicates-across-patients"
    if members["category"].nunique() > 1:
        return "duplicates-across-categories"
    return "duplicates-within-category"


def _find_patients_in_both_labels(used: pd.DataFrame) -> Iterator[Finding]:
    known = used[used["patient_id"] != ""]
    labels = known.groupby("patient_id")["label"].nunique()
    both = sorted(labels[labels > 1].index)
    if both:
        yield Finding(
            code="patients-in-both-labels",
            severity="warning",
            what=f"{say_count(len(both), 'patient')} with positive and negative images: {', '.join(both[:5])}"
            f"{' and more' if len(both) > 5 else ''}.",
            count=len(both),
            records=name_records(known.loc[known["patient_id"].isin(both), "path"]),
            advice="Right if breasts or visits were labelled one by one; else a label or an id is wrong.",
        )


def _find_imbalance(used: pd.DataFrame) -> Iterator[Finding]:
    sides = {"positive": used[used["label"] == 1], "negative": used[used["label"] == 0]}
    patients = {side: _count_patients(rows) for side, rows in sides.items()}
    few = {side: count for side, count in patients.items() if count < FEWEST_PATIENTS}
    if few:
        yield Finding(
            code="few-patients",
            severity="error" if min(few.values()) < USELESS_PATIENTS else "warning",
            what=f"Only {' and '.join(f'{count} {side}' for side, count in few.items())} patients "
            "(an image of unknown patient counts as one).",
            count=sum(few.values()),
            advice="Read the intervals rather than the figures, and prefer --folds to a single test part.",
        )
    side, rarer = min(sides.items(), key=lambda item: len(item[1]))
    if len(rarer) < RAREST_SHARE * len(used):
        share = len(rarer) / len(used)
        yield Finding(
            code="class-imbalance",
            severity="warning",
            what=f"Only {len(rarer)} of {len(used)} images ({share:.1%}) are {side}; always answering the "
            f"other way would be right in {1 - share:.1%}.",
            count=len(rarer),
            advice="Read balanced accuracy, sensitivity and specificity, not accuracy.",
        )


def _find_telling_properties(used: pd.DataFrame) -> Iterator[Finding]:
    properties = (
        ("format-tells-label", "The file format tells", used["format"]),
        ("size-tells-label", "The stored size tells", name_sizes(used)),
        ("bits-tell-label", "The number of stored bits tells", used["bits"].astype(str)),
    )
    for code, what, values in properties:
        strength, p_value = measure_association(values, used["label"])
        if strength >= TELLING_ASSOCIATION and p_value < TELLING_P_VALUE:
            positive, negative = (count_values(values[used["label"] == label]) for label in (1, 0))
            yield Finding(
                code=code,
                severity="warning",
                what=f"{what} the label (Cramer's V {strength:.2f}): positive {positive}; "
                f"negative {negative}.",
                count=len(used),
                advice="The classes may come from different devices or exports, which a network can learn "
                "instead of the disease; export all images alike, from one source.",
            )


def _count_patients(rows: pd.DataFrame) -> int:
    """Known patients, and one for each image without."""
    return int(rows.loc[rows["patient_id"] != "", "patient_id"].nunique() + (rows["patient_id"] == "").sum())
