"""The sentences of an audit: what was found, in the words of somebody who has a minute."""

from __future__ import annotations

from breastlens.report.audit_files import AuditFacts
from breastlens.report.control_wording import SEEN, corrected_sentence, find_worst, nuisance_sentence
from breastlens.report.phrasing import count_text, with_interval
from breastlens.report.run_files import Control

__all__ = [
    "SEEN",
    "audit_verdict",
    "corrected_sentence",
    "margin_sentence",
    "nuisance_sentence",
    "worst_control",
]


def audit_verdict(facts: AuditFacts) -> str:
    """The one sentence to take home: the score, and the score without the breast.

    The control that is named is the one with the smallest margin.
    """
    grave = sum(finding.severity == "error" for finding in facts.findings)
    counted = count_text(grave, "serious finding") if grave else "No serious finding"
    if facts.whole is None or facts.whole.auc is None:
        return f"{counted}; no model could be trained, so shortcuts were not looked for."
    said = f"AUC {with_interval(facts.whole.auc, facts.whole)}"
    name = worst_control(facts)
    if name is not None:
        control = facts.controls[name]
        said += f"; a model that {SEEN.get(name, name)} reaches {with_interval(control.auc, control)}"
    return f"{said}. {counted}."


def worst_control(facts: AuditFacts) -> str | None:
    """The control with the smallest margin; None where none has one."""
    return find_worst(facts.controls)


def margin_sentence(control: Control) -> str:
    """How far the whole image is above a control."""
    margin = control.margin
    if margin is None or margin.value is None:
        return "–"
    return with_interval(margin.value, margin)
