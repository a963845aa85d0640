"""Reading the images that a command is given, labelled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from breastlens.progress import Progress

if TYPE_CHECKING:
    from breastlens.cohort.parallel import Mapper
    from breastlens.cohort.records import Cohort
    from breastlens.config import ImageRecipe, LabelMap


@dataclass(frozen=True)
class Source:
    """What says which images of DATA there are, whose and of which side; see ``Cohort.read``."""

    manifest: Path | None
    patient_pattern: str | None
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    exclude_when: tuple[str, ...]
    every_frame: bool


def read_cohort(
    data: Path,
    source: Source,
    image: ImageRecipe,
    progress: Progress,
    *,
    labels: LabelMap | None = None,
    mapper: Mapper | None = None,
) -> Cohort:
    """Read and label the images, and tell how many there are.

    Args:
        data: Their folder.
        source: What else says which, whose and what they are.
        image: How they are prepared.
        progress: Where to tell it.
        labels: The sides, settled beforehand in place of the source's.
        mapper: Reads the files elsewhere, by their whole paths; None: threads of this process.
    """
    from breastlens.cohort.records import Cohort

    with progress.task("read files") as advance:
        cohort = Cohort.read(
            data if mapper is None else data.absolute(),
            manifest=source.manifest,
            patient_pattern=source.patient_pattern,
            positive=source.positive,
            negative=source.negative,
            labels=labels,
            image=image,
            exclude_when=source.exclude_when,
            every_frame=source.every_frame,
            mapper=mapper,
            on_progress=lambda done, total: advance(done, total=total),
        )
    left_out = int((cohort.table["excluded"] != "").sum())
    progress.say(f"{len(cohort.table)} images, {left_out} left out, {len(cohort.patients)} patients")
    progress.say(cohort.labels.describe())
    return cohort
