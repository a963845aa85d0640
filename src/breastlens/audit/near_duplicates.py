"""What near-duplicates do to a cohort: labels that contradict each other, patients and parts that share a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from breastlens.audit.finding import Evidence, Finding, Severity, name_records, say_count
from breastlens.cohort.near_duplicates import NearDuplicate, duplicate_components
from breastlens.cohort.splits import name_parts

_KINDS: dict[str, tuple[Severity, str, str]] = {
    "near-duplicates-across-labels": (
        "error",
        "under a positive and a negative category",
        "One of the two labels is wrong: look the images up and correct it, or leave all of them out.",
    ),
    "near-duplicates-across-splits": (
        "error",
        "in different parts of the manifest's split",
        "Put all of them into one part, or remove the copies, since a model is tested there on what it was trained on.",
    ),
    "near-duplicates-across-patients": (
        "warning",
        "under different patients",
        "Find out whose picture it is and remove the copies, or give all of them the same patient_id so that no split "
        "parts them.",
    ),
    "near-duplicates-within-category": (
        "info",
        "under one label, and not known to be of different patients",
        "Remove the copies, since each counts as an image of its own.",
    ),
}
NEAR_DUPLICATE_CODES = tuple(_KINDS)
"""The codes of findings about near-duplicates, the gravest first."""


@dataclass(frozen=True)
class Picture:
    """Images that show the same picture, some of them changed.

    Attributes:
        code: The gravest of `NEAR_DUPLICATE_CODES` that is true of them.
        rows: The images, by row, in rising order.
        pairs: Those that were compared and differ in their pixels, the clearest proof of the code first: pairs of
            which it is true by themselves, then the most similar. Of a large set not every pair is there.
    """

    code: str
    rows: tuple[int, ...]
    pairs: tuple[NearDuplicate, ...]


def find_near_duplicate_problems(used: pd.DataFrame, pairs: Sequence[NearDuplicate]) -> list[Finding]:
    """Tells what near-duplicates do; each picture is told once, under its gravest code.

    Args:
        used: As for `list_pictures`.
        pairs: As for `list_pictures`.

    Returns:
        At most one finding a code.
    """
    pictures = list_pictures(used, pairs)
    found = {code: [each for each in pictures if each.code == code] for code in NEAR_DUPLICATE_CODES}
    return [_tell(code, used, own) for code, own in found.items() if own]


def list_pictures(used: pd.DataFrame, pairs: Sequence[NearDuplicate]) -> list[Picture]:
    """Lists the pictures that several images show and that matter, and what each does.

    Images that are linked by pairs show one picture, also where no pair links the two of them directly: in large sets
    not every pair is sought. Pictures of which all images have the same pixels are left out: they are exact
    duplicates, which have findings of their own. So are those of one known patient, label and part.

    Args:
        used: The images in use (``Cohort.included``): columns ``path``, ``label``, ``patient_id``,
            ``pixels_sha256`` and, if the manifest has it, ``split``.
        pairs: From ``find_near_duplicates``, of thumbnails in the order of these rows.

    Returns:
        The gravest code first, within it the most similar pair first.
    """
    images = _Images.read(used)
    numbers = duplicate_components(pairs, len(used)).tolist()
    linked: dict[int, list[NearDuplicate]] = {}
    for pair in pairs:
        linked.setdefault(numbers[pair.first], []).append(pair)
    members: dict[int, list[int]] = {number: [] for number in linked}
    for row, number in enumerate(numbers):
        if number in members:
            members[number].append(row)
    pictures = []
    for number, own in linked.items():
        code = images.tell_code(members[number])
        if code is None:
            continue
        changed = [pair for pair in own if images.differ((pair.first, pair.second))]
        changed.sort(
            key=lambda pair: (
                images.tell_code((pair.first, pair.second)) != code,
                -pair.similarity,
                pair.first,
                pair.second,
            )
        )
        if changed:
            pictures.append(Picture(code, tuple(members[number]), tuple(changed)))
    return sorted(
        pictures,
        key=lambda each: (NEAR_DUPLICATE_CODES.index(each.code), -each.pairs[0].similarity, each.rows),
    )


@dataclass(frozen=True)
class _Images:
    """What decides the code of images that show the same picture, a value an image; "" where unknown."""

    label: list[str]
    part: list[str]
    patient: list[str]
    pixels: list[str]

    @classmethod
    def read(cls, used: pd.DataFrame) -> _Images:
        parts = name_parts(used["split"]).tolist() if "split" in used else [""] * len(used)
        label, patient, pixels = (used[name].tolist() for name in ("label", "patient_id", "pixels_sha256"))
        return cls(
            [str(each) for each in label],
            parts,
            patient,
            [each or f"row {row}" for row, each in enumerate(pixels)],
        )

    def differ(self, rows: Iterable[int]) -> bool:
        """Whether any two have other pixels."""
        return len({self.pixels[row] for row in rows}) > 1

    def tell_code(self, rows: Sequence[int]) -> str | None:
        """The gravest code that is true of two of these images whose pixels differ; None if none is."""
        if not self.differ(rows):
            return None
        for values, code in zip((self.label, self.part, self.patient), NEAR_DUPLICATE_CODES, strict=False):
            known = [row for row in rows if values[row] != ""]
            # If so, two of them differ in both: one with other pixels goes with one of two that have the same.
            if len({values[row] for row in known}) > 1 and self.differ(known):
                return code
        one_patient = self.patient[rows[0]] != "" and len({self.patient[row] for row in rows}) == 1
        # Two views of one patient may well be nearly the same, and stay together in every split.
        return None if one_patient else NEAR_DUPLICATE_CODES[-1]


def _tell(code: str, used: pd.DataFrame, pictures: list[Picture]) -> Finding:
    severity, where, advice = _KINDS[code]
    rows = sorted(row for each in pictures for row in each.rows)
    paths = used["path"]
    clearest = pictures[0].pairs[0]
    names = f"{paths.iloc[clearest.first]} and {paths.iloc[clearest.second]}"
    return Finding(
        code=code,
        severity=severity,
        what=f"{len(rows)} images ({say_count(len(pictures), 'set')} of the same picture, changed) stand {where}, such "
        f"as {names} ({clearest.change}).",
        count=len(rows),
        records=name_records(paths.iloc[rows]),
        advice=advice,
        evidence=Evidence(
            name="lowest similarity of a pair",
            value=min(pair.similarity for each in pictures for pair in each.pairs),
            method="lower quartile, over tiles of the aligned images, of the correlation of fine detail",
        ),
    )
