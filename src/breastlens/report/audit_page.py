"""Writes audit.html: one self-contained page made from the files of an audit's directory and nothing else."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from breastlens.report.audit_files import PICTURES, AuditFacts, AuditFiles, read_audit_files
from breastlens.report.audit_wording import (
    SEEN,
    corrected_sentence,
    judged_on,
    list_controls,
    margin_sentence,
    nuisance_sentence,
    remedies_sentence,
    remedy_rows,
)
from breastlens.report.key_figures import audit_key_figures
from breastlens.report.rendering import embed, write_page
from breastlens.report.tables import setting_rows
from breastlens.report.wording import RESEARCH_USE, find_lowest, matched_sentence, moment_text, with_interval

PAGE_NAME = "audit.html"

_NETWORK = ("backbone", "weights")
"""Settings that decide nothing where the probes use no network."""

PROVED = {
    "controls": re.compile("shortcut-|breast-not-shown|evaluation-leaks"),
    "occlusions": re.compile("$"),
    "duplicates": re.compile("duplicates-"),
    "near_duplicates": re.compile("near-duplicates-"),
    "doubtful_labels": re.compile("doubtful-labels$"),
    "marks": re.compile("burned-in-marks$|marks-tell-label$"),
    "files": re.compile("(blank|saturated|blurred|transparent)-images$|odd-sizes$"),
    "distributions": re.compile("(?!marks-).*-tells?-label$|dates-hardly-overlap$"),
}
"""The codes of the findings that each picture proves."""


def write_audit_page(directory: Path) -> Path:
    """Write the page of an audit beside its files.

    Args:
        directory: An audit's, with findings.json. Absent figures are left out of the page.

    Returns:
        The path of audit.html.

    Raises:
        RunDirectoryError: findings.json is missing, damaged or of another format.
    """
    files = read_audit_files(directory)
    facts = files.facts
    lowest = find_lowest(facts.matched)
    return write_page(
        directory / PAGE_NAME,
        "audit.html",
        {
            "facts": facts,
            "created": moment_text(facts.created),
            "labels": facts.labels.describe(),
            "research_use": RESEARCH_USE,
            "judged_on": judged_on(facts),
            "key_figures": audit_key_figures(facts),
            "leading": [finding for finding in facts.findings if finding.severity == "error"],
            "controls": _control_rows(files),
            "corrected": corrected_sentence(facts.corrected),
            "lowest": "" if lowest is None else matched_sentence(lowest),
            "matched": [matched_sentence(each) for each in facts.matched],
            "nuisance": [nuisance_sentence(each) for each in facts.nuisance],
            "remedies": remedy_rows(facts.remedies),
            "remedies_sentence": remedies_sentence(facts.remedies),
            "remedy_controls": list_controls(facts.remedies),
            "pictures": {
                name: embed(png, caption=PICTURES[name], alternative=_say_in_words(name, facts))
                for name, png in files.pictures.items()
            },
            "tested": [each for each in facts.properties if not each.untested],
            "untested": [each for each in facts.properties if each.untested],
            "settings": _setting_rows(facts),
            "command": shlex.join(facts.command),
            "total_wall_s": sum(phase.wall_s for phase in facts.phases),
        },
    )


def _setting_rows(facts: AuditFacts) -> list[tuple[str, str]]:
    """The settings; where no network was used, its name and weights say so."""
    used = facts.features.get("name", "no probe was trained")
    instead = "" if "weights" in facts.features else f", not used: {used}"
    rows = setting_rows(facts.recipe | {"image": facts.image})
    return [(name, f"{value}{instead}" if name in _NETWORK else value) for name, value in rows]


def _say_in_words(name: str, facts: AuditFacts) -> str:
    """What a picture shows, for those who cannot see it: its caption, and the findings that it proves."""
    codes = PROVED[name]
    return " ".join([PICTURES[name], *(each.what for each in facts.findings if codes.match(each.code))])


def _control_rows(files: AuditFiles) -> list[dict[str, str]]:
    facts = files.facts
    if facts.whole is None:
        return []
    rows = [{"name": "whole image", "seen": "sees everything", "auc": "", "margin": ""}]
    rows[0]["auc"] = with_interval(facts.whole.auc, facts.whole)
    for name, control in facts.controls.items():
        rows.append(
            {
                "name": name,
                "seen": SEEN.get(name, control.what),
                "auc": with_interval(control.auc, control),
                "margin": margin_sentence(control),
            }
        )
    return rows
