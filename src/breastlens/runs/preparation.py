"""What is done to a cohort before it is trained on: the audit of its data, and what may safely be set right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.acquisition import measure_associations
from breastlens.audit.finding import say_count
from breastlens.audit.findings import find_problems
from breastlens.audit.inspection import Inspection, inspect_cohort
from breastlens.cohort.batches import load_images
from breastlens.cohort.near_duplicates import NearDuplicate
from breastlens.cohort.records import Cohort
from breastlens.progress import Progress


@dataclass(frozen=True, eq=False)
class Prepared:
    """A cohort as it will be trained on.

    Attributes:
        cohort: Without the copies that were left out.
        seen: Its images, and what is doubtful about them.
        audited: Whether files and pixels were looked at; else only the table was.
        changes: What was set right, as sentences.
    """

    cohort: Cohort
    seen: Inspection
    audited: bool
    changes: tuple[str, ...]


def prepare(
    cohort: Cohort, *, audit: bool = True, seed: int = 0, progress: Progress | None = None
) -> Prepared:
    """Look at the data before training, tell what is doubtful, and set right what needs no judgement.

    Copies of an image are left out but for the first, and near-duplicates will stay in one part of every split that is
    made here. Images whose pixels stand under both labels are left out when a cohort is labelled.

    Args:
        cohort: The labelled images.
        audit: False: only the table is looked at, and nothing is changed.
        seed: Of permutation tests.
        progress: Where to tell what was found.

    Raises:
        DecodeError: A file has gone or changed since the cohort was read.
    """
    progress = progress or Progress()
    kept = cohort.without_copies() if audit else cohort
    seen = (
        inspect_cohort(kept, seed=seed, progress=progress) if audit else _look_at_table(kept, seed, progress)
    )
    for finding in seen.findings:
        progress.say(f"{finding.severity} {finding.code}: {finding.what}")
    changes = tuple(_say_changes(cohort, kept, seen)) if audit else ()
    for change in changes:
        progress.say(change)
    return Prepared(kept, seen, audit, changes)


def _look_at_table(cohort: Cohort, seed: int, progress: Progress) -> Inspection:
    used = cohort.included
    with progress.task("read images", len(used)) as advance:
        loaded = load_images(cohort, used, on_progress=lambda done, _: advance(done))
    properties = pd.DataFrame(index=used.index)
    groups = cohort.groups()
    associations = measure_associations(used, properties, seed=seed, groups=groups)
    findings = find_problems(cohort, properties, associations, groups, seed=seed)
    return Inspection(used, loaded, properties, (), [], groups, associations, findings)


def _say_changes(cohort: Cohort, kept: Cohort, seen: Inspection) -> list[str]:
    said = []
    copies = len(cohort.included) - len(kept.included)
    if copies:
        said.append(f"{copies} {'copy' if copies == 1 else 'copies'} of other images left out.")
    patient = seen.used["patient_id"].tolist()
    # a patient's own images would be kept together anyway
    changed = [
        pair
        for pair in changed_pairs(seen)
        if not patient[pair.first] or patient[pair.first] != patient[pair.second]
    ]
    if changed:
        said.append(
            f"{say_count(len(changed), 'pair')} of near-duplicates kept together in every split made here."
        )
    return said


def changed_pairs(seen: Inspection) -> list[NearDuplicate]:
    """The pairs that are the same picture with other pixels: exact copies are counted elsewhere."""
    pixels = seen.used["pixels_sha256"].tolist()
    return [pair for pair in seen.pairs if pixels[pair.first] != pixels[pair.second]]


def prove_pairs(seen: Inspection, split: NDArray[np.str_]) -> dict[str, int]:
    """Count the pairs of near-duplicates that a split parts, from the pairs and the finished split alone.

    Args:
        seen: With the pairs.
        split: The part of each image in use, (n,).

    Returns:
        ``near_duplicates_checked`` and ``near_duplicates_shared``; the second is 0 unless a manifest's split parts
        them.
    """
    pairs = changed_pairs(seen)
    parted = sum(split[pair.first] != split[pair.second] for pair in pairs)
    return {"near_duplicates_checked": len(pairs), "near_duplicates_shared": int(parted)}
