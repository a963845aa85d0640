"""How what tells the label is spread in each category: which properties are drawn, and in which bins."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.acquisition import Association
from breastlens.audit.dates import LEAST_SHARED, measure_overlap
from breastlens.audit.inspection import Inspection
from breastlens.audit.properties import PRESENCE, Property, list_properties
from breastlens.config import LabelMap
from breastlens.report.audit_figures import Distribution, Series
from breastlens.report.canvas import NEGATIVE, POSITIVE

MOST_PANELS = 6
MOST_CATEGORIES = 4
"""With more categories in use, their two sides are drawn instead."""

_BINS = 24
_FEW_VALUES = 8
_MOST_YEARS = 40
_OUTER_PERCENT = 0.5
_PALER = 0.55


def choose_distributions(inspection: Inspection, labels: LabelMap) -> list[Distribution]:
    """Choose the properties that tell the label most strongly, and lay out their values.

    Properties that raise one finding, such as width, height and their ratio, say the same; of these the strongest is
    drawn. A date whose years hardly overlap is drawn first, however weak its association.

    Args:
        inspection: The images in use and what was tested.
        labels: Which categories are positive and which negative.

    Returns:
        At most `MOST_PANELS`; none where nothing tells the label.
    """
    used = inspection.used
    listed = {each.name: each for each in list_properties(used, inspection.properties)}
    apart = _find_dates_apart(inspection, list(listed.values()))
    by_group: dict[tuple[str, str], Association] = {}
    for each in sorted(inspection.associations, key=lambda each: (each.name not in apart, -each.strength)):
        if each.tells or each.name in apart:
            by_group.setdefault((each.code, each.manifest_column), each)
    sides = _name_sides(used, labels)
    chosen = [_lay_out(each, listed[each.name], used, sides) for each in by_group.values()]
    return chosen[:MOST_PANELS]


def _find_dates_apart(inspection: Inspection, properties: Sequence[Property]) -> set[str]:
    """The dates that a finding says hardly overlap."""
    if not any(finding.code == "dates-hardly-overlap" for finding in inspection.findings):
        return set()
    apart = set()
    for each in properties:
        if each.kind == "date" and not each.untested:
            years = np.zeros(len(inspection.used), dtype=np.int64)
            years[each.rows] = _years(each.numbers)
            overlap = measure_overlap(inspection.used, each.name, years, seed=0)
            if overlap is not None and overlap.shared < LEAST_SHARED:
                apart.add(each.name)
    return apart


def _name_sides(used: pd.DataFrame, labels: LabelMap) -> list[tuple[str, str, NDArray[np.bool_]]]:
    """Name, colour and rows of each category; of each side where there are too many to tell apart."""
    category = used["category"].to_numpy(dtype=object)
    present = set(category)
    sides = [(labels.negative, NEGATIVE), (labels.positive, POSITIVE)]
    shown = [([name for name in names if name in present], colour) for names, colour in sides]
    if sum(len(names) for names, _ in shown) > MOST_CATEGORIES:
        return [
            (labels.negative_name, NEGATIVE, np.isin(category, labels.negative)),
            (labels.positive_name, POSITIVE, np.isin(category, labels.positive)),
        ]
    return [
        (name, _mix_with_white(colour, _PALER * number / max(1, len(names) - 1)), category == name)
        for names, colour in shown
        for number, name in enumerate(names)
    ]


def _mix_with_white(colour: str, share: float) -> str:
    parts = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    return "#" + "".join(f"{round(part + share * (255 - part)):02X}" for part in parts)


def _lay_out(
    each: Association, found: Property, used: pd.DataFrame, sides: list[tuple[str, str, NDArray[np.bool_]]]
) -> Distribution:
    name = each.name.removesuffix(PRESENCE) + (" is filled in" if each.name.endswith(PRESENCE) else "")
    title = f"{name[0].upper()}{name[1:]}"
    if each.effect is not None:
        title += f" ({each.measure} {each.effect:.2f})"
    values, edges, names = _bin(found)
    of_row = np.full(len(used), -1, dtype=np.int64)
    of_row[found.rows] = np.arange(found.rows.size)
    series = []
    for category, colour, chosen in sides:
        places = of_row[chosen]
        own = values[places[places >= 0]]
        if own.size:
            series.append(Series(category, colour, own))
    return Distribution(title, tuple(series), edges, names)


def _bin(
    found: Property,
) -> tuple[NDArray[np.float64] | NDArray[np.str_], NDArray[np.float64] | None, tuple[str, ...]]:
    """Values as they are drawn, the edges of their bins, and the bins' names where each has one."""
    if found.kind == "category":
        return found.texts, None, ()
    if found.kind == "date":
        return _bin_dates(found.numbers)
    numbers = found.numbers
    if np.unique(numbers).size <= _FEW_VALUES:
        return np.array([f"{number:g}" for number in numbers]), None, ()
    # A single far value would press all others into one bin.
    low, high = np.percentile(numbers, (_OUTER_PERCENT, 100 - _OUTER_PERCENT))
    if not high > low:
        low, high = float(numbers.min()), float(numbers.max())
    return np.clip(numbers, low, high), np.linspace(low, high, _BINS + 1), ()


def _bin_dates(days: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
    """By year; by month where there are but two years; in plain bins where there are very many."""
    years = _years(days)
    first, last = int(years.min()), int(years.max())
    if last - first < 2:
        months = np.array([date.fromordinal(int(day)).month for day in days])
        numbers = 12 * years + months - 1
        span = range(int(numbers.min()), int(numbers.max()) + 1)
        return _bin_whole(numbers, span, tuple(f"{month // 12}-{month % 12 + 1:02d}" for month in span))
    if last - first < _MOST_YEARS:
        span = range(first, last + 1)
        return _bin_whole(years, span, tuple(map(str, span)))
    return years.astype(np.float64), np.linspace(first - 0.5, last + 0.5, _BINS + 1), ()


def _bin_whole(
    numbers: NDArray[np.int64], span: range, names: tuple[str, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
    return numbers.astype(np.float64), np.arange(span.start - 0.5, span.stop, dtype=np.float64), names


def _years(days: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.array([date.fromordinal(int(day)).year for day in days], dtype=np.int64)
