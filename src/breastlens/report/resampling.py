"""What the page shows of repeats and of the learning curve, for its templates."""

from __future__ import annotations

from typing import Any

from breastlens.report import learning_curve, repeats
from breastlens.report.facts import Interval
from breastlens.report.phrasing import figure_text, with_interval
from breastlens.report.rendering import Picture, embed
from breastlens.report.run_files import RunFiles
from breastlens.report.tables import METRICS


def resampling_context(files: RunFiles) -> dict[str, Any]:
    """``repeats``, ``learning_curve`` and ``within_folds``, None or empty where there was no such thing."""
    return {
        "repeats": _repeats(files),
        "learning_curve": _learning_curve(files),
        "within_folds": _within_folds(files),
    }


def _within_folds(files: RunFiles) -> str:
    """The AUC over pairs that one model scored, beside the pooled one."""
    if "within_folds" not in files.further:
        return ""
    found = Interval.model_validate(files.further["within_folds"])
    if found.value is None:
        return ""
    return (
        "The AUC of the table compares images of different folds, too, which different models scored. Over pairs "
        f"within a fold alone it is {with_interval(found.value, found)}. On data without any signal the first would "
        "lie a little below 0.5."
    )


def _repeats(files: RunFiles) -> dict[str, Any] | None:
    found = repeats.read_repeats(files)
    if found is None:
        return None
    auc = found.metrics["auc"]
    told = ", ".join(map(figure_text, auc.values))
    mean = with_interval(auc.mean.value, auc.mean)
    return {
        "dealing": repeats.dealing_sentence(files, found),
        "plain": repeats.PLAIN,
        "rows": repeats.spread_rows(found, {name: title for name, title, _ in METRICS}),
        "level": f"{auc.mean.level:.0%}",
        "picture": _picture(
            files,
            repeats.KEY,
            "AUC of each repeat, beside the mean with its interval over patients.",
            f"AUC by repeat: {told}; mean {mean}.",
        ),
    }


def _learning_curve(files: RunFiles) -> dict[str, Any] | None:
    curve = learning_curve.read_learning_curve(files)
    if curve is None:
        return None
    told = ", ".join(f"{figure_text(point.auc.value)} with {point.patients:,.0f}" for point in curve.points)
    return {
        "measured": learning_curve.measured_sentence(files, curve),
        "law": curve.fit,
        "twice": learning_curve.twice_sentence(curve),
        "unit": curve.unit,
        "rows": learning_curve.point_rows(curve),
        "picture": _picture(
            files,
            learning_curve.KEY,
            f"AUC against the {curve.unit} that a probe learnt from. Right of the dotted line nothing was measured.",
            f"AUC of a probe by training {curve.unit}: {told}.",
        ),
    }


def _picture(files: RunFiles, name: str, caption: str, alternative: str) -> Picture | None:
    if name not in files.figures:
        return None
    return embed(files.figures[name], caption=caption, alternative=alternative)
