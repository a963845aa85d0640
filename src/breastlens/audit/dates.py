"""Whether the dates of images can be read, and whether the images of both labels come from the same years."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.association import compare_overlap, find_blocks, permutation_p_values
from breastlens.audit.columns import Column, show_text
from breastlens.audit.finding import Evidence, Finding, name_records, say_count
from breastlens.evaluation.significance import holm

LEAST_SHARED = 0.5
"""Share of a label's images in years with both labels; below it most of them cannot be compared within a year."""

CHANCE_P_VALUE = 0.01
"""After Holm's correction for all dates."""

FEWEST_DRAWS = 2000
DRAWS_A_DATE = 200
"""With fewer, not even the smallest p value there can be would pass after the correction."""


@dataclass(frozen=True)
class DateOverlap:
    """How far the years of both labels overlap, for one date.

    Attributes:
        name: What the date is, such as "the column 'acquired'".
        positive_years: Images of each year with positive images, in the order of the years.
        negative_years: The same for negative images.
        shared_positive: Share of the positive images that are of years with both labels.
        shared_negative: The same for negative images.
        p_value: By dealing labels to patients, or groups, anew: how often the smaller of the two shares, among one
            image of each of these, is as small by chance.
        draws: How often labels were dealt at most.
    """

    name: str
    positive_years: dict[int, int]
    negative_years: dict[int, int]
    shared_positive: float
    shared_negative: float
    p_value: float
    draws: int

    @property
    def shared(self) -> float:
        """The smaller of both shares."""
        return min(self.shared_positive, self.shared_negative)

    @property
    def one_label_years(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The years with positive images only, and those with negative images only."""
        positive, negative = set(self.positive_years), set(self.negative_years)
        return tuple(sorted(positive - negative)), tuple(sorted(negative - positive))


def measure_overlap(
    used: pd.DataFrame,
    name: str,
    years: NDArray[np.int64],
    *,
    seed: int,
    draws: int = FEWEST_DRAWS,
    groups: NDArray[np.int64] | None = None,
) -> DateOverlap | None:
    """Measures the overlap of the years of both labels.

    Args:
        used: The images in use.
        name: What the date is.
        years: (n,) the year of each image, 0 where unknown.
        seed: Of the permutations.
        draws: How many of them at most.
        groups: (n,) what stays together in every split (`Cohort.groups`); None to go by ``patient_id`` alone.

    Returns:
        The overlap; None where a label has no dated image.
    """
    labels = used["label"].to_numpy(dtype=np.int64)
    rows = np.flatnonzero(years)
    sides = [_count_years(years[rows][labels[rows] == label]) for label in (1, 0)]
    if not all(sides):
        return None
    both = set(sides[0]) & set(sides[1])
    shares = [
        sum(count for year, count in side.items() if year in both) / sum(side.values()) for side in sides
    ]
    blocks = find_blocks(labels, used["patient_id"].tolist(), groups)
    drawn = _draw_one_each(rows, blocks, seed)
    (p_value,) = permutation_p_values(
        [compare_overlap(years[drawn], drawn, blocks)], labels, blocks, seed=seed, draws=draws
    )
    return DateOverlap(name, sides[0], sides[1], shares[0], shares[1], p_value, draws)


def find_hardly_overlapping_dates(
    used: pd.DataFrame,
    dates: Mapping[str, Column],
    *,
    seed: int,
    groups: NDArray[np.int64] | None = None,
) -> dict[str, Finding]:
    """Looks for dates of which a label has most of its images in years without the other.

    Args:
        used: The images in use.
        dates: What each date is, and its column.
        seed: Of the permutations.
        groups: As for `measure_overlap`.

    Returns:
        A finding for each such date, under the date's name.
    """
    draws = max(FEWEST_DRAWS, DRAWS_A_DATE * len(dates))
    measured = [
        measure_overlap(used, name, column.years, seed=seed, draws=draws, groups=groups)
        for name, column in dates.items()
    ]
    overlaps = [overlap for overlap in measured if overlap is not None]
    chances = holm([overlap.p_value for overlap in overlaps])
    return {
        overlap.name: _tell(overlap, chance, len(overlaps), used, dates[overlap.name].years)
        for overlap, chance in zip(overlaps, chances, strict=True)
        if overlap.shared < LEAST_SHARED and chance < CHANCE_P_VALUE
    }


def find_unreadable_dates(used: pd.DataFrame, dates: Mapping[str, Column]) -> list[Finding]:
    """Looks for values that are no date in columns that are otherwise of dates.

    Args:
        used: The images in use.
        dates: What each date is, and its column.

    Returns:
        A finding for each such column; what stands in it most often is its example.
    """
    found = []
    for name, column in dates.items():
        filled = column.texts != ""
        unreadable = filled & np.isnan(column.numbers)
        count = int(unreadable.sum())
        if not count:
            continue
        values, counts = np.unique(column.texts[unreadable], return_counts=True)
        found.append(
            Finding(
                code="unreadable-dates",
                severity="info",
                what=f"No date can be read from {count} of {say_count(int(filled.sum()), 'value')} in "
                f"{name}, such as {show_text(str(values[counts.argmax()]))!r}.",
                count=count,
                records=name_records(used.loc[unreadable, "path"].astype(str)),
                advice="Write every date of the column as YYYY-MM-DD, such as 2015-03-28; an image without a readable "
                "date is left out of whatever goes by it.",
            )
        )
    return found


def name_years(years: Mapping[int, int] | tuple[int, ...]) -> str:
    """Writes years in short, such as "2012 to 2015, 2018"."""
    runs: list[list[int]] = []
    for year in sorted(years):
        if runs and year == runs[-1][-1] + 1:
            runs[-1].append(year)
        else:
            runs.append([year])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def _tell(
    overlap: DateOverlap, chance: float, tested: int, used: pd.DataFrame, years: NDArray[np.int64]
) -> Finding:
    sides = ("positive", "negative")
    alone = overlap.one_label_years
    told = [f"only {side} images in {name_years(own)}" for side, own in zip(sides, alone, strict=True) if own]
    side = sides[0] if overlap.shared_positive <= overlap.shared_negative else sides[1]
    outside = np.isin(years, [*alone[0], *alone[1]])
    few = f"only {overlap.shared:.0%}" if overlap.shared else "none"
    return Finding(
        code="dates-hardly-overlap",
        severity="warning",
        what=f"By {overlap.name}, {few} of the {side} images are from years with both labels "
        f"({'; '.join(told)}), and {say_count(int(outside.sum()), 'image')} cannot be compared within a year.",
        count=int(outside.sum()),
        records=name_records(used.loc[outside, "path"].astype(str)),
        advice="Read the AUC within years, since a network can tell years apart by the camera, or use only the years "
        "with both labels.",
        evidence=Evidence(
            name="share of images in years with both labels",
            value=overlap.shared,
            method=f"the smaller of both labels; {overlap.draws} permutations of labels over patients, "
            f"p {chance:.2g} after Holm's correction for {say_count(tested, 'date')}",
        ),
    )


def _draw_one_each(rows: NDArray[np.intp], blocks: NDArray[np.int64], seed: int) -> NDArray[np.intp]:
    """One image of each block: with all of them, who has more images would fill more years, whatever the label."""
    mixed = np.random.default_rng(seed).permutation(rows)
    return mixed[np.unique(blocks[mixed], return_index=True)[1]]


def _count_years(years: NDArray[np.int64]) -> dict[int, int]:
    names, counts = np.unique(years, return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))
