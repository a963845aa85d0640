"""How numbers, counts and moments are written on every page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from breastlens.report.facts import Interval, Reached

_LIMITS = (0.0, 0.5, 1.0)
"""What a reader holds a figure against: no difference, guessing, perfection."""

_EVERYTHING = (("0.000", "1.000"), ("\N{MINUS SIGN}1.000", "1.000"))
NOTHING_KNOWN = ": nothing is known"
"""What is said of an interval from one end of a scale to the other."""


def figure_text(value: float | None) -> str:
    """A metric to three decimals, with a true minus sign unless it rounds to 0; a dash where there is none."""
    return "–" if value is None else f"{value:z.3f}".replace("-", "−")


def short_text(value: float | None) -> str:
    """A metric for a reader in a hurry: two decimals, and a third where two would put it on 0, 0.5 or 1."""
    if value is None:
        return "–"
    two = f"{value:.2f}"
    if float(two) in _LIMITS and float(two) != value:
        return figure_text(value)
    return two.replace("-", "−")


def with_interval(value: float | None, interval: Interval | Reached | None) -> str:
    """A metric and its interval, for example ``0.912 (0.871 to 0.946)``; the value alone if it has none."""
    if value is None or interval is None or interval.low is None or interval.high is None:
        return figure_text(value)
    return f"{figure_text(value)} ({ends_text(interval)})"


def ends_text(
    interval: Interval | Reached | None, written: Callable[[float | None], str] = figure_text
) -> str:
    """The ends of an interval, and that they say nothing where between them lies all that a figure can be.

    That is 0 to 1 for a share or an AUC, and -1 to 1 for a difference of two or a correlation.

    Args:
        interval: What may have ends; without them the text is empty.
        written: How each end is written.
    """
    if interval is None or interval.low is None or interval.high is None:
        return ""
    said = f"{written(interval.low)} to {written(interval.high)}"
    everything = (figure_text(interval.low), figure_text(interval.high)) in _EVERYTHING
    return f"{said}{NOTHING_KNOWN}" if everything else said


def range_text(
    interval: Interval | Reached | None, written: Callable[[float | None], str] = short_text
) -> str:
    """The ends of an interval in short, for example ``0.87 to 0.95``; that there is none, where there is none.

    Args:
        interval: What has ends.
        written: How each end is written.
    """
    if interval is None or interval.low is None or interval.high is None:
        return "no interval"
    return ends_text(interval, written)


def short_with_interval(value: float | None, interval: Interval | Reached | None) -> str:
    """A metric and its interval in short, for example ``0.91 (0.87 to 0.95)`` or ``0.91 (no interval)``."""
    return f"{short_text(value)} ({range_text(interval)})"


def moment_text(iso: str) -> str:
    """A moment as people write it, for example ``22 November 2026, 17:00 UTC``; other text unchanged."""
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{moment.day} {moment:%B %Y, %H:%M %Z}".rstrip()


def count_text(count: int, noun: str) -> str:
    """A count with its noun, for example ``1 image`` and ``1,204 images``."""
    return f"{count:,} {noun if count == 1 else noun + 's'}"
