"""Simulated frontal breast thermograms for the demo and the tests: anatomy drawn at random, heat from ``bioheat``.

Coordinates of the body are millimetres, x to the image's right and y down, with the origin on the breastbone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from breastlens.config import ImageRecipe, Settings
from breastlens.errors import RunDirectoryError
from breastlens.imaging.bioheat import (
    Tissue,
    surface_rise,
    tumour_metabolism,
    tumour_power,
    undisturbed_temperature,
)

HEIGHT_PX, WIDTH_PX = 480, 640
_MM_PER_PX = 0.75
_COARSE = 2  # heat is smooth: it is computed on a grid this many times coarser and enlarged
_log = logging.getLogger(__name__)

Points = NDArray[np.float64]
Field2D = NDArray[np.float32]


class PhantomSettings(Settings):
    """What to simulate. The same settings give the same cohort."""

    patients: int = Field(default=60, ge=2)
    images_per_patient: int = Field(default=2, ge=1)
    seed: int = Field(default=0, ge=0)
    positive_fraction: float = Field(default=0.5, gt=0, lt=1)
    file_format: Literal["png", "matrix"] = "png"


@dataclass(frozen=True)
class Vessel:
    """A buried line source: its course in mm (n, 2), its depth and the power it gives off a metre."""

    course_mm: Points
    depth_mm: float
    power_w_m: float


@dataclass(frozen=True)
class Tumour:
    """A buried heat source with the vessels it has recruited."""

    side: Literal["left", "right"]
    x_mm: float
    y_mm: float
    depth_mm: float
    diameter_mm: float
    perfusion_1_s: float
    vessels: tuple[Vessel, ...]


@dataclass(frozen=True)
class Breast:
    """The outline and the insulating fat of one breast."""

    x_mm: float
    y_mm: float
    radius_x_mm: float
    radius_y_mm: float
    cooling_c: float
    fold_c: float
    vessels: tuple[Vessel, ...]


@dataclass(frozen=True)
class Anatomy:
    """One patient: what stays the same in all of their images."""

    outline_mm: Points
    breasts: tuple[Breast, Breast]
    skin_c: float
    mottling: Field2D
    mottling_c: float
    tissue: Tissue
    tumour: Tumour | None


@dataclass(frozen=True)
class Pose:
    """One image: where the patient stood, how warm they and the room were, how sharp the camera was."""

    shift_mm: tuple[float, float]
    scale: float
    angle_deg: float
    skin_offset_c: float
    room_c: float
    blur_px: float
    noise_c: float


def _wander(
    start: tuple[float, float], heading: float, length_mm: float, bend: float, generator: np.random.Generator
) -> Points:
    """Draws a smooth course of 1 mm steps whose heading changes slowly."""
    steps = max(int(length_mm), 2)
    turns = cv2.GaussianBlur(generator.normal(0.0, bend, (1, steps)), (0, 0), 6.0, borderType=cv2.BORDER_REFLECT)
    headings = heading + np.cumsum(turns[0])
    moves = np.stack([np.cos(headings), np.sin(headings)], axis=1)
    return np.asarray(start) + np.cumsum(moves, axis=0)


def _draw_breast(sign: int, half_width: float, size: float, sag: float, generator: np.random.Generator) -> Breast:
    x = sign * half_width * generator.uniform(0.50, 0.56)
    y = sag + generator.normal(0.0, 4.0)
    radius_x = size * generator.normal(1.0, 0.04)
    radius_y = 0.85 * size * generator.normal(1.0, 0.05)
    fullness = np.clip((size - 50.0) / 25.0, 0.0, 1.0)
    vessels = []
    for _ in range(generator.integers(3, 8)):
        side = generator.choice([-1, 1])
        start = (x + side * generator.uniform(20, 60), y - generator.uniform(20, 120))
        aim = np.arctan2(y + generator.normal(0, 30) - start[1], x + generator.normal(0, 30) - start[0])
        vessels.append(
            Vessel(
                _wander(start, aim, generator.uniform(30, 110), 0.25, generator),
                float(generator.choice([3.0, 5.0, 8.0])),
                float(generator.lognormal(-0.7, 0.5)),
            )
        )
    return Breast(
        x_mm=x,
        y_mm=y,
        radius_x_mm=radius_x,
        radius_y_mm=radius_y,
        cooling_c=float((0.5 + 1.3 * fullness) * generator.uniform(0.7, 1.3)),
        fold_c=float((0.3 + 0.7 * fullness) * generator.uniform(0.7, 1.3)),
        vessels=tuple(vessels),
    )


def _draw_tumour(breasts: tuple[Breast, Breast], generator: np.random.Generator) -> Tumour:
    index = int(generator.integers(2))
    breast = breasts[index]
    outward = np.sign(breast.x_mm)
    angle = generator.normal(-np.pi / 4, 1.0)  # around the upper outer quadrant, where half of all tumours are
    reach = generator.uniform(0.15, 0.7)
    x = breast.x_mm + outward * reach * breast.radius_x_mm * np.cos(angle)
    y = breast.y_mm + reach * breast.radius_y_mm * np.sin(angle)
    vessels = tuple(
        Vessel(
            _wander((x, y), generator.uniform(0, 2 * np.pi), generator.uniform(25, 60), 0.25, generator),
            5.0,
            float(generator.lognormal(-0.3, 0.3)),
        )
        for _ in range(generator.integers(2, 5))
    )
    diameter = generator.uniform(12.0, 35.0)
    return Tumour(
        side="right" if index == 0 else "left",
        x_mm=float(x),
        y_mm=float(y),
        depth_mm=float(diameter / 2 + generator.uniform(3.0, 12.0)),
        diameter_mm=float(diameter),
        perfusion_1_s=float(generator.uniform(0.005, 0.015)),
        vessels=vessels,
    )


def draw_anatomy(generator: np.random.Generator, *, sick: bool) -> Anatomy:
    """Draws one patient. Everything but the tumour is drawn first and alike for healthy and sick."""
    half_width = generator.uniform(135.0, 165.0)
    waist = half_width * generator.uniform(0.84, 0.98)
    size = generator.uniform(50.0, 70.0)
    sag = generator.uniform(45.0, 70.0)
    sides = []
    for sign in (-1, 1):
        armpit_y, arm_y = generator.normal(-55.0, 8.0), generator.normal(-130.0, 15.0)
        neck_x, shoulder_y = generator.normal(64.0, 4.0), generator.normal(-132.0, 6.0)
        top_x = generator.normal(150.0, 15.0)
        sides.append(
            np.array(
                [
                    (sign * waist, 300.0),
                    (sign * waist, 120.0),
                    (sign * half_width, armpit_y + 20.0),
                    (sign * (half_width + 8.0), armpit_y),
                    (sign * 330.0, arm_y - 40.0),
                    (sign * 330.0, -330.0),
                    (sign * (top_x + 60.0), -300.0),
                    (sign * top_x, -185.0),
                    (sign * (neck_x + 14.0), shoulder_y),
                    (sign * neck_x, shoulder_y - 20.0),
                    (sign * (neck_x - 4.0), -300.0),
                ]
            )
        )
    right = _draw_breast(-1, half_width, size, sag, generator)
    left = _draw_breast(1, half_width, size * generator.normal(1.0, 0.05), sag + generator.normal(0, 4), generator)
    breasts = (right, left)
    mottling = generator.normal(0.0, 1.0, (12, 16)).astype(np.float32)
    return Anatomy(
        outline_mm=np.concatenate([sides[0], sides[1][::-1]]),
        breasts=breasts,
        skin_c=float(generator.normal(33.4, 0.6)),
        mottling=mottling,
        mottling_c=float(generator.uniform(0.15, 0.35)),
        tissue=Tissue(perfusion_1_s=float(generator.uniform(3.0e-4, 5.0e-4))),
        tumour=_draw_tumour(breasts, generator) if sick else None,
    )


def draw_pose(generator: np.random.Generator) -> Pose:
    """Draws how one image was taken; alike for healthy and sick."""
    return Pose(
        shift_mm=(generator.normal(0.0, 6.0), generator.normal(0.0, 6.0)),
        scale=float(np.exp(generator.normal(0.0, 0.03))),
        angle_deg=generator.normal(0.0, 1.5),
        skin_offset_c=generator.normal(0.0, 0.15),
        room_c=generator.uniform(20.5, 23.0),
        blur_px=generator.uniform(0.8, 1.8),
        noise_c=generator.uniform(0.05, 0.08),
    )


def _to_pixels(pose: Pose, coarse: int) -> NDArray[np.float64]:
    """Gives the 2x3 matrix from body millimetres to pixels of a grid ``coarse`` times coarser than the image."""
    angle = np.deg2rad(pose.angle_deg)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = rotation * pose.scale / _MM_PER_PX
    shift = linear @ np.array(pose.shift_mm) + np.array([(WIDTH_PX - 1) / 2, (HEIGHT_PX - 1) / 2])
    matrix = np.column_stack([linear, shift])
    matrix[:, 2] += 0.5
    matrix /= coarse
    matrix[:, 2] -= 0.5
    return matrix


def _place(points_mm: Points, matrix: NDArray[np.float64]) -> Points:
    return np.asarray(points_mm @ matrix[:, :2].T + matrix[:, 2])


def _silhouette(anatomy: Anatomy, matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Fills the body's outline, 255 inside, at full resolution with rounded corners."""
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    turn = np.linspace(0.0, np.pi, 40)
    shapes = [anatomy.outline_mm]
    for breast in anatomy.breasts:
        lower = np.stack([breast.x_mm + breast.radius_x_mm * np.cos(turn), breast.y_mm + breast.radius_y_mm * np.sin(turn)], 1)
        shapes.append(np.vstack([lower, [(0.8 * breast.x_mm, breast.y_mm - 1.6 * breast.radius_y_mm)]]))
    for shape in shapes:
        cv2.fillPoly(mask, [np.round(_place(shape, matrix) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    softened = cv2.GaussianBlur(mask, (0, 0), 5.0)
    return np.where(softened > 127, 255, 0).astype(np.uint8)


def _breast_skin(breast: Breast, x: Field2D, y: Field2D) -> Field2D:
    """Gives what fat takes from and the fold below adds to the skin's temperature: sharp below, fading out above."""
    u = (x - breast.x_mm) / breast.radius_x_mm
    v = (y - breast.y_mm) / np.where(y > breast.y_mm, breast.radius_y_mm, 1.9 * breast.radius_y_mm)
    r = np.sqrt(u * u + v * v)
    below = np.clip(v, 0.0, 1.0)
    width = 0.05 + 0.35 * np.clip(0.3 - v, 0.0, 1.0)
    inside = 1.0 / (1.0 + np.exp(np.clip((r - 1.0) / width, -30.0, 30.0)))
    cool = -breast.cooling_c * inside * (0.3 + 0.7 * np.clip((v + 0.9) / 1.7, 0.0, 1.0))
    medial = np.clip(1.0 - 0.6 * u * np.sign(breast.x_mm), 0.2, 1.6)
    fold = breast.fold_c * (1.0 - inside) * np.exp(-(((r - 1.0) / 0.25) ** 2)) * np.clip(2.0 * below, 0, 1) * medial
    nipple = np.hypot(x - 1.1 * breast.x_mm, y - breast.y_mm - 0.25 * breast.radius_y_mm)
    return np.asarray(cool + fold - 0.5 * np.exp(-((nipple / 6.0) ** 2)), dtype=np.float32)


def _vessel_heat(vessels: Sequence[Vessel], matrix: NDArray[np.float64], tissue: Tissue, shape: tuple[int, int]) -> Field2D:
    """Adds up line sources: the power of each is spread along its course and met by the point-source response."""
    height, width = shape
    step_mm = 1.0 / float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    reach = int(np.ceil(2.5 * 1000.0 * tissue.diffusion_length_m / step_mm))
    offsets = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1]) * step_mm * 1e-3
    heat = np.zeros(shape, np.float32)
    for depth in sorted({vessel.depth_mm for vessel in vessels}):
        power = np.zeros((height + 2) * (width + 2))
        for vessel in vessels:
            if vessel.depth_mm != depth:
                continue
            places = _place(vessel.course_mm, matrix)
            places = places[((places > -1) & (places < (width, height))).all(axis=1)]
            low = np.floor(places).astype(np.int64)
            part = places - low
            for dx in (0, 1):
                for dy in (0, 1):
                    weight = (part[:, 0] if dx else 1 - part[:, 0]) * (part[:, 1] if dy else 1 - part[:, 1])
                    index = (low[:, 1] + dy + 1) * (width + 2) + low[:, 0] + dx + 1
                    power += np.bincount(index, weight * vessel.power_w_m * 1e-3, minlength=power.size)
        kernel = surface_rise(offsets, depth * 1e-3, tissue).astype(np.float32)
        source = power.reshape(height + 2, width + 2)[1:-1, 1:-1].astype(np.float32)
        heat += cv2.filter2D(source, -1, kernel, borderType=cv2.BORDER_CONSTANT)
    return heat


def _tumour_heat(tumour: Tumour, anatomy: Anatomy, x: Field2D, y: Field2D) -> Field2D:
    """Gives the rise of skin temperature over a tumour."""
    depth_m, diameter_m = tumour.depth_mm * 1e-3, tumour.diameter_mm * 1e-3
    around = undisturbed_temperature(depth_m, anatomy.skin_c, anatomy.tissue)
    power = tumour_power(diameter_m, tumour.perfusion_1_s, tumour_metabolism(diameter_m), around, anatomy.tissue)
    radii = np.linspace(0.0, 0.3, 600)
    profile = power * surface_rise(radii, depth_m, anatomy.tissue)
    distance = np.hypot(x - tumour.x_mm, y - tumour.y_mm) * 1e-3
    return np.interp(distance, radii, profile).astype(np.float32)


def simulate_temperature(anatomy: Anatomy, pose: Pose, generator: np.random.Generator) -> Field2D:
    """Simulates one thermogram.

    Args:
        anatomy: The patient.
        pose: How the image is taken.
        generator: Draws the sensor's noise.

    Returns:
        float32 (480, 640), deg C.
    """
    shape = (HEIGHT_PX // _COARSE, WIDTH_PX // _COARSE)
    coarse = _to_pixels(pose, _COARSE)
    inverse = cv2.invertAffineTransform(coarse)
    columns, rows = np.meshgrid(np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32))
    x = (inverse[0, 0] * columns + inverse[0, 1] * rows + inverse[0, 2]).astype(np.float32)
    y = (inverse[1, 0] * columns + inverse[1, 1] * rows + inverse[1, 2]).astype(np.float32)

    skin = anatomy.skin_c + pose.skin_offset_c + cv2.resize(anatomy.mottling, shape[::-1], interpolation=cv2.INTER_CUBIC) * anatomy.mottling_c
    side = np.abs(x)
    skin += 0.5 * np.exp(-((x / 35.0) ** 2) - ((y - 40.0) / 90.0) ** 2)
    skin += 0.8 * np.exp(-((x / 60.0) ** 2) - ((y + 150.0) / 45.0) ** 2)
    skin += 0.8 * np.exp(-(((side - 150.0) / 25.0) ** 2) - ((y + 55.0) / 35.0) ** 2)
    for breast in anatomy.breasts:
        skin += _breast_skin(breast, x, y)
    vessels = [vessel for breast in anatomy.breasts for vessel in breast.vessels]
    if anatomy.tumour is not None:
        vessels += anatomy.tumour.vessels
        skin += _tumour_heat(anatomy.tumour, anatomy, x, y)
    skin += _vessel_heat(vessels, coarse, anatomy.tissue, shape)

    mask = _silhouette(anatomy, _to_pixels(pose, 1))
    edge_mm = cv2.distanceTransform(mask, cv2.DIST_L2, 3) * (_MM_PER_PX / pose.scale)
    temperature = cv2.resize(skin.astype(np.float32), (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_LINEAR)
    temperature -= 1.2 * np.exp(-edge_mm / 6.0)
    temperature = np.where(mask > 0, temperature, np.float32(pose.room_c))
    temperature = cv2.GaussianBlur(temperature, (0, 0), pose.blur_px)
    return np.asarray(temperature + pose.noise_c * generator.standard_normal(temperature.shape, dtype=np.float32))


def _generator(seed: int, patient: int, image: int | None) -> np.random.Generator:
    # A stream of its own for the patient (0) and for each image (1, 2, ...), whatever the order they are made in.
    return np.random.default_rng(np.random.SeedSequence([seed, patient, 0 if image is None else image + 1]))


def _write_png(path: Path, temperature: Field2D) -> None:
    low, high = ImageRecipe().temperature_range
    grey = np.clip((temperature - low) * (255.0 / (high - low)), 0, 255)
    cv2.imwrite(str(path), np.round(grey).astype(np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 3])


def _write_matrix(path: Path, temperature: Field2D) -> None:
    # Every number is five characters and a separator, so a table of all of them is far faster than formatting each.
    words = np.array([list(f"{value / 100:05.2f} ".encode()) for value in range(10_000)], np.uint8)
    text = words[np.clip(np.round(temperature * 100), 0, 9_999).astype(np.int64)]
    text[:, -1, -1] = ord("\n")
    path.write_bytes(text.tobytes())


def write_cohort(out: Path, settings: PhantomSettings) -> Path:
    """Writes a simulated cohort: ``out/healthy``, ``out/sick`` and ``out/manifest.csv``.

    Args:
        out: A folder that does not exist yet or is empty.
        settings: What to simulate.

    Returns:
        The path of the manifest.

    Raises:
        RunDirectoryError: ``out`` holds something already or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunDirectoryError(f"{out}: expected a new or empty folder for the simulated cohort, found something in it")
    for category in ("healthy", "sick"):
        (out / category).mkdir(parents=True, exist_ok=True)
    count = int(np.clip(round(settings.patients * settings.positive_fraction), 1, settings.patients - 1))
    order = np.random.default_rng(np.random.SeedSequence([settings.seed])).permutation(settings.patients)
    sick = set(order[:count].tolist())
    rows = []
    for patient in range(settings.patients):
        anatomy = draw_anatomy(_generator(settings.seed, patient, None), sick=patient in sick)
        for image in range(settings.images_per_patient):
            generator = _generator(settings.seed, patient, image)
            pose = draw_pose(generator)
            temperature = simulate_temperature(anatomy, pose, generator)
            category, patient_id = ("sick" if patient in sick else "healthy"), f"P{patient + 1:04d}"
            suffix = "png" if settings.file_format == "png" else "txt"
            relative = f"{category}/{patient_id}.{image + 1}.{suffix}"
            (_write_png if suffix == "png" else _write_matrix)(out / relative, temperature)
            rows.append({"path": relative, "category": category, "patient_id": patient_id, "view": "frontal"})
    manifest = out / "manifest.csv"
    pd.DataFrame(rows).to_csv(manifest, index=False, lineterminator="\n")
    _log.info("simulated %d images of %d patients in %s", len(rows), settings.patients, out)
    return manifest
