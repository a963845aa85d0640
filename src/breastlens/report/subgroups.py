"""Subgroups: the rows of their table, the forest plot, and what may be concluded from many of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from breastlens.errors import RunDirectoryError
from breastlens.report.canvas import INK, MUTED, NEGATIVE, POSITIVE, dress, new_figure, save, wrap
from breastlens.report.certainty import plain_reason, unit_of
from breastlens.report.facts import Facts, Interval
from breastlens.report.phrasing import count_text, ends_text, figure_text
from breastlens.report.rendering import Picture, embed
from breastlens.report.run_files import RunFiles
from breastlens.report.tables import MetricCell

FIGURE = "subgroups"
_WIDTH_IN = 9.4
_SHOWN = (("auc", "AUC"), ("sensitivity", "Sensitivity"), ("specificity", "Specificity"))
_MOST_DRAWN = 60


class _Stratum(Facts):
    stratum: str
    n: int
    patients: int | None = None
    positives: int
    negatives: int
    positive_patients: int
    negative_patients: int
    warning: str = ""
    auc: Interval
    sensitivity: Interval
    specificity: Interval


class _Test(Facts):
    p_value: float | None = None
    p_holm: float | None = None
    reason: str = ""
    warning: str = ""
    left_out: tuple[str, ...] = ()


class _Subgroups(Facts):
    column: str
    images_left_out: int = 0
    strata: tuple[_Stratum, ...] = ()
    same_auc: _Test = _Test()


class SubgroupRow(NamedTuple):
    """One stratum; that of everyone together comes first and has no column. Patients are None where unknown."""

    column: str
    stratum: str
    images: int
    patients: int | None
    positive: int
    positive_patients: int | None
    negative: int
    negative_patients: int | None
    auc: MetricCell
    sensitivity: MetricCell
    specificity: MetricCell
    warning: str


class SubgroupTest(NamedTuple):
    """Whether the AUC differs between the strata of a column, as text."""

    column: str
    p_value: str
    p_holm: str
    warning: str
    left_out: str
    reason: str


def subgroup_rows(files: RunFiles) -> list[SubgroupRow]:
    """Everyone together, then each stratum of each column; nothing where no subgroups were asked for."""
    found = _read(files)
    if not found:
        return []
    block, unknown = files.block, files.block.patients is None
    people = block.by_patient or block
    auc, sensitivity, specificity = (
        MetricCell(figure_text(block.value(name)), ends_text(block.intervals.get(name))) for name, _ in _SHOWN
    )
    rows = [
        SubgroupRow(
            column="",
            stratum="Everyone",
            images=block.n,
            patients=block.patients,
            positive=block.positives,
            positive_patients=None if unknown else people.positives,
            negative=block.negatives,
            negative_patients=None if unknown else people.negatives,
            auc=auc,
            sensitivity=sensitivity,
            specificity=specificity,
            warning="",
        )
    ]
    rows += [
        SubgroupRow(
            column=each.column,
            stratum=one.stratum,
            images=one.n,
            patients=one.patients,
            positive=one.positives,
            positive_patients=None if unknown else one.positive_patients,
            negative=one.negatives,
            negative_patients=None if unknown else one.negative_patients,
            auc=_cell(one.auc, unit_of(block)),
            sensitivity=_cell(one.sensitivity, unit_of(block)),
            specificity=_cell(one.specificity, unit_of(block)),
            warning=one.warning,
        )
        for each in found
        for one in each.strata
    ]
    return rows


def subgroup_notes(files: RunFiles) -> list[str]:
    """What many subgroups mean for each, which differ in AUC, and what was left out, a sentence each."""
    found = _read(files)
    count = sum(len(each.strata) for each in found)
    if not count:
        return []
    notes = []
    if count > 1:
        missed = 1 - 0.95**count
        notes.append(
            f"{count} strata are shown, each with its own 95% interval not corrected for their number: were they "
            f"alike and independent, the chance that at least one interval misses the truth would be {missed:.0%}. "
            "One stratum that stands out is a question for other data, not a finding."
        )
    notes += [_difference_sentence(each) for each in found]
    return notes


def subgroup_tests(files: RunFiles) -> list[SubgroupTest]:
    """The test of one AUC in all strata of each column."""
    return [
        SubgroupTest(
            column=each.column,
            p_value=figure_text(each.same_auc.p_value),
            p_holm=figure_text(each.same_auc.p_holm),
            warning=each.same_auc.warning,
            left_out="; ".join(each.same_auc.left_out),
            reason=each.same_auc.reason,
        )
        for each in _read(files)
    ]


def picture_subgroups(files: RunFiles) -> Picture | None:
    """The forest plot with its texts; None where none was drawn."""
    if FIGURE not in files.figures:
        return None
    said = "; ".join(
        f"{row.column} {row.stratum}: AUC {row.auc.value}"
        + (f" ({row.auc.interval})" if row.auc.interval else "")
        for row in subgroup_rows(files)
    )
    return embed(
        files.figures[FIGURE],
        caption="Subgroups: AUC, sensitivity and specificity with their 95% intervals. Dashed: everyone together. "
        "Hollow: fewer than 10 patients of a class, or no interval.",
        alternative=f"Forest plot of subgroups. {said}.",
    )


def draw_subgroups(subgroups: list[dict[str, Any]], block: dict[str, Any], path: Path) -> Path:
    """Draw the forest plot: a line a stratum, a panel a figure.

    Args:
        subgroups: The ``subgroups`` of metrics.json.
        block: The judged block of metrics.json, for the dashed lines of everyone together.
        path: PNG file to write.
    """
    lines = [(each["column"], one) for each in subgroups for one in each["strata"]][:_MOST_DRAWN]
    figure = new_figure(_WIDTH_IN, 1.1 + 0.3 * len(lines))
    panels = figure.subplots(1, len(_SHOWN), sharey=True)
    for axes, (name, title) in zip(panels, _SHOWN, strict=True):
        if block[name] is not None:
            axes.axvline(block[name], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
        for height, (_, one) in enumerate(lines):
            found = one[name]
            if found["value"] is None:
                continue
            certain = found["low"] is not None and not one["warning"]
            colour = NEGATIVE if certain else POSITIVE
            if found["low"] is not None:
                axes.plot(
                    [found["low"], found["high"]],
                    [height, height],
                    color=colour,
                    linewidth=2,
                    solid_capstyle="butt",
                )
            axes.plot(
                found["value"],
                height,
                marker="o",
                markersize=6,
                linestyle="none",
                color=colour,
                markerfacecolor=colour if certain else "white",
            )
        dress(axes, x_label=title, y_label="")
        axes.grid(visible=False, axis="y")
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
    names = [wrap(f"{column}: {one['stratum']}  ({one['n']:,})", 34, lines=2) for column, one in lines]
    panels[0].set_yticks(range(len(lines)), names, color=INK, fontsize=8.5)
    return save(figure, path)


def _read(files: RunFiles) -> list[_Subgroups]:
    try:
        return [_Subgroups.model_validate(each) for each in files.further.get("subgroups", [])]
    except (ValidationError, TypeError) as error:
        raise RunDirectoryError(
            f"metrics.json: its subgroups are not what this version reads: {error}"
        ) from error


def _difference_sentence(found: _Subgroups) -> str:
    test = found.same_auc
    said = f"{found.column}: "
    if test.p_value is None:
        said += f"whether the AUC differs between strata was not tested, because {test.reason}."
    else:
        p_value = test.p_holm if test.p_holm is not None else test.p_value
        shown = "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
        said += f"test of one AUC in all strata, p {shown} (Cochran's Q, Holm over columns)."
        if test.left_out:
            said += f" Not tested, with fewer than two of a class: {', '.join(test.left_out)}."
        if test.warning:
            said += f" {test.warning.capitalize()}: with so few a difference is easily missed."
    if found.images_left_out:
        said += f" {count_text(found.images_left_out, 'image')} without a value left out."
    return said


def _cell(found: Interval, unit: str) -> MetricCell:
    ends = ends_text(found)
    return MetricCell(figure_text(found.value), ends, "" if ends else plain_reason(found.reason, unit))
