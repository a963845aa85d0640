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
    "patients-in-both-labels": "patients with positive and negative images",
    "few-patients": "a label with so few patients that every figure is coarse",
    # files
    "unreadable-files": "files that could not be decoded and were left out",
    "misplaced-files": "images outside the category folders, or with names that no table can hold",
    "ignored-files": "files that are no images",
    # duplicates
    "duplicates-across-labels": "the same pixels under positive and negative; left out",
    "duplicates-across-patients": "the same pixels under several patients",
    "duplicates-across-categories": "the same pixels in several categories of one label",
    "duplicates-within-category": "any other exact repetition",
    # labels
    "class-imbalance": "one label much rarer than the other",
    "evaluated-on-training-images": "an evaluation on images that the model was trained on",
    # acquisition
    "format-tells-label": "the file format is associated with the label",
    "size-tells-label": "the stored width and height are associated with the label",
    "bits-tell-label": "the stored bits are associated with the label",
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
