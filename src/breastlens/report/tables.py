"""The rows of a page's tables, taken from a run's files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from breastlens.audit.judgement import LABELS
from breastlens.config import settings_without_effect
from breastlens.report.certainty import (
    has_interval,
    low_end_of_control,
    low_end_of_margin,
    plain_reason,
    unit_of,
)
from breastlens.report.control_wording import seen_by
from breastlens.report.facts import Block, Control, Matched, Reached
from breastlens.report.phrasing import ends_text, figure_text
from breastlens.report.run_files import RunFiles

METRICS = (
    ("auc", "AUC", "chance that a positive image scores above a negative one"),
    (
        "average_precision",
        "Average precision",
        "area under the precision-recall curve; guessing gives the prevalence",
    ),
    ("sensitivity", "Sensitivity", "share of the positive that is called positive"),
    ("specificity", "Specificity", "share of the negative that is called negative"),
    ("ppv", "PPV", "share of positive calls that is right, at this prevalence"),
    ("npv", "NPV", "share of negative calls that is right, at this prevalence"),
    ("accuracy", "Accuracy", "share of all calls that is right"),
    ("balanced_accuracy", "Balanced accuracy", "mean of sensitivity and specificity"),
    ("f1", "F1", "harmonic mean of sensitivity and PPV"),
    ("mcc", "MCC", "correlation between call and truth, −1 to 1"),
    ("brier", "Brier score", "mean squared error of the score; 0 is best"),
)

KNOWN_COLUMNS = frozenset(
    {
        *("path", "frame", "category", "label", "patient_id", "split", "image_size", "width", "height"),
        *("format", "bits", "sha256", "pixels_sha256", "duplicate_group", "excluded"),
        *("window_low", "window_high", "crop_box"),
    }
)
RANDOM_WEIGHTS = "none"
"""What run.json says of the weights where a network began with random ones."""
_MOST_SIZES = 12


class CategoryRow(NamedTuple):
    """One category: what it counts as, and how many images and patients it has."""

    category: str
    side: str
    used: int
    excluded: int
    patients: str


class MetricCell(NamedTuple):
    """One figure in a table: its text, its interval, and a remark where one of them is missing."""

    value: str
    interval: str = ""
    remark: str = ""


class MetricRow(NamedTuple):
    """One metric for images and, where there are figures by patient, for patients."""

    title: str
    meaning: str
    cells: list[MetricCell]


class ControlRow(NamedTuple):
    """One model beside the real one: what it saw, its AUC, the margin to it, and the real one shown the same."""

    name: str
    seen: str
    auc: MetricCell
    margin: MetricCell
    same_model: MetricCell


class MatchedRow(NamedTuple):
    """The score within the strata of one column."""

    column: str
    auc: MetricCell
    images: int
    images_left_out: int


class CountTable(NamedTuple):
    """Counts of one property by category."""

    property: str
    categories: list[str]
    rows: list[tuple[str, list[int]]]


def control_rows(files: RunFiles) -> list[ControlRow]:
    """The real model, then what each negative control reached; nothing where none was run."""
    if not files.controls:
        return []
    none = MetricCell("–")
    whole = MetricCell(figure_text(files.block.auc), ends_text(files.block.intervals.get("auc")))
    rows = [ControlRow("this model", "The whole image was shown", whole, none, none)]
    for name, control in files.controls.items():
        seen = control.what or f"A model that {seen_by(name)}"
        shown = none if control.same_model is None else _reached_cell(control.same_model)
        rows.append(
            ControlRow(name, seen, _control_cell(files, name, control), _margin_cell(files, control), shown)
        )
    return rows


def matched_rows(files: RunFiles) -> list[MatchedRow]:
    """The score within the strata of each column that tells the label, in the order of the file."""
    return [
        MatchedRow(each.column, _matched_cell(each), each.images, each.images_left_out)
        for each in files.matched
    ]


def _reached_cell(reached: Reached) -> MetricCell:
    return MetricCell(figure_text(reached.auc), ends_text(reached))


def _control_cell(files: RunFiles, name: str, control: Control) -> MetricCell:
    remark = ""
    if control.auc is not None and low_end_of_control(files, control) is None:
        remark = "no interval: may be chance"
    elif name == LABELS:
        remark = "0.5 is expected"
    return _reached_cell(control)._replace(remark=remark)


def _margin_cell(files: RunFiles, control: Control) -> MetricCell:
    margin = control.margin
    if margin is None or margin.value is None:
        return MetricCell("–")
    low, remark = low_end_of_margin(files, margin), ""
    if low is None:
        remark = "no interval: may be chance"
    elif low <= 0:
        remark = "reaches 0" if has_interval(margin) else "not above it"
    return MetricCell(figure_text(margin.value), ends_text(margin), remark)


def _matched_cell(matched: Matched) -> MetricCell:
    if matched.auc is None or matched.auc.value is None:
        return MetricCell("–", remark=matched.reason)
    return MetricCell(figure_text(matched.auc.value), ends_text(matched.auc), matched.reason)


def category_rows(files: RunFiles) -> list[CategoryRow]:
    """Images and patients of each category, positive ones first."""
    labels, known = files.facts.labels, bool(files.facts.data.patient_source)
    rows = []
    for category, group in files.records.groupby("category"):
        name = str(category)
        used = group[group["excluded"] == ""]
        side = (
            "positive" if name in labels.positive else "negative" if name in labels.negative else "not used"
        )
        patients = used["patient_id"].replace("", pd.NA).nunique()
        rows.append(
            CategoryRow(
                name, side, len(used), len(group) - len(used), f"{patients:,}" if known else "unknown"
            )
        )
    return sorted(rows, key=lambda row: (row.side != "positive", row.side != "negative", row.category))


def file_tables(files: RunFiles) -> list[CountTable]:
    """Formats and sizes of the images that were used, by category: a difference is a possible shortcut."""
    used = files.records[files.records["excluded"] == ""]
    formats = used["format"] + ", " + used["bits"] + " bit"
    sizes = used["width"] + " × " + used["height"] + " px"
    return [
        _count_table("Format", formats, used["category"]),
        _count_table("Size", sizes, used["category"]),
    ]


PRECISIONS = {
    "fp32": "32-bit floating point",
    "bf16": "16-bit floating point (bfloat16)",
    "int8": "8-bit integers",
}
"""How a page calls what a saved model computes in."""


def backbone_rows(files: RunFiles) -> list[tuple[str, str]]:
    """The network, what the saved model computes in, and what it began with."""
    backbone = files.facts.backbone
    return [
        ("Network", backbone.title or backbone.name),
        ("Parameters", f"{backbone.parameters:,}" if backbone.parameters else "not recorded"),
        ("The saved model computes in", precision_text(files)),
        ("Paper", backbone.paper or "not recorded"),
        *weights_rows(files),
    ]


def weights_rows(files: RunFiles) -> list[tuple[str, str]]:
    """What the network began with, and under which licence; random weights have neither licence nor hash."""
    backbone = files.facts.backbone
    if backbone.weights == RANDOM_WEIGHTS:
        return [("Weights", "random weights")]
    licence = backbone.licence or "not recorded"
    if backbone.licence and files.facts.kind == "evaluation":  # what a bundle began with is not in its card
        licence = f"{licence}, if the model began with ImageNet weights"
    return [
        ("Weights", backbone.weights or "not recorded"),
        ("SHA-256 of the weights", backbone.weights_sha256 or "not recorded"),
        ("Licence", licence),
    ]


def precision_text(files: RunFiles) -> str:
    """What the saved model computes in, and what was asked for where that was something else."""
    facts = files.facts
    if facts.precision is None:
        return PRECISIONS.get(str(facts.model.get("precision")), "not recorded")
    used = PRECISIONS.get(facts.precision.used, facts.precision.used)
    asked = facts.precision.asked
    return used if asked == facts.precision.used else f"{used}; asked for was {asked}, see the notes"


def same_rows(files: RunFiles) -> list[tuple[str, str]]:
    """What must be the same for a run to be repeated."""
    facts = files.facts
    weights = ("SHA-256 of the weights", facts.backbone.weights_sha256 or "not recorded")
    if facts.backbone.weights == RANDOM_WEIGHTS:
        weights = ("Weights", "random, by the seed")
    return [
        ("Fingerprint of the data", facts.data.fingerprint or "not recorded"),
        ("Hash of the split", facts.split.hash or "not recorded"),
        weights,
    ]


def extra_columns(files: RunFiles) -> list[str]:
    """Columns that the manifest brought along."""
    return [str(column) for column in files.records.columns if column not in KNOWN_COLUMNS]


def metric_rows(block: Block) -> list[MetricRow]:
    """Every scalar metric with its interval, or the reason why there is none."""
    levels = [block] + ([block.by_patient] if block.by_patient is not None else [])
    return [
        MetricRow(title, meaning, [_metric_cell(level, metric) for level in levels])
        for metric, title, meaning in METRICS
    ]


def interval_note(block: Block) -> str:
    """Which intervals the table shows, in words."""
    methods = dict.fromkeys(f"{item.level:.0%}, {item.method}" for item in block.intervals.values())
    return "Intervals: " + "; ".join(methods) + "." if methods else "No interval could be given."


def setting_rows(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Settings as name and text; nested ones get a dotted name."""
    return [(name, _setting_text(value)) for name, value in _flat(settings, "")]


def recipe_rows(recipe: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Settings of a training, and in one row at the end those that had no effect; those of anything else, as they are.

    Args:
        recipe: Of run.json.
    """
    if "strategy" not in recipe:
        return setting_rows(recipe)
    why, unused = settings_without_effect(recipe["strategy"], recipe.get("trainable_stages"))
    left_out = [name for name in unused if name in recipe]
    rows = setting_rows({name: value for name, value in recipe.items() if name not in left_out})
    return [*rows, ("without effect", f"{', '.join(left_out)}. {why}.")] if left_out else rows


def _metric_cell(block: Block, metric: str) -> MetricCell:
    value, interval = block.value(metric), block.intervals.get(metric)
    if value is None:
        return MetricCell("–", remark=block.reasons.get(metric, ""))
    if interval is None or interval.low is None or interval.high is None:
        reason = plain_reason(block.reasons.get(f"{metric} interval", ""), unit_of(block))
        return MetricCell(figure_text(value), remark=f"no interval: {reason}" if reason else "")
    return MetricCell(figure_text(value), ends_text(interval))


def _count_table(title: str, values: pd.Series, categories: pd.Series) -> CountTable:
    counts = pd.crosstab(values, categories)
    order = counts.sum(axis=1).sort_values(ascending=False, kind="stable").index
    rows = [(str(value), [int(count) for count in counts.loc[value]]) for value in order[:_MOST_SIZES]]
    others = counts.loc[order[_MOST_SIZES:]]
    if len(others):
        rows.append((f"{len(others):,} others", [int(count) for count in others.sum()]))
    return CountTable(title, [str(name) for name in counts.columns], rows)


def _flat(settings: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _setting_text(value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
