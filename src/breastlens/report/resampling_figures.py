"""Figures of what was trained again: on other folds, and on fewer patients."""

from __future__ import annotations

from pathlib import Path

from breastlens.report.canvas import (
    ACCENT,
    INK,
    MUTED,
    NEGATIVE,
    dress,
    legend_below,
    new_figure,
    save,
    write_statement,
)
from breastlens.report.learning_curve import LearningCurve
from breastlens.report.repeats import Repeats

_SIZE = (4.6, 4.2)
_WIDE = (9.4, 4.0)
_LEAST_ROOM = 0.01


def draw_repeats(repeats: Repeats, path: Path) -> Path:
    """The AUC of each repeat as a dot, beside their mean with its interval.

    Args:
        repeats: Of metrics.json.
        path: PNG to write.
    """
    figure = new_figure(*_SIZE)
    axes = figure.subplots()
    auc = repeats.metrics["auc"]
    numbers = range(1, repeats.count + 1)
    known = [(each, value) for each, value in zip(numbers, auc.values, strict=True) if value is not None]
    if not known:
        write_statement(axes, "No repeat has an AUC.")
        return save(figure, path)
    axes.plot(*zip(*known, strict=True), "o", color=NEGATIVE, markersize=7, label="one repeat")
    place, mean = repeats.count + 1, auc.mean
    ends = [value for value in (mean.low, mean.high) if value is not None]
    if mean.value is not None:
        axes.axhline(mean.value, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.plot([place] * len(ends), ends, color=ACCENT, linewidth=2.5, solid_capstyle="butt")
        label = f"mean, {mean.level:.0%} interval over patients"
        axes.plot(place, mean.value, "D", color=ACCENT, markersize=8, label=label)
    dress(axes, x_label="repeat", y_label="AUC")
    axes.set_xticks([*numbers, place], [*map(str, numbers), "mean"])
    axes.set_xlim(0.4, place + 0.6)
    shown = [*ends, *(value for _, value in known)]
    room = max(_LEAST_ROOM, 0.1 * (max(shown) - min(shown)))
    axes.set_ylim(max(0.0, min(shown) - room), min(1.005, max(shown) + room))
    legend_below(axes)
    return save(figure, path)


def draw_learning_curve(curve: LearningCurve, path: Path) -> Path:
    """The AUC against the training patients: draws, means with intervals, the fitted curve and its band.

    Args:
        curve: Of metrics.json, with at least one point.
        path: PNG to write.
    """
    figure = new_figure(*_WIDE)
    axes = figure.subplots()
    most = curve.points[-1].patients
    if curve.fit is not None:
        band = curve.fit.band
        inside = [place for place, patients in enumerate(band.patients) if patients <= most]
        split = inside[-1] + 1
        axes.fill_between(band.patients, band.low, band.high, color=ACCENT, alpha=0.15, linewidth=0)
        axes.plot(
            band.patients[:split],
            band.auc[:split],
            color=ACCENT,
            linewidth=2,
            label="inverse power law, with band",
        )
        axes.plot(
            band.patients[split - 1 :],
            band.auc[split - 1 :],
            color=ACCENT,
            linewidth=2,
            linestyle=(0, (3, 2)),
            label="the same, extrapolated",
        )
        axes.axvline(most, color=MUTED, linewidth=1, linestyle=":")
    for number, point in enumerate(curve.points):
        labels = (
            "one draw of training patients",
            f"mean, {point.auc.level:.0%} interval over judged patients",
        )
        of_draws, of_mean = labels if number == 0 else (None, None)
        ends = [value for value in (point.auc.low, point.auc.high) if value is not None]
        places = [point.patients] * len(point.values)
        axes.plot([point.patients] * len(ends), ends, color=NEGATIVE, linewidth=2, solid_capstyle="butt")
        axes.plot(places, point.values, "o", color=MUTED, markersize=3.5, alpha=0.8, label=of_draws)
        mean = [value for value in (point.auc.value,) if value is not None]
        axes.plot([point.patients] * len(mean), mean, "o", color=NEGATIVE, markersize=7, label=of_mean)
    dress(axes, x_label=f"training {curve.unit} (logarithmic)", y_label="AUC")
    axes.set_xscale("log")
    ticks = [point.patients for point in curve.points] + ([2 * most] if curve.fit is not None else [])
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.minorticks_off()
    axes.tick_params(axis="x", colors=INK)
    legend_below(axes)
    return save(figure, path)
