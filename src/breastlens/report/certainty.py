"""What may be concluded from a figure: from its interval or, where it has none, from the reason for that."""

from __future__ import annotations

from breastlens.report.facts import Block, Interval, Matched, Reached
from breastlens.report.repeats import headline_auc
from breastlens.report.run_files import RunFiles

FEWEST_JUDGED = 20
"""Below so many patients a figure moves in steps of 0.05 and more, and a perfect score may be luck."""

# The beginnings of the reasons that breastlens.evaluation.intervals gives.
_ALIKE = "it is the same in nearly every draw"
_LONE = "a class has one patient only"


def judged(files: RunFiles) -> tuple[int, int]:
    """How many patients were judged, and how many images beside them that have no patient."""
    block = files.block
    if not block.patients:
        return 0, block.n
    return block.patients, int((files.predictions["patient_id"] == "").sum())


def are_few(files: RunFiles) -> bool:
    """Whether too few were judged for a figure without an interval to mean anything."""
    return sum(judged(files)) < FEWEST_JUDGED


def unit_of(block: Block) -> str:
    """What the draws behind an interval are made of: patients or, where they are unknown, images."""
    return "patient" if block.patients else "image"


def plain_reason(reason: str, unit: str) -> str:
    """Why there is no interval, in plain words.

    Args:
        reason: As `breastlens.evaluation.intervals` gives it.
        unit: What was drawn, ``patient`` or ``image``.
    """
    if reason.startswith(_ALIKE):
        return f"nearly every draw of {unit}s gave the same"
    if reason.startswith(_LONE):
        return f"one class has a single {unit}, and at least two are needed"
    return reason.rstrip(".")


def low_end_of_auc(files: RunFiles) -> float | None:
    """The lowest that the model's AUC may be, as `low_end`."""
    auc = headline_auc(files)
    return low_end(files, auc.value, auc, auc.reason)


def low_end_of_control(files: RunFiles, control: Reached) -> float | None:
    """The lowest that a negative control's AUC may be, as `low_end`."""
    return low_end(files, control.auc, control, _control_reason(files))


def low_end_of_margin(files: RunFiles, margin: Interval | None) -> float | None:
    """The lowest that the difference between the model's AUC and a control's may be, as `low_end`."""
    if margin is None:
        return None
    return low_end(files, margin.value, margin, margin.reason or _control_reason(files))


def low_end_of_matched(files: RunFiles, matched: Matched) -> float | None:
    """The lowest that the AUC within strata may be, as `low_end`."""
    return None if matched.auc is None else low_end(files, matched.auc.value, matched.auc, matched.reason)


def low_end(
    files: RunFiles, value: float | None, interval: Interval | Reached | None, reason: str
) -> float | None:
    """The lowest a figure may be: the low end of its interval; None where nothing can be concluded.

    Where nearly every draw of many patients gave the same, as with an AUC of 1, there is no interval, but the figure
    is no chance either: then it is the figure itself.

    Args:
        files: The run.
        value: The figure.
        interval: Its interval.
        reason: Why it has none.
    """
    if interval is not None and interval.low is not None:
        return interval.low
    return value if reason.startswith(_ALIKE) and not are_few(files) else None


def _control_reason(files: RunFiles) -> str:
    """Why a control's AUC has no interval, which is not recorded.

    Every other reason lies in labels and patients, which are the model's: then the model's AUC has no interval for the
    same reason.
    """
    if has_interval(files.block.intervals.get("auc")):
        return _ALIKE
    return files.block.reasons.get("auc interval", "")


def has_interval(interval: Interval | Reached | None) -> bool:
    """Whether there are both ends."""
    return interval is not None and interval.low is not None and interval.high is not None
