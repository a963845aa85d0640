"""The simulated camera: one patient in one pose becomes one thermogram.

The body comes from ``anatomy``, the heat of what lies beneath its skin from ``bioheat``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.imaging.anatomy import MOTTLING_MM, Anatomy, Breast, Points, Tumour
from breastlens.imaging.bioheat import (
    Tissue,
    surface_rise,
    tumour_metabolism,
    tumour_power,
    undisturbed_temperature,
)

HEIGHT_PX, WIDTH_PX = 480, 640
MM_PER_PX = 0.75
_BREASTBONE_C, _NIPPLE_C, _RIM_C = 0.5, 0.5, 1.5  # warmer, colder, colder than the skin around
_COARSE = 2  # heat is smooth: it is computed on a grid this many times coarser, then enlarged

Plane = NDArray[np.float32]
Affine = NDArray[np.float64]


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
    mask = _silhouette(anatomy, body_to_pixels(pose))
    skin = cv2.resize(_skin(anatomy, pose), (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_LINEAR)
    # Skin that turns away from the camera looks colder: it emits less towards it and is thinner at the rim.
    rim_mm = cv2.distanceTransform(mask, cv2.DIST_L2, 3) * np.float32(MM_PER_PX / pose.scale)
    skin -= _RIM_C * np.exp(rim_mm * np.float32(-1.0 / 7.0))
    skin[mask == 0] = pose.room_c
    seen = cv2.GaussianBlur(skin, (0, 0), pose.blur_px)
    seen += np.float32(pose.noise_c) * generator.standard_normal(seen.shape, dtype=np.float32)
    return np.asarray(seen, dtype=np.float32)


def body_to_pixels(pose: Pose) -> Affine:
    """Gives the (2, 3) matrix from millimetres on the body to pixels (x, y) of the image."""
    angle = np.deg2rad(pose.angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn * (pose.scale / MM_PER_PX)
    centre = np.array([(WIDTH_PX - 1) / 2, (HEIGHT_PX - 1) / 2])
    return np.asarray(np.column_stack([linear, linear @ np.array(pose.shift_mm) + centre]), dtype=np.float64)


def place(points_mm: Points, matrix: Affine) -> Points:
    """Moves points (n, 2) by a (2, 3) matrix."""
    return np.asarray(points_mm @ matrix[:, :2].T + matrix[:, 2], dtype=np.float64)


def tumour_source(tumour: Tumour, anatomy: Anatomy) -> float:
    """Gives the power in watts of the point source that stands for a tumour in its patient."""
    diameter_m = tumour.diameter_mm * 1e-3
    around_c = undisturbed_temperature(tumour.depth_mm * 1e-3, anatomy.skin_c, anatomy.tissue)
    metabolism = tumour_metabolism(diameter_m)
    return tumour_power(diameter_m, tumour.perfusion_1_s, metabolism, around_c, anatomy.tissue)


def _coarsen(matrix: Affine) -> Affine:
    """Turns a matrix to pixels of the image into one to pixels of the coarse grid, centres on centres."""
    half_px = np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5]])
    return np.asarray((matrix + half_px) / _COARSE - half_px, dtype=np.float64)


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
        cv2.fillPoly(mask, [np.rint(place(shape, matrix) * 16).astype(np.int32)], 255, cv2.LINE_8, 4)
    return np.where(cv2.GaussianBlur(mask, (0, 0), 5.0) > 127, np.uint8(255), np.uint8(0))


def _skin(anatomy: Anatomy, pose: Pose) -> Plane:
    """Gives the skin's temperature over the whole coarse grid, float32, as if the body filled the picture."""
    matrix = _coarsen(body_to_pixels(pose))
    height, width = HEIGHT_PX // _COARSE, WIDTH_PX // _COARSE
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    inverse = cv2.invertAffineTransform(matrix).astype(np.float32)
    x, y = (line[0] * columns + line[1] * rows + line[2] for line in inverse)

    above = _mottling(anatomy.mottling_c, matrix, (height, width))
    above += _BREASTBONE_C * _warm_spot(x, y, 0.0, 40.0, 35.0, 90.0)
    above += anatomy.neck_c * _warm_spot(x, y, 0.0, -160.0, 60.0, 50.0)
    for sign, axilla_c in zip((-1, 1), anatomy.axilla_c, strict=True):
        above += axilla_c * _warm_spot(x, y, sign * anatomy.half_width_mm, -55.0, 28.0, 38.0)
    for breast in anatomy.breasts:
        above += _breast_skin(breast, x, y)
    above += _vessel_rise(anatomy, matrix, (height, width))
    tumour = anatomy.tumour
    if tumour is not None:
        distance_m = np.hypot(x - tumour.x_mm, y - tumour.y_mm) * 1e-3
        above += tumour_source(tumour, anatomy) * _tabulated_rise(distance_m, tumour.depth_mm, anatomy.tissue)
    # All warmth comes from the same blood: however much of it overlaps, the skin only approaches its temperature.
    skin_c = anatomy.skin_c + pose.skin_offset_c
    headroom_c = anatomy.tissue.arterial_c - skin_c
    warmer = -headroom_c * np.expm1(-np.maximum(above, 0.0) / headroom_c)
    return np.asarray(skin_c + np.minimum(above, 0.0) + warmer, dtype=np.float32)


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
    """Gives a round hill of height 1 that falls to 1/e at the given width and height from its middle."""
    hill = np.exp(-(((x - x_mm) / width_mm) ** 2) - ((y - y_mm) / height_mm) ** 2)
    return np.asarray(hill, dtype=np.float32)


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
    nipple = _NIPPLE_C * _warm_spot(
        x, y, 1.1 * breast.x_mm, breast.y_mm + 0.25 * breast.radius_y_mm, 6.0, 6.0
    )
    return np.asarray(fold - cooling - nipple, dtype=np.float32)


def _vessel_rise(anatomy: Anatomy, matrix: Affine, shape: tuple[int, int]) -> Plane:
    """Adds up line sources: each one's power lies along its course and is convolved with the point-source response."""
    step_mm = 1.0 / float(np.sqrt(np.linalg.det(matrix[:, :2])))
    reach = int(np.ceil(3.5e3 * anatomy.tissue.diffusion_length_m / step_mm))
    offsets_m = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1]) * step_mm * 1e-3
    rise = np.zeros(shape, np.float32)
    for depth_mm in sorted({vessel.depth_mm for vessel in anatomy.vessels}):
        vessels = [vessel for vessel in anatomy.vessels if vessel.depth_mm == depth_mm]
        places = place(np.concatenate([vessel.course_mm for vessel in vessels]), matrix)
        powers_w = np.concatenate(
            [np.full(len(vessel.course_mm), vessel.power_w_m * 1e-3) for vessel in vessels]
        )
        response = _tabulated_rise(offsets_m, depth_mm, anatomy.tissue)
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
    shares = {
        0: (1 - right) * (1 - below),
        1: right * (1 - below),
        width: (1 - right) * below,
        width + 1: right * below,
    }
    indices = np.concatenate([index + offset for offset in shares])
    weights = np.concatenate([share * powers_w for share in shares.values()])
    return np.bincount(indices, weights, minlength=height * width).reshape(shape).astype(np.float32)


def _tabulated_rise(distance_m: NDArray[np.floating], depth_mm: float, tissue: Tissue) -> Plane:
    """Gives the skin's rise over a point source of one watt, looked up in a table since planes are large."""
    table_m = np.linspace(0.0, float(distance_m.max()), 1500)
    looked_up = np.interp(distance_m, table_m, surface_rise(table_m, depth_mm * 1e-3, tissue))
    return np.asarray(looked_up, dtype=np.float32)
