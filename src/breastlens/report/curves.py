"""Curves over epochs or settings, of one model or of several folds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEAST_SPAN = 0.02


def draw_curves(axes: Axes, rows: pd.DataFrame, x: str, curves: Mapping[str, tuple[str, str]]) -> None:
    """Draw columns over `x`: for one model a line each; for folds a thin line each, and their mean.

    Args:
        axes: Axes to draw on.
        rows: Rows of history.csv. Folds are numbers in the column ``fold``; any other name there is the model that
            was trained besides them, drawn dashed.
        x: Column of the x axis.
        curves: Label and colour of each column to draw; a column without a value is left out.
    """
    named = rows.assign(fold=[str(fold) for fold in rows["fold"]])
    for column, (label, colour) in curves.items():
        if column not in rows or rows[column].isna().all():
            continue
        by_fold = named.pivot_table(index=x, columns="fold", values=column)
        folds = by_fold[[fold for fold in by_fold if str(fold).replace(".", "").isdigit()]]
        if folds.shape[1] < 2:
            axes.plot(
                by_fold.index, by_fold, color=colour, linewidth=2, marker="o", markersize=4, label=label
            )
            continue
        thin = axes.plot(folds.index, folds, color=colour, linewidth=0.8, alpha=0.45)
        thin[0].set_label(f"{label}, each fold")
        mean = folds.dropna().mean(axis=1)
        title = f"{label}, mean of {folds.shape[1]} folds"
        axes.plot(mean.index, mean, color=colour, linewidth=2, marker="o", markersize=4, label=title)
        for name, values in by_fold.drop(columns=folds.columns).items():
            axes.plot(values.index, values, color=colour, linestyle=(0, (4, 2)), label=f"{label}, {name}")
    low, high = axes.get_ylim()
    if high - low < _LEAST_SPAN:
        # One epoch, or hardly a change: noise is not blown up to the height of the figure.
        axes.set_ylim((low + high - _LEAST_SPAN) / 2, (low + high + _LEAST_SPAN) / 2)
