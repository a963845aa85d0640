"""The few figures that stand large on the first screen, each with its interval and what it means."""

from __future__ import annotations

from typing import NamedTuple

from breastlens.report import certainty
from breastlens.report.control_wording import find_worst, seen_by
from breastlens.report.phrasing import range_text, short_text
from breastlens.report.run_files import Interval, Matched, RunFiles
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


def key_figures(files: RunFiles) -> list[KeyFigure]:
    """The AUC, the worst control, the margin between them, and the lowest AUC within strata, as far as there are."""
    block = files.block
    if block.auc is None:
        return []
    low = certainty.low_end_of_auc(files)
    shown = [
        KeyFigure(
            "AUC",
            short_text(block.auc),
            range_text(block.intervals.get("auc")),
            "1 is perfect, 0.5 is guessing",
            "warning" if low is None or low <= 0.5 else "",
        ),
        *_control_figures(files),
    ]
    lowest = find_lowest(files.matched)
    return shown if lowest is None else [*shown, _matched_figure(files, lowest)]


def _control_figures(files: RunFiles) -> list[KeyFigure]:
    name = find_worst(files.controls)
    if name is None:
        return [
            KeyFigure("Worst control", "–", "not run", "what a model without the breast reaches", "warning")
        ]
    control = files.controls[name]
    reached = KeyFigure(
        "Worst control", short_text(control.auc), range_text(control), f"AUC of a model that {seen_by(name)}"
    )
    if control.margin is None or control.margin.value is None:
        return [reached]
    return [reached, _margin_figure(files, control.margin)]


def _margin_figure(files: RunFiles, margin: Interval) -> KeyFigure:
    low = certainty.low_end_of_margin(files, margin)
    meaning = "what the model adds to the control"
    if low is None:
        meaning += ": may be chance"
    elif low <= 0:
        meaning += ": may be nothing"
    return KeyFigure(
        "Margin",
        short_text(margin.value),
        range_text(margin),
        meaning,
        "warning" if low is None or low <= 0 else "",
    )


def _matched_figure(files: RunFiles, matched: Matched) -> KeyFigure:
    label, meaning = "Matched AUC", f"among images with the same “{matched.column}”"
    if matched.auc is None or matched.auc.value is None:
        return KeyFigure(label, "–", "not to be had", meaning, "warning")
    low = certainty.low_end_of_matched(files, matched)
    return KeyFigure(
        label,
        short_text(matched.auc.value),
        range_text(matched.auc),
        meaning,
        "warning" if low is None or low <= 0.5 else "",
    )
