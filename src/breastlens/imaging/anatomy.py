"""The simulated patient: body outline, breasts, vessels and tumour, drawn at random.

Coordinates are millimetres on the body, x to the image's right and y down, with the origin on the breastbone. The
patient faces the camera with raised arms, so their right side is at negative x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.imaging.bioheat import Tissue

Points = NDArray[np.float64]

MOTTLING_MM = 40.0
_DEPTHS_MM = (2.5, 5.0, 8.0)  # a few depths only: each costs one convolution an image
_BREAST_W_M, _CHEST_W_M, _RECRUITED_W_M = (
    0.45,
    0.8,
    0.85,
)  # medians; 1 W/m at 5 mm warms the skin by about 1 K
_UPPER_OUTER_RAD = -math.pi / 4  # the quadrant in which about half of all breast tumours lie


@dataclass(frozen=True)
class Vessel:
    """A buried line source: its course (n, 2) in mm at steps of 1 mm, its depth, and the power it gives off a metre."""

    course_mm: Points
    depth_mm: float
    power_w_m: float


@dataclass(frozen=True)
class Tumour:
    """A buried heat source and the vessels it has recruited."""

    side: Literal["left", "right"]
    x_mm: float
    y_mm: float
    depth_mm: float
    diameter_mm: float
    perfusion_1_s: float
    vessels: tuple[Vessel, ...]


@dataclass(frozen=True)
class Breast:
    """One breast: its outline, what its fat takes from the skin's temperature and what the fold below it adds."""

    x_mm: float
    y_mm: float
    radius_x_mm: float
    radius_y_mm: float
    cooling_c: float
    fold_c: float
    vessels: tuple[Vessel, ...]


@dataclass(frozen=True)
class Anatomy:
    """One patient: all that is the same in each of their images.

    Attributes:
        outline_mm: Torso, arms and neck as one polygon (n, 2) that reaches beyond the picture.
        half_width_mm: From the breastbone to the side of the chest.
        breasts: The right and the left one.
        skin_c: Temperature of the skin away from everything named here.
        axilla_c: What the armpits add, right and left, before the blood's temperature sets a limit.
        neck_c: What the neck adds, likewise.
        mottling_c: Unevenness of the skin, float32 (12, 16), at points MOTTLING_MM apart about the origin.
        chest_vessels: The vessels outside the breasts.
        tissue: Constants of this patient's tissue.
        tumour: None in the healthy.
    """

    outline_mm: Points
    half_width_mm: float
    breasts: tuple[Breast, Breast]
    skin_c: float
    axilla_c: tuple[float, float]
    neck_c: float
    mottling_c: NDArray[np.float32]
    chest_vessels: tuple[Vessel, ...]
    tissue: Tissue
    tumour: Tumour | None

    @property
    def vessels(self) -> tuple[Vessel, ...]:
        """All vessels: of the chest, of both breasts, and those a tumour has recruited."""
        right, left = self.breasts
        return (
            *self.chest_vessels,
            *right.vessels,
            *left.vessels,
            *(self.tumour.vessels if self.tumour else ()),
        )


def draw_anatomy(generator: np.random.Generator, *, sick: bool) -> Anatomy:
    """Draws one patient.

    Everything but the tumour is drawn first and alike for healthy and sick, so one generator state gives the same body
    with and without it. In everyone the two breasts differ in size, height, fat and vessels.

    Args:
        generator: Where the randomness comes from.
        sick: Whether a tumour is added.
    """
    half_width = generator.uniform(140.0, 160.0)
    size, height = generator.uniform(50.0, 68.0), generator.uniform(50.0, 70.0)
    fat = generator.uniform(0.6, 1.4)
    sides = [_draw_outline(sign, half_width, generator) for sign in (-1, 1)]
    breasts = (
        _draw_breast(-1, half_width, size, height, fat, generator),
        _draw_breast(1, half_width, size, height, fat, generator),
    )
    chest_vessels = tuple(
        _draw_vessel((generator.uniform(-130, 130), generator.uniform(-150, -20)), _CHEST_W_M, generator)
        for _ in range(generator.integers(4, 9))
    )
    healthy = Anatomy(
        outline_mm=_round_corners(np.concatenate([sides[0], sides[1][::-1]])),
        half_width_mm=half_width,
        breasts=breasts,
        skin_c=generator.normal(33.2, 0.6),
        axilla_c=(generator.normal(3.1, 0.6), generator.normal(3.1, 0.6)),
        neck_c=generator.normal(2.6, 0.5),
        mottling_c=_draw_mottling(generator),
        chest_vessels=chest_vessels,
        tissue=Tissue(perfusion_1_s=generator.uniform(1.8e-4, 3.0e-4)),
        tumour=None,
    )
    return replace(healthy, tumour=_draw_tumour(breasts, generator)) if sick else healthy


def _draw_outline(sign: int, half_width: float, generator: np.random.Generator) -> Points:
    """Draws one side of the body from the waist over the armpit and the raised arm to the neck."""
    waist = half_width * generator.uniform(0.85, 0.97)
    armpit, arm = generator.normal(-55.0, 8.0), generator.normal(-150.0, 15.0)
    neck, shoulder = generator.normal(62.0, 4.0), generator.normal(-135.0, 6.0)
    arm_top = generator.normal(140.0, 12.0)
    corners = [
        (waist, 400.0),
        (waist, 130.0),
        (half_width, armpit + 45.0),
        (half_width + 6.0, armpit),
        (half_width + 35.0, armpit - 20.0),
        (330.0, arm),
        (330.0, -400.0),
        (arm_top + 80.0, -300.0),
        (arm_top, -195.0),
        (neck + 16.0, shoulder),
        (neck, shoulder - 22.0),
        (neck - 4.0, -300.0),
    ]
    return np.array(corners) * (sign, 1.0)


def _round_corners(polygon: Points) -> Points:
    """Cuts the corners of a closed polygon three times (Chaikin, 1974), which leaves a smooth curve."""
    for _ in range(3):
        following = np.roll(polygon, -1, axis=0)
        polygon = np.stack(
            [0.75 * polygon + 0.25 * following, 0.25 * polygon + 0.75 * following], axis=1
        ).reshape(-1, 2)
    return polygon


def _draw_mottling(generator: np.random.Generator) -> NDArray[np.float32]:
    """Draws two scales of unevenness: regions (abdomen, arms, one side of the chest) and patches of 40 mm."""
    regions = cv2.resize(0.45 * generator.standard_normal((3, 4)), (16, 12), interpolation=cv2.INTER_CUBIC)
    patches = generator.uniform(0.08, 0.16) * generator.standard_normal((12, 16))
    return np.asarray(regions + patches, dtype=np.float32)


def _draw_breast(
    sign: int, half_width: float, size: float, height: float, fat: float, generator: np.random.Generator
) -> Breast:
    """Draws one breast about what both share: radius and height of the nipple in mm, and how well fat insulates."""
    radius_x = size * generator.normal(1.0, 0.04)
    radius_y = 0.95 * size * generator.normal(1.0, 0.04)
    # The side of the breast may stand out over the chest, but not by more than a finger's breadth.
    x = sign * min(half_width * generator.uniform(0.52, 0.56), half_width + 8.0 - radius_x)
    y = height + generator.normal(0.0, 4.0)
    fullness = (size - 50.0) / 18.0
    starts = [
        (x + generator.uniform(-1.1, 1.1) * radius_x, y + generator.uniform(-2.0, 0.6) * radius_y)
        for _ in range(generator.integers(2, 6))
    ]
    return Breast(
        x_mm=x,
        y_mm=y,
        radius_x_mm=radius_x,
        radius_y_mm=radius_y,
        cooling_c=fat * (1.0 + 0.8 * fullness) * generator.normal(1.0, 0.1),
        fold_c=(1.2 + 1.0 * fullness) * generator.normal(1.0, 0.1),
        vessels=tuple(_draw_vessel(start, _BREAST_W_M, generator) for start in starts),
    )


def _draw_vessel(start: tuple[float, float], power_w_m: float, generator: np.random.Generator) -> Vessel:
    """Draws a vessel whose heading wanders; ``power_w_m`` is the median of what it gives off."""
    length = generator.integers(30, 100)
    turns = cv2.GaussianBlur(
        generator.normal(0.0, 0.3, (1, length)), (0, 0), 5.0, borderType=cv2.BORDER_REFLECT
    )
    heading = generator.uniform(0.0, 2.0 * math.pi) + np.cumsum(turns[0])
    return Vessel(
        course_mm=np.asarray(start) + np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0),
        depth_mm=float(generator.choice(_DEPTHS_MM)),
        power_w_m=power_w_m * generator.lognormal(0.0, 0.4),
    )


def _draw_tumour(breasts: tuple[Breast, Breast], generator: np.random.Generator) -> Tumour:
    """Draws a tumour of 15 to 40 mm whose upper surface lies 2 to 5 mm below the skin.

    The vessels it recruits start within 35 mm of it and are nearly twice as strong as others in the breast: warm
    surface veins over and around a tumour are what most thermograms of the sick show (Lawson and Chughtai, Can Med
    Assoc J 88, 1963; Gautherie, Ann N Y Acad Sci 335, 1980).
    """
    index = int(generator.integers(2))
    breast = breasts[index]
    angle = generator.normal(_UPPER_OUTER_RAD, 1.0)
    reach = generator.uniform(0.1, 0.6)
    x = breast.x_mm + math.copysign(reach * breast.radius_x_mm, breast.x_mm) * math.cos(angle)
    y = breast.y_mm + reach * breast.radius_y_mm * math.sin(angle)
    diameter = generator.uniform(15.0, 40.0)
    starts = [
        (x + generator.uniform(-35.0, 35.0), y + generator.uniform(-35.0, 35.0))
        for _ in range(generator.integers(9, 15))
    ]
    return Tumour(
        side="right" if index == 0 else "left",
        x_mm=x,
        y_mm=y,
        depth_mm=diameter / 2.0 + generator.uniform(2.0, 5.0),
        diameter_mm=diameter,
        perfusion_1_s=generator.uniform(0.008, 0.016),
        vessels=tuple(_draw_vessel(start, _RECRUITED_W_M, generator) for start in starts),
    )
