"""The audit: what would make a reported score false, and what a model scores without seeing the breast."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.acquisition import Association, measure_associations
from breastlens.audit.files import find_file_problems, measure_files
from breastlens.audit.finding import Finding, most_severe_first
from breastlens.audit.findings import find_problems
from breastlens.audit.labels import find_doubtful_labels, find_inverted_labels
from breastlens.audit.matched import flagged_columns, nuisance_auc, score_within, strata
from breastlens.audit.near_duplicates import find_near_duplicate_problems
from breastlens.audit.properties import list_properties, property_matrix, read_properties
from breastlens.audit.shortcuts import (
    CHUNK,
    INTENSITY,
    corrected_auc,
    describe_control,
    describe_scores,
    hidden,
    judge_controls,
    occlusions,
    score_control,
    shuffle_labels,
)
from breastlens.cohort.batches import load_images, read_thumbnails
from breastlens.cohort.near_duplicates import duplicate_components, find_near_duplicates
from breastlens.cohort.records import Cohort
from breastlens.cohort.splits import split_folds, split_groups
from breastlens.config import AuditRecipe
from breastlens.errors import DataError, MissingDependencyError, SplitError, WeightsError
from breastlens.imaging.occlusions import intensity_statistics
from breastlens.imaging.texture import texture_features
from breastlens.inference.predictor import Predictor, load
from breastlens.models.backbones import get_backbone
from breastlens.models.classifier import build_features
from breastlens.models.engine import Engine
from breastlens.models.weights import resolve_weights
from breastlens.progress import Progress
from breastlens.report.audit_figures import draw_controls, draw_sheet
from breastlens.report.audit_files import FINDINGS_NAME, AuditFacts
from breastlens.report.audit_page import write_audit_page
from breastlens.report.audit_wording import SEEN, audit_verdict
from breastlens.runs.directory import FORMAT, new_directory, write_json, write_table
from breastlens.runs.facts import Stopwatch, describe_data, describe_machine, describe_versions
from breastlens.runs.settings import checked
from breastlens.runs.tables import records_table

Images = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Features:
    """What turns squares into numbers for the probes.

    Attributes:
        facts: What to say of it: name, weights, and a note where it is not what was asked for.
        run: From chunks of uint8 (k, s, s, 3) to float32 (n, d).
    """

    facts: dict[str, Any]
    run: Callable[[Iterable[Images]], NDArray[np.float32]]


def choose_features(recipe: AuditRecipe, image_size: int) -> Features:
    """The pooled activations of the backbone; where its ImageNet weights cannot be had, features that need none.

    Args:
        recipe: Backbone and weights.
        image_size: Side of the squares in pixels.

    Raises:
        WeightsError: A weights file that was named does not fit or does not exist.
        DataError: There is no such backbone.
    """
    backbone = get_backbone(recipe.backbone)
    try:
        weights = resolve_weights(recipe.weights, backbone)
        network = build_features(backbone, image_size=image_size, weights=recipe.weights, seed=recipe.seed)
    except (WeightsError, MissingDependencyError) as error:
        if recipe.weights != "imagenet":
            raise
        note = (
            f"No ImageNet weights could be had ({error}), so the probes use oriented gradients and local binary "
            "patterns, which see less."
        )
        return Features(
            {"name": "oriented gradients and local binary patterns", "note": note},
            lambda chunks: np.concatenate([texture_features(chunk) for chunk in chunks]),
        )
    engine = Engine.from_keras(network)
    facts = {"name": backbone.title, "weights": weights.description, "weights_sha256": weights.sha256}
    return Features(facts, lambda chunks: engine.run(chunks)["features"])


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


def probe_cohort(
    used: pd.DataFrame,
    pixels: Images,
    groups: NDArray[np.int64],
    properties: NDArray[np.float64] | None,
    features: Features,
    recipe: AuditRecipe,
    progress: Progress,
) -> Probed:
    """Score whole images and every control by the same probe on the same patient-grouped folds.

    Args:
        used: The records in use.
        pixels: Their squares, uint8 (n, s, s, 3).
        groups: What stays together, (n,).
        properties: What is known of the images besides their pixels, as numbers, (n, k); None if nothing.
        features: What turns squares into numbers.
        recipe: Folds, seed, border.
        progress: Where to tell how far it is.

    Raises:
        SplitError: A label has too few patients for the folds.
    """
    labels, patients = used["label"].to_numpy(), used["patient_id"].tolist()
    folds = split_folds(labels, groups, recipe.folds, recipe.seed)
    parts = [(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in range(recipe.folds)]
    shown = occlusions(pixels.shape[1], recipe.border_px)

    def score(inputs: NDArray[np.floating], y_true: NDArray[np.integer] = labels) -> NDArray[np.float64]:
        return score_control(inputs, y_true, groups, parts, seed=recipe.seed)

    with progress.task("probes", len(shown) + 4) as advance:
        whole_features = features.run(_chunks(pixels))
        y_score = score(whole_features)
        advance(1)
        controls = {}
        for number, occlusion in enumerate(shown, start=2):
            scores = score(features.run(hidden(pixels, occlusion, recipe.seed)))
            controls[occlusion.name] = describe_control(occlusion.what, labels, y_score, scores, patients)
            advance(number)
        controls["intensity"] = describe_control(
            INTENSITY, labels, y_score, score(intensity_statistics(pixels)), patients
        )
        advance(len(shown) + 2)
        if properties is not None:
            what = "What is known of the files was given (format, size, dates and the like), and no pixel"
            controls["file"] = describe_control(what, labels, y_score, score(properties), patients)
        advance(len(shown) + 3)
        dealt = shuffle_labels(labels, groups, recipe.seed)
        what = "Labels were dealt anew among patients"
        controls["labels"] = describe_scores(what, dealt, score(whole_features, dealt), patients)
        advance(len(shown) + 4)
    return Probed(
        y_score, whole_features, describe_scores("Whole images", labels, y_score, patients), controls
    )


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit found.

    Attributes:
        directory: Where findings.json, audit.html and the figures lie; None where nothing was to be written.
        facts: The content of findings.json.
        findings: The most severe first.
    """

    directory: Path | None
    facts: dict[str, Any]
    findings: tuple[Finding, ...]


def audit(
    cohort: Cohort,
    *,
    out: str | Path | None = None,
    model: Predictor | str | Path | None = None,
    progress: Progress | None = None,
    command: Sequence[str] = (),
    **settings: Any,
) -> Audit:
    """Look for everything that would make a reported score false.

    Args:
        cohort: The labelled images.
        out: A directory to make, with findings.json, audit.html and figures; None: nothing is written.
        model: A trained model whose scores are held against the labels, to tell labels that are turned round.
        progress: Where to tell how far it is.
        command: The command line, for findings.json.
        **settings: Fields of ``AuditRecipe``, such as ``backbone="vgg16"`` or ``within=("acquired:year",)``.

    Raises:
        DataError: A setting is not valid, or a column to score within does not exist.
        WeightsError: A weights file that was named does not fit.
        RunDirectoryError: The directory exists or cannot be written.
    """
    recipe = checked(AuditRecipe, settings)
    if recipe.border_px is not None:
        refuse_wide_border(recipe.border_px, cohort.image.image_size)
    progress = progress or Progress()
    predictor = load(model) if isinstance(model, str | Path) else model
    if out is None:
        return _audit(cohort, recipe, predictor, None, progress, command)
    with new_directory(Path(out)) as unfinished:
        done = _audit(cohort, recipe, predictor, unfinished, progress, command)
        write_json(unfinished / FINDINGS_NAME, done.facts)
        write_audit_page(unfinished)
    return replace(done, directory=Path(out))


def refuse_wide_border(border_px: int, image_size: int) -> None:
    """Refuse a border that leaves nothing to black out.

    Raises:
        DataError: It is not less than half the side.
    """
    if border_px >= image_size / 2:
        raise DataError(
            f"the border has {border_px} px on either side, which is all of an image of {image_size} px; "
            f"expected at most {(image_size - 1) // 2}"
        )


def _audit(
    cohort: Cohort,
    recipe: AuditRecipe,
    predictor: Predictor | None,
    directory: Path | None,
    progress: Progress,
    command: Sequence[str],
) -> Audit:
    watch = Stopwatch()
    used = cohort.included
    for column in recipe.within:
        strata(used, column)  # refuses one that does not exist before anything takes time
    with watch.phase("read images"), progress.task("read images", len(used)) as advance:
        loaded = load_images(cohort, used, on_progress=lambda done, _: advance(done))
    with watch.phase("read headers"), progress.task("read headers", len(used)) as advance:
        properties = read_properties(cohort.root, used, on_progress=lambda done, _: advance(done))
    with watch.phase("near-duplicates"), progress.task("near-duplicates", len(used)) as advance:
        thumbnails = read_thumbnails(cohort, used, on_progress=lambda done, _: advance(done))
        pairs = find_near_duplicates(thumbnails)
    groups = split_groups(used, duplicate_components(pairs, len(used)))
    with watch.phase("look at files"), progress.task("look at files", len(used)) as advance:
        measures = measure_files(cohort.root, used, on_progress=lambda done, _: advance(done))
    with watch.phase("test properties"):
        associations = measure_associations(used, properties, seed=recipe.seed)
        findings = find_problems(cohort, properties, seed=recipe.seed)
        findings += find_near_duplicate_problems(used, pairs)
        findings += find_file_problems(used, measures, image_size=cohort.image.image_size, seed=recipe.seed)
    facts: dict[str, Any] = {"notes": []}
    with watch.phase("probes"):
        try:
            features = choose_features(recipe, cohort.image.image_size)
            if "note" in features.facts:
                progress.say(features.facts["note"])
            known = property_matrix(list_properties(used, properties), len(used))
            probed = probe_cohort(
                used, loaded.pixels, groups, known if known.shape[1] else None, features, recipe, progress
            )
        except SplitError as error:
            facts["notes"].append(f"No probe could be trained: {error}.")
        else:
            facts |= _say_of_probes(used, groups, probed, associations, recipe)
            facts["features"] = features.facts
            findings += judge_controls(probed.controls, len(used))
            findings += find_doubtful_labels(used, probed.y_score)
    if predictor is not None:
        with watch.phase("given model"):
            findings += _hold_against_model(cohort, used, predictor, recipe.seed)
    findings = most_severe_first(findings)
    facts = {
        "format": FORMAT,
        "kind": "audit",
        "status": "complete",
        "command": list(command),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "recipe": recipe.model_dump(mode="json"),
        "image": cohort.image.model_dump(mode="json"),
        "labels": cohort.labels.model_dump(mode="json"),
        "data": describe_data(cohort),
        "findings": [finding.model_dump(mode="json") for finding in findings],
        **facts,
        "properties": [_describe_property(each) for each in associations],
        "versions": describe_versions(),
        "machine": describe_machine(),
        "phases": watch.phases,
    }
    facts["verdict"] = audit_verdict(AuditFacts.model_validate(facts))
    if directory is not None:
        write_table(directory / "records.csv", records_table(cohort, used.assign(split=""), loaded))
        _draw(directory / "figures", facts, used, loaded.pixels, recipe)
    return Audit(None, facts, tuple(findings))


def _say_of_probes(
    used: pd.DataFrame,
    groups: NDArray[np.int64],
    probed: Probed,
    associations: Sequence[Association],
    recipe: AuditRecipe,
) -> dict[str, Any]:
    """Whole image, controls, and the score within strata of every column that was asked for or flagged."""
    labels = used["label"].to_numpy()
    flagged = flagged_columns(associations)
    matched = score_within(used, probed.y_score, [*recipe.within, *flagged], seed=recipe.seed)
    nuisance = []
    for column in flagged:
        found = nuisance_auc(probed.features, used[column].tolist(), labels, groups, seed=recipe.seed)
        nuisance.append(
            {
                "column": column,
                "what": found["asked"],
                "label": int(found["label"]),
                "auc": {"value": found["auc"]}
                | {name: found[name] for name in ("low", "high", "level", "method")},
                "images": found["images"],
                "reason": found.get("reason", ""),
            }
        )
    return {
        "whole": probed.whole,
        "controls": probed.controls,
        "corrected": corrected_auc(probed.controls["shuffled"]["margin"]),
        "matched": matched,
        "nuisance": nuisance,
    }


def _draw(
    directory: Path, facts: dict[str, Any], used: pd.DataFrame, pixels: Images, recipe: AuditRecipe
) -> None:
    directory.mkdir()
    if "whole" not in facts:
        return
    ends = ("auc", "low", "high")
    bars = [("whole image", *(facts["whole"][end] for end in ends))]
    bars += [
        (f"a model that {SEEN[name]}", *(control[end] for end in ends))
        for name, control in facts["controls"].items()
    ]
    draw_controls(bars, directory / "controls.png")
    labels = used["label"].to_numpy()
    # one image of either class, from the middle of the table
    rows = [int(np.flatnonzero(labels == label)[(labels == label).sum() // 2]) for label in (1, 0)]
    sheet = {"whole image": list(pixels[rows])}
    for occlusion in occlusions(pixels.shape[1], recipe.border_px):
        sheet[occlusion.name] = list(np.concatenate(list(hidden(pixels[rows], occlusion, recipe.seed))))
    names = [used["category"].iloc[row] for row in rows]
    draw_sheet(sheet, names, directory / "occlusions.png")


def _hold_against_model(cohort: Cohort, used: pd.DataFrame, predictor: Predictor, seed: int) -> list[Finding]:
    prepared = load_images(replace(cohort, image=predictor.bundle.card.image), used)
    return find_inverted_labels(used, predictor.score_pixels(prepared.pixels), seed=seed)


def _describe_property(each: Association) -> dict[str, Any]:
    return asdict(each) | {"tells": each.tells}


def _chunks(pixels: Images) -> Iterable[Images]:
    return (pixels[start : start + CHUNK] for start in range(0, len(pixels), CHUNK))
