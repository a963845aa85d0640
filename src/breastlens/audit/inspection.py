"""All that can be told about a cohort without training anything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.acquisition import Association, measure_associations
from breastlens.audit.files import FileMeasures, find_file_problems
from breastlens.audit.finding import Finding, most_severe_first
from breastlens.audit.findings import find_problems
from breastlens.audit.near_duplicates import find_near_duplicate_problems
from breastlens.audit.survey import survey_images
from breastlens.cohort.batches import LoadedImages
from breastlens.cohort.near_duplicates import NearDuplicate, duplicate_components, find_near_duplicates
from breastlens.cohort.parallel import Mapper
from breastlens.cohort.records import Cohort
from breastlens.progress import Progress


@dataclass(frozen=True, eq=False)
class Inspection:
    """The images in use, and what is doubtful about them.

    Attributes:
        used: Their rows, numbered from 0 (``Cohort.included``).
        loaded: The images as the network takes them.
        properties: How each file was made, from ``survey_images``.
        measures: Sharpness, marks and the like of each.
        pairs: Images that are the same picture, exact copies among them; numbers of rows.
        groups: What must stay together in every split, (n,): patients, copies, frames and near-duplicates.
        associations: Everything that is not anatomy, tested against the label.
        findings: The most severe first.
    """

    used: pd.DataFrame
    loaded: LoadedImages
    properties: pd.DataFrame
    measures: tuple[FileMeasures, ...]
    pairs: list[NearDuplicate]
    groups: NDArray[np.int64]
    associations: tuple[Association, ...]
    findings: list[Finding]


def inspect_cohort(
    cohort: Cohort, *, seed: int = 0, progress: Progress | None = None, mapper: Mapper | None = None
) -> Inspection:
    """Look at every image once, and at what the table says of them.

    Args:
        cohort: The labelled images.
        seed: Of permutation tests.
        progress: Where to tell how far it is.
        mapper: Looks at the files elsewhere; None: in threads of this process.

    Raises:
        DecodeError: A file has gone or changed since the cohort was read.
    """
    progress = progress or Progress()
    used = cohort.included
    with progress.task("look at images", len(used)) as advance:
        seen = survey_images(cohort, mapper=mapper, on_progress=lambda done, _: advance(done))
    with progress.task("compare images") as advance:
        pairs = find_near_duplicates(
            seen.thumbnails, on_progress=lambda done, total: advance(done, total=total)
        )
    groups = cohort.groups(duplicate_components(pairs, len(used)))
    associations = measure_associations(used, seen.properties, seed=seed, groups=groups)
    findings = [
        *find_problems(cohort, seen.properties, associations, groups, seed=seed),
        *find_near_duplicate_problems(used, pairs),
        *find_file_problems(
            used, seen.measures, image_size=cohort.image.image_size, seed=seed, groups=groups
        ),
    ]
    return Inspection(
        used,
        seen.loaded,
        seen.properties,
        seen.measures,
        pairs,
        groups,
        associations,
        most_severe_first(findings),
    )
