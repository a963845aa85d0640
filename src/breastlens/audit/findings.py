"""What can be said about a cohort from its table, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.acquisition import Association, find_acquisition_problems
from breastlens.audit.files import find_wrong_extensions, is_wrong_extension
from breastlens.audit.finding import Finding, Severity, most_severe_first, name_records, say_count
from breastlens.audit.patients import find_patient_problems
from breastlens.cohort.description import count_values
from breastlens.cohort.folder import NAME_NOT_UTF8
from breastlens.cohort.reading import NEVER_READ, find_unreadable
from breastlens.cohort.records import Cohort
from breastlens.cohort.splits import name_parts

RAREST_SHARE = 0.2
_REPEATS = "Remove the copies: a training that audits leaves out all but the first, elsewhere each counts as an image."
_DUPLICATES: dict[str, tuple[Severity, str, str]] = {
    "duplicates-across-labels": (
        "error",
        "under a positive and a negative category; left out",
        "One of the labels is wrong: look the images up and correct it.",
    ),
    "duplicates-across-patients": (
        "warning",
        "under different patients, who are kept together in every split",
        "One of the patient ids is wrong: look the images up and correct it.",
    ),
    "duplicates-across-categories": (
        "info",
        "in different categories of the same label; kept together in every split",
        _REPEATS,
    ),
    "duplicates-within-category": ("info", "within a category; kept together in every split", _REPEATS),
}
DUPLICATE_CODES = tuple(_DUPLICATES)
"""Of exact duplicates, the gravest first."""


def find_problems(
    cohort: Cohort,
    properties: pd.DataFrame | None = None,
    associations: Sequence[Association] | None = None,
    groups: NDArray[np.int64] | None = None,
    *,
    seed: int = 0,
) -> list[Finding]:
    """Looks for what makes a score on these images untrustworthy, as far as files and labels show it.

    Args:
        cohort: The labelled images.
        properties: How the files of the images in use were made, from ``survey_images``; None for what the table
            itself knows: format, size, bits and the manifest's columns.
        associations: What ``measure_associations`` made of these properties, where it is at hand.
        groups: What stays together among the images in use; None for patients alone.
        seed: Of permutation tests.

    Returns:
        Findings, the most severe first.
    """
    used = cohort.included
    known = pd.DataFrame(index=used.index) if properties is None else properties
    found = [
        *find_patient_problems(used),
        *_find_unused_files(cohort),
        *_find_duplicates(cohort.table),
        *_find_copies_across_splits(used),
        *_find_imbalance(used),
        *find_acquisition_problems(used, known, seed=seed, associations=associations, groups=groups),
    ]
    return most_severe_first(found)


def _find_unused_files(cohort: Cohort) -> Iterator[Finding]:
    yield from find_wrong_extensions(cohort.table)
    unreadable = cohort.table[find_unreadable(cohort.table) & ~is_wrong_extension(cohort.table)]
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
        # What to do stands in the advice; here a count follows each reason.
        kinds = misplaced["excluded"].replace(NAME_NOT_UTF8, "name not valid UTF-8:")
        yield Finding(
            code="misplaced-files",
            severity="warning",
            what=f"{say_count(len(misplaced), 'file')} left out: {count_values(kinds)}.",
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
            kinds[tell_kind(members)].append(members)
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


def _find_copies_across_splits(used: pd.DataFrame) -> Iterator[Finding]:
    """The manifest's own split, whether or not a training would use it."""
    if "split" not in used:
        return
    parts = name_parts(used["split"])
    placed = used[(parts != "") & (used["duplicate_group"] != "")].assign(split=parts)
    several = placed.groupby("duplicate_group")["split"].nunique()
    crossing = several.index[several > 1]
    if len(crossing):
        images = placed[placed["duplicate_group"].isin(crossing)]
        yield Finding(
            code="duplicates-across-splits",
            severity="error",
            what=f"The manifest's split puts {len(images)} images ({say_count(len(crossing), 'set')} with the same "
            "pixels) into several parts.",
            count=len(images),
            records=name_records(images["path"]),
            advice="Put all copies of an image into one part, or remove them, since a model is tested there on what it "
            "was trained on.",
        )


def tell_kind(members: pd.DataFrame) -> str:
    """The gravest code that is true of a set of images with the same pixels.

    Args:
        members: Their rows: ``label``, ``patient_id`` and ``category``.
    """
    if members["label"].nunique() > 1:
        return "duplicates-across-labels"
    if len(set(members["patient_id"]) - {""}) > 1:
        return "duplicates-across-patients"
    if members["category"].nunique() > 1:
        return "duplicates-across-categories"
    return "duplicates-within-category"


def _find_imbalance(used: pd.DataFrame) -> Iterator[Finding]:
    sides = {"positive": used[used["label"] == 1], "negative": used[used["label"] == 0]}
    side, rarer = min(sides.items(), key=lambda item: len(item[1]))
    if len(rarer) < RAREST_SHARE * len(used):
        share = len(rarer) / len(used)
        if rarer.empty:
            what = f"None of {say_count(len(used), 'image')} is {side}, so nothing can be told apart."
        else:
            what = (
                f"Only {len(rarer)} of {len(used)} images ({share:.1%}) are {side}; always answering the other way "
                f"would be right for {len(used) - len(rarer)} of them."
            )
        yield Finding(
            code="class-imbalance",
            severity="warning",
            what=what,
            count=len(rarer),
            advice="Read balanced accuracy, sensitivity and specificity, not accuracy.",
        )
