"""Heat in tissue: what a buried source adds to the skin's temperature, in closed form.

The tissue is a half space of one conductivity and perfusion whose surface loses heat to the room; curvature and layers
are left out. The equation is linear, so sources add up.

Sources: Pennes, Analysis of tissue and arterial blood temperatures in the resting human forearm, J Appl Physiol 1
(1948). Carslaw and Jaeger, Conduction of Heat in Solids, 2nd edition (1959). Gautherie, Thermopathology of breast
cancer, Ann N Y Acad Sci 335 (1980). Ng and Sudharsan, An improved three-dimensional direct numerical modelling and
thermal analysis of a female breast with tumour, Proc Inst Mech Eng H 215 (2001).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tissue:
    """Constants of breast tissue, its blood and its surface.

    Conductivity and perfusion lie between those of fat (0.21 W/m/K, 2e-4 1/s) and gland (0.48 W/m/K, 5e-4 1/s), as
    collected by Ng and Sudharsan (2001).

    Attributes:
        conductivity_w_m_k: Thermal conductivity ``k``.
        perfusion_1_s: Blood perfusion rate ``w`` of healthy tissue.
        blood_heat_j_m3_k: Density times specific heat of blood, ``rho_b c_b``.
        surface_loss_w_m2_k: What the skin loses to still air by convection and radiation, ``h``.
        arterial_c: Temperature of the blood that arrives.
    """

    conductivity_w_m_k: float = 0.42
    perfusion_1_s: float = 4.0e-4
    blood_heat_j_m3_k: float = 4.0e6
    surface_loss_w_m2_k: float = 10.0
    arterial_c: float = 37.0

    @property
    def perfusion_w_m3_k(self) -> float:
        """Heat that blood gives to a volume of healthy tissue for each kelvin it is colder."""
        return self.perfusion_1_s * self.blood_heat_j_m3_k

    @property
    def diffusion_length_m(self) -> float:
        """The distance ``L = sqrt(k / (w rho_b c_b))`` over which perfusion swallows a disturbance."""
        return float(np.sqrt(self.conductivity_w_m_k / self.perfusion_w_m3_k))


def surface_rise(distance_m: NDArray[np.floating], depth_m: float, tissue: Tissue) -> NDArray[np.float64]:
    """Gives the steady rise of skin temperature above a buried point source of one watt.

    The steady bioheat equation ``k lap(T) - w rho_b c_b T + q = 0`` (Pennes, 1948) has the free-space solution
    ``exp(-R/L) / (4 pi k R)``. The skin's loss ``k dT/dz = h T`` is met by an equal image source above the skin and a
    line of negative images behind it that fades as ``exp(-h z / k)`` (Carslaw and Jaeger, Conduction of Heat in Solids,
    2nd ed. 1959, chapter 14). That line is summed by quadrature.

    Args:
        distance_m: Distances along the skin from the point above the source, any shape.
        depth_m: Depth of the source, above 0.
        tissue: The constants.

    Returns:
        Kelvin a watt, of the shape of ``distance_m``.
    """
    nodes, weights = _quadrature()
    loss_length_m = tissue.conductivity_w_m_k / tissue.surface_loss_w_m2_k
    # Logarithmic heights, because the images nearest to a shallow source count most.
    span = np.log1p(30.0 * min(loss_length_m, tissue.diffusion_length_m) / depth_m)
    heights_m = depth_m * np.exp(span * nodes)
    shares = span * weights * heights_m / loss_length_m * np.exp((depth_m - heights_m) / loss_length_m)
    square = np.asarray(distance_m, dtype=np.float64) ** 2

    def free_space(height_m: float) -> NDArray[np.float64]:
        radius = np.sqrt(square + height_m**2)
        return np.asarray(np.exp(-radius / tissue.diffusion_length_m) / radius)

    total = 2.0 * free_space(depth_m)
    for height_m, share in zip(heights_m, shares, strict=True):
        total -= 2.0 * share * free_space(height_m)
    return total / (4.0 * np.pi * tissue.conductivity_w_m_k)


@cache
def _quadrature() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gives nodes and weights of Gauss-Legendre quadrature on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(24)
    return (nodes + 1.0) / 2.0, weights / 2.0


def undisturbed_temperature(depth_m: float, skin_c: float, tissue: Tissue) -> float:
    """Gives the temperature of healthy tissue at a depth, in deg C, between the skin's and the blood's.

    One-dimensional solution of the bioheat equation without metabolism (Pennes, 1948).
    """
    return float(
        tissue.arterial_c - (tissue.arterial_c - skin_c) * np.exp(-depth_m / tissue.diffusion_length_m)
    )


def tumour_metabolism(diameter_m: float) -> float:
    """Gives the metabolic heat of a tumour in W/m3 from its diameter.

    Gautherie (1980) found the product of metabolic heat and volume-doubling time ``t`` to be constant, 3.27e6 W day/m3;
    Ng and Sudharsan (2001) give the diameter that goes with it as ``0.01 exp(0.002134 (t - 50))`` m for ``t`` above 50
    days. Smaller tumours are given those 50 days.
    """
    doubling_days = 50.0 + np.log(max(100.0 * diameter_m, 1.0)) / 0.002134
    return float(3.27e6 / doubling_days)


def tumour_power(
    diameter_m: float, perfusion_1_s: float, metabolism_w_m3: float, surroundings_c: float, tissue: Tissue
) -> float:
    """Gives the power in watts of the point source that warms the outside as a perfused sphere does.

    Inside the sphere the bioheat equation holds with the tumour's own perfusion and metabolism, outside with healthy
    tissue's; temperature and heat flow are continuous at its surface. The outer solution is ``A exp(-r/L) / r``, which
    is that of a point source of ``4 pi k A``.

    Args:
        diameter_m: Diameter of the sphere.
        perfusion_1_s: Blood perfusion rate inside.
        metabolism_w_m3: Metabolic heat inside, in excess of healthy tissue's.
        surroundings_c: Temperature of healthy tissue at that depth.
        tissue: The constants of healthy tissue.
    """
    radius = diameter_m / 2.0
    inside_w_m3_k = perfusion_1_s * tissue.blood_heat_j_m3_k
    brought = (inside_w_m3_k - tissue.perfusion_w_m3_k) * (tissue.arterial_c - surroundings_c)
    plateau_k = (metabolism_w_m3 + brought) / inside_w_m3_k
    inner = radius * np.sqrt(inside_w_m3_k / tissue.conductivity_w_m_k)
    outer = radius / tissue.diffusion_length_m
    surface = plateau_k * radius * (inner - np.tanh(inner)) / (inner + outer * np.tanh(inner))
    return float(4.0 * np.pi * tissue.conductivity_w_m_k * surface * np.exp(outer))
