"""The reliability diagram and the decision curve: numbers of metrics.json in, one PNG out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from breastlens.report.canvas import (
    ACCENT,
    INK,
    MUTED,
    NEGATIVE,
    POSITIVE,
    dress,
    legend_below,
    new_figure,
    save,
    wrap,
    write_statement,
)

_SIZE = (4.6, 5.6)
_DASHED = (0, (4, 3))


def draw_reliability(
    calibration: Mapping[str, Any], y_true: ArrayLike, y_score: ArrayLike, names: tuple[str, str], path: Path
) -> Path:
    """Draw the share of positives against the score, smooth and in bins, above a histogram of the scores.

    Args:
        calibration: The block ``calibration`` of a part of metrics.json.
        y_true: (n,) 0 or 1.
        y_score: (n,) in [0, 1].
        names: What the negative and the positive images are called.
        path: PNG to write.
    """
    truth, scores = np.asarray(y_true, dtype=np.int64), np.asarray(y_score, dtype=np.float64)
    after, before = calibration["after"], calibration["before"]
    figure = new_figure(*_SIZE)
    main, below = figure.subplots(2, 1, height_ratios=[4, 1], sharex=True)
    main.plot(
        [0, 1], [0, 1], color=MUTED, linewidth=1.2, linestyle=_DASHED, label="score = share of positives"
    )
    if before["curve"] is not None:
        curve = before["curve"]
        main.plot(
            curve["score"], curve["positive_share"], color=POSITIVE, linewidth=1.2, label="before calibration"
        )
    if after["curve"] is not None:
        curve = after["curve"]
        main.plot(curve["score"], curve["positive_share"], color=NEGATIVE, linewidth=2, label="after, smooth")
        if curve["low"] is not None:
            main.fill_between(
                curve["score"],
                curve["low"],
                curve["high"],
                color=NEGATIVE,
                alpha=0.18,
                linewidth=0,
                label=f"its {curve['level']:.0%} band, at each score",
            )
    bins = after["bins"]
    main.plot(
        [each["mean_score"] for each in bins],
        [each["positive_share"] for each in bins],
        marker="o",
        markersize=4.5,
        linestyle="none",
        color=INK,
        label=f"after, {len(bins)} bins of as many images each",
    )
    dress(main, x_label="", y_label="share of positives")
    main.set_ylim(-0.02, 1.02)
    edges = np.linspace(0, 1, 26)
    counts = [np.histogram(scores[truth == label], bins=edges)[0] for label in (0, 1)]
    for label, colour, sign, way in ((1, POSITIVE, 1, "upwards"), (0, NEGATIVE, -1, "downwards")):
        below.bar(
            edges[:-1],
            sign * counts[label],
            width=np.diff(edges),
            align="edge",
            color=colour,
            alpha=0.75,
            label=wrap(f"images, {way}: {names[label]}", 52, lines=2),
        )
    below.axhline(0, color=MUTED, linewidth=0.8)
    dress(below, x_label="score (probability of positive)", y_label="images")
    most = max(1, *(int(count.max()) for count in counts))
    below.set_yticks([-most, 0, most], [str(most), "0", str(most)])
    below.set_xlim(-0.01, 1.01)
    figure.legend(loc="outside lower center", fontsize=8.5, frameon=False, labelcolor=INK)
    return save(figure, path)


def draw_decision_curve(curve: Mapping[str, Any] | None, path: Path) -> Path:
    """Draw the net benefit of the model against calling everybody and nobody positive.

    Args:
        curve: The block ``decision_curve`` of a part of metrics.json.
        path: PNG to write.
    """
    figure = new_figure(4.6, 4.2)
    axes = figure.subplots()
    if curve is None:
        write_statement(axes, "No decision curve: a class is missing in this part.")
        return save(figure, path)
    threshold = np.asarray(curve["threshold"])
    if curve["low"] is not None:
        axes.fill_between(
            threshold,
            curve["low"],
            curve["high"],
            color=NEGATIVE,
            alpha=0.18,
            linewidth=0,
            label=f"its {curve['level']:.0%} band, at each threshold",
        )
    axes.plot(
        threshold, curve["net_benefit"], color=NEGATIVE, linewidth=2, label="call positive by the model"
    )
    axes.plot(threshold, curve["treat_all"], color=ACCENT, linewidth=1.4, label="call everybody positive")
    axes.axhline(0, color=MUTED, linewidth=1.2, linestyle=_DASHED, label="call nobody positive")
    share = float(curve["prevalence"])
    dress(axes, x_label="threshold probability", y_label="net benefit")
    axes.set_xlim(0, threshold[-1])
    top = share if curve["high"] is None else max(share, *curve["high"])
    axes.set_ylim(-0.25 * share, 1.08 * top)
    legend_below(axes)
    return save(figure, path)
