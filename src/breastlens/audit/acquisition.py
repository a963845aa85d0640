"""Everything that is not anatomy, tested against the label: files, devices, dates, columns of the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.association import (
    Statistic,
    cliffs_delta,
    compare_categories,
    compare_numbers,
    cramers_v,
    find_blocks,
    permutation_p_values,
)
from breastlens.audit.columns import show_text
from breastlens.audit.dates import find_hardly_overlapping_dates, find_unreadable_dates, name_years
from breastlens.audit.finding import Evidence, Finding
from breastlens.audit.properties import PRESENCE, Property, list_properties, list_sources
from breastlens.cohort.description import count_values
from breastlens.evaluation.significance import holm

TELLING_EFFECT = 0.2
"""Cramer's V or size of Cliff's delta from which a property is reported.

Cohen (1988) calls a V of 0.1 small and 0.3 medium, Romano and others (2006) a delta of 0.147 small and 0.33 medium. A
delta of 0.2 is an AUC of 0.6.
"""

LARGE_DELTA = 0.474
"""From here Romano and others call a delta large. Grey levels below it may as well come from the breast: info only."""

TELLING_P_VALUE = 0.01
"""After Holm's correction for all properties tested.

Marks, and the overlap of dates, are corrected for themselves: by chance alone at most about 3 audits of 100 tell of
any of the three.
"""

FEWEST_DRAWS = 2000
DRAWS_A_PROPERTY = 200
"""With fewer, not even the smallest p value there can be would pass after the correction."""

_SHOWN = 4
_SAME_SOURCE = (
    "The classes may come from different devices or exports, which a network can learn instead of the disease; "
    "export all images alike, from one source."
)
_ADVICE = {
    "name-tells-label": "Find out who named the files: two habits often mean two sources, whose images a network can "
    "tell apart.",
    "date-tells-label": "Read the AUC within years, or use only the years with both labels.",
    "column-tells-label": "If it can show in an image, read the AUC within its values, or use only those with both "
    "labels.",
    "grey-levels-tell-label": "Look at images of both labels with few and with many levels: a difference in export or "
    "contrast setting must go, a difference in the breast may stay.",
}


@dataclass(frozen=True)
class Association:
    """One property of the images, held against the label.

    Attributes:
        name: What it is, such as "the JPEG quality" or "the column 'site'".
        code: The finding that it would raise.
        measure: "Cramer's V" of categories, "Cliff's delta" of numbers and dates; "" where it was not tested.
        effect: The figure; above 0 for numbers that are larger in positive images; None where it was not tested.
        p_value: By dealing labels to patients, or groups, anew; None where it was not tested.
        p_adjusted: After Holm's correction.
        draws: How often labels were dealt at most; where chance plainly does as well, fewer are enough.
        images: How many images have a value.
        distinct: How many different values there are.
        positive: The values of the positive images, in short.
        negative: Those of the negative images.
        untested: Why it was not tested, "" if it was.
        manifest_column: The manifest's column whose values these are, "" for anything else.
    """

    name: str
    code: str
    measure: str = ""
    effect: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    draws: int = 0
    images: int = 0
    distinct: int = 0
    positive: str = ""
    negative: str = ""
    untested: str = ""
    manifest_column: str = ""

    @property
    def strength(self) -> float:
        """The size of the effect; 0 where it was not tested."""
        return abs(self.effect or 0.0)

    @property
    def tells(self) -> bool:
        """Whether it is strong, and unlikely by chance."""
        return (
            self.p_adjusted is not None
            and self.strength >= TELLING_EFFECT
            and self.p_adjusted < TELLING_P_VALUE
        )


def find_acquisition_problems(
    used: pd.DataFrame,
    properties: pd.DataFrame,
    *,
    seed: int,
    associations: Sequence[Association] | None = None,
    groups: NDArray[np.int64] | None = None,
) -> list[Finding]:
    """Looks for whatever tells the label without showing the breast.

    Args:
        used: The images in use (`Cohort.included`).
        properties: From `survey.survey_images`, with the same index; a column that is missing there is not tested.
        seed: Of the permutations.
        associations: What `measure_associations` made of them, where it is at hand.
        groups: As for `measure_associations`.

    Returns:
        A finding for each date whose years hardly overlap, then one for each code and each manifest column that tells
        the label, the strongest first, then one for each manifest column with unreadable dates. A date that hardly
        overlaps does not tell the label as well.
    """
    if used.empty:
        return []
    if associations is None:
        associations = measure_associations(used, properties, seed=seed, groups=groups)
    dated = [source for source in list_sources(used, properties) if source.column.kind == "date"]
    dates = {
        source.name: source.column
        for source in dated
        if not source.untested and "birth" not in source.name.lower()
    }
    written = {source.name: source.column for source in dated if source.manifest_column}
    apart = find_hardly_overlapping_dates(used, dates, seed=seed, groups=groups)
    telling: dict[tuple[str, str], list[Association]] = {}
    for each in sorted(associations, key=lambda each: -each.strength):
        if each.tells and each.name not in apart:
            column = each.name.removesuffix(PRESENCE) if each.code == "column-tells-label" else ""
            telling.setdefault((each.code, column), []).append(each)
    tested = sum(each.effect is not None for each in associations)
    told = (_tell(group, tested) for group in telling.values())
    return [*apart.values(), *told, *find_unreadable_dates(used, written)]


def measure_associations(
    used: pd.DataFrame, properties: pd.DataFrame, *, seed: int, groups: NDArray[np.int64] | None = None
) -> tuple[Association, ...]:
    """Tests every property of the files and every column that the manifest added against the label.

    Labels are dealt anew to patients, not to images, because images of one patient share device and date; so do frames
    of one file and copies, where groups are given. p values are corrected by Holm's method for all properties tested.

    Args:
        used: The images in use.
        properties: From `survey.survey_images`.
        seed: Of the permutations.
        groups: (n,) what stays together in every split (`Cohort.groups`); None to go by ``patient_id`` alone.

    Returns:
        One a property, also for those that were not tested, with the reason.
    """
    if used.empty:
        return ()
    labels = used["label"].to_numpy(dtype=np.int64)
    blocks = find_blocks(labels, used["patient_id"].tolist(), groups)
    listed = list(list_properties(used, properties))
    reasons = [each.untested or _say_why_untested(each, labels) for each in listed]
    tested = [place for place, reason in enumerate(reasons) if not reason]
    draws = max(FEWEST_DRAWS, DRAWS_A_PROPERTY * len(tested))
    statistics = [_build_statistic(listed[place], blocks) for place in tested]
    p_values = permutation_p_values(statistics, labels, blocks, seed=seed, draws=draws)
    chances = dict(zip(tested, zip(p_values, holm(p_values), strict=True), strict=True))
    return tuple(
        _describe(each, reason) if reason else _measure(each, labels, blocks, *chances[place], draws)
        for place, (each, reason) in enumerate(zip(listed, reasons, strict=True))
    )


def _say_why_untested(each: Property, labels: NDArray[np.int64]) -> str:
    """What the images rule out, whatever the property is."""
    if each.rows.size == 0:
        return "no image has it"
    if np.unique(each.texts).size == 1:
        return "it has one value only"
    if np.unique(labels[each.rows]).size == 1:
        return "only images of one label have it"
    return ""


def _build_statistic(each: Property, blocks: NDArray[np.int64]) -> Statistic:
    if each.kind == "category":
        return compare_categories(each.texts, each.rows, blocks)
    return compare_numbers(each.numbers, each.rows, blocks)


def _describe(each: Property, untested: str) -> Association:
    """What can be said of a property that was not tested; its values may name people, so none is shown."""
    distinct = int(np.unique(each.texts).size)
    return Association(
        each.name,
        each.code,
        images=int(each.rows.size),
        distinct=distinct,
        untested=untested,
        manifest_column=each.manifest_column,
    )


def _measure(
    each: Property,
    labels: NDArray[np.int64],
    blocks: NDArray[np.int64],
    p_value: float,
    p_adjusted: float,
    draws: int,
) -> Association:
    own = labels[each.rows]
    category = each.kind == "category"
    return Association(
        name=each.name,
        code=each.code,
        measure="Cramer's V" if category else "Cliff's delta",
        effect=cramers_v(each.texts, own, blocks[each.rows]) if category else cliffs_delta(each.numbers, own),
        p_value=p_value,
        p_adjusted=p_adjusted,
        draws=draws,
        images=int(each.rows.size),
        distinct=int(np.unique(each.texts if category else each.numbers).size),
        positive=_sum_up(each, own == 1),
        negative=_sum_up(each, own == 0),
        manifest_column=each.manifest_column,
    )


def _sum_up(each: Property, chosen: NDArray[np.bool_]) -> str:
    if each.kind == "category":
        values = pd.Series([show_text(text) for text in each.texts[chosen].tolist()], dtype=str)
        # "16 (30)" where "16 30" would read as two values.
        return count_values(values) if not values.str.isdecimal().any() else _count_numbers(values)
    numbers = each.numbers[chosen]
    if each.kind == "date":
        return name_years(tuple({pd.Timestamp.fromordinal(int(day)).year for day in numbers}))
    low, middle, high = np.quantile(numbers, [0, 0.5, 1])
    return f"median {middle:.4g} ({low:.4g} to {high:.4g})"


def _count_numbers(values: pd.Series[str]) -> str:
    counts = sorted(values.value_counts().items(), key=lambda item: (-item[1], str(item[0])))
    told = [f"{value} ({count})" for value, count in counts[:_SHOWN]]
    rest = sum(count for _, count in counts[_SHOWN:])
    return ", ".join([*told, f"{len(counts) - _SHOWN} others ({rest})"] if rest else told)


def _tell(group: Sequence[Association], tested: int) -> Finding:
    """One finding for properties of one code, the strongest first."""
    first, *others = group
    also = f" So does {' and '.join(each.name for each in others)}." if others else ""
    if len(others) > 1:
        also = f" So do {', '.join(each.name for each in others[:-1])} and {others[-1].name}."
    return Finding(
        code=first.code,
        severity="info"
        if first.code == "grey-levels-tell-label" and first.strength < LARGE_DELTA
        else "warning",
        what=f"{first.name[0].upper()}{first.name[1:]} tells the label ({first.measure} {first.effect:.2f}): "
        f"positive {first.positive}; negative {first.negative}.{also}",
        count=first.images,
        advice=_ADVICE.get(first.code, _SAME_SOURCE),
        evidence=Evidence(
            name=first.measure,
            value=first.effect or 0.0,
            method=f"{first.draws} permutations of labels over patients, p {first.p_adjusted:.2g} after Holm's "
            f"correction for {tested} properties",
        ),
    )
