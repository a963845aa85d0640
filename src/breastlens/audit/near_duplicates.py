"""What near-duplicates do to a cohort: labels that contradict each other, patients and parts that share a picture."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from breastlens.audit.finding import Evidence, Finding, Severity, name_records, say_count
from breastlens.cohort.near_duplicates import NearDuplicate

_KINDS: dict[str, tuple[Severity, str, str]] = {
    "near-duplicates-across-labels": (
        "error",
        "under a positive and a negative category",
        "One of the two labels is wrong: look each pair up and correct it, or leave both out.",
    ),
    "near-duplicates-across-splits": (
        "error",
        "in different parts of the manifest's split",
        "Put both into one part, or remove the copy, since a model is tested there on what it was trained on.",
    ),
    "near-duplicates-across-patients": (
        "warning",
        "under different patients",
        "Find out whose picture it is and remove the copy, or give both the same patient_id so that no split "
        "parts them.",
    ),
    "near-duplicates-within-category": (
        "info",
        "of one label, and not known to be of different patients",
        "Remove the copies, since each counts as an image of its own.",
    ),
}
_PART_NAMES = {"training": "train", "val": "validation", "valid": "validation", "testing": "test"}


def find_near_duplicate_problems(used: pd.DataFrame, pairs: Sequence[NearDuplicate]) -> list[Finding]:
    """Sorts pairs of near-duplicates by what they do; each is told once, under its gravest code.

    Pairs with the same pixels are left out: they are exact duplicates, which have findings of their own.

    Args:
        used: The images in use (``Cohort.included``): columns ``path``, ``label``, ``patient_id``,
            ``pixels_sha256`` and, if the manifest has it, ``split``.
        pairs: From ``find_near_duplicates``, of thumbnails in the order of these rows.

    Returns:
        At most one finding a code.
    """
    sorted_out: dict[str, list[NearDuplicate]] = {code: [] for code in _KINDS}
    label, patient, pixels = (used[name].tolist() for name in ("label", "patient_id", "pixels_sha256"))
    part = _name_parts(used)
    for pair in pairs:
        one, two = pair.first, pair.second
        if pixels[one] == pixels[two] != "":
            continue
        if label[one] == label[two] and patient[one] == patient[two] != "" and part[one] == part[two]:
            continue  # two views of one patient may well be nearly the same, and stay together in every split
        if label[one] != label[two]:
            code = "near-duplicates-across-labels"
        elif part[one] and part[two] and part[one] != part[two]:
            code = "near-duplicates-across-splits"
        elif patient[one] and patient[two] and patient[one] != patient[two]:
            code = "near-duplicates-across-patients"
        else:
            code = "near-duplicates-within-category"
        sorted_out[code].append(pair)
    return [_tell(code, used, found) for code, found in sorted_out.items() if found]


def _tell(code: str, used: pd.DataFrame, pairs: list[NearDuplicate]) -> Finding:
    severity, where, advice = _KINDS[code]
    rows = sorted({row for pair in pairs for row in (pair.first, pair.second)})
    paths = used["path"]
    clearest = max(pairs, key=lambda pair: (pair.similarity, -pair.first, -pair.second))
    names = f"{paths.iloc[clearest.first]} and {paths.iloc[clearest.second]}"
    return Finding(
        code=code,
        severity=severity,
        what=f"{len(rows)} images ({say_count(len(pairs), 'pair')}) {where} show the same picture, changed, such as "
        f"{names} ({clearest.change}).",
        count=len(rows),
        records=name_records(paths.iloc[rows]),
        advice=advice,
        evidence=Evidence(
            name="lowest similarity of a pair",
            value=min(pair.similarity for pair in pairs),
            method="lower quartile, over tiles of the aligned images, of the correlation of fine detail",
        ),
    )


def _name_parts(used: pd.DataFrame) -> list[str]:
    """The manifest's part of each image, "" where there is none."""
    if "split" not in used:
        return [""] * len(used)
    parts = used["split"].fillna("").astype(str).str.strip().str.lower().replace(_PART_NAMES)
    return [str(part) for part in parts]
