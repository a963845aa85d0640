"""What a verdict means: the rule by which a score and its controls become a sentence."""

from __future__ import annotations

from collections.abc import Mapping

from breastlens.audit.judgement import SHORTCUT_AUC, UNSEEN
from breastlens.report import certainty
from breastlens.report.control_wording import find_worst, seen_by
from breastlens.report.facts import Control
from breastlens.report.repeats import headline_auc
from breastlens.report.run_files import RunFiles

NOT_SHOWN = "These data cannot show that the model sees the breast."
NOT_KNOWN = "Whether the model does better than one without the breast is not known."
PARTLY = "Part of this AUC need not come from the breast."
UNEXPLAINED = ("No control explains the score.", "That is not yet a proof that the model sees the breast.")
_WORDS = {
    NOT_SHOWN: "breast not shown",
    NOT_KNOWN: "not known",
    PARTLY: "partly explained",
    UNEXPLAINED[0]: "unexplained",
}


def meaning(files: RunFiles) -> list[str]:
    """What the verdict means, in one or two sentences: those of the first rule that holds.

    1. The AUC may be chance: then there is nothing to explain.
    2. No control has an AUC: then nothing is known of shortcuts.
    3. The margin to a control may be 0 or less: the data cannot show that the model sees the breast.
    4. A control is surely above `SHORTCUT_AUC`: part of the AUC need not come from the breast.
    5. The margin to a control is not known.
    6. Otherwise no control explains the score, which is not yet a proof.

    Where the first and the second hold, both are said. The limits are those of `breastlens.audit.judgement`.
    """
    if files.block.auc is None:
        return []
    chance = _chance_sentence(files)
    name = find_worst(files.controls)
    said = [chance] if chance else []
    if name is None:
        said.append(
            "No negative control was run. Whether the model looks at the breast or at something else that "
            "differs between the categories (camera, year, crop, file format) is not known: the AUC may be "
            "a shortcut's."
        )
    return said or _controls_meaning(files)


def meaning_word(files: RunFiles) -> str:
    """The same rules in a word or two, for a table of many runs."""
    if files.block.auc is None:
        return "no AUC"
    if _chance_sentence(files):
        return "chance"
    if find_worst(files.controls) is None:
        return "no control"
    return _WORDS[_controls_meaning(files)[0]]


def _controls_meaning(files: RunFiles) -> list[str]:
    rivals = {
        name: control
        for name, control in files.controls.items()
        if name not in UNSEEN and control.auc is not None
    }
    lows = {name: certainty.low_end_of_margin(files, control.margin) for name, control in rivals.items()}
    unseen = {name: control for name, control in rivals.items() if _reaches_nought(lows[name])}
    if unseen:
        return [
            NOT_SHOWN,
            _rival_sentence(unseen, find_worst(files.controls)),
        ]
    above = [name for name, control in rivals.items() if surely_above(files, control, SHORTCUT_AUC)]
    if above:
        return [PARTLY, count_sentence(len(above), len(rivals))]
    if any(low is None for low in lows.values()):
        return [NOT_KNOWN]
    return list(UNEXPLAINED)


def count_sentence(count: int, controls: int) -> str:
    """How many of the controls tell the classes apart."""
    if controls == 1:
        return "The control tells the two apart, too."
    if count < controls:
        return f"{count} of the {controls} controls {'tells' if count == 1 else 'tell'} the two apart, too."
    return f"{'Both' if count == 2 else f'All {count}'} controls tell the two apart, too."


def _reaches_nought(low: float | None) -> bool:
    return low is not None and low <= 0


def surely_above(files: RunFiles, control: Control, level: float) -> bool:
    """Whether all that is known of a control's AUC lies above a level."""
    low = certainty.low_end_of_control(files, control)
    return low is not None and low > level


def _rival_sentence(rivals: Mapping[str, Control], named: str | None) -> str:
    """How the worst of the controls does that the model may not be above; in brief where the verdict names it."""
    name = find_worst(rivals)
    margin = rivals[name].margin if name is not None else None
    if name is None or margin is None:
        return ""
    does = "does better" if margin.lies_below(0) else "may do as well"
    return f"{'That control' if name == named else f'A model that {seen_by(name)}'} {does}."


def _chance_sentence(files: RunFiles) -> str:
    """That the AUC may be chance; nothing where it is none."""
    auc, low = headline_auc(files), certainty.low_end_of_auc(files)
    if auc.value is not None and auc.value <= 0.5:
        return "The AUC is not above 0.5: on these data the model may be no better than guessing."
    if low is None:
        return no_interval_sentence(files)
    if low <= 0.5:
        return "The interval of the AUC reaches down to 0.5: on these data the model may be no better than guessing."
    return ""


def no_interval_sentence(files: RunFiles) -> str:
    """Why the AUC has no interval where it has none, and what follows; nothing where it has one."""
    auc = headline_auc(files)
    if auc.value is None or certainty.has_interval(auc):
        return ""
    why = certainty.plain_reason(auc.reason, certainty.unit_of(files.block))
    follows = " How far it may be off is not known."
    if certainty.low_end_of_auc(files) is None:  # that an AUC of 0.5 or less may be chance is said elsewhere
        follows = " This may be chance." if auc.value > 0.5 else ""
    return f"The AUC has no interval{f': {why}' if why else ''}.{follows}"
