"""A cross-validation that was repeated: the AUC that the first screen gives, and the rows and words of its section."""

from __future__ import annotations

from typing import NamedTuple

from breastlens.report.facts import Facts, Interval
from breastlens.report.phrasing import count_text, figure_text, range_text
from breastlens.report.run_files import RunFiles

KEY = "repeats"
"""Of metrics.json, and the name of the figure."""

PLAIN = (
    "The interval says how the mean would vary over other patients. The spread over repeats is what dealing the same "
    "patients into other folds, and other seeds, change. Since all repeats share all patients, it is no standard "
    "error, and more repeats do not narrow the interval."
)


class Repeated(Facts):
    """One metric over the repeats: its mean, and how far single repeats run."""

    mean: Interval
    values: tuple[float | None, ...] = ()
    standard_deviation: float | None = None
    smallest: float | None = None
    largest: float | None = None


class Repeats(Facts):
    """The key of metrics.json."""

    count: int
    seeds: tuple[int, ...] = ()
    metrics: dict[str, Repeated]


class SpreadRow(NamedTuple):
    """One metric as text."""

    title: str
    mean: str
    interval: str
    deviation: str
    spread: str


def read_repeats(files: RunFiles) -> Repeats | None:
    """What metrics.json says of repeats; None where folds were dealt once."""
    return Repeats.model_validate(files.further[KEY]) if KEY in files.further else None


def headline_auc(files: RunFiles) -> Interval:
    """The AUC of the first screen: the mean over repeats or, without these, that of the judged part."""
    repeats = read_repeats(files)
    if repeats is not None:
        return repeats.metrics["auc"].mean
    block = files.block
    found = block.intervals.get("auc", Interval(reason=block.reasons.get("auc interval", "")))
    return found.model_copy(update={"value": block.auc})


def runs_text(repeats: Repeats, between: str = ", ") -> str:
    """How many repeats there are and how far their AUCs run, for example ``5 repeats, 0.941 to 0.952``."""
    auc = repeats.metrics["auc"]
    return f"{repeats.count} repeats{between}{figure_text(auc.smallest)} to {figure_text(auc.largest)}"


def first_repeat_sentence(count: int) -> str:
    """That of a run whose folds were dealt several times, what is compared is not the mean that its report gives.

    Args:
        count: How many times.
    """
    return f"Of its {count} repeats the first is compared, not the mean over them that its report gives."


def spread_rows(repeats: Repeats, titles: dict[str, str]) -> list[SpreadRow]:
    """A row a metric.

    Args:
        repeats: What was found.
        titles: Metrics in their order, and what each is called.
    """
    return [
        SpreadRow(
            title,
            figure_text(found.mean.value),
            range_text(found.mean, figure_text),
            figure_text(found.standard_deviation),
            f"{figure_text(found.smallest)} to {figure_text(found.largest)}",
        )
        for name, title in titles.items()
        if (found := repeats.metrics.get(name)) is not None
    ]


def dealing_sentence(files: RunFiles, repeats: Repeats) -> str:
    """How often and by which seeds the folds were dealt, and whether anything crosses them."""
    seeds = ", ".join(map(str, repeats.seeds))
    said = f"The folds were dealt {repeats.count} times, by the seeds {seeds}; each repeat was trained and chose "
    said += "strength, calibration, epochs and thresholds anew inside its training folds. "
    proofs = [each.proof for each in files.facts.split.repeats if each.proof is not None]
    if len(proofs) < repeats.count:
        return f"{said}That nothing crosses the folds is not recorded for every repeat."
    crossing = sum(
        proof.patients_shared + proof.duplicates_shared + proof.files_shared + proof.near_duplicates_shared
        for proof in proofs
    )
    if crossing:
        return f"{said}In {count_text(crossing, 'case')} something stands in two folds."
    if not files.facts.data.patient_source:
        return f"{said}No file and no duplicate stands in two folds in any of them; patients are unknown."
    return f"{said}No patient, no file and no duplicate stands in two folds in any of them."
