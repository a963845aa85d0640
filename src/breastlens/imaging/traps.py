"""Traps: flaws of data that can be planted in a simulated cohort, so that it is known what an audit should find.

``acquisition_traps`` and ``record_traps`` say what each does, ``planting`` plans and carries out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from breastlens.imaging.acquisition_traps import Border, CameraNoise, Era, Format, Marker
from breastlens.imaging.planting import Plan, PlannedRecord, Trap
from breastlens.imaging.record_traps import (
    DuplicatesAcrossCategories,
    DuplicatesAcrossPatients,
    ExactDuplicates,
    FlippedLabels,
    InvertedLabels,
    NearDuplicates,
    PatientInBothCategories,
    SimilarPatientIds,
)

AnyTrap = Annotated[
    CameraNoise
    | Era
    | Border
    | Marker
    | Format
    | ExactDuplicates
    | DuplicatesAcrossPatients
    | DuplicatesAcrossCategories
    | NearDuplicates
    | PatientInBothCategories
    | SimilarPatientIds
    | FlippedLabels
    | InvertedLabels,
    Field(discriminator="name"),
]

TRAP_NAMES = (
    "camera-noise",
    "era",
    "border",
    "marker",
    "format",
    "exact-duplicates",
    "duplicates-across-patients",
    "duplicates-across-categories",
    "near-duplicates",
    "patient-in-both-categories",
    "similar-patient-ids",
    "flipped-labels",
    "inverted-labels",
)
"""In the order of planting: how images are recorded, then what happens to their copies, their ids and their labels."""


def plan_traps(clean: Iterable[PlannedRecord], traps: Iterable[Trap], seed: int) -> Plan:
    """Plans a cohort with traps, in the order of TRAP_NAMES, however they are given.

    Args:
        clean: The cohort without traps.
        traps: What to plant.
        seed: The same seed gives the same plan.

    Raises:
        DataError: The cohort has too few patients for all of them.
    """
    plan = Plan(clean, seed)
    for trap in in_order(traps):
        trap.plant(plan)
    return plan


def in_order(traps: Iterable[Trap]) -> list[Trap]:
    """Sorts traps as they are planted and told."""
    return sorted(traps, key=lambda trap: TRAP_NAMES.index(trap.name))
