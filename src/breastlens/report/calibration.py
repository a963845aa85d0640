"""The section "Calibration and operating points": its sentences, the rows of its tables, and its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from breastlens.report.calibration_facts import Assessed, DecisionCurve, Decisions, Point, decisions_of
from breastlens.report.canvas import threshold_text
from breastlens.report.certainty import has_interval, plain_reason, unit_of
from breastlens.report.facts import Interval
from breastlens.report.phrasing import ends_text, figure_text, with_interval
from breastlens.report.rendering import Picture, embed
from breastlens.report.run_files import RunFiles
from breastlens.report.tables import MetricCell

METHODS = {
    "platt": "Platt's (a slope and an intercept on the log-odds)",
    "temperature": "temperature (a slope on the log-odds)",
    "isotonic": "isotonic (a rising line with bends)",
    "none": "none, for too few patients",
}


class CalibrationRow(NamedTuple):
    """One figure before and after calibration."""

    title: str
    meaning: str
    before: MetricCell
    after: MetricCell


class PointRow(NamedTuple):
    """One operating point."""

    rule: str
    in_use: bool
    threshold: MetricCell
    cells: list[MetricCell]


def calibration_context(files: RunFiles) -> dict[str, Any]:
    """What the template shows."""
    found = decisions_of(files.block)
    stated = found.prevalence.stated
    at = "" if stated is None else f"{stated:g}"
    return {
        "sentences": calibration_sentences(files, found),
        "rows": calibration_rows(files, found),
        "note": _interval_note(found),
        "threshold": threshold_sentence(files),
        "points": [_point_row(files, point) for point in found.operating_points],
        "columns": ["Sensitivity", "Specificity", "PPV", "NPV"]
        + ([f"PPV at prevalence {at}", f"NPV at prevalence {at}"] if stated is not None else []),
        "prevalence": prevalence_sentence(found),
        "decision": " ".join(filter(None, (decision_sentence(found.decision_curve), band_sentence(found)))),
        "pictures": _pictures(files, found),
    }


def calibration_sentences(files: RunFiles, found: Decisions) -> list[str]:
    """How far scores can be read as probabilities, for a clinician first."""
    block = files.block
    share = block.positives / block.n
    guessing = (
        f"The Brier score is {figure_text(block.brier)}; giving every image the prevalence would score "
        f"{figure_text(share * (1 - share))} (lower is better). The mean score is "
        f"{figure_text(files.predictions['y_score'].mean())}, and {figure_text(share)} of the images are positive."
    )
    if found.calibration is None:
        return [guessing]
    after = found.calibration.after
    return [
        "If scores are probabilities, then of 100 images that score 0.3 about 30 are positive.",
        f"{_slope_sentence(after)} {_intercept_sentence(after)}",
        _error_sentence(after),
        guessing,
        *_method_sentence(files),
    ]


def _slope_sentence(after: Assessed) -> str:
    slope = after.slope
    if slope.value is None:
        return f"The calibration slope is not known: {slope.reason.rstrip('.')}."
    said = f"The calibration slope is {with_interval(slope.value, slope)}"
    if not has_interval(slope) or slope.low is None or slope.high is None:
        return f"{said}, without an interval."
    if slope.low > 1:
        return f"{said}: scores are too timid, high ones should be higher and low ones lower."
    if slope.high < 1:
        return f"{said}: scores are too extreme, high ones should be lower and low ones higher."
    return f"{said}: that scores are too extreme (below 1) or too timid (above 1) is not shown."


def _intercept_sentence(after: Assessed) -> str:
    shift = after.intercept
    if shift.value is None:
        return ""
    said = f"The calibration intercept is {with_interval(shift.value, shift)}"
    if not has_interval(shift) or shift.low is None or shift.high is None:
        return f"{said}, without an interval."
    if shift.low > 0:
        return f"{said}: on the whole scores are too low."
    if shift.high < 0:
        return f"{said}: on the whole scores are too high."
    return f"{said}: that scores are too high or too low on the whole is not shown."


def _error_sentence(after: Assessed) -> str:
    error, chance = after.expected_calibration_error, after.error_by_chance
    said = (
        f"Over {after.brier_decomposition.bins} bins of as many images each, mean score and share of positives lie "
        f"{with_interval(error.value, error)} apart (expected calibration error). Chance alone adds to it: if every "
        f"score were the true probability, so many patients would show {figure_text(chance.mean)} on average, and more "
        f"than {figure_text(chance.high)} in one of 20 studies."
    )
    if error.value is not None and error.value > chance.high:
        return f"{said} Here it is more than that."
    return f"{said} Here it is no more than that."


def judged_methods(files: RunFiles) -> Counter[str]:
    """How many of the judged models had each calibration; empty where that was not recorded."""
    return Counter(str(one["method"]) for one in files.facts.calibration.get("judged", []))


def methods_text(judged: Counter[str]) -> str:
    """The calibrations of the judged models, and in how many folds each where there are several."""
    many = judged.total() > 1
    return ", ".join(
        f"{METHODS.get(name, name)}{f' in {count} of {judged.total()} folds' if many else ''}"
        for name, count in judged.most_common()
    )


def _method_sentence(files: RunFiles) -> list[str]:
    """Which calibration each judged model had, and the saved one."""
    judged = judged_methods(files)
    if not judged:
        return []
    saved = str(files.facts.calibration["saved"]["method"])
    also = f" The saved model has {METHODS.get(saved, saved)}." if judged.total() > 1 else ""
    return [
        f"The calibration, {methods_text(judged)}, was chosen by log loss over groups of patients, among those that "
        f"are not judged here. Before it, scores are those of the fitted model itself.{also}"
    ]


def calibration_rows(files: RunFiles, found: Decisions) -> list[CalibrationRow]:
    """The figures before and after; nothing for an older run."""
    if found.calibration is None:
        return []
    both = found.calibration.before, found.calibration.after

    def row(title: str, meaning: str, cell: Callable[[Assessed], MetricCell]) -> CalibrationRow:
        return CalibrationRow(title, meaning, *map(cell, both))

    def interval(name: str) -> Callable[[Assessed], MetricCell]:
        return lambda each: _cell(files, getattr(each, name))

    def part(name: str) -> Callable[[Assessed], MetricCell]:
        return lambda each: MetricCell(figure_text(getattr(each.brier_decomposition, name)))

    return [
        row("Calibration slope", "1 is best; below 1 too extreme, above 1 too timid", interval("slope")),
        row(
            "Calibration intercept",
            "0 is best; below 0 too high on the whole, above 0 too low",
            interval("intercept"),
        ),
        row(
            "Expected calibration error",
            "mean distance of score and share of positives over bins; biased upwards",
            interval("expected_calibration_error"),
        ),
        row(
            "the same by chance alone",
            "mean, and what 95 % stay below, if every score were the true probability",
            lambda each: MetricCell(
                figure_text(each.error_by_chance.mean), f"up to {figure_text(each.error_by_chance.high)}"
            ),
        ),
        row("Brier score", "mean squared error of the score; 0 is best", interval("brier")),
        row("– reliability", "what miscalibration adds to it, over the same bins", part("reliability")),
        row("– resolution", "what telling images apart takes from it", part("resolution")),
        row("– uncertainty", "of the labels alone: prevalence × (1 − prevalence)", part("uncertainty")),
        row("– within bins", "left over, as scores differ within a bin", part("within_bins")),
    ]


def threshold_sentence(files: RunFiles) -> str:
    """Where the saved model draws the line, how sure that is, and whether the figures had it elsewhere."""
    point, judged = files.facts.operating_point, files.block.threshold
    said = f"Scores of {point.threshold:.3g} and above are called positive by the saved model."
    if point.rule:
        said += f" The rule was: {point.rule}{f', chosen on {point.chosen_on}' if point.chosen_on else ''}."
    if point.low is not None and point.high is not None:
        said += (
            f" With other patients to choose on, the threshold would have come to lie between {point.low:.3g} and "
            f"{point.high:.3g} (95 % of draws)."
        )
    if judged != point.threshold:
        said += f" The figures on this page were made at {threshold_text(judged)}."
    return said


def prevalence_sentence(found: Decisions) -> str:
    """What was re-based and what stays; nothing where no prevalence was stated."""
    stated, trained = found.prevalence.stated, found.prevalence.trained_at
    if stated is None:
        return ""
    said = f"Predictive values and the decision curve are also given for a prevalence of {stated:g}"
    if trained is not None:
        said += f" instead of {figure_text(trained)}, as in training"
    return (
        f"{said}: by Bayes' theorem, which holds if images of each class there look as they do here. AUC, "
        "sensitivity, specificity and which images are called positive stay the same."
    )


def decision_sentence(curve: DecisionCurve | None) -> str:
    """Over which thresholds the model is worth using."""
    if curve is None:
        return ""
    best = [max(0.0, everybody) for everybody in curve.treat_all]
    better = [own > other for own, other in zip(curve.net_benefit, best, strict=True)]
    sure = _surely_better(curve, best)
    said = (
        "The decision curve weighs missed positives against false alarms as each threshold probability implies: at 0.1 "
        "one missed positive counts as nine false alarms."
    )
    if not any(better):
        return f"{said} At no threshold is the model better than calling everybody or nobody positive."
    said += (
        " The model has a higher net benefit than calling everybody or nobody positive at thresholds of "
        f"{_spans(curve.threshold, better)}"
    )
    return (
        f"{said}; by more than chance, each threshold by itself, at {_spans(curve.threshold, sure)}."
        if any(sure)
        else f"{said}."
    )


def _surely_better(curve: DecisionCurve, best: list[float]) -> list[bool]:
    """At which thresholds the whole interval of the net benefit lies above calling everybody and nobody positive."""
    if curve.low is None:
        return [False] * len(best)
    if curve.over_treat_all_low is None:  # of a run from before that was recorded
        return [low > other for low, other in zip(curve.low, best, strict=True)]
    return [min(both) > 0 for both in zip(curve.low, curve.over_treat_all_low, strict=True)]


def band_sentence(found: Decisions) -> str:
    """What varies in the band of the decision curve, and when that is not what a reader wants to know."""
    curve = found.decision_curve
    if curve is None or curve.low is None:
        return ""
    if found.prevalence.stated is not None:
        return (
            f"The curve's band says how it would vary over other patients of each class, at a prevalence of "
            f"{curve.prevalence:.3g}."
        )
    return (
        f"The curve is for a share of positives of {curve.prevalence:.3g}, as here, and its band for patients who were "
        "not chosen by what they have: how many of them are positive varies, too. What calling everybody positive is "
        "worth varies with it, so the band may cross that line where the model is better by more than chance. Where "
        "somebody chose how many, as in a collection of cases and controls, neither says anything of those to be "
        "screened; state their share of positives with --prevalence."
    )


def _spans(thresholds: list[float], holds: list[bool]) -> str:
    """Where something holds, as ranges, for example ``0.03 to 0.85``."""
    spans: list[list[float]] = []
    before = False
    for threshold, now in zip(thresholds, holds, strict=True):
        if now and before:
            spans[-1][1] = threshold
        elif now:
            spans.append([threshold, threshold])
        before = now
    return ", ".join(f"{low:.2g}" if low == high else f"{low:.2g} to {high:.2g}" for low, high in spans)


def _point_row(files: RunFiles, point: Point) -> PointRow:
    low, high = point.threshold_range
    ends = point.threshold_interval
    if point.threshold is None:
        remark = "each fold's own"
        if ends is not None and ends.low is not None and ends.high is not None:
            remark += f", their intervals from {ends.low:.3g} to {ends.high:.3g}"
        threshold = MetricCell("", f"{low:.3g} to {high:.3g}", remark)
    elif ends is not None and has_interval(ends):
        threshold = MetricCell(f"{point.threshold:.3g}", f"{ends.low:.3g} to {ends.high:.3g}")
    else:
        threshold = MetricCell(f"{point.threshold:.3g}")
    judged = [point.sensitivity, point.specificity, point.ppv, point.npv]
    judged += [each for each in (point.ppv_at_prevalence, point.npv_at_prevalence) if each is not None]
    return PointRow(point.rule, point.in_use, threshold, [_cell(files, each) for each in judged])


def _cell(files: RunFiles, found: Interval) -> MetricCell:
    if found.value is None:
        return MetricCell("–", remark=found.reason)
    if found.low is None or found.high is None:
        return MetricCell(
            figure_text(found.value),
            remark=f"no interval: {plain_reason(found.reason, unit_of(files.block))}",
        )
    return MetricCell(figure_text(found.value), ends_text(found))


def _interval_note(found: Decisions) -> str:
    if found.calibration is None:
        return ""
    after = found.calibration.after
    said = f"Intervals: {after.brier.level:.0%}, {after.brier.method}"
    if not has_interval(after.expected_calibration_error):
        return f"{said}."
    return f"{said}; that of the expected calibration error: {after.expected_calibration_error.method}."


def _pictures(files: RunFiles, found: Decisions) -> list[Picture]:
    said = {
        "reliability": (
            "Reliability: share of positives at each score, as a smooth curve (logistic regression on a restricted "
            "cubic spline of the log-odds) with its band over patients, and in bins. On the dashed line scores are "
            "probabilities. Below: how many images have such scores.",
            "Reliability diagram. "
            + (_slope_sentence(found.calibration.after) if found.calibration is not None else ""),
        ),
        "decision_curve": (
            f"Decision curve{_at_prevalence(found.decision_curve)}: net benefit in true positives an image.",
            decision_sentence(found.decision_curve) or "No decision curve: a class is missing.",
        ),
    }
    return [
        embed(files.figures[name], caption=said[name][0], alternative=said[name][1])
        for name in said
        if name in files.figures
    ]


def _at_prevalence(curve: DecisionCurve | None) -> str:
    return "" if curve is None else f" at a prevalence of {curve.prevalence:.3g}"
