"""The section "When it does not answer": prediction sets, risk against the share answered, and novelty, in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import Field, ValidationError

from breastlens.errors import RunDirectoryError
from breastlens.report.facts import Facts, Interval
from breastlens.report.phrasing import count_text, figure_text, range_text
from breastlens.report.rendering import Picture, embed
from breastlens.report.run_files import RunFiles
from breastlens.report.tables import MetricCell, MetricRow

FIGURES = ("risk_coverage", "distances")


class Sets(Facts):
    """Prediction sets of images or of patients, and how often they hold the truth."""

    n: int
    sets: dict[str, int]
    answered: float
    right: float | None = None
    intervals: dict[str, Interval] = Field(default_factory=dict)
    coverage: Interval
    coverage_negative: Interval
    coverage_positive: Interval


class RiskCoverage(Facts):
    """Accuracy of what is answered, by the share answered."""

    area: float
    area_at_best: float
    area_at_random: float


class AbstentionFacts(Facts):
    """``abstention`` of metrics.json."""

    coverage: float
    chosen_on: str
    images: Sets
    patients: Sets | None = None
    risk_coverage: RiskCoverage


class Corruption(Facts):
    """How a simple corruption of held-out images is told from these."""

    auc: float
    refused: float
    images: int


class NoveltyFacts(Facts):
    """``novelty`` of metrics.json."""

    method: str
    threshold: float
    false_alarms: float
    asked_false_alarms: float
    images: int
    refused: int
    corruptions: dict[str, Corruption] = Field(default_factory=dict)


class CorruptionRow(NamedTuple):
    """How held-out images that were spoilt in one way are told from the others."""

    name: str
    auc: str
    refused: str


@dataclass(frozen=True)
class Section:
    """What the section shows."""

    sets_intro: str
    guarantee: str
    levels: list[str]
    rows: list[MetricRow]
    risk: str
    novelty: str
    refused: str
    corruptions: list[CorruptionRow]
    pictures: list[Picture]


_METHODS = {
    "mahalanobis": "how far it lies from their mean, in units of their spread (Mahalanobis, shrunk covariance)",
    "neighbours": "how far it lies from the five nearest of them",
}


def abstention_section(files: RunFiles) -> Section | None:
    """The section; None for runs from before a model could decline to answer.

    Raises:
        RunDirectoryError: metrics.json is not what this version reads.
    """
    if "abstention" not in files.further or "novelty" not in files.further:
        return None
    try:
        sets = AbstentionFacts.model_validate(files.further["abstention"])
        novelty = NoveltyFacts.model_validate(files.further["novelty"])
    except ValidationError as error:
        first = error.errors()[0]
        raise RunDirectoryError(
            f"metrics.json is not what this version reads: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from error
    joint = "By patient" if files.block.patients else "By set of linked images"
    levels = {
        f"{name} ({each.n:,})": each
        for name, each in (("By image", sets.images), (joint, sets.patients))
        if each
    }
    return Section(
        sets_intro=_sets_intro(files, sets),
        guarantee=_guarantee(files, sets),
        levels=list(levels),
        rows=_rows(files, list(levels.values())),
        risk=_risk(sets),
        novelty=_novelty(novelty, sets.chosen_on),
        refused=_refused(files, novelty),
        corruptions=[
            CorruptionRow(name, figure_text(each.auc), figure_text(each.refused))
            for name, each in novelty.corruptions.items()
        ],
        pictures=[_picture(name, files.figures[name]) for name in FIGURES if name in files.figures],
    )


def _sets_intro(files: RunFiles, sets: AbstentionFacts) -> str:
    negative, positive = files.facts.labels.negative_name, files.facts.labels.positive_name
    return (
        f"Each score leaves open {negative}, {positive}, both or neither. The set of what it leaves open is made so "
        f"that in each class {sets.coverage:.0%} of the sets hold the truth (class-conditional conformal prediction). "
        "Where it is one side alone, and the threshold says the same, that is the answer; else the image should go to "
        "somebody who knows more."
    )


def _guarantee(files: RunFiles, sets: AbstentionFacts) -> str:
    said = f"The limits of the sets come from {sets.chosen_on}, one image a patient (drawn at random)."
    if sets.chosen_on.startswith("out-of-fold"):
        said += (
            " The saved model was trained on more patients than the models of those scores, so its coverage is not "
            "guaranteed exactly, as in cross-conformal prediction."
        )
    else:
        said += (
            " For one image, drawn at random, of a new patient from where those come from, at least "
            f"{sets.coverage:.0%} of the sets in each class hold the truth, on average over the choice of patients."
        )
    if files.part == "out_of_fold":
        said += " Here each image was judged at limits from the other folds."
    elif files.part == "external":
        said += " Nothing is promised for patients from elsewhere: the table says how it was with these."
    if below := _below(files, sets):
        said += f" Here coverage was lower than asked, by more than chance, among {below}."
    return said


def _below(files: RunFiles, sets: AbstentionFacts) -> str:
    """Of whom fewer sets held the truth than was asked for, as far as intervals tell."""
    sides = files.facts.labels.negative_name, files.facts.labels.positive_name
    found = []
    for name, level in (("images", sets.images), ("patients", sets.patients)):
        if level is None:
            continue
        of_sides = zip(sides, (level.coverage_negative, level.coverage_positive), strict=True)
        low = [f"the {name} that are {side}" for side, each in of_sides if each.lies_below(sets.coverage)]
        found += low or ([f"the {name}"] if level.coverage.lies_below(sets.coverage) else [])
    return ", ".join(found)


def _rows(files: RunFiles, levels: list[Sets]) -> list[MetricRow]:
    """A row a figure, a cell for images and, where they have sets of their own, one for patients."""
    negative, positive = files.facts.labels.negative_name, files.facts.labels.positive_name

    def row(title: str, meaning: str, cell: Callable[[Sets], MetricCell]) -> MetricRow:
        return MetricRow(title, meaning, [cell(each) for each in levels])

    def count(name: str) -> Callable[[Sets], MetricCell]:
        return lambda each: MetricCell(f"{each.sets[name]:,}")

    def interval(name: str) -> Callable[[Sets], MetricCell]:
        return lambda each: _cell(each.intervals.get(name, Interval(value=getattr(each, name))))

    return [
        row("Coverage", "share of sets that hold the truth", lambda each: _cell(each.coverage)),
        row(f"Coverage of {negative}", "the same in this class", lambda each: _cell(each.coverage_negative)),
        row(f"Coverage of {positive}", "the same in this class", lambda each: _cell(each.coverage_positive)),
        row(f"Sets of {negative} alone", "", count("negative")),
        row(f"Sets of {positive} alone", "", count("positive")),
        row("Sets of both", "nothing is ruled out", count("both")),
        row("Sets of neither", "both are ruled out", count("none")),
        row("Answered", "share of sets of one side", interval("answered")),
        row("Right", "share of these that is true", interval("right")),
    ]


def _cell(interval: Interval) -> MetricCell:
    return MetricCell(figure_text(interval.value), range_text(interval, figure_text))


def _risk(sets: AbstentionFacts) -> str:
    curve = sets.risk_coverage
    return (
        f"If only the surest scores were answered, the mean share of wrong answers over all shares answered would be "
        f"{figure_text(curve.area)}; it would be {figure_text(curve.area_at_random)} if being sure meant nothing, and "
        f"{figure_text(curve.area_at_best)} if every wrong answer were among the least sure."
    )


def _novelty(novelty: NoveltyFacts, chosen_on: str) -> str:
    often = "about" if chosen_on.startswith("out-of-fold") else "at most"
    said = (
        f"An image is held against those of training by {_METHODS.get(novelty.method, novelty.method)}, in the "
        "network's features and in the layout of its grey levels. Of training images, held out "
        "in turn, half are nearer than 0 and nine in ten nearer than 1. An image farther away than "
        f"{novelty.threshold:.2f} is refused, which is to happen to {often} "
        f"{novelty.false_alarms:.1%} of images of new patients like those of training."
    )
    if novelty.false_alarms > novelty.asked_false_alarms:
        said += f" {novelty.asked_false_alarms:.1%} was asked for; too few patients were held out to promise that."
    return said


def _refused(files: RunFiles, novelty: NoveltyFacts) -> str:
    share = novelty.refused / novelty.images
    said = f"Refused were {novelty.refused:,} of {count_text(novelty.images, 'image')} ({share:.1%})."
    if files.part == "external" and share > 2 * novelty.false_alarms:
        said += " That is more than twice as many as of images like those of training: these are not quite like them."
    return f"{said} The figures of this report count refused images, too."


def _picture(name: str, png: bytes) -> Picture:
    captions = {
        "risk_coverage": "Accuracy of what is answered, the surest scores first.",
        "distances": "Distance from the training images, of images that the model did not learn from; beyond the line "
        "an image is refused.",
    }
    return embed(
        png, caption=captions[name], alternative=f"{captions[name]} The text beside it gives the figures."
    )
