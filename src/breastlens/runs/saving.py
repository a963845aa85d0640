"""A trained model becomes a bundle: its graph, its card, and what it needs to know when not to answer."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from breastlens.inference.thumbnails import pack_thumbnails
from breastlens.models.bundle import (
    REFERENCE,
    THUMBNAILS,
    Bundle,
    BundleCard,
    save_bundle,
    shorten_hashes,
)
from breastlens.models.engine import Engine
from breastlens.runs.abstention import Abstaining, set_abstention
from breastlens.runs.facts import describe_versions
from breastlens.runs.material import Material
from breastlens.runs.outcome import Outcome
from breastlens.runs.precision import Chosen


def teach_abstention(material: Material, outcome: Outcome, chosen: Chosen) -> Abstaining:
    """Set when the model does not answer, from features as the saved graph gives them.

    They are those of the network that the training started from, which has learnt from none of the images. Only from
    scratch are they the trained network's own.

    Args:
        material: What it was trained on.
        outcome: What was trained.
        chosen: The graph to save.
    """
    network, features = material.network, material.features

    def features_of(squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        return network.run(lambda: [squares])

    own_features = outcome.final.kept == "scratch" or chosen.used != "fp32"
    if own_features:  # else they are those of the network that the training started from
        by_graph = partial(_features_by, Engine.from_graph(chosen.graph, precision=chosen.arithmetic))
        features = by_graph(material.pixels)
    return set_abstention(
        material.used,
        _numbers(material),
        material.groups,
        material.pixels,
        features,
        by_graph if own_features else features_of,
        outcome,
        material.recipe,
    )


def save_model(
    directory: Path,
    material: Material,
    outcome: Outcome,
    chosen: Chosen,
    abstaining: Abstaining,
    created: str,
) -> Bundle:
    """Write the bundle.

    Args:
        directory: Where.
        material: What the model was trained on.
        outcome: What was trained.
        chosen: The graph to save.
        abstaining: When it does not answer.
        created: When, ISO 8601.
    """
    cohort, used = material.prepared.cohort, material.used
    point, patient = outcome.final.operating_point, outcome.final.patient_point
    card = BundleCard(
        created=created,
        backbone=material.name,
        image=cohort.image,
        labels=cohort.labels,
        categories=cohort.categories,
        precision=chosen.used,
        threshold=point.threshold,
        threshold_rule=f"{point.rule}, chosen on {outcome.final.chosen_on}",
        abstention=abstaining.card,
        operating_points=outcome.final.operating_points,
        calibration=outcome.final.calibration,
        training_prevalence=training_prevalence(material, outcome),
        patient_rule="mean" if patient is None else patient.rule,
        patient_threshold=None if patient is None else patient.threshold,
        data_fingerprint=cohort.fingerprint,
        learnt_from=shorten_hashes(used.loc[used["split"] != "test", "pixels_sha256"]),
        versions=describe_versions(),
    )
    further = {REFERENCE: abstaining.reference}
    if material.recipe.thumbnails:
        shown = np.isin(_numbers(material), abstaining.numbers)
        further[THUMBNAILS] = pack_thumbnails(material.pixels[shown], _numbers(material)[shown])
    return save_bundle(directory, outcome.network, chosen.graph, card, further)


def training_prevalence(material: Material, outcome: Outcome) -> float:
    """The share of positives that scores are made for: that of the images the calibration was fitted on."""
    labels, split = material.labels, material.split
    if "validation" not in split:
        return float(labels.mean())
    return float(labels[split == ("train" if outcome.final.kept == "probe" else "validation")].mean())


def _numbers(material: Material) -> NDArray[np.int64]:
    """What the images in use are called where they are shown as similar: their rows in records.csv, from 1."""
    table = material.prepared.cohort.table
    places = {key: row for row, key in enumerate(zip(table["path"], table["frame"], strict=True), start=1)}
    used = material.used
    return np.array([places[key] for key in zip(used["path"], used["frame"], strict=True)])


def _features_by(engine: Engine, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return engine.run(pixels)["features"]
