"""The sentences of an audit: what was found, in the words of somebody who has a minute."""

from __future__ import annotations

from breastlens.report.audit_files import AuditFacts, Nuisance
from breastlens.report.run_files import Control, Interval
from breastlens.report.wording import count_text, with_interval

SEEN = {
    "border": "sees only the border",
    "background": "sees only what lies around the body",
    "noise": "sees only the noise",
    "shuffled": "sees the pixels in random order",
    "intensity": "gets statistics of the grey values alone",
    "file": "gets what is known of the files and no pixel",
    "labels": "gets labels dealt anew among patients",
}
"""What each control was given, as it stands after "a model that"."""


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
    margins = {
        name: control.margin.value
        for name, control in facts.controls.items()
        if control.margin is not None and control.margin.value is not None
    }
    return min(margins, key=lambda name: margins[name]) if margins else None


def margin_sentence(control: Control) -> str:
    """How far the whole image is above a control."""
    margin = control.margin
    if margin is None or margin.value is None:
        return "–"
    return with_interval(margin.value, margin)


def nuisance_sentence(nuisance: Nuisance) -> str:
    """How well the image gives a column away."""
    if nuisance.auc is None or nuisance.auc.value is None:
        return f"How well the image gives {nuisance.column} away is not known: {nuisance.reason}."
    return (
        f"The image gives {nuisance.column} away: within one label, a model tells {nuisance.what} with an AUC of "
        f"{with_interval(nuisance.auc.value, nuisance.auc)}."
    )


def corrected_sentence(corrected: Interval | None) -> str:
    """The AUC to be expected elsewhere, as far as shuffled pixels tell."""
    if corrected is None or corrected.value is None:
        return ""
    expected = with_interval(corrected.value, corrected)
    return (
        f"Corrected for what is left in shuffled pixels, an AUC of {expected} is to be expected on images from "
        "elsewhere (the AUC, minus that of shuffled pixels, plus 0.5; Ong Ly et al., npj Digital Medicine, 2024)."
    )
