"""Reading the images that a command is given, labelled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from breastlens.progress import Progress

if TYPE_CHECKING:
    from breastlens.cohort.records import Cohort


def read_cohort(data: Path, progress: Progress, **options: Any) -> Cohort:
    """Read and label the images, and tell how many there are."""
    from breastlens.cohort.records import Cohort

    with progress.task("read files") as advance:
        cohort = Cohort.read(data, on_progress=lambda done, total: advance(done, total=total), **options)
    left_out = int((cohort.table["excluded"] != "").sum())
    progress.say(f"{len(cohort.table)} images, {left_out} left out, {len(cohort.patients)} patients")
    progress.say(cohort.labels.describe())
    return cohort
