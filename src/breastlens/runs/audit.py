"""The audit: what would make a reported score false, and what a model scores without seeing the breast."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.audit.acquisition import Association
from breastlens.audit.finding import Finding, most_severe_first
from breastlens.audit.inspection import Inspection, inspect_cohort
from breastlens.audit.judgement import judge_controls
from breastlens.audit.labels import find_doubtful_labels, find_inverted_labels
from breastlens.audit.shortcuts import Parts
from breastlens.audit.strata import check_specification, strata
from breastlens.cohort.batches import prepare_each
from breastlens.cohort.parallel import Mapper
from breastlens.cohort.records import Cohort
from breastlens.config import AuditRecipe, ImageRecipe
from breastlens.errors import DataError, MissingDependencyError, SplitError, WeightsError
from breastlens.inference.predictor import Predictor, load
from breastlens.models.feature_cache import FeatureCache
from breastlens.progress import Progress
from breastlens.report.audit_files import FINDINGS_NAME, AuditFacts
from breastlens.report.audit_page import write_audit_page
from breastlens.report.audit_wording import audit_meaning, audit_verdict
from breastlens.runs.audit_pictures import draw_audit
from breastlens.runs.directory import FORMAT, new_directory, write_json, write_table
from breastlens.runs.facts import Stopwatch, describe_data, describe_machine, describe_versions
from breastlens.runs.probes import (
    Features,
    Probed,
    choose_features,
    describe_probed,
    divide,
    probe_cohort,
    texture_instead,
)
from breastlens.runs.remedies import try_remedies
from breastlens.runs.settings import checked
from breastlens.runs.tables import records_table


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


def audit_cohort(
    cohort: Cohort,
    *,
    out: str | Path | None = None,
    model: Predictor | str | Path | None = None,
    cache: FeatureCache | None = None,
    progress: Progress | None = None,
    command: Sequence[str] = (),
    mapper: Mapper | None = None,
    **settings: Any,
) -> Audit:
    """Look for everything that would make a reported score false.

    Args:
        cohort: The labelled images.
        out: A directory to make, with findings.json, audit.html and figures; None: nothing is written.
        model: A trained model whose scores are held against the labels, to tell labels that are turned round.
        cache: Where features are kept for later; None: in the user's cache folder.
        progress: Where to tell how far it is.
        command: The command line, for findings.json.
        mapper: Looks at the files elsewhere, as ``Cohort.read`` may read them; None: in threads of this process.
        **settings: Fields of ``AuditRecipe``, such as ``backbone="vgg16"`` or ``within=("acquired:year",)``.

    Raises:
        DataError: A setting is not valid, or a column to score within does not exist.
        WeightsError: A weights file that was named does not fit.
        RunDirectoryError: The directory exists or cannot be written.
    """
    recipe = checked(AuditRecipe, settings)
    if recipe.border_px is not None:
        hidden = {"hide_border": True} if recipe.remedies else {}  # a remedy that narrows what is left
        refuse_wide_border(recipe.border_px, cohort.image.model_copy(update=hidden))
    progress = progress or Progress()
    predictor = load(model) if isinstance(model, str | Path) else model
    cache = cache or FeatureCache()
    if out is None:
        return _audit(cohort, recipe, predictor, None, cache, progress, command, mapper)
    with new_directory(Path(out), data=cohort.scanned) as unfinished:
        done = _audit(cohort, recipe, predictor, unfinished, cache, progress, command, mapper)
        write_json(unfinished / FINDINGS_NAME, done.facts)
        write_audit_page(unfinished)
    return replace(done, directory=Path(out))


def refuse_wide_border(border_px: int, image: ImageRecipe) -> None:
    """Refuse a border that leaves nothing to black out.

    Raises:
        DataError: It is not less than half the side; less what of that is hidden already.
    """
    most = (image.image_size - 1) // 2 - image.hidden_border_px
    if border_px > most:
        raise DataError(
            f"the border has {border_px} px on either side, which is all of an image of {image.image_size} px; "
            f"expected at most {most}"
        )


def _audit(
    cohort: Cohort,
    recipe: AuditRecipe,
    predictor: Predictor | None,
    directory: Path | None,
    cache: FeatureCache,
    progress: Progress,
    command: Sequence[str],
    mapper: Mapper | None,
) -> Audit:
    watch = Stopwatch()
    for column in recipe.within:
        check_specification(cohort.included, column)  # refuses what does not exist before anything takes time
    with watch.phase("look at the data"):
        seen = inspect_cohort(cohort, seed=recipe.seed, progress=progress, mapper=mapper)
    for column in recipe.within:
        strata(seen.used, column, seen.properties)
    findings = list(seen.findings)
    facts: dict[str, Any] = {"notes": []}
    y_score = None
    if recipe.controls:
        with watch.phase("probes"):
            y_score, found = _probe(cohort, seen, recipe, cache, facts, progress)
            findings += found
    else:
        facts["notes"].append("No probe was trained, as was asked for.")
    if predictor is not None:
        with watch.phase("given model"):
            findings += _hold_against_model(cohort, seen, predictor)
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
        "properties": [_describe_property(each) for each in seen.associations],
        "versions": describe_versions(),
        "machine": describe_machine(),
        "phases": watch.phases,
    }
    known = AuditFacts.model_validate(facts)
    facts |= {"verdict": audit_verdict(known), "meaning": audit_meaning(known)}
    if directory is not None:
        write_table(directory / "records.csv", records_table(cohort, seen.used.assign(split=""), seen.loaded))
        draw_audit(directory / "figures", facts, cohort, seen, y_score, recipe)
    return Audit(None, facts, tuple(findings))


def _probe(
    cohort: Cohort,
    seen: Inspection,
    recipe: AuditRecipe,
    cache: FeatureCache,
    facts: dict[str, Any],
    progress: Progress,
) -> tuple[NDArray[np.float64] | None, list[Finding]]:
    """Score whole images and controls; what they say goes into the facts.

    Returns:
        Out-of-fold probability of positive from whole images, (n,), and what is found by it; None where there are too
        few patients to train on.
    """
    try:
        parts = divide(seen, recipe.folds, recipe.seed)  # refuses too few patients before a network is built
        features = choose_features(recipe, cohort.image.image_size, cache)
        try:
            probed, told = _probe_by(features, cohort, seen, parts, recipe, progress)
        except (WeightsError, MissingDependencyError) as error:
            if recipe.weights != "imagenet":
                raise
            # some features had been kept, others not: all are taken anew, by one means
            probed, told = _probe_by(texture_instead(error), cohort, seen, parts, recipe, progress)
    except SplitError as error:
        facts["notes"].append(f"No probe could be trained: {error}.")
        return None, []
    facts |= told
    doubtful = find_doubtful_labels(seen.used, probed.y_score, seed=recipe.seed, linked=seen.groups)
    return probed.y_score, [*judge_controls(probed.controls, len(seen.used)), *doubtful]


def _probe_by(
    features: Features,
    cohort: Cohort,
    seen: Inspection,
    parts: Parts,
    recipe: AuditRecipe,
    progress: Progress,
) -> tuple[Probed, dict[str, Any]]:
    """What probes make of all that is shown, and what the facts say of it."""
    if "note" in features.facts:
        progress.say(features.facts["note"])
    probed = probe_cohort(seen, seen.loaded.pixels, parts, features, cohort.image, recipe, progress)
    facts = describe_probed(seen, probed, recipe) | {"features": features.facts}
    if recipe.remedies:
        facts["remedies"] = try_remedies(cohort, seen, facts, parts, features, recipe, progress)
    return probed, facts


def _hold_against_model(cohort: Cohort, seen: Inspection, predictor: Predictor) -> list[Finding]:
    prepared = prepare_each(replace(cohort, image=predictor.bundle.card.image), seen.used)
    scores = np.array([score for _, score in predictor.score_each(prepared)])
    return find_inverted_labels(seen.used, scores, linked=seen.groups)


def _describe_property(each: Association) -> dict[str, Any]:
    return asdict(each) | {"tells": each.tells}
