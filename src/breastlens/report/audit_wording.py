"""The sentences of an audit, and the rows of its remedies: what was found, in the words of somebody with a minute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from breastlens.audit.judgement import CHANCE, UNSEEN
from breastlens.report.audit_files import AuditFacts, Remedy
from breastlens.report.certainty import has_interval
from breastlens.report.control_wording import (
    SEEN,
    corrected_sentence,
    find_worst,
    nuisance_sentence,
    seen_by,
)
from breastlens.report.facts import Control, Interval, Reached
from breastlens.report.meaning import NOT_KNOWN, NOT_SHOWN, PARTLY, UNEXPLAINED, count_sentence
from breastlens.report.phrasing import (
    count_text,
    range_text,
    short_text,
    short_with_interval,
    with_interval,
)
from breastlens.report.tables import MetricCell
from breastlens.report.wording import find_lowest

__all__ = [
    "SEEN",
    "RemedyRow",
    "audit_meaning",
    "audit_verdict",
    "corrected_sentence",
    "judged_on",
    "list_controls",
    "margin_sentence",
    "nuisance_sentence",
    "remedies_sentence",
    "remedy_rows",
    "worst_control",
]


class RemedyRow(NamedTuple):
    """One way of preparing the images: the scores of whole images and of the controls, and the two that decide.

    Attributes:
        remedy: What was done, as the options that do it.
        whole: AUC of whole images.
        controls: AUC of each of ``list_controls``.
        margin: The smallest margin, and to which control.
        matched: The lowest AUC within strata, and of which column; None where no row has one.
    """

    remedy: str
    whole: MetricCell
    controls: list[MetricCell]
    margin: MetricCell
    matched: MetricCell | None


def audit_verdict(facts: AuditFacts) -> str:
    """The one sentence to take home: the score, and the score without the breast.

    The control that is named is the one with the smallest margin. That nothing is serious is said only where nothing is
    warned of either.
    """
    grave, minor = (sum(found.severity == kind for found in facts.findings) for kind in ("error", "warning"))
    counts = [count_text(grave, "serious finding")] if grave else []
    counts += [count_text(minor, "warning")] if minor else []
    counted = " and ".join(counts) or "No serious finding"
    if facts.whole is None or facts.whole.auc is None:
        return f"No model was trained, so shortcuts were not looked for. {counted}."
    said = f"AUC {short_with_interval(facts.whole.auc, facts.whole)}"
    name = worst_control(facts)
    if name is not None:
        control = facts.controls[name]
        said += f"; a model that {seen_by(name)} reaches {short_with_interval(control.auc, control)}"
    return f"{said}. {counted}."


def audit_meaning(facts: AuditFacts) -> str:
    """What the verdict means, as the findings have it; nothing where no probe was trained.

    1. The AUC may be chance.
    2. `breast-not-shown`: the margin to a control may be 0 or less.
    3. Any other shortcut in the image: part of the AUC need not come from the breast.
    4. The AUC or a margin has no interval or value: nothing more is known.
    5. Otherwise no control explains the score, which is not yet a proof.
    """
    rivals = [
        name for name, control in facts.controls.items() if name not in UNSEEN and control.auc is not None
    ]
    if facts.whole is None or facts.whole.auc is None or not rivals:
        return ""
    if facts.whole.auc <= CHANCE:
        return "The AUC is not above 0.5: on these data a model may be no better than guessing."
    if facts.whole.low is not None and facts.whole.low <= CHANCE:
        return "The interval of the AUC reaches down to 0.5: on these data a model may be no better than guessing."
    if any(finding.code == "breast-not-shown" for finding in facts.findings):
        return NOT_SHOWN
    shortcuts = _list_shortcuts(facts)
    if shortcuts:
        return f"{PARTLY} {count_sentence(len(shortcuts), len(rivals))}"
    margins = [facts.controls[name].margin for name in rivals]
    if facts.whole.low is None or any(margin is None or margin.value is None for margin in margins):
        return NOT_KNOWN
    return " ".join(UNEXPLAINED)


def _list_shortcuts(facts: AuditFacts) -> list[str]:
    """The controls in the image that tell the classes apart, from the findings."""
    prefix = "shortcut-"
    named = (found.code.removeprefix(prefix) for found in facts.findings if found.code.startswith(prefix))
    return [name for name in named if name not in UNSEEN]


def judged_on(facts: AuditFacts) -> str:
    """On what the verdict rests; nothing where there is no score."""
    if facts.whole is None or facts.whole.auc is None or not facts.data.used:
        return ""
    labels, patients = facts.labels, facts.data.patients
    size = count_text(facts.data.used, "image")
    size += f" of {count_text(patients, 'patient')}" if patients else " (patients unknown)"
    said = f"Judged on {size}, each scored by a model trained on others: "
    said += f"{labels.positive_name} against {labels.negative_name}."
    if has_interval(facts.whole):
        said += f" Ranges are 95% intervals over {'patients' if patients else 'images'}."
    return said


def worst_control(facts: AuditFacts) -> str | None:
    """The control with the smallest margin; None where none has one."""
    return find_worst(facts.controls)


def margin_sentence(control: Control) -> str:
    """How far the whole image is above a control."""
    margin = control.margin
    if margin is None or margin.value is None:
        return "–"
    return with_interval(margin.value, margin)


def list_controls(remedies: Sequence[Remedy]) -> list[str]:
    """The controls that see something of the image, as they first appear in the rows."""
    return list(dict.fromkeys(name for each in remedies for name in each.controls if name not in UNSEEN))


def remedies_sentence(remedies: Sequence[Remedy]) -> str:
    """How to read the rows; nothing where there are none."""
    if not remedies:
        return ""
    above = ", and above all the matched AUC, does" if any(each.matched for each in remedies) else " does"
    return (
        "In each row the images were prepared in another way and everything was measured again, on the same patients "
        f"and folds. A preparation helps where the controls fall and the AUC of whole images{above} not. "
        "The AUC of the row that is chosen after looking is a little too good."
    )


def remedy_rows(remedies: Sequence[Remedy]) -> list[RemedyRow]:
    """A row a way of preparing the images, in the order of the file."""
    names, none = list_controls(remedies), Control()
    within = any(each.matched for each in remedies)
    return [
        RemedyRow(
            each.remedy,
            _reached_cell(each.whole or none),
            [_reached_cell(each.controls.get(name, none)) for name in names],
            _margin_cell(each),
            _matched_cell(each) if within else None,
        )
        for each in remedies
    ]


def _reached_cell(reached: Reached) -> MetricCell:
    return _cell(reached.auc, reached)


def _margin_cell(remedy: Remedy) -> MetricCell:
    name = find_worst(remedy.controls)
    margin = None if name is None else remedy.controls[name].margin
    if margin is None or margin.value is None:
        return MetricCell("–")
    return _cell(margin.value, margin, f"to {name}")


def _matched_cell(remedy: Remedy) -> MetricCell:
    lowest = find_lowest(remedy.matched)
    if lowest is None:
        return MetricCell("–")
    return _cell(None if lowest.auc is None else lowest.auc.value, lowest.auc, f"within {lowest.column}")


def _cell(value: float | None, interval: Interval | Reached | None, remark: str = "") -> MetricCell:
    """One figure in short; spaces that do not break keep the ends of its interval on one line."""
    ends = "" if value is None else range_text(interval).replace(" ", "\N{NO-BREAK SPACE}")
    return MetricCell(short_text(value), ends, remark)
