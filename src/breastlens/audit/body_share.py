"""How much of where a model looks lies on the body, beside how much of the image the body covers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.evaluation.inputs import find_units
from breastlens.evaluation.resampling import bootstrap_interval, draw_figures, name_bootstrap
from breastlens.imaging.body import body_mask

DRAWS = 2000
LEVEL = 0.95


def body_shares(
    maps: NDArray[np.float32], pixels: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Measure the share of each activation map that falls on the body, and the body's share of the image.

    A map is brought to the size of its image bilinearly. One that is the same everywhere has the body's own share, so a
    share means little without the area beside it. The coarser the map, the nearer the two: a map of 4 by 4 places is
    blurred over a quarter of the image whatever the model uses.

    Args:
        maps: float32 (n, h, w), 0 or more: absolute values of the sum over stages of what
            ``models.activation_map.build_activation_map`` gives, for what speaks for either answer.
        pixels: The images they are of, uint8 (n, s, s, 3), RGB.

    Returns:
        Shares and areas, both (n,), 0 to 1. Both are NaN where no body stands out (``imaging.body.body_mask``); the
        share alone is NaN where the map is zero everywhere.

    Raises:
        ValueError: Maps and images differ in number, or a map holds values that are negative or not finite.
    """
    if maps.ndim != 3 or pixels.ndim != 4 or len(maps) != len(pixels):
        raise ValueError(
            f"expected a map (h, w) for each image (s, s, 3), got maps {maps.shape} and images {pixels.shape}"
        )
    if not (np.isfinite(maps).all() and (maps >= 0).all()):
        raise ValueError("activation maps must be finite and 0 or more")
    shares, areas = np.full(len(maps), np.nan), np.full(len(maps), np.nan)
    for row, (activation, image) in enumerate(zip(maps, pixels, strict=True)):
        body = body_mask(image)
        if body is None:
            continue
        areas[row] = body.mean()
        size = image.shape[1], image.shape[0]
        shown = cv2.resize(activation.astype(np.float64), size, interpolation=cv2.INTER_LINEAR)
        if (whole := shown.sum()) > 0:
            shares[row] = (shown * body).sum() / whole
    return shares, areas


def describe_body_share(
    shares: NDArray[np.floating], areas: NDArray[np.floating], patient_id: Sequence[str], seed: int
) -> dict[str, Any]:
    """Average the shares over images, with intervals over patients.

    Args:
        shares: Of the map that falls on the body, (n,), from ``body_shares``.
        areas: Of the image that the body covers, (n,), from the same.
        patient_id: Of each image, "" where unknown, (n,).
        seed: Of the draws.

    Returns:
        ``images``, how many were measured; ``without_body``, in how many no body stood out; ``without_map``, how many
        have a body and a map that is zero everywhere. ``share`` and ``excess`` (share minus area): the mean over the
        measured images and its 95 % bootstrap interval over patients, as ``value``, ``low``, ``high``, ``level``,
        ``method``, with a ``reason`` where low and high are None. ``area``: its mean over the same images. Where no
        image was measured these three are None and ``reason`` says why.

    Raises:
        DataError: There is not one patient id for each image, or one is not text.
        ValueError: Shares and areas differ in number.
    """
    if shares.shape != areas.shape or shares.ndim != 1:
        raise ValueError(f"expected a share and an area for each image, got {shares.shape} and {areas.shape}")
    find_units(patient_id, shares.size)  # complains of ids that are no text or too few
    measured = np.flatnonzero(~np.isnan(shares) & ~np.isnan(areas))
    without_body = int(np.isnan(areas).sum())
    found: dict[str, Any] = {
        "images": int(measured.size),
        "without_body": without_body,
        "without_map": int(shares.size - measured.size - without_body),
        "share": None,
        "area": None,
        "excess": None,
    }
    if measured.size == 0:
        return found | {"reason": _why_nothing(shares.size, without_body)}
    share, area = shares[measured].astype(np.float64), areas[measured].astype(np.float64)
    patients = [patient_id[row] for row in measured.tolist()]
    return found | {
        "share": _mean_over_patients(share, patients, seed),
        "area": float(area.mean()),
        "excess": _mean_over_patients(share - area, patients, seed),
    }


def _why_nothing(images: int, without_body: int) -> str:
    if images == 0:
        return "there is no image to measure"
    if without_body == images:
        return "no body stands out from its surroundings in any image"
    return "the activation map is zero everywhere in every image with a body"


def _mean_over_patients(values: NDArray[np.float64], patients: Sequence[str], seed: int) -> dict[str, Any]:
    """The mean of (n,) values and its interval, whole patients drawn with all their images."""
    units = find_units(patients, values.size)
    # the classes are not told apart here: one stratum holds everyone
    one_class = np.zeros(values.size, dtype=np.int64)
    method = name_bootstrap(one_class, units)
    interval: dict[str, Any] | str = "there is one patient only; drawing patients needs at least two"
    if units.count >= 2:
        drawn = draw_figures(
            lambda weights: {"mean": weights @ values / weights.sum(axis=1)}, one_class, units, seed, DRAWS
        )
        interval = bootstrap_interval(drawn["mean"], LEVEL, method)
    if isinstance(interval, str):
        return {
            "value": float(values.mean()),
            "low": None,
            "high": None,
            "level": LEVEL,
            "method": method,
            "reason": interval,
        }
    return interval
