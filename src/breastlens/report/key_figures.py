"""The few figures that stand large on the first screen, each with its interval and what it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from breastlens.report import certainty
from breastlens.report.audit_files import AuditFacts
from breastlens.report.control_wording import find_worst, seen_by
from breastlens.report.facts import Control, Interval, Matched, Reached
from breastlens.report.phrasing import range_text, short_text
from breastlens.report.repeats import headline_auc, read_repeats, runs_text
from breastlens.report.run_files import RunFiles
from breastlens.report.wording import find_lowest


class KeyFigure(NamedTuple):
    """One figure as the macro `tiles` shows it.

    Attributes:
        label: What it is.
        figure: The figure, a dash where there is none.
        interval: Its ends, or that there are none.
        meaning: One short line.
        tone: ``warning`` where it stands against the verdict, else empty.
    """

    label: str
    figure: str
    interval: str
    meaning: str
    tone: str = ""


@dataclass(frozen=True)
class Measured:
    """A score with what is held against it, of a run or of an audit.

    Attributes:
        auc: Of whole images.
        interval: Its interval.
        controls: Negative controls by name; empty when none was run.
        matched: The scores within strata.
        low_of_auc: The lowest that the AUC may be; None where nothing can be concluded.
        low_of_margin: The same of a margin.
        low_of_matched: The same of a score within strata.
        meaning: One short line about the AUC.
    """

    auc: float | None
    interval: Interval | Reached | None
    controls: Mapping[str, Control]
    matched: Sequence[Matched]
    low_of_auc: float | None
    low_of_margin: Callable[[Interval], float | None]
    low_of_matched: Callable[[Matched], float | None]
    meaning: str = "1 is perfect, 0.5 is guessing"


def key_figures(files: RunFiles) -> list[KeyFigure]:
    """The key figures of a run, as `list_figures`."""
    auc, repeats = headline_auc(files), read_repeats(files)
    return list_figures(
        Measured(
            auc.value,
            auc,
            files.controls,
            files.matched,
            certainty.low_end_of_auc(files),
            partial(certainty.low_end_of_margin, files),
            partial(certainty.low_end_of_matched, files),
            *([] if repeats is None else [f"mean of {runs_text(repeats)}"]),
        )
    )


def audit_key_figures(facts: AuditFacts) -> list[KeyFigure]:
    """The key figures of an audit, as `list_figures`.

    What has no interval is judged as the audit's findings judge it (``audit.judgement.judge_controls``): an AUC without
    a single mistake counts, and a margin by its value.
    """
    if facts.whole is None:
        return []
    return list_figures(
        Measured(
            facts.whole.auc,
            facts.whole,
            facts.controls,
            facts.matched,
            _low_of_faultless(facts.whole.auc, facts.whole),
            lambda margin: margin.value if margin.low is None else margin.low,
            lambda matched: (
                None if matched.auc is None else _low_of_faultless(matched.auc.value, matched.auc)
            ),
        )
    )


def _low_of_faultless(auc: float | None, interval: Interval | Reached) -> float | None:
    return auc if interval.low is None and auc == 1 else interval.low


def list_figures(measured: Measured) -> list[KeyFigure]:
    """The AUC, the worst control, the margin between them, and the lowest AUC within strata, as far as there are."""
    if measured.auc is None:
        return []
    low = measured.low_of_auc
    shown = [
        KeyFigure(
            "AUC",
            short_text(measured.auc),
            range_text(measured.interval),
            measured.meaning,
            "warning" if low is None or low <= 0.5 else "",
        ),
        *_control_figures(measured),
    ]
    lowest = find_lowest(measured.matched)
    return shown if lowest is None else [*shown, _matched_figure(lowest, measured.low_of_matched(lowest))]


def _control_figures(measured: Measured) -> list[KeyFigure]:
    name = find_worst(measured.controls)
    if name is None:
        return [
            KeyFigure("Worst control", "–", "not run", "what a model without the breast reaches", "warning")
        ]
    control = measured.controls[name]
    reached = KeyFigure(
        "Worst control", short_text(control.auc), range_text(control), f"AUC of a model that {seen_by(name)}"
    )
    if control.margin is None or control.margin.value is None:
        return [reached]
    return [reached, _margin_figure(control.margin, measured.low_of_margin(control.margin))]


def _margin_figure(margin: Interval, low: float | None) -> KeyFigure:
    meaning = "what the model adds to the control"
    if low is None:
        meaning += ": may be chance"
    elif margin.lies_below(0):
        meaning = "the control does better"
    elif low <= 0:
        meaning += ": may be nothing"
    return KeyFigure(
        "Margin",
        short_text(margin.value),
        range_text(margin),
        meaning,
        "warning" if low is None or low <= 0 else "",
    )


def _matched_figure(matched: Matched, low: float | None) -> KeyFigure:
    label, meaning = "Matched AUC", f"among images with the same “{matched.column}”"
    if matched.auc is None or matched.auc.value is None:
        return KeyFigure(label, "–", "not to be had", meaning, "warning")
    return KeyFigure(
        label,
        short_text(matched.auc.value),
        range_text(matched.auc),
        meaning,
        "warning" if low is None or low <= 0.5 else "",
    )
