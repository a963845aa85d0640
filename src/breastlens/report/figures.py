"""The figures of a report, one function each: numbers in, one PNG out.

Blocks are those of metrics.json. A figure that cannot be drawn (a class is missing, no epoch was trained) is
drawn as a sentence that says so, because a missing picture reads like an oversight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

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
    threshold_text,
    unit_square,
    wrap,
    write_statement,
)
from breastlens.report.curves import draw_curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

Block = Mapping[str, Any]

_SQUARE = (4.6, 4.2)
_WIDE = (9.4, 3.6)


@dataclass(frozen=True)
class ComparisonRow:
    """One run in the comparison of several.

    Attributes:
        name: What the reader knows the run by.
        auc: Area under the ROC curve of the judged part, None where there is none.
        low: Lower end of its interval.
        high: Upper end of its interval.
        border: AUC of the border control, None where it was not run.
    """

    name: str
    auc: float | None
    low: float | None = None
    high: float | None = None
    border: float | None = None


def draw_confusion_matrix(matrix: ArrayLike, names: tuple[str, str], path: Path) -> Path:
    """Draw counts and row percentages, coloured by these.

    Args:
        matrix: [[tn, fp], [fn, tp]], counts.
        names: What the negative and the positive images are called.
        path: PNG to write.
    """
    import seaborn

    counts = np.asarray(matrix, dtype=np.int64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    labels = [
        [
            f"{count}\n{share:.1%}" if total else "0\n(no image)"
            for count, share in zip(row, part, strict=True)
        ]
        for row, part, total in zip(counts, shares, totals[:, 0], strict=True)
    ]
    figure = new_figure(*_SQUARE)
    axes = figure.subplots()
    # Only the light half of the map is used (vmax 2), so that dark numbers are legible on every cell.
    seaborn.heatmap(
        shares,
        ax=axes,
        annot=np.array(labels),
        fmt="",
        cmap="Blues",
        vmin=0,
        vmax=2,
        cbar=False,
        square=True,
        linewidths=2,
        linecolor="white",
        annot_kws={"fontsize": 13, "color": INK},
    )
    wrapped = [wrap(name, 18, lines=3) for name in names]
    dress(axes, x_label="called by the model", y_label="truth")
    axes.grid(visible=False)
    axes.set_xticklabels(wrapped, rotation=0)
    axes.set_yticklabels(wrapped, rotation=90, va="center")
    axes.tick_params(length=0)
    return save(figure, path)


def draw_roc(block: Block, path: Path) -> Path:
    """Draw the ROC curve with the chance line, the AUC with its interval and the operating point."""
    figure = new_figure(*_SQUARE)
    axes = figure.subplots()
    if block["auc"] is None:
        write_statement(axes, f"No ROC curve: {_reason(block, 'auc')}.")
        return save(figure, path)
    (tn, fp), (fn, tp) = block["confusion_matrix"]
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), label="chance, AUC 0.5")
    axes.plot(
        *_points(block["roc"], "fpr", "tpr"),
        color=NEGATIVE,
        linewidth=2,
        label=_with_interval(block, "auc", "AUC"),
    )
    sensitivity, specificity = tp / (fn + tp), tn / (tn + fp)
    label = f"sensitivity {sensitivity:.3f}, specificity {specificity:.3f}"
    _mark_operating_point(axes, 1 - specificity, sensitivity, block, label)
    dress(axes, x_label="1 − specificity (false positive rate)", y_label="sensitivity (true positive rate)")
    unit_square(axes)
    legend_below(axes)
    return save(figure, path)


def draw_precision_recall(block: Block, path: Path) -> Path:
    """Draw precision against recall as steps, with the prevalence that guessing would reach."""
    figure = new_figure(*_SQUARE)
    axes = figure.subplots()
    if block["precision_recall"] is None:
        write_statement(axes, f"No precision-recall curve: {_reason(block, 'precision_recall')}.")
        return save(figure, path)
    prevalence = block["positives"] / (block["positives"] + block["negatives"])
    (_, fp), (fn, tp) = block["confusion_matrix"]
    recall, precision = _points(block["precision_recall"], "recall", "precision")
    axes.axhline(
        prevalence,
        color=MUTED,
        linewidth=1.2,
        linestyle=(0, (4, 3)),
        label=f"guessing: prevalence {prevalence:.3f}",
    )
    # scikit-learn's convention: recall falls along the arrays and precision holds to the left of each point.
    axes.step(
        recall,
        precision,
        where="post",
        color=NEGATIVE,
        linewidth=2,
        label=_with_interval(block, "average_precision", "average precision"),
    )
    if tp + fp:
        label = f"precision {tp / (tp + fp):.3f}, recall {tp / (tp + fn):.3f}"
        _mark_operating_point(axes, tp / (tp + fn), tp / (tp + fp), block, label)
    dress(axes, x_label="recall (sensitivity)", y_label="precision (positive predictive value)")
    unit_square(axes)
    legend_below(axes)
    return save(figure, path)


def draw_scores(
    y_true: ArrayLike, y_score: ArrayLike, threshold: float | None, names: tuple[str, str], path: Path
) -> Path:
    """Draw a histogram of the scores for each class, one above the other, with the threshold through both.

    Args:
        y_true: (n,) 0 or 1.
        y_score: (n,) probability of positive, in [0, 1].
        threshold: The operating point; scores at or above it are called positive. None where each fold has its
            own: then there is no one line to draw.
        names: What the negative and the positive images are called.
        path: PNG to write.
    """
    import seaborn

    truth, scores = np.asarray(y_true, dtype=np.int64), np.asarray(y_score, dtype=np.float64)
    figure = new_figure(*_SQUARE)
    panels = figure.subplots(2, 1, sharex=True)
    for label, (axes, name, colour) in enumerate(zip(panels, names, (NEGATIVE, POSITIVE), strict=True)):
        of_class = scores[truth == label]
        title = f"{name}: {len(of_class)} images"
        dress(axes, x_label="", y_label="images")
        if len(of_class):
            bins = np.linspace(0, 1, 21)
            seaborn.histplot(
                of_class, ax=axes, bins=bins, color=colour, alpha=0.75, edgecolor="white", legend=False
            )
            axes.set_ylabel("images")
        if threshold is not None:
            axes.axvline(threshold, color=INK, linewidth=1.4, linestyle=(0, (4, 2)))
            wrong = int(np.sum((of_class >= threshold) != bool(label)))
            title = f"{title}, {wrong} on the wrong side"
        axes.set_title(wrap(title, 52, lines=2), fontsize=9.5, color=INK, loc="left")
        axes.set_ylim(bottom=0)
        axes.yaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    dashed = "" if threshold is None else f"; dashed: {threshold_text(threshold)}"
    panels[1].set_xlim(0, 1)
    panels[1].set_xlabel(f"score (probability of positive){dashed}", color=INK, fontsize=9.5)
    return save(figure, path)


def draw_history(history: pd.DataFrame, path: Path) -> Path:
    """Draw loss and AUC over the epochs, and for a probe the inner-fold AUC over the regularisation strength.

    Several folds are thin lines; the thick line is their mean as far as all of them go, and a dashed line the
    model that was trained on everyone.

    Args:
        history: The rows of history.csv.
        path: PNG to write.
    """
    epochs = history[history["phase"].isin(["finetune", "scratch"])]
    strengths = (
        history[history["phase"] == "probe"].dropna(subset=["strength"])
        if "strength" in history
        else epochs[:0]
    )
    wanted = (["strength"] if len(strengths) else []) + (["loss", "auc"] if len(epochs) else [])
    # Folds have three lines a curve to explain, so the legend takes more room.
    figure = new_figure(_WIDE[0], _WIDE[1] + (0.9 if history["fold"].nunique() > 1 else 0))
    if not wanted:
        write_statement(
            figure.subplots(), "No training history: nothing was trained by epochs or searched over."
        )
        return save(figure, path)
    for kind, axes in zip(wanted, np.atleast_1d(figure.subplots(1, len(wanted))), strict=True):
        if kind == "strength":
            grouped = strengths.groupby(["fold", "strength"], dropna=False, sort=False)
            means = grouped["val_auc"].mean().reset_index()
            several = "member" in strengths and strengths["member"].nunique() > 1
            label = "inner folds, mean of members" if several else "inner folds"
            draw_curves(axes, means, "strength", {"val_auc": (label, ACCENT)})
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.xaxis.set_minor_formatter(lambda value, _: "")
            dress(axes, x_label="C (larger: less regularisation)", y_label="AUC")
        else:
            curves = {kind: ("training", NEGATIVE), f"val_{kind}": ("validation", POSITIVE)}
            draw_curves(axes, epochs, "epoch", curves)
            axes.set_xlim(epochs["epoch"].min() - 0.5, epochs["epoch"].max() + 0.5)
            axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
            dress(axes, x_label="epoch", y_label={"loss": "loss (cross-entropy)", "auc": "AUC"}[kind])
        legend_below(axes)
    return save(figure, path)


def draw_comparison(rows: Sequence[ComparisonRow], path: Path) -> Path:
    """Draw the AUC of one or more runs as dots with intervals, and the border control as an open diamond."""
    figure = new_figure(_WIDE[0], 1.6 + 0.42 * len(rows))
    axes = figure.subplots()
    axes.axvline(0.5, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), label="chance")
    for height, row in enumerate(rows):
        if row.auc is None:
            axes.text(0.505, height, "no AUC", va="center", fontsize=9, color=MUTED)
            continue
        if row.low is not None and row.high is not None:
            axes.plot(
                [row.low, row.high], [height, height], color=NEGATIVE, linewidth=2, solid_capstyle="butt"
            )
        axes.plot(row.auc, height, marker="o", markersize=8, linestyle="none", color=NEGATIVE, label="AUC")
        axes.annotate(
            f"{row.auc:.3f}",
            (row.auc, height),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=INK,
        )
        if row.border is not None:
            axes.plot(
                row.border,
                height,
                marker="D",
                markersize=7,
                linestyle="none",
                color=POSITIVE,
                markerfacecolor="white",
                label="AUC of a model that saw only the border",
            )
    dress(axes, x_label="AUC, with its interval where there is one", y_label="")
    axes.grid(visible=False, axis="y")
    axes.set_yticks(range(len(rows)), [wrap(row.name, 28, lines=2) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    ends = [value for row in rows for value in (row.auc, row.low, row.high, row.border) if value is not None]
    axes.set_xlim(min([0.5, *ends]) - 0.01, 1.005)
    handles = {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=3,
        fontsize=8.5,
        frameon=False,
        labelcolor=INK,
    )
    return save(figure, path)


def _mark_operating_point(axes: Axes, x: float, y: float, block: Block, label: str) -> None:
    axes.plot(
        x,
        y,
        marker="o",
        markersize=8,
        linestyle="none",
        color=POSITIVE,
        markeredgecolor="white",
        clip_on=False,
        zorder=5,
        label=f"{threshold_text(block['threshold'])}: {label}",
    )


def _reason(block: Block, metric: str) -> str:
    return str(block["reasons"].get(metric, "it is not defined for this part")).rstrip(".")


def _with_interval(block: Block, metric: str, label: str) -> str:
    interval = block["intervals"].get(metric)
    if interval is None or interval["low"] is None:
        return f"{label} {block[metric]:.3f}"
    ends = f"{interval['low']:.3f} to {interval['high']:.3f}"
    return f"{label} {block[metric]:.3f} ({interval['level']:.0%} interval {ends})"


def _points(curve: Block, x: str, y: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.asarray(curve[x], dtype=np.float64), np.asarray(curve[y], dtype=np.float64)
