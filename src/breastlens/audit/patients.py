"""What is doubtful about the patients: who they are, how many, and how their images are spread."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

import numpy as np
import pandas as pd

from breastlens.audit.finding import Finding, name_records, say_count
from breastlens.cohort.splits import name_parts

FEWEST_PATIENTS = 30
"""With 30 patients the 95 % interval of a sensitivity of 0.9 is 0.74 to 0.97 (Wilson, JASA 22, 1927)."""

USELESS_PATIENTS = 10
"""With 10 patients the same interval is 0.60 to 0.98: no two models could be told apart."""

LARGEST_PATIENTS = 0.05
LARGE_SHARE = 0.4
GRAVE_SHARE = 0.5
LARGE_RATIO = 10
"""The largest 5 % of patients hold at least 8 times their share, and the largest has ten times the median."""

FEWEST_TO_COMPARE = 20
"""With fewer patients the largest 5 % are not even one."""

_SHOWN = 5


def find_patient_problems(used: pd.DataFrame) -> list[Finding]:
    """Looks for what is doubtful about the patients of the images in use.

    Args:
        used: The images in use (`Cohort.included`).
    """
    known = used[used["patient_id"] != ""]
    return [
        *_find_unknown_patients(used),
        *_find_patients_across_splits(known),
        *_find_similar_ids(known),
        *_find_patients_in_both_labels(known),
        *_find_few_patients(used),
        *_find_uneven_patients(known),
    ]


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


def _find_patients_across_splits(known: pd.DataFrame) -> Iterator[Finding]:
    """The manifest's own split, whether or not a training would use it."""
    if "split" not in known:
        return
    parts = name_parts(known["split"])
    placed = known[parts != ""].assign(split=parts)
    several = placed.groupby("patient_id")["split"].nunique()
    crossing = sorted(several.index[several > 1])
    if crossing:
        rows = placed[placed["patient_id"].isin(crossing)]
        yield Finding(
            code="patients-across-splits",
            severity="error",
            what=f"The manifest's split puts images of {say_count(len(crossing), 'patient')} into several parts: "
            f"{_name_some(crossing)}.",
            count=len(crossing),
            records=name_records(rows["path"]),
            advice="Put all images of a patient into one part, or leave the split column out.",
        )


def _find_similar_ids(known: pd.DataFrame) -> Iterator[Finding]:
    spellings: dict[str, list[str]] = {}
    for patient in sorted(set(known["patient_id"])):
        spellings.setdefault(_simplify(patient), []).append(patient)
    sets = [patients for patients in spellings.values() if len(patients) > 1]
    if sets:
        patients = [patient for each in sets for patient in each]
        shown = [" and ".join(repr(patient) for patient in each) for each in sets]
        yield Finding(
            code="similar-patient-ids",
            severity="warning",
            what=f"{len(patients)} patient ids differ from another only in case, leading zeros, blanks or punctuation: "
            f"{_name_some(shown, '; ')}.",
            count=len(patients),
            records=name_records(known.loc[known["patient_id"].isin(patients), "path"]),
            advice="If they are the same patients, write their ids in one way, or their images may be divided between "
            "training and test.",
        )


def _simplify(patient: str) -> str:
    """An id without what people write now so and now so.

    Between two digits punctuation stays, in one form: P1-12 is not P11-2.
    """
    text = unicodedata.normalize("NFKC", patient).casefold().strip()
    text = re.sub(r"^(\d+)\.0+$", r"\1", text)  # a spreadsheet's 12.0 for 12
    text = re.sub(r"(?<=\d)[\W_]+(?=\d)", "-", text)
    text = re.sub(r"[^\w-]|_", "", text)
    text = re.sub(r"(?<!\d)-|-(?!\d)", "", text)
    return re.sub(r"(?<!\d)0+(?=\d)", "", text) or patient


def _find_patients_in_both_labels(known: pd.DataFrame) -> Iterator[Finding]:
    labels = known.groupby("patient_id")["label"].nunique()
    both = sorted(labels[labels > 1].index)
    if both:
        yield Finding(
            code="patients-in-both-labels",
            severity="warning",
            what=f"{say_count(len(both), 'patient')} with positive and negative images: {_name_some(both)}.",
            count=len(both),
            records=name_records(known.loc[known["patient_id"].isin(both), "path"]),
            advice="Right if breasts or visits were labelled one by one; else a label or an id is wrong.",
        )


def _find_few_patients(used: pd.DataFrame) -> Iterator[Finding]:
    patients = {
        side: _count_patients(used[used["label"] == label])
        for side, label in (("positive", 1), ("negative", 0))
    }
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


def _find_uneven_patients(known: pd.DataFrame) -> Iterator[Finding]:
    images = known["patient_id"].value_counts()
    if len(images) < FEWEST_TO_COMPARE:
        return
    ordered = sorted(images.items(), key=lambda item: (-item[1], str(item[0])))
    largest = dict(ordered[: int(np.ceil(LARGEST_PATIENTS * len(images)))])
    share, middle = sum(largest.values()) / len(known), float(images.median())
    if share > LARGE_SHARE and ordered[0][1] >= LARGE_RATIO * middle:
        yield Finding(
            code="uneven-patients",
            severity="warning" if share > GRAVE_SHARE else "info",
            what=f"{len(largest)} of {len(images)} patients hold {share:.0%} of the images: the largest has "
            f"{ordered[0][1]}, half of all patients have at most {middle:g}.",
            count=len(largest),
            records=name_records(known.loc[known["patient_id"].isin(largest), "path"]),
            advice="Use about as many images of each patient, since figures by image speak mostly of these few.",
        )


def _count_patients(rows: pd.DataFrame) -> int:
    """Known patients, and one for each image without."""
    return int(rows.loc[rows["patient_id"] != "", "patient_id"].nunique() + (rows["patient_id"] == "").sum())


def _name_some(names: list[str], separator: str = ", ") -> str:
    return f"{separator.join(names[:_SHOWN])}{' and more' if len(names) > _SHOWN else ''}"
