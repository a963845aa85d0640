"""What models without the breast say about a score: the words that the pages of a run and of an audit share."""

from __future__ import annotations

from collections.abc import Mapping

from breastlens.audit.judgement import CHANCE, LABELS, UNSEEN
from breastlens.report.facts import Control, Interval, Nuisance
from breastlens.report.phrasing import with_interval

SEEN = {
    "border": "sees only the border",
    "background": "sees only what lies around the body",
    "noise": "sees only the noise",
    "shuffled": "sees the pixels in random order",
    "intensity": "gets statistics of the grey values alone",
    "file": "gets what is known of the files, which no network sees",
    LABELS: "gets labels dealt anew among patients",
}
"""What each control was given, as it stands after "a model that"."""


def seen_by(name: str) -> str:
    """What a control was given, as it stands after "a model that"; a name that is not known is quoted."""
    return SEEN.get(name, f"is given “{name}” alone")


def find_worst(controls: Mapping[str, Control]) -> str | None:
    """The control that comes closest to the model, or goes furthest beyond it.

    That is the one with the smallest margin or, where no margin was recorded, the one with the largest AUC. Controls
    that are shown no image are left out (``audit.judgement.UNSEEN``). None where no control has either.

    Args:
        controls: By name.
    """
    rivals = {name: control for name, control in controls.items() if name not in UNSEEN}
    margins = {
        name: control.margin.value
        for name, control in rivals.items()
        if control.margin is not None and control.margin.value is not None
    }
    if margins:
        return min(margins, key=lambda name: margins[name])
    reached = {name: control.auc for name, control in rivals.items() if control.auc is not None}
    return max(reached, key=lambda name: reached[name]) if reached else None


def nuisance_sentence(nuisance: Nuisance) -> str:
    """How well the image gives a column away."""
    if nuisance.auc is None or nuisance.auc.value is None:
        return f"How well the image gives {nuisance.column} away is not known: {nuisance.reason}."
    low = nuisance.auc.low
    surely = low is not None and low > CHANCE
    begin = "The image gives" if surely else "It is not shown that the image gives"
    return (
        f"{begin} {nuisance.column} away: within one label, a model tells {nuisance.what} with an AUC of "
        f"{with_interval(nuisance.auc.value, nuisance.auc)}."
    )


def corrected_sentence(corrected: Interval | None) -> str:
    """The estimate of the AUC elsewhere, as far as shuffled pixels tell; nothing where it is not known."""
    if corrected is None or corrected.value is None:
        return ""
    expected = with_interval(corrected.value, corrected)
    return (
        f"Corrected for what shuffled pixels tell beyond chance, the AUC is {expected}: an estimate of what is left on "
        "images from elsewhere, not a measurement (Ong Ly et al., npj Digital Medicine, 2024)."
    )
