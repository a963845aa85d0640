"""What stands against a trained model: its negative controls, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.audit.body_share import body_shares, describe_body_share
from breastlens.audit.finding import Finding
from breastlens.audit.inspection import Inspection
from breastlens.audit.judgement import corrected_auc, judge_controls
from breastlens.audit.labels import find_doubtful_labels
from breastlens.audit.matched import score_within
from breastlens.audit.shortcuts import (
    FitProbe,
    Judged,
    Shown,
    run_controls,
    run_label_control,
    score_control,
    show_intensity,
)
from breastlens.config import AuditRecipe
from breastlens.errors import SplitError
from breastlens.models.engine import Engine
from breastlens.progress import Progress
from breastlens.runs.material import Material, chosen_occlusions
from breastlens.runs.outcome import Outcome
from breastlens.runs.preparation import Prepared
from breastlens.runs.probes import divide, flag_specifications, probe_nuisance, show_properties

MAPPED = 256
"""So many of the judged images are asked where the model looks; more would hardly narrow the interval."""


@dataclass(frozen=True, eq=False)
class Doubts:
    """What stands against a trained model.

    Attributes:
        metrics: What metrics.json says of it: ``controls``, ``corrected``, ``matched``, ``nuisance``, ``activation``.
        findings: What follows from it.
    """

    metrics: dict[str, Any]
    findings: list[Finding]


def doubt_model(material: Material, outcome: Outcome, engine: Engine, progress: Progress) -> Doubts:
    """Hold controls against a trained model where that was judged, and show it images without the breast.

    Args:
        material: What it was trained on.
        outcome: What was trained.
        engine: The same, as it was saved.
        progress: Where to tell how far it is.
    """
    prepared, seen, used, fit = material.prepared, material.seen, material.used, material.fit_probe
    features, labels, seed = material.features, material.labels, material.recipe.seed
    held = material.split[outcome.scored] != "validation"
    rows = outcome.scored[held]
    judged = Judged(
        labels,
        seen.groups,
        outcome.held_out_from,
        rows,
        outcome.y_score[held],
        used["patient_id"].iloc[rows].tolist(),
        seed,
    )
    named = {each.name: each for each in chosen_occlusions(prepared.cohort.image, audit=True)}
    shown = [Shown(name, named[name].what, each.features, fit) for name, each in material.occluded.items()]
    shown.append(show_intensity(seen.loaded.pixels))
    if prepared.audited:
        shown += show_properties(used.drop(columns="split"), seen.properties)
    controls: dict[str, dict[str, Any]] = {}
    with progress.task("negative controls", len(shown) + int(prepared.audited)) as advance:
        for name, control in run_controls(shown, judged):
            controls[name] = control | {"same_model": _score_same_model(name, judged, outcome, held)}
            advance(len(controls))
        if prepared.audited:
            controls["labels"] = run_label_control(features, judged, fit)
            advance(len(controls))
    metrics: dict[str, Any] = {
        "controls": controls,
        "matched": score_within(
            seen.used,
            judged.y_score,
            flag_specifications(seen),
            seed=seed,
            properties=seen.properties,
            linked=seen.groups,
            rows=rows,
        ),
    }
    findings: list[Finding] = []
    if prepared.audited:
        whole = judged.describe("Whole images", judged.y_score)
        metrics["corrected"] = corrected_auc(whole, controls["shuffled"])
        metrics["nuisance"] = probe_nuisance(seen, features, seed=seed)
        metrics["activation"] = _measure_activation(engine, prepared, rows, judged)
        findings = judge_controls(controls, rows.size)
        findings += _doubt_labels(seen, features, outcome, fit, seed)
    return Doubts(metrics, findings)


def _score_same_model(
    name: str, judged: Judged, outcome: Outcome, held: NDArray[np.bool_]
) -> dict[str, Any] | None:
    """What the trained model itself says of the occluded images; None of what is no image."""
    if name not in outcome.occluded:
        return None
    scores = outcome.occluded[name][held]
    found = judged.describe("", scores)
    return {key: value for key, value in found.items() if key != "what"}


def _measure_activation(
    engine: Engine, prepared: Prepared, rows: NDArray[np.integer], judged: Judged
) -> dict[str, Any]:
    """How much of where the saved model looks lies on the body, on images spread evenly over the judged ones."""
    chosen = np.unique(np.linspace(0, rows.size - 1, min(MAPPED, rows.size)).astype(np.int64))
    pixels = prepared.seen.loaded.pixels[rows[chosen]]
    # what speaks for either answer counts alike: positive values alone would leave the map of the healthy all but empty
    maps = np.abs(engine.run(pixels)["activation_map"].sum(axis=1))
    patients = [judged.patient_id[one] for one in chosen]
    found = describe_body_share(*body_shares(maps, pixels), patients, judged.seed)
    return found | {"map": list(maps.shape[1:])}


def _doubt_labels(
    seen: Inspection, features: NDArray[np.float32], outcome: Outcome, fit: FitProbe, seed: int
) -> list[Finding]:
    """Labels that models disagree with which have not seen the image: those of the folds, else probes."""
    y_score = outcome.y_score
    if outcome.scored.size < len(seen.used):
        try:
            parts = divide(seen, AuditRecipe().folds, seed)
        except SplitError:  # too few patients to ask
            return []
        y_score = score_control(
            features, seen.used["label"].to_numpy(), seen.groups, parts, seed=seed, fit=fit
        )
    return find_doubtful_labels(seen.used, y_score, seed=seed, linked=seen.groups)
