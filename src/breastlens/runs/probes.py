"""What probes make of a cohort: of whole images, of what controls are shown, and of nuisance columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.inspection import Inspection
from breastlens.audit.judgement import corrected_auc
from breastlens.audit.matched import flagged_specifications, score_within
from breastlens.audit.nuisance import nuisance_auc
from breastlens.audit.properties import list_properties, property_matrix
from breastlens.audit.shortcuts import (
    FILE,
    Judged,
    Parts,
    Shown,
    hidden,
    occlusions,
    run_controls,
    run_label_control,
    score_control,
    show_intensity,
)
from breastlens.audit.strata import find_column
from breastlens.cohort.splits import split_folds
from breastlens.config import AuditRecipe, ImageRecipe
from breastlens.errors import MissingDependencyError, WeightsError
from breastlens.imaging.texture import texture_features
from breastlens.models.backbones import get_backbone
from breastlens.models.feature_cache import FeatureCache
from breastlens.models.feature_network import FeatureNetwork
from breastlens.progress import Progress

Images = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Features:
    """What turns squares into numbers for the probes.

    Attributes:
        facts: What to say of it: name, weights, and a note where it is not what was asked for.
        run: From uint8 (n, s, s, 3), or chunks of it, to float32 (n, d).
    """

    facts: dict[str, Any]
    run: Callable[[Images | Iterable[Images]], NDArray[np.float32]]


def choose_features(recipe: AuditRecipe, image_size: int, cache: FeatureCache) -> Features:
    """The pooled activations of the backbone; where its ImageNet weights cannot be had, features that need none.

    Where some of them were kept, nothing is built yet, and ``run`` may raise what is caught here.

    Args:
        recipe: Backbone and weights.
        image_size: Side of the squares in pixels.
        cache: Where features are kept for later.

    Raises:
        WeightsError: A weights file that was named does not fit or does not exist.
        DataError: There is no such backbone.
    """
    backbone = get_backbone(recipe.backbone)
    try:
        network = FeatureNetwork(
            backbone, image_size=image_size, weights=recipe.weights, seed=recipe.seed, cache=cache
        )
        network.require()
    except (WeightsError, MissingDependencyError) as error:
        if recipe.weights != "imagenet":
            raise
        return texture_instead(error)
    weights = network.weights
    facts = {"name": backbone.title, "weights": weights.description, "weights_sha256": weights.sha256}
    return Features(facts, network.run)


def texture_instead(reason: WeightsError | MissingDependencyError) -> Features:
    """Features that need no weights.

    Args:
        reason: Why there are none.
    """
    brief = reason.brief if isinstance(reason, WeightsError) else reason
    note = f"The probes use oriented gradients and local binary patterns, which see less than a network: {brief}."
    return Features({"name": "oriented gradients and local binary patterns", "note": note}, _texture)


def _texture(images: Images | Iterable[Images]) -> NDArray[np.float32]:
    chunks = (images,) if isinstance(images, np.ndarray) else images
    return np.concatenate([texture_features(chunk) for chunk in chunks])


@dataclass(frozen=True, eq=False)
class Probed:
    """What probes made of whole images and of what each control was shown.

    Attributes:
        y_score: Out-of-fold probability of positive from whole images, (n,).
        features: Of the whole images, (n, d).
        whole: AUC and interval from whole images.
        controls: By name, from ``describe_control``.
    """

    y_score: NDArray[np.float64]
    features: NDArray[np.float32]
    whole: dict[str, Any]
    controls: dict[str, dict[str, Any]]


def divide(seen: Inspection, folds: int, seed: int) -> Parts:
    """The folds by patient as pairs of training rows and held-out rows.

    Raises:
        SplitError: A label has too few patients for the folds.
    """
    held = split_folds(seen.used["label"].to_numpy(), seen.groups, folds, seed)
    return [(np.flatnonzero(held != fold), np.flatnonzero(held == fold)) for fold in range(folds)]


def probe_cohort(
    seen: Inspection,
    pixels: Images,
    parts: Parts,
    features: Features,
    image: ImageRecipe,
    recipe: AuditRecipe,
    progress: Progress,
) -> Probed:
    """Score whole images and every control by the same probe on the same patient-grouped folds.

    Args:
        seen: The images in use.
        pixels: Their squares, uint8 (n, s, s, 3).
        parts: From ``divide``.
        features: What turns squares into numbers.
        image: How the squares were prepared.
        recipe: Folds, seed, border.
        progress: Where to tell how far it is.
    """
    labels, patients, groups = seen.used["label"].to_numpy(), seen.used["patient_id"].tolist(), seen.groups
    known = show_properties(seen.used, seen.properties)
    shown = occlusions(image, recipe.border_px)

    def each() -> Iterator[Shown]:
        for occlusion in shown:
            inputs = features.run(hidden(pixels, occlusion, recipe.seed))
            yield Shown(occlusion.name, occlusion.what, inputs)
        yield show_intensity(pixels)
        yield from known

    with progress.task("probes", len(shown) + len(known) + 3) as advance:
        whole = features.run(pixels)
        y_score = score_control(whole, labels, groups, parts, seed=recipe.seed)
        advance(1)
        judged = Judged(labels, groups, parts, np.arange(labels.size), y_score, patients, recipe.seed)
        controls = {}
        for name, control in run_controls(each(), judged):
            controls[name] = control
            advance(1 + len(controls))
        controls["labels"] = run_label_control(whole, judged)
        advance(1 + len(controls))
    return Probed(y_score, whole, judged.describe("Whole images", y_score), controls)


def show_properties(used: pd.DataFrame, properties: pd.DataFrame) -> list[Shown]:
    """What is known of the files, for the control ``file``; empty where nothing tells one image from another.

    Args:
        used: The records in use.
        properties: How their files were made, from ``survey_images``.
    """
    known = property_matrix(list_properties(used, properties), len(used))
    return [Shown("file", FILE, known)] if known.shape[1] else []


def flag_specifications(seen: Inspection) -> list[str]:
    """What to score within: columns that tell the label, and dates whose years hardly overlap."""
    return flagged_specifications(seen.associations, seen.used, seen.properties, seen.findings)


def probe_nuisance(seen: Inspection, features: NDArray[np.floating], *, seed: int) -> list[dict[str, Any]]:
    """How well whole images give each flagged column away, within one label.

    Args:
        seen: The images in use.
        features: Of whole images, (n, d).
        seed: Of folds and draws.

    Returns:
        For each column ``column``, ``what`` was asked, ``label``, ``auc`` with its interval, ``images``, ``reason``.
    """
    labels = seen.used["label"].to_numpy()
    told = []
    for specification in flag_specifications(seen):
        column = find_column(seen.used, specification, seen.properties)
        found = nuisance_auc(features, column.tolist(), labels, seen.groups, seed=seed, name=str(column.name))
        ends = {name: found[name] for name in ("low", "high", "level", "method")}
        told.append(
            {
                "column": str(column.name),
                "what": found["asked"],
                "label": int(found["label"]),
                "auc": {"value": found["auc"]} | ends,
                "images": found["images"],
                "reason": found.get("reason", ""),
            }
        )
    return told


def describe_probed(seen: Inspection, probed: Probed, recipe: AuditRecipe) -> dict[str, Any]:
    """Whole image, controls, and the score within strata of every column that was asked for or flagged."""
    return {
        "whole": probed.whole,
        "controls": probed.controls,
        "corrected": corrected_auc(probed.whole, probed.controls["shuffled"]),
        "matched": score_within(
            seen.used,
            probed.y_score,
            dict.fromkeys([*recipe.within, *flag_specifications(seen)]),
            seed=recipe.seed,
            properties=seen.properties,
            linked=seen.groups,
        ),
        "nuisance": probe_nuisance(seen, probed.features, seed=recipe.seed),
    }
