"""Simulated frontal breast thermograms for the demo and the tests, written as a cohort with its manifest.

Patients are drawn by ``anatomy`` and seen by ``thermogram``. Nothing about how an image is taken differs between
healthy and sick: a cohort without shortcuts, unless ``traps`` are asked for.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from breastlens.config import ImageRecipe, Settings
from breastlens.errors import RunDirectoryError
from breastlens.imaging.alterations import Grey, encode_image
from breastlens.imaging.anatomy import Anatomy, draw_anatomy
from breastlens.imaging.bioheat import surface_rise
from breastlens.imaging.planting import PlannedRecord, carry_out
from breastlens.imaging.thermogram import (
    MM_PER_PX,
    Plane,
    Pose,
    body_to_pixels,
    draw_pose,
    place,
    simulate_temperature,
    tumour_source,
)
from breastlens.imaging.traps import AnyTrap, in_order, plan_traps

_log = logging.getLogger(__name__)

TRUTH_NAME = "truth.json"
"""What was planted, beside the manifest; only where something was."""


class PhantomSettings(Settings):
    """What to simulate. The same settings give the same cohort."""

    patients: int = Field(default=60, ge=2)
    images_per_patient: int = Field(default=2, ge=1)
    seed: int = Field(default=0, ge=0)
    positive_fraction: float = Field(default=0.5, gt=0, lt=1)
    file_format: Literal["png", "matrix"] = "png"
    traps: tuple[AnyTrap, ...] = Field(default=(), description="flaws to plant, with truth.json beside them")

    @model_validator(mode="after")
    def _traps_can_be_planted(self) -> Self:
        names = [trap.name for trap in self.traps]
        for trap in self.traps:
            if names.count(trap.name) > 1:
                raise ValueError(
                    f"the trap {trap.name} is named {names.count(trap.name)} times, expected once"
                )
            if trap.changes_pixels and self.file_format != "png":
                raise ValueError(f"the trap {trap.name} needs images; it cannot be planted in a matrix")
            if self.images_per_patient < trap.fewest_images:
                raise ValueError(
                    f"the trap {trap.name} needs {trap.fewest_images} images per patient, "
                    f"got {self.images_per_patient}"
                )
        return self


def write_cohort(out: Path, settings: PhantomSettings) -> Path:
    """Writes a simulated cohort: images in ``out/healthy`` and ``out/sick`` and ``out/manifest.csv``.

    PNG is 8-bit grey on the temperature range that ImageRecipe maps by default (20 to 38 deg C); ``matrix`` is text in
    deg C with two decimals. The manifest has a row an image: path, category, patient_id, view, and what was simulated:
    tumour_side, tumour_depth_mm (of its centre), tumour_diameter_mm, tumour_rise_c (of the skin above it, without
    vessels), tumour_x_px and tumour_y_px (in that image), tumour_reach_px (from there to where the rise has fallen to
    half), empty for the healthy.

    With traps the clean cohort of these settings is written first and then changed: files that no trap touches stay as
    they are, and ``out/truth.json`` says which were touched and how. Without traps there is no such file.

    Args:
        out: A folder that does not exist yet or is empty.
        settings: What to simulate.

    Returns:
        The path of the manifest.

    Raises:
        RunDirectoryError: ``out`` is not a new or empty folder, or cannot be written.
        DataError: There are too few patients for the traps; nothing is written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunDirectoryError(
            f"{out}: expected a new or empty folder for the simulated cohort, found something there; "
            "name another folder or remove this one"
        )
    manifest = out / "manifest.csv"
    sick = _choose_sick(settings)
    plan = plan_traps(_list_images(settings, sick), settings.traps, settings.seed)
    try:
        for category in ("healthy", "sick"):
            (out / category).mkdir(parents=True, exist_ok=True)
        rows = [
            row
            for patient in range(settings.patients)
            for row in _write_patient(out, settings, patient, sick=patient in sick)
        ]
        if settings.traps:
            rows = carry_out(plan, out, rows)
            truth = json.dumps(plan.tell_truth(in_order(settings.traps)), indent=1)
            (out / TRUTH_NAME).write_text(truth + "\n", encoding="utf-8", newline="\n")
        pd.DataFrame(rows).to_csv(manifest, index=False, lineterminator="\n")
    except OSError as error:
        raise RunDirectoryError(f"{out}: the simulated cohort cannot be written there: {error}") from error
    _log.info("simulated %d images of %d patients in %s", len(rows), settings.patients, out)
    return manifest


def _choose_sick(settings: PhantomSettings) -> frozenset[int]:
    """Chooses which patients are sick: the asked fraction of them, but at least one and never all."""
    count = int(np.clip(round(settings.patients * settings.positive_fraction), 1, settings.patients - 1))
    order = np.random.default_rng(np.random.SeedSequence([settings.seed])).permutation(settings.patients)
    return frozenset(order[:count].tolist())


def _generator(seed: int, patient: int, image: int) -> np.random.Generator:
    """Gives the patient (image 0) and each image (from 1) a random stream of its own, whatever is drawn before."""
    return np.random.default_rng(np.random.SeedSequence([seed, patient, image]))


def _list_images(settings: PhantomSettings, sick: frozenset[int]) -> list[PlannedRecord]:
    """Lists the images of the clean cohort before any is drawn."""
    records = []
    for patient in range(settings.patients):
        category, patient_id = _name_patient(patient, sick=patient in sick)
        for image in range(1, settings.images_per_patient + 1):
            path = _name_image(category, patient_id, image, settings)
            records.append(PlannedRecord(path, category, patient_id, image))
    return records


def _name_patient(patient: int, *, sick: bool) -> tuple[str, str]:
    """Gives category and patient id."""
    return "sick" if sick else "healthy", f"P{patient + 1:04d}"


def _name_image(category: str, patient_id: str, image: int, settings: PhantomSettings) -> str:
    """Gives an image's path in the cohort's folder."""
    return f"{category}/{patient_id}.{image}.{'png' if settings.file_format == 'png' else 'txt'}"


def _write_patient(
    out: Path, settings: PhantomSettings, patient: int, *, sick: bool
) -> list[dict[str, object]]:
    """Writes the images of one patient and gives their rows of the manifest."""
    category, patient_id = _name_patient(patient, sick=sick)
    anatomy = draw_anatomy(_generator(settings.seed, patient, 0), sick=sick)
    rows = []
    for image in range(1, settings.images_per_patient + 1):
        generator = _generator(settings.seed, patient, image)
        pose = draw_pose(generator)
        temperature_c = simulate_temperature(anatomy, pose, generator)
        path = _name_image(category, patient_id, image, settings)
        if settings.file_format == "png":
            (out / path).write_bytes(encode_image(_to_grey(temperature_c), ".png"))
        else:
            _write_matrix(out / path, temperature_c)
        row = {"path": path, "category": category, "patient_id": patient_id, "view": "frontal"}
        rows.append(row | _truth(anatomy, pose))
    return rows


def _truth(anatomy: Anatomy, pose: Pose) -> dict[str, object]:
    """Gives the manifest's columns about the tumour, empty for the healthy."""
    tumour = anatomy.tumour
    if tumour is None:
        names = ("side", "depth_mm", "diameter_mm", "rise_c", "x_px", "y_px", "reach_px")
        return dict.fromkeys((f"tumour_{name}" for name in names), "")
    distance_mm = np.linspace(0.0, 4.0 * tumour.depth_mm, 400)
    rise_c = tumour_source(tumour, anatomy) * surface_rise(
        distance_mm * 1e-3, tumour.depth_mm * 1e-3, anatomy.tissue
    )
    reach_mm = np.interp(-rise_c[0] / 2, -rise_c, distance_mm)  # it only falls
    (x_px, y_px), *_ = place(np.array([(tumour.x_mm, tumour.y_mm)]), body_to_pixels(pose))
    return {
        "tumour_side": tumour.side,
        "tumour_depth_mm": round(tumour.depth_mm, 1),
        "tumour_diameter_mm": round(tumour.diameter_mm, 1),
        "tumour_rise_c": round(float(rise_c[0]), 2),
        "tumour_x_px": round(float(x_px), 1),
        "tumour_y_px": round(float(y_px), 1),
        "tumour_reach_px": round(float(reach_mm) * pose.scale / MM_PER_PX, 1),
    }


def _to_grey(temperature_c: Plane) -> Grey:
    low, high = ImageRecipe().temperature_range
    grey = np.clip(np.rint((temperature_c - low) * (255.0 / (high - low))), 0, 255)
    return np.asarray(grey, dtype=np.uint8)


def _write_matrix(path: Path, temperature_c: Plane) -> None:
    # Every number has five characters and a separator, so looking words up is far faster than formatting numbers.
    words = np.array([list(f"{value / 100:05.2f} ".encode()) for value in range(10_000)], np.uint8)
    text = words[np.clip(np.rint(temperature_c * 100), 0, 9_999).astype(np.int64)]
    text[:, -1, -1] = ord("\n")
    path.write_bytes(text.tobytes())
