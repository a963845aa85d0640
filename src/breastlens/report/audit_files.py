"""Reads the directory of an audit for its page: typed facts and pictures, or one line that says what is wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from breastlens.config import LabelMap
from breastlens.errors import RunDirectoryError
from breastlens.report.facts import Control, Data, Facts, Finding, Interval, Matched, Nuisance, Phase

FINDINGS_NAME = "findings.json"

PICTURES = {
    "controls": "AUC of the probe on whole images and on what each control leaves. The whisker is the 95 % interval.",
    "occlusions": "What each control is shown, for an image of either class.",
    "duplicates": "Images with the same pixels, one set under each heading, sets with contradicting labels first.",
    "near_duplicates": "The same picture, changed. Above each pair, how alike they are and what was changed.",
    "doubtful_labels": "The most doubtful labels: the category that was given, and the probability of positive by a "
    "probe that was trained without the image.",
    "marks": "Marks that are not the breast, in boxes whose colour tells their kind; a few images of each kind.",
    "files": "Images that are not like the others, with what is wrong above each.",
    "distributions": "What tells the label, the strongest first: how its values are spread in each category. Where the "
    "colours stand apart, a model can tell the classes apart without the breast. The outermost bins of a "
    "histogram hold all beyond.",
}


class Property(Facts):
    """A property that is not anatomy, and how far it goes with the label."""

    name: str
    measure: str = ""
    effect: float | None = None
    p_adjusted: float | None = None
    positive: str = ""
    negative: str = ""
    untested: str = ""
    tells: bool = False


class Remedy(Facts):
    """One way of preparing the images, and what was measured on them then."""

    remedy: str
    changes: dict[str, Any] = Field(default_factory=dict)
    whole: Control | None = None
    controls: dict[str, Control] = Field(default_factory=dict)
    matched: tuple[Matched, ...] = ()


class AuditFacts(Facts):
    """The content of findings.json, as far as the page shows it."""

    format: Literal[1]
    kind: Literal["audit"]
    verdict: str = ""
    meaning: str = ""
    command: tuple[str, ...] = ()
    created: str = ""
    recipe: dict[str, Any] = Field(default_factory=dict)
    image: dict[str, Any] = Field(default_factory=dict)
    labels: LabelMap
    data: Data = Data()
    features: dict[str, Any] = Field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    whole: Control | None = None
    controls: dict[str, Control] = Field(default_factory=dict)
    corrected: Interval | None = None
    matched: tuple[Matched, ...] = ()
    nuisance: tuple[Nuisance, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    properties: tuple[Property, ...] = ()
    notes: tuple[str, ...] = ()
    versions: dict[str, Any] = Field(default_factory=dict)
    machine: dict[str, Any] = Field(default_factory=dict)
    phases: tuple[Phase, ...] = ()


@dataclass(frozen=True)
class AuditFiles:
    """Everything of an audit's directory that the page shows: facts, and PNG bytes by picture name."""

    facts: AuditFacts
    pictures: dict[str, bytes]


def read_audit_files(directory: Path) -> AuditFiles:
    """Read what the page needs.

    Raises:
        RunDirectoryError: findings.json is missing, damaged or of another format.
    """
    path = directory / FINDINGS_NAME
    try:
        facts = AuditFacts.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise RunDirectoryError(
            f"{directory} is not an audit's directory: it has no {FINDINGS_NAME}"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RunDirectoryError(f"{path} is not what this version reads: {place}: {first['msg']}") from error
    except ValueError as error:
        raise RunDirectoryError(f"{path} is damaged: {error}") from error
    found = {name: directory / "figures" / f"{name}.png" for name in PICTURES}
    return AuditFiles(facts, {name: place.read_bytes() for name, place in found.items() if place.is_file()})
