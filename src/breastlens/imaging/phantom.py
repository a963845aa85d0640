"""Simulated frontal breast thermograms for the demo and the tests, written as a cohort with its manifest.

The body is drawn by ``anatomy``, the heat of what lies beneath the skin comes from ``bioheat``, and this file is the camera.
"""

from __future__ import annotations

import logging
import math
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
from breastlens.imaging.anatomy import MOTTLING_MM, Anatomy, Breast, Points, Tumour, draw_anatomy
from breastlens.imaging.bioheat import (
    Tissue,
    surface_rise,
    tumour_metabolism,
    tumour_power,
    undisturbed_temperature,
)

HEIGHT_PX, WIDTH_PX = 480, 640
MM_PER_PX = 0.75
_COARSE = 2  # heat is smooth: it is computed on a grid this many times coarser, then enlarged
_PROFILE_M = np.linspace(0.0, 0.7, 2801)  # distances along the skin at which a response is tabulated

_log = logging.getLogger(__name__)

Plane = NDArray[np.float32]
Affine = NDArray[np.float64]


class PhantomSettings(Settings):
    """What to simulate. The same settings give the same cohort."""

    patients: int = Field(default=60, ge=2)
    images_per_patient: int = Field(default=2, ge=1)
    seed: int = Field(default=0, ge=0)
    positive_fraction: float = Field(default=0.5, gt=0, lt=1)
    file_format: Literal["png", "matrix"] = "png"


@dataclass(frozen=True)
class Pose:
    """One image: where the patient stood, how warm they and the room were, how sharp and noisy the camera was."""

    shift_mm: tuple[float, float]
    scale: float
    angle_deg: float
    skin_offset_c: float
    room_c: float
    blur_px: float
    noise_c: float


def draw_pose(generator: np.random.Generator) -> Pose:
    """Draws how one image is taken, alike for healthy and sick.

    The room is held at 21 to 22.5 deg C as protocols for breast thermography ask; the noise is that of an uncooled
    camera (noise-equivalent temperature difference of 0.05 to 0.08 K).
    """
    return Pose(
        shift_mm=(generator.normal(0.0, 4.0), generator.normal(0.0, 4.0)),
        scale=float(np.exp(generator.normal(0.0, 0.02))),
        angle_deg=generator.normal(0.0, 1.0),
        skin_offset_c=generator.normal(0.0, 0.15),
        room_c=generator.uniform(21.0, 22.5),
        blur_px=generator.uniform(0.8, 1.8),
        noise_c=generator.uniform(0.05, 0.08),
    )


def simulate_temperature(anatomy: Anatomy, pose: Pose, generator: np.random.Generator) -> Plane:
    """Simulates one thermogram.

    Args:
        anatomy: The patient.
        pose: How the image is taken.
        generator: Where the sensor's noise comes from.

    Returns:
        float32 (480, 640), deg C.
    """
    mask = _silhouette(anatomy, _body_to_pixels(pose))
    skin = cv2.resize(_skin(anatomy, pose), (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_LINEAR)
    # Skin that turns away from the camera looks colder: it emits less towards it and is thinner at the rim.
    rim_mm = cv2.distanceTransform(mask, cv2.DIST_L2, 3) * np.float32(MM_PER_PX / pose.scale)
    skin -= 1.5 * np.exp(rim_mm * np.float32(-1.0 / 7.0))
    skin[mask == 0] = pose.room_c
    seen = cv2.GaussianBlur(skin, (0, 0), pose.blur_px)
    seen += np.float32(pose.noise_c) * generator.standard_normal(seen.shape, dtype=np.float32)
    return np.asarray(seen, dtype=np.float32)


def write_cohort(out: Path, settings: PhantomSettings) -> Path:
    """Writes a simulated cohort: images in ``out/healthy`` and ``out/sick`` and ``out/manifest.csv``.

    PNG is 8-bit grey on the temperature range that ImageRecipe maps by default (20 to 38 deg C); ``matrix`` is text in
    deg C with two decimals. The manifest has a row an image: path, category, patient_id, view, and what was simulated:
    tumour_side, tumour_depth_mm (of its centre), tumour_diameter_mm, tumour_rise_c (of the skin above it, without
    vessels), tumour_x_px and tumour_y_px (in that image), empty for the healthy.

    Args:
        out: A folder that does not exist yet or is empty.
        settings: What to simulate.

    Returns:
        The path of the manifest.

    Raises:
        RunDirectoryError: ``out`` is not a new or empty folder, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunDirectoryError(
            f"{out}: expected a new or empty folder for the simulated cohort, found something there; "
            "name another folder or remove this one"
        )
    manifest = out / "manifest.csv"
    try:
        for category in ("healthy", "sick"):
            (out / category).mkdir(parents=True, exist_ok=True)
        sick = _choose_sick(settings)
        rows = [
            row
            for patient in range(settings.patients)
            for row in _write_patient(out, settings, patient, sick=patient in sick)
        ]
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


def _write_patient(out: Path, settings: PhantomSettings, patient: int, *, sick: bool) -> list[dict[str, object]]:
    """Writes the images of one patient and gives their rows of the manifest."""
    category, patient_id = "sick" if sick else "healthy", f"P{patient + 1:04d}"
    anatomy = draw_anatomy(_generator(settings.seed, patient, 0), sick=sick)
    rows = []
    for image in range(1, settings.images_per_patient + 1):
        generator = _generator(settings.seed, patient, image)
        pose = draw_pose(generator)
        temperature_c = simulate_temperature(anatomy, pose, generator)
        if settings.file_format == "png":
            path = f"{category}/{patient_id}.{image}.png"
            _write_png(out / path, temperature_c)
        else:
            path = f"{category}/{patient_id}.{image}.txt"
            _write_matrix(out / path, temperature_c)
        row = {"path": path, "category": category, "patient_id": patient_id, "view": "frontal"}
        rows.append(row | _truth(anatomy, pose))
    return rows


def _truth(anatomy: Anatomy, pose: Pose) -> dict[str, object]:
    """Gives the manifest's columns about the tumour, empty for the healthy."""
    tumour = anatomy.tumour
    if tumour is None:
        names = ("side", "depth_mm", "diameter_mm", "rise_c", "x_px", "y_px")
        return dict.fromkeys((f"tumour_{name}" for name in names), "")
    (x_px, y_px), *_ = _transform(np.array([(tumour.x_mm, tumour.y_mm)]), _body_to_pixels(pose))
    return {
        "tumour_side": tumour.side,
        "tumour_depth_mm": round(tumour.depth_mm, 1),
        "tumour_diameter_mm": round(tumour.diameter_mm, 1),
        "tumour_rise_c": round(float(_tumour_profile(tumour, anatomy)[0]), 2),
        "tumour_x_px": round(float(x_px), 1),
        "tumour_y_px": round(float(y_px), 1),
    }


def _write_png(path: Path, temperature_c: Plane) -> None:
    low, high = ImageRecipe().temperature_range
    grey = np.clip(np.rint((temperature_c - low) * (255.0 / (high - low))), 0, 255).astype(np.uint8)
    coded, data = cv2.imencode(".png", grey, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not coded:
        raise OSError(f"OpenCV could not encode {path.name} as PNG")
    path.write_bytes(data.tobytes())


def _write_matrix(path: Path, temperature_c: Plane) -> None:
    # Every number has five characters and a separator, so looking words up is far faster than formatting numbers.
    words = np.array([list(f"{value / 100:05.2f} ".encode()) for value in range(10_000)], np.uint8)
    text = words[np.clip(np.rint(temperature_c * 100), 0, 9_999).astype(np.int64)]
    text[:, -1, -1] = ord("\n")
    path.write_bytes(text.tobytes())


def _body_to_pixels(pose: Pose) -> Affine:
    """Gives the (2, 3) matrix from millimetres on the body to pixels (x, y) of the image."""
    angle = np.deg2rad(pose.angle_deg)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * pose.scale / MM_PER_PX
    centre = np.array([(WIDTH_PX - 1) / 2, (HEIGHT_PX - 1) / 2])
    return np.column_stack([linear, linear @ np.array(pose.shift_mm) + centre])


def _coarsen(matrix: Affine) -> Affine:
    """Turns a matrix to pixels of the image into one to pixels of the coarse grid, centres on centres."""
    shifted = matrix + np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5]])
    return shifted / _COARSE - np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5]])


def _transform(points_mm: Points, matrix: Affine) -> Points:
    return np.asarray(points_mm @ matrix[:, :2].T + matrix[:, 2])


def _silhouette(anatomy: Anatomy, matrix: Affine) -> NDArray[np.uint8]:
    """Fills body and breasts: uint8 (480, 640), 255 inside."""
    half_turn = np.linspace(0.0, np.pi, 40)
    shapes = [anatomy.outline_mm]
    for breast in anatomy.breasts:
        x = breast.x_mm + breast.radius_x_mm * np.cos(half_turn)
        y = breast.y_mm + breast.radius_y_mm * np.sin(half_turn)
        armpit = (math.copysign(anatomy.half_width_mm - 10.0, breast.x_mm), -40.0)
        shapes.append(np.vstack([np.column_stack([x, y]), armpit]))
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    for shape in shapes:
        cv2.fillPoly(mask, [np.rint(_transform(shape, matrix) * 16).astype(np.int32)], 255, cv2.LINE_8, 4)
    return np.where(cv2.GaussianBlur(mask, (0, 0), 5.0) > 127, np.uint8(255), np.uint8(0))


def _skin(anatomy: Anatomy, pose: Pose) -> Plane:
    """Gives the skin's temperature over the whole coarse grid, float32, as if the body filled the picture."""
    matrix = _coarsen(_body_to_pixels(pose))
    height, width = HEIGHT_PX // _COARSE, WIDTH_PX // _COARSE
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    inverse = cv2.invertAffineTransform(matrix).astype(np.float32)
    x, y = (line[0] * columns + line[1] * rows + line[2] for line in inverse)

    skin = _mottling(anatomy.mottling_c, matrix, (height, width))
    skin += np.float32(anatomy.skin_c + pose.skin_offset_c)
    skin += 0.5 * _warm_spot(x, y, 0.0, 40.0, 35.0, 90.0)
    skin += anatomy.neck_c * _warm_spot(x, y, 0.0, -160.0, 60.0, 50.0)
    for sign, axilla_c in zip((-1, 1), anatomy.axilla_c, strict=True):
        skin += axilla_c * _warm_spot(x, y, sign * anatomy.half_width_mm, -55.0, 28.0, 38.0)
    for breast in anatomy.breasts:
        skin += _breast_skin(breast, x, y)

    rise = _vessel_rise(anatomy, matrix, (height, width))
    if anatomy.tumour is not None:
        distance_m = np.hypot(x - anatomy.tumour.x_mm, y - anatomy.tumour.y_mm) * 1e-3
        rise += np.interp(distance_m, _PROFILE_M, _tumour_profile(anatomy.tumour, anatomy))
    # All sources feed on the same blood: however many overlap, the skin only approaches its temperature.
    headroom = anatomy.tissue.arterial_c - skin
    return np.asarray(skin - headroom * np.expm1(-rise / headroom), dtype=np.float32)


def _mottling(points_c: Plane, matrix: Affine, shape: tuple[int, int]) -> Plane:
    """Interpolates the skin's unevenness over the coarse grid, fixed to the body."""
    rows, columns = points_c.shape
    to_body = np.array([[1.0, 0.0, -(columns - 1) / 2], [0.0, 1.0, -(rows - 1) / 2]]) * MOTTLING_MM
    to_pixels = matrix @ np.vstack([to_body, [0.0, 0.0, 1.0]])
    spread = cv2.warpAffine(
        points_c, to_pixels, shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(spread, dtype=np.float32)


def _warm_spot(x: Plane, y: Plane, x_mm: float, y_mm: float, width_mm: float, height_mm: float) -> Plane:
    return np.asarray(np.exp(-(((x - x_mm) / width_mm) ** 2) - ((y - y_mm) / height_mm) ** 2), dtype=np.float32)


def _breast_skin(breast: Breast, x: Plane, y: Plane) -> Plane:
    """Gives what a breast changes: colder by its fat, most below and with a sharp lower edge; a warm fold under it."""
    outwards = math.copysign(1.0, breast.x_mm)
    across = (x - breast.x_mm) / breast.radius_x_mm
    down = (y - breast.y_mm) / breast.radius_y_mm
    down *= np.where(down > 0, np.float32(1.0), np.float32(0.5))
    radius = np.sqrt(across * across + down * down)
    edge = 0.05 + 0.35 * np.clip(0.4 - down, 0.0, 1.0)
    inside = 1.0 / (1.0 + np.exp(np.clip((radius - 1.0) / edge, -30.0, 30.0)))
    cooling = breast.cooling_c * inside * (0.25 + 0.75 * np.clip((down + 0.9) / 1.7, 0.0, 1.0))
    medial = np.clip(1.0 - 0.6 * outwards * across, 0.2, 1.6)
    below = np.clip(2.0 * down, 0.0, 1.0)
    fold = breast.fold_c * medial * below * (1.0 - inside) * np.exp(-(((radius - 1.0) / 0.25) ** 2))
    areola = 0.5 * _warm_spot(x, y, 1.1 * breast.x_mm, breast.y_mm + 0.25 * breast.radius_y_mm, 6.0, 6.0)
    return np.asarray(fold - cooling - areola, dtype=np.float32)


def _vessel_rise(anatomy: Anatomy, matrix: Affine, shape: tuple[int, int]) -> Plane:
    """Adds up line sources: each one's power lies along its course and is convolved with the point-source response."""
    step_mm = 1.0 / float(np.sqrt(np.linalg.det(matrix[:, :2])))
    reach = int(np.ceil(3.5e3 * anatomy.tissue.diffusion_length_m / step_mm))
    offsets_m = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1]) * step_mm * 1e-3
    rise = np.zeros(shape, np.float32)
    for depth_mm in sorted({vessel.depth_mm for vessel in anatomy.vessels}):
        vessels = [vessel for vessel in anatomy.vessels if vessel.depth_mm == depth_mm]
        places = _transform(np.concatenate([vessel.course_mm for vessel in vessels]), matrix)
        powers_w = np.concatenate([np.full(len(vessel.course_mm), vessel.power_w_m * 1e-3) for vessel in vessels])
        response = np.interp(offsets_m, _PROFILE_M, _response(depth_mm, anatomy.tissue)).astype(np.float32)
        rise += cv2.filter2D(_spread(places, powers_w, shape), -1, response, borderType=cv2.BORDER_CONSTANT)
    return rise


def _spread(places: Points, powers_w: Points, shape: tuple[int, int]) -> Plane:
    """Puts point powers (n,) at places (n, 2) on a grid, each shared among its four nearest pixels."""
    height, width = shape
    within = ((places >= 0) & (places < (width - 1, height - 1))).all(axis=1)
    places, powers_w = places[within], powers_w[within]
    corner = np.floor(places).astype(np.int64)
    right, below = (places - corner).T
    index = corner[:, 1] * width + corner[:, 0]
    shares = {0: (1 - right) * (1 - below), 1: right * (1 - below), width: (1 - right) * below, width + 1: right * below}
    indices = np.concatenate([index + offset for offset in shares])
    weights = np.concatenate([share * powers_w for share in shares.values()])
    return np.bincount(indices, weights, minlength=height * width).reshape(shape).astype(np.float32)


def _response(depth_mm: float, tissue: Tissue) -> Points:
    """Tabulates the skin's rise over a point source of one watt at the distances of the profile."""
    return surface_rise(_PROFILE_M, depth_mm * 1e-3, tissue)


def _tumour_profile(tumour: Tumour, anatomy: Anatomy) -> Points:
    """Tabulates the skin's rise over a tumour at the distances of the profile."""
    diameter_m = tumour.diameter_mm * 1e-3
    around_c = undisturbed_temperature(tumour.depth_mm * 1e-3, anatomy.skin_c, anatomy.tissue)
    metabolism = tumour_metabolism(diameter_m)
    power_w = tumour_power(diameter_m, tumour.perfusion_1_s, metabolism, around_c, anatomy.tissue)
    return power_w * _response(tumour.depth_mm, anatomy.tissue)
