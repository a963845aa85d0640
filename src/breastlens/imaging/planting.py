"""From a clean simulated cohort to one with traps: the plan, made before an image is drawn, and its execution.

A record's path always follows its category and patient, so that reading a folder and reading the manifest agree.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from breastlens.config import Settings
from breastlens.errors import DataError
from breastlens.imaging.alterations import Alteration, encode_image
from breastlens.imaging.decode import decode

CATEGORIES = ("healthy", "sick")
OTHER = {"healthy": "sick", "sick": "healthy"}
OTHER_SIDE = {"left": "right", "right": "left"}
Row = dict[str, object]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, eq=False)
class PlannedRecord:
    """One image of the cohort to come.

    Attributes:
        clean_path: Where the cohort without traps has the image that this one is made from.
        category: As it will be recorded.
        patient_id: As it will be recorded.
        number: Tells the images of a patient apart.
        alterations: What is done to the pixels, in order.
        jpeg_quality: Set if the file becomes a JPEG.
        columns: What the manifest says besides.
        notes: By name of the trap, what it has done to this record. ``original`` is the index of a record.
    """

    clean_path: str
    category: str
    patient_id: str
    number: int
    alterations: tuple[Alteration, ...] = ()
    jpeg_quality: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    @property
    def simulated_category(self) -> str:
        """What the image shows."""
        return self.clean_path.partition("/")[0]

    @property
    def suffix(self) -> str:
        """The file's suffix."""
        return Path(self.clean_path).suffix if self.jpeg_quality is None else ".jpg"

    @property
    def path(self) -> str:
        """Where the record will stand, relative to the cohort's folder."""
        return f"{self.category}/{self.patient_id}.{self.number}{self.suffix}"


class Plan:
    """The cohort to come. Traps change it one after the other.

    A patient whom a trap has given a copy, another label or another id is not drawn again by the next such trap, so
    that what is said of each trap stays true when several are planted.

    Attributes:
        records: In the order of the manifest; traps replace and append, never remove.
        seed: Of the cohort.
        patients: How many of each category were simulated.
    """

    def __init__(self, clean: Iterable[PlannedRecord], seed: int) -> None:
        self.records = list(clean)
        self.seed = seed
        self.patients = {category: len(self._list_patients(category)) for category in CATEGORIES}
        self._taken: set[str] = set()

    def entropy(self, trap: str, subject: str = "") -> tuple[int, ...]:
        """Gives a trap, and each subject of it, a random stream of its own, whatever else is planted."""
        return (self.seed, *f"{trap}/{subject}".encode())

    def generator(self, trap: str, subject: str = "") -> np.random.Generator:
        """Gives the generator of that stream."""
        return np.random.default_rng(np.random.SeedSequence(self.entropy(trap, subject)))

    def indices(self, patient_id: str) -> list[int]:
        """Finds a patient's records."""
        return [index for index, record in enumerate(self.records) if record.patient_id == patient_id]

    def draw(self, trap: str, counts: Mapping[str, int]) -> dict[str, list[str]]:
        """Draws patients of each category whom no trap has drawn yet.

        Args:
            trap: Who draws.
            counts: How many of each category.

        Raises:
            DataError: There are not as many left.
        """
        generator, drawn = self.generator(trap), {}
        for category in CATEGORIES:
            free = [name for name in self._list_patients(category) if name not in self._taken]
            if len(free) < counts[category]:
                raise DataError(
                    f"the trap {trap} needs {counts[category]} {category} patients, and {len(free)} are left that no "
                    "other trap has touched; simulate more patients or plant fewer traps"
                )
            order = generator.permutation(len(free))[: counts[category]]
            drawn[category] = [free[place] for place in order.tolist()]
            self._taken.update(drawn[category])
        return drawn

    def next_number(self, patient_id: str) -> int:
        """Gives a number that no image of this patient has."""
        return 1 + max((self.records[index].number for index in self.indices(patient_id)), default=0)

    def add_patient(self) -> str:
        """Gives an id like those of the cohort that nobody has; no trap will draw it."""
        patient_id = f"P{1 + max(int(record.patient_id[1:]) for record in self.records):04d}"
        self._taken.add(patient_id)
        return patient_id

    def change(self, index: int, trap: str, note: Mapping[str, object], **fields: Any) -> None:
        """Replaces fields of a record and notes who did it."""
        record = self.records[index]
        self.records[index] = replace(record, notes={**record.notes, trap: note}, **fields)

    def alter(self, index: int, trap: str, note: Mapping[str, object], alteration: Alteration) -> None:
        """Adds a change of a record's pixels and notes who did it."""
        self.change(index, trap, note, alterations=(*self.records[index].alterations, alteration))

    def copy(self, index: int, trap: str, note: Mapping[str, object], **fields: Any) -> None:
        """Appends a copy of a record, under a number of its own, and notes who did it.

        What was done to the image before is done to the copy too, and noted there.
        """
        copied = replace(self.records[index], **fields)
        number = self.next_number(copied.patient_id)
        notes = {**copied.notes, trap: {"original": index, **note}}
        self.records.append(replace(copied, number=number, notes=notes))

    def tell_truth(self, traps: Iterable[Trap]) -> dict[str, object]:
        """Says what was planted where, as plain values for truth.json."""
        return {"seed": self.seed, "traps": [self._tell(trap) for trap in traps]}

    def _list_patients(self, category: str) -> list[str]:
        return sorted({record.patient_id for record in self.records if record.category == category})

    def _tell(self, trap: Trap) -> dict[str, object]:
        touched = [record for record in self.records if trap.name in record.notes]
        return {
            "name": trap.name,
            "strength": trap.strength,
            "patients": sorted({record.patient_id for record in touched}),
            "records": [self._tell_record(record, record.notes[trap.name]) for record in touched],
        }

    def _tell_record(self, record: PlannedRecord, note: Mapping[str, object]) -> dict[str, object]:
        told = {
            "path": record.path,
            "category": record.category,
            "patient_id": record.patient_id,
            "clean_path": record.clean_path,
            "simulated_category": record.simulated_category,
            **note,
        }
        if isinstance(original := note.get("original"), int):
            told["original"] = self.records[original].path
        return told


class Trap(Settings, ABC):
    """One flaw and its strength.

    Attributes:
        name: What it is called on the command line and in truth.json.
        changes_pixels: It needs images, not temperatures as text.
        fewest_images: How many images of a patient it needs.
    """

    name: str
    changes_pixels: ClassVar[bool] = False
    fewest_images: ClassVar[int] = 1

    @abstractmethod
    def plant(self, plan: Plan) -> None:
        """Changes the plan.

        Raises:
            DataError: The cohort has too few patients for it.
        """

    @property
    def strength(self) -> dict[str, object]:
        """All settings but the name."""
        return self.model_dump(mode="json", exclude={"name"})


def carry_out(plan: Plan, out: Path, rows: Sequence[Row]) -> list[Row]:
    """Turns the clean cohort that lies in a folder into the planned one.

    Args:
        plan: What is wanted.
        out: The folder; files that no trap touches are left as they are.
        rows: Of the clean manifest.

    Returns:
        The rows of the new manifest.

    Raises:
        OSError: A file cannot be read or written.
    """
    made_from: dict[str, list[PlannedRecord]] = {}
    for record in plan.records:
        made_from.setdefault(record.clean_path, []).append(record)
    for clean_path, records in made_from.items():
        _write_files(out, clean_path, records)
    clean = {row["path"]: row for row in rows}
    return [_new_row(clean[record.clean_path], record) for record in plan.records]


def _write_files(out: Path, clean_path: str, records: list[PlannedRecord]) -> None:
    """Replaces one clean file by all that is made from it."""
    if all(record.path == clean_path and not _is_new_image(record) for record in records):
        return
    data = (out / clean_path).read_bytes()
    pixels = decode(out / clean_path).pixels if any(map(_is_new_image, records)) else None
    (out / clean_path).unlink()  # first, because a new name may differ in case alone
    for record in records:
        made = data
        if pixels is not None and _is_new_image(record):
            image = np.asarray(pixels, dtype=np.uint8)
            for alteration in record.alterations:
                image = alteration.change(image)
            made = encode_image(image, record.suffix, record.jpeg_quality or 0)
        (out / record.path).write_bytes(made)


def _is_new_image(record: PlannedRecord) -> bool:
    return bool(record.alterations) or record.jpeg_quality is not None


def _new_row(clean: Row, record: PlannedRecord) -> Row:
    """Gives a record's row of the manifest; the tumour is where the image has it now."""
    named = {"path": record.path, "category": record.category, "patient_id": record.patient_id}
    row = {**clean, **named, **record.columns}
    if row["tumour_side"]:
        place_px = np.array([row["tumour_x_px"], row["tumour_y_px"]], dtype=np.float64)
        reach_px = float(str(row["tumour_reach_px"]))
        for alteration in record.alterations:
            place_px = alteration.place @ np.append(place_px, 1.0)
            reach_px *= np.sqrt(abs(np.linalg.det(alteration.place[:, :2])))
            if alteration.mirrored:
                row["tumour_side"] = OTHER_SIDE[str(row["tumour_side"])]
        row["tumour_x_px"], row["tumour_y_px"] = (round(value, 1) for value in place_px.tolist())
        row["tumour_reach_px"] = round(float(reach_px), 1)
    return row
