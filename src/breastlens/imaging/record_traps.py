"""Traps of records: images that are there twice, and patients or labels that are wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, Field

from breastlens.imaging import alterations
from breastlens.imaging.alterations import Alteration
from breastlens.imaging.planting import CATEGORIES, OTHER, Plan, Share, Trap
from breastlens.imaging.thermogram import HEIGHT_PX, WIDTH_PX

SIZE = (WIDTH_PX, HEIGHT_PX)

NearKind = Literal["rescaled", "recompressed", "brightness", "contrast", "cropped", "flipped", "rotated"]
NEAR_KINDS: tuple[NearKind, ...] = (
    "rescaled",
    "recompressed",
    "brightness",
    "contrast",
    "cropped",
    "flipped",
    "rotated",
)


def _rising(values: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= values[0] <= values[1]:
        raise ValueError(f"a range must be 0 or more and rise from low to high, got {values}")
    return values


Range = Annotated[tuple[float, float], AfterValidator(_rising)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Quality = Annotated[float, Field(ge=1, le=100)]
Fractions = Annotated[tuple[Fraction, Fraction], AfterValidator(_rising)]


class SharedTrap(Trap):
    """Something that happens to a share of the patients."""

    share: Share

    def counts(self, plan: Plan) -> dict[str, int]:
        """Gives the number of patients in each class: the rounded share, but one unless the share is 0."""
        return {
            category: max(round(self.share * size), int(self.share > 0))
            for category, size in plan.patients.items()
        }


class ExactDuplicates(SharedTrap):
    """A share of the patients has one image twice, under two names."""

    name: Literal["exact-duplicates"] = "exact-duplicates"
    share: Share = 0.1

    def plant(self, plan: Plan) -> None:
        """Copies one image of each drawn patient."""
        drawn = plan.draw(self.name, self.counts(plan))
        for patient_id in (name for names in drawn.values() for name in names):
            plan.copy(_draw_image(plan, self.name, patient_id), self.name, {})


class DuplicatesAcrossPatients(SharedTrap):
    """A share of the patients has an image that also stands under another patient of the same class."""

    name: Literal["duplicates-across-patients"] = "duplicates-across-patients"
    share: Share = 0.05

    def plant(self, plan: Plan) -> None:
        """Copies one image of each drawn patient to another drawn patient."""
        counts = self.counts(plan)
        drawn = plan.draw(self.name, {name: 2 * count for name, count in counts.items()})
        for category, names in drawn.items():
            half = counts[category]
            for giver, taker in zip(names[:half], names[half:], strict=True):
                plan.copy(_draw_image(plan, self.name, giver), self.name, {}, patient_id=taker)


class DuplicatesAcrossCategories(SharedTrap):
    """A share of the patients has an image that also stands under a patient of the other class."""

    name: Literal["duplicates-across-categories"] = "duplicates-across-categories"
    share: Share = 0.05

    def plant(self, plan: Plan) -> None:
        """Copies one image of each drawn patient to a drawn patient of the other class."""
        counts = self.counts(plan)
        drawn = plan.draw(self.name, dict.fromkeys(CATEGORIES, sum(counts.values())))
        for category in CATEGORIES:
            other = OTHER[category]
            givers, takers = drawn[category][: counts[category]], drawn[other][counts[other] :]
            for giver, taker in zip(givers, takers, strict=True):
                index = _draw_image(plan, self.name, giver)
                plan.copy(index, self.name, {}, category=other, patient_id=taker)


class NearDuplicates(SharedTrap):
    """A share of the patients has an image that, slightly changed, also stands under a new patient of the same class.

    The kinds of change take turns. Each amount is drawn from its range; brightness, contrast and rotation get either
    sign.

    Attributes:
        kinds: Which changes.
        scale: Of width and height that is left.
        quality: Of JPEG; the file is decoded again and stays of its format.
        brightness_grey: Added to all grey levels.
        contrast: Relative change of the distance from the mean.
        crop: Of width and height that is cut away.
        rotation_deg: About the middle.
    """

    changes_pixels: ClassVar[bool] = True

    name: Literal["near-duplicates"] = "near-duplicates"
    share: Share = 0.1
    kinds: tuple[NearKind, ...] = Field(default=NEAR_KINDS, min_length=1)
    scale: Fractions = (0.5, 0.8)
    quality: Annotated[tuple[Quality, Quality], AfterValidator(_rising)] = (50.0, 80.0)
    brightness_grey: Range = (5.0, 20.0)
    contrast: Range = (0.05, 0.15)
    crop: Fractions = (0.02, 0.05)
    rotation_deg: Range = (1.0, 3.0)

    def plant(self, plan: Plan) -> None:
        """Gives a changed copy of one image of each drawn patient to a patient who does not exist."""
        drawn = plan.draw(self.name, self.counts(plan))
        for turn, patient_id in enumerate(name for names in drawn.values() for name in names):
            kind = self.kinds[turn % len(self.kinds)]
            amount, alteration = self._alter(kind, plan.generator(self.name, f"{patient_id}/amount"))
            index = _draw_image(plan, self.name, patient_id)
            changed = (*plan.records[index].alterations, alteration)
            note = {"change": kind, "amount": amount}
            plan.copy(index, self.name, note, patient_id=plan.add_patient(), alterations=changed)

    def _alter(self, kind: NearKind, generator: np.random.Generator) -> tuple[float | None, Alteration]:
        """Draws how much of a kind, and gives the change."""
        if kind == "flipped":
            return None, alterations.flip(SIZE)
        ranges = {
            "rescaled": self.scale,
            "recompressed": self.quality,
            "brightness": self.brightness_grey,
            "contrast": self.contrast,
            "cropped": self.crop,
            "rotated": self.rotation_deg,
        }
        amount = generator.uniform(*ranges[kind])
        if kind in ("brightness", "contrast", "rotated") and generator.integers(2):
            amount = -amount
        amount = round(amount, 0 if kind == "recompressed" else 3)
        makers: dict[str, Callable[[float], Alteration]] = {
            "rescaled": lambda factor: alterations.rescaling(factor, SIZE),
            "recompressed": alterations.recompression,
            "brightness": alterations.brightness,
            "contrast": lambda change: alterations.contrast(1 + change),
            "cropped": lambda share: alterations.crop(share, SIZE),
            "rotated": lambda angle_deg: alterations.rotation(angle_deg, SIZE),
        }
        return amount, makers[kind](amount)


# Patients and labels


class PatientInBothCategories(SharedTrap):
    """A share of the patients, one of each class at a time, stands under one id: that of the healthy one."""

    name: Literal["patient-in-both-categories"] = "patient-in-both-categories"
    share: Share = 0.1

    def plant(self, plan: Plan) -> None:
        """Gives the images of each drawn sick patient the id of a drawn healthy one."""
        pairs = max(round(self.share * sum(plan.patients.values()) / 2), int(self.share > 0))
        drawn = plan.draw(self.name, dict.fromkeys(CATEGORIES, pairs))
        for healthy, sick in zip(drawn["healthy"], drawn["sick"], strict=True):
            for index in plan.indices(sick):
                number = plan.next_number(healthy)
                plan.change(index, self.name, {"clean_patient_id": sick}, patient_id=healthy, number=number)


class SimilarPatientIds(SharedTrap):
    """A share of the patients has their later images under an id of another spelling: p0007 or P00007 for P0007."""

    fewest_images: ClassVar[int] = 2

    name: Literal["similar-patient-ids"] = "similar-patient-ids"
    share: Share = 0.1

    def plant(self, plan: Plan) -> None:
        """Spells the id of the later half of the drawn patients' images with a small letter or one more zero."""
        drawn = plan.draw(self.name, self.counts(plan))
        for turn, patient_id in enumerate(name for names in drawn.values() for name in names):
            spelt = f"P0{patient_id[1:]}" if turn % 2 else patient_id.lower()
            indices = plan.indices(patient_id)
            for index in indices[len(indices) // 2 :]:
                plan.change(index, self.name, {"clean_patient_id": patient_id}, patient_id=spelt)


class FlippedLabels(SharedTrap):
    """A share of the patients, the same in both classes, has the other label."""

    name: Literal["flipped-labels"] = "flipped-labels"
    share: Share = 0.1

    def plant(self, plan: Plan) -> None:
        """Moves all images of the drawn patients to the other category."""
        drawn = plan.draw(self.name, self.counts(plan))
        for patient_id in (name for names in drawn.values() for name in names):
            _flip(plan, self.name, plan.indices(patient_id))


class InvertedLabels(Trap):
    """Every label is the other one."""

    name: Literal["inverted-labels"] = "inverted-labels"

    def plant(self, plan: Plan) -> None:
        """Moves all images to the other category."""
        _flip(plan, self.name, range(len(plan.records)))


def _flip(plan: Plan, trap: str, indices: Iterable[int]) -> None:
    for index in indices:
        category = plan.records[index].category
        plan.change(index, trap, {}, category=OTHER[category])


def _draw_image(plan: Plan, trap: str, patient_id: str) -> int:
    indices = plan.indices(patient_id)
    return indices[int(plan.generator(trap, patient_id).integers(len(indices)))]
