"""Traps of acquisition: the classes were recorded in another way, and a network can learn that instead of the disease.

``sick`` and ``healthy`` are what was simulated.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import ClassVar, Literal

from pydantic import Field

from breastlens.imaging import alterations
from breastlens.imaging.planting import CATEGORIES, Plan, PlannedRecord, Share, Trap

EARLY = (date(2013, 1, 1), date(2015, 12, 31))
LATE = (date(2016, 1, 1), date(2018, 12, 31))
"""First and last day of the two eras."""


class ClassTrap(Trap):
    """A trait of images that is more frequent in one class."""

    changes_pixels: ClassVar[bool] = True
    sick_share: Share
    healthy_share: Share

    def choose(self, plan: Plan, unit: Callable[[PlannedRecord], str]) -> list[int]:
        """Draws the records that have the trait, in each class the rounded share of patients or of images."""
        generator, chosen = plan.generator(self.name), set()
        for category, share in zip(CATEGORIES, (self.healthy_share, self.sick_share), strict=True):
            units = sorted({unit(record) for record in plan.records if record.category == category})
            chosen |= {
                units[place] for place in generator.permutation(len(units))[: round(share * len(units))]
            }
        return [index for index, record in enumerate(plan.records) if unit(record) in chosen]


def _patient(record: PlannedRecord) -> str:
    return record.patient_id


def _image(record: PlannedRecord) -> str:
    return record.clean_path


class CameraNoise(ClassTrap):
    """Most of the sick were recorded with a noisier camera.

    The simulated camera has noise of 0.05 to 0.08 K, so 0.1 K more is about twice as much in all.
    """

    name: Literal["camera-noise"] = "camera-noise"
    sick_share: Share = 0.9
    healthy_share: Share = 0.1
    added_c: float = Field(default=0.1, gt=0)

    def plant(self, plan: Plan) -> None:
        """Adds noise to all images of the drawn patients."""
        deviation = alterations.grey_levels(self.added_c)
        for index in self.choose(plan, _patient):
            entropy = plan.entropy(self.name, plan.records[index].clean_path)
            plan.alter(index, self.name, {"added_c": self.added_c}, alterations.noise(deviation, entropy))


class Era(ClassTrap):
    """Most of the sick came later, when the camera read warmer; the manifest gets the column ``acquired``.

    Uncooled cameras are specified to within 2 K, so two of them may well differ by 1 K. With equal shares there is a
    date that tells nothing.
    """

    name: Literal["era"] = "era"
    sick_share: Share = 0.8
    healthy_share: Share = 0.2
    offset_c: float = 1.0

    def plant(self, plan: Plan) -> None:
        """Dates every patient, and makes the images of the later era warmer."""
        late = set(self.choose(plan, _patient))
        warmer = alterations.brightness(alterations.grey_levels(self.offset_c))
        for index, record in enumerate(plan.records):
            first, last = LATE if index in late else EARLY
            days = plan.generator(self.name, record.patient_id).integers((last - first).days + 1)
            acquired = (first + timedelta(days=int(days))).isoformat()
            note = {"acquired": acquired, "offset_c": self.offset_c if index in late else 0.0}
            plan.change(index, self.name, note, columns={**record.columns, "acquired": acquired})
            if index in late:
                plan.alter(index, self.name, note, warmer)


class Border(ClassTrap):
    """Most images of the sick have brighter outermost pixels; a step of -255 makes a black frame."""

    name: Literal["border"] = "border"
    sick_share: Share = 0.9
    healthy_share: Share = 0.1
    width_px: int = Field(default=8, ge=1, le=100)
    step_grey: float = 8.0

    def plant(self, plan: Plan) -> None:
        """Draws the border on all images of the drawn patients."""
        for index in self.choose(plan, _patient):
            note = {"width_px": self.width_px, "step_grey": self.step_grey}
            plan.alter(index, self.name, note, alterations.frame(self.width_px, self.step_grey))


class Marker(ClassTrap):
    """A small bright square in the upper left corner, frequent in the sick and rare in the healthy."""

    name: Literal["marker"] = "marker"
    sick_share: Share = 0.7
    healthy_share: Share = 0.1
    size_px: int = Field(default=16, ge=1, le=200)
    margin_px: int = Field(default=12, ge=0, le=200)
    grey: int = Field(default=255, ge=0, le=255)

    def plant(self, plan: Plan) -> None:
        """Draws the square on the drawn images."""
        for index in self.choose(plan, _image):
            note = {"x_px": self.margin_px, "y_px": self.margin_px, "size_px": self.size_px}
            plan.alter(index, self.name, note, alterations.marker(self.size_px, self.margin_px, self.grey))


class Format(ClassTrap):
    """The sick are stored as JPEG, the healthy as PNG."""

    name: Literal["format"] = "format"
    sick_share: Share = 1.0
    healthy_share: Share = 0.0
    quality: int = Field(default=95, ge=1, le=100)

    def plant(self, plan: Plan) -> None:
        """Makes JPEG files of all images of the drawn patients."""
        for index in self.choose(plan, _patient):
            plan.change(index, self.name, {"quality": self.quality}, jpeg_quality=self.quality)
