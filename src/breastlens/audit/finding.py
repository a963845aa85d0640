"""What a finding is: one thing about the data that a reader of the results must know.

Codes are stable, since other programs may rely on them; each has a page in ``docs/audit/``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import field_validator

from breastlens.config import Settings

Severity = Literal["info", "warning", "error"]

RECORDS_NAMED = 20

CODES = {
    # patients
    "no-patient-ids": "no patient is known: leakage between images of one patient cannot be excluded",
    "some-patient-ids-missing": "some of the images in use have no patient",
    "similar-patient-ids": "patient ids that differ only in case, leading zeros, blanks or punctuation",
    "patients-in-both-labels": "patients with positive and negative images",
    "patients-across-splits": "patients whose images stand in several parts of the manifest's own split",
    "few-patients": "a label with so few patients that every figure is coarse",
    "uneven-patients": "a few patients hold a large share of the images",
    # files
    "unreadable-files": "files that could not be decoded and were left out",
    "misplaced-files": "images outside the category folders, or with names that no table can hold",
    "ignored-files": "files that are no images",
    "wrong-extension": "files whose suffix contradicts their content; left out",
    "blank-images": "images that are nearly one grey level",
    "saturated-images": "images with much of the body at the brightest or darkest stored level",
    "very-small-images": "stored images smaller than the network's input, and so enlarged",
    "blurred-images": "images much softer than the rest of the cohort",
    "odd-sizes": "few images of another stored size or aspect than the rest",
    "transparent-images": "images with transparent pixels, which are read as black",
    "burned-in-marks": "text, callipers or lines drawn into the image",
    # duplicates
    "duplicates-across-labels": "the same pixels under positive and negative; left out",
    "duplicates-across-patients": "the same pixels under several patients",
    "duplicates-across-categories": "the same pixels in several categories of one label",
    "duplicates-across-splits": "the same pixels in several parts of the manifest's own split",
    "duplicates-within-category": "any other exact repetition",
    "near-duplicates-across-labels": "the same picture, changed, under positive and negative",
    "near-duplicates-across-patients": "the same picture, changed, under several patients",
    "near-duplicates-across-splits": "the same picture, changed, in several parts of the manifest's own split",
    "near-duplicates-within-category": "any other repetition of a picture, changed",
    # labels
    "class-imbalance": "one label much rarer than the other",
    "doubtful-labels": "labels that disagree with what a model says that has not seen the image",
    "labels-look-inverted": "a given model scores the whole set the wrong way round",
    "evaluated-on-training-images": "an evaluation on images that the model was trained on",
    # the manifest
    "unreadable-dates": "values that are no date in a column of the manifest that is otherwise of dates",
    # acquisition
    "format-tells-label": "the file format is associated with the label",
    "size-tells-label": "the stored width and height are associated with the label",
    "bits-tell-label": "the stored bits are associated with the label",
    "compression-tells-label": "how the files are compressed is associated with the label",
    "colour-tells-label": "storage as colour or grey, or with transparency, is associated with the label",
    "device-tells-label": "the maker, model or software named in the files is associated with the label",
    "name-tells-label": "the way in which files are named is associated with the label",
    "grey-levels-tell-label": "the number of distinct grey levels is associated with the label",
    "date-tells-label": "the date of the images is associated with the label",
    "dates-hardly-overlap": "most images of a label come from years in which the other label does not occur",
    "column-tells-label": "a column of the manifest is associated with the label",
    "marks-tell-label": "burned-in marks are associated with the label",
    # what a model scores without seeing the breast
    "shortcut-border": "a model that sees only the border tells the classes apart",
    "shortcut-background": "a model that sees only what lies around the body tells the classes apart",
    "shortcut-noise": "a model that sees only the noise tells the classes apart",
    "shortcut-shuffled": "a model that sees the pixels in random order tells the classes apart",
    "shortcut-intensity": "a model that gets statistics of the grey values alone tells the classes apart",
    "shortcut-file": "a model that gets what is known of the files alone tells the classes apart",
    "breast-not-shown": "the data cannot show that a model sees the breast",
    "evaluation-leaks": "a model scores above chance with labels dealt anew",
}
"""Every code, and what it means in a line."""


class Evidence(Settings):
    """The figure that a finding rests on.

    Attributes:
        name: What it is, such as ``AUC`` or ``Cramer's V``.
        value: The figure.
        low: Lower end of its interval, where there is one.
        high: Upper end.
        level: Coverage of the interval.
        method: How figure and interval were had.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    level: float | None = None
    method: str = ""


class Finding(Settings):
    """One thing about the data that a reader of the results must know.

    Attributes:
        code: Stable name, one of ``CODES``.
        severity: "error" makes figures worthless, "warning" may mislead, "info" is good to know.
        what: One sentence with the numbers.
        count: How many images, files or patients it is about.
        records: Paths of up to 20 of them.
        advice: One sentence on what to do.
        evidence: The figure it rests on, where it rests on one.
    """

    code: str
    severity: Severity
    what: str
    count: int
    records: tuple[str, ...] = ()
    advice: str
    evidence: Evidence | None = None

    @field_validator("code")
    @classmethod
    def _code_is_known(cls, code: str) -> str:
        if code not in CODES:
            raise ValueError(f"{code!r} is not among the codes of findings")
        return code


def most_severe_first(findings: Iterable[Finding]) -> list[Finding]:
    """Errors, then warnings, then what is good to know; otherwise in their order."""
    return sorted(findings, key=lambda finding: ("error", "warning", "info").index(finding.severity))


def name_records(paths: Iterable[str]) -> tuple[str, ...]:
    """The first of the paths in alphabetical order, as many as a finding names."""
    return tuple(sorted(paths)[:RECORDS_NAMED])


def say_count(count: int, noun: str) -> str:
    """A number with its noun: ``1 image``, ``2 images``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
