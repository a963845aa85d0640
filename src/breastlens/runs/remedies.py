"""Ways of preparing images that may take a shortcut away, each measured on the same patients and folds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from breastlens.audit.inspection import Inspection
from breastlens.audit.shortcuts import Parts
from breastlens.cohort.batches import load_images
from breastlens.cohort.records import Cohort
from breastlens.config import AuditRecipe, ImageRecipe
from breastlens.progress import Advance, Progress
from breastlens.runs.probes import Features, describe_probed, probe_cohort

REMEDIES: dict[str, dict[str, Any]] = {
    "--crop body": {"crop": "body"},
    "--hide-border": {"hide_border": True},
    "--hide-marks": {"hide_marks": True},
    "--normalise per-image": {"normalise": "per-image"},
}
"""By option, the settings of ``ImageRecipe`` that it changes."""

TOGETHER = "all of them"


def try_remedies(
    cohort: Cohort,
    seen: Inspection,
    given: dict[str, Any],
    parts: Parts,
    features: Features,
    recipe: AuditRecipe,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Prepare the images in each way, and make whole-image score, controls and scores within strata again.

    Args:
        cohort: The images, prepared as was asked for.
        seen: The same, looked at.
        given: What ``describe_probed`` said of the images as they are.
        parts: Pairs of training rows and held-out rows.
        features: What turns squares into numbers.
        recipe: Of the audit.
        progress: Where to tell how far it is.

    Returns:
        A row a way, the images as they are first: ``remedy``, ``changes`` (settings), ``whole``, ``controls`` and
        ``matched`` as in findings.json.

    Raises:
        DecodeError: A file has gone or changed since the cohort was read.
    """
    rows = [_row("as given", {}, given)]
    for name, changes in _untried(cohort.image):
        progress.say(f"--- {name}")
        prepared = replace(cohort, image=cohort.image.model_copy(update=changes))
        with progress.task("read images", len(seen.used)) as advance:
            loaded = load_images(prepared, seen.used, on_progress=partial(_tell, advance))
        probed = probe_cohort(seen, loaded.pixels, parts, features, prepared.image, recipe, progress)
        found = describe_probed(seen, probed, recipe)
        rows.append(_row(name, changes, found))
    return rows


def _untried(image: ImageRecipe) -> Iterator[tuple[str, dict[str, Any]]]:
    """The ways that differ from how the images are prepared already, then all of these at once."""
    values = image.model_dump()
    left = {
        name: changes
        for name, changes in REMEDIES.items()
        if any(values[field] != value for field, value in changes.items())
    }
    yield from left.items()
    if len(left) > 1:
        yield TOGETHER, {field: value for changes in left.values() for field, value in changes.items()}


def _tell(advance: Advance, done: int, _: int) -> None:
    advance(done)


def _row(name: str, changes: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    return {"remedy": name, "changes": changes} | {
        key: found[key] for key in ("whole", "controls", "matched")
    }
