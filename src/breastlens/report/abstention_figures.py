"""The figures of when a model does not answer: accuracy by the share answered, and distances with their limit."""

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
)

_SIZE = (4.6, 4.2)
_FARTHEST = 3.0
"""Distances beyond this many times the limit are drawn there: a photograph may be a hundred times as far."""


def draw_risk_coverage(curve: Mapping[str, Any], path: Path) -> Path:
    """Draw the accuracy of what is answered against the share answered.

    Args:
        curve: ``risk_coverage`` of metrics.json.
        path: PNG to write.
    """
    answered, accuracy = np.asarray(curve["answered"]), np.asarray(curve["accuracy"])
    figure = new_figure(*_SIZE)
    axes = figure.subplots()
    axes.plot(
        answered, accuracy, color=ACCENT, linewidth=2, drawstyle="steps-pre", label="the surest scores first"
    )
    axes.axhline(
        1 - curve["area_at_random"],
        color=MUTED,
        linestyle=(0, (4, 2)),
        linewidth=1.2,
        label="all answered",
    )
    axes.set_xlim(0, 1.01)
    axes.set_ylim(min(0.5, float(accuracy.min())) if accuracy.min() < 0.6 else 0.6, 1.01)
    dress(axes, x_label="Share answered", y_label="Accuracy of what is answered")
    legend_below(axes)
    return save(figure, path)


def draw_distances(
    distance: ArrayLike, y_true: ArrayLike, threshold: float, names: tuple[str, str], path: Path
) -> Path:
    """Draw how far held-out images are from those of training, by class, with the limit.

    Args:
        distance: (n,).
        y_true: 0 or 1, (n,).
        threshold: Beyond it an image is refused.
        names: What the negative and the positive images are called.
        path: PNG to write.
    """
    values, labels = np.asarray(distance, dtype=np.float64), np.asarray(y_true)
    low = min(float(values.min()), 0.0)
    end = max(low + _FARTHEST * max(threshold - low, 1e-6), threshold + 1e-6)
    shown = np.minimum(values, end)
    edges = np.linspace(low, min(end, max(float(shown.max()), threshold) + 1e-6), 41)
    figure = new_figure(*_SIZE)
    axes = figure.subplots()
    axes.hist(
        [shown[labels == 0], shown[labels == 1]],
        bins=list(edges),
        stacked=True,
        color=[NEGATIVE, POSITIVE],
        label=list(names),
    )
    axes.axvline(threshold, color=INK, linestyle=(0, (4, 2)), linewidth=1.4, label=f"limit {threshold:.2f}")
    beyond = int(np.sum(values > end))
    said = f"Distance from the training images{f' ({beyond} farther)' if beyond else ''}"
    dress(axes, x_label=said, y_label="Images")
    legend_below(axes)
    return save(figure, path)
