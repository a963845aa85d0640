"""The demo: a simulated cohort, trained on without any download, and its report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from breastlens.cohort.records import Cohort
from breastlens.imaging.phantom import PhantomSettings, write_cohort
from breastlens.progress import Progress
from breastlens.runs.directory import Run, new_directory
from breastlens.runs.train import train

IMAGES = "simulated-images"
"""The folder's name is the title of the report: whoever sees the page knows that no patient is behind it."""

SETTINGS = PhantomSettings(patients=200, images_per_patient=2, seed=0)


def run_demo(out: Path, *, progress: Progress, command: Sequence[str] = ()) -> Run:
    """Simulate, look, train, evaluate and report.

    Args:
        out: A new folder; the images go to ``simulated-images``, the run to ``run``.
        progress: Where to tell how far it is.
        command: The command line, for run.json.

    Raises:
        RunDirectoryError: The folder holds something already or cannot be written.
    """
    with new_directory(out) as unfinished:
        manifest = write_cohort(unfinished / IMAGES, SETTINGS)
        progress.say(f"simulated {SETTINGS.patients} patients with {SETTINGS.images_per_patient} images each")
        cohort = Cohort.read(unfinished / IMAGES, manifest=manifest)
        progress.say(cohort.labels.describe())
        train(
            cohort,
            out=unfinished / "run",
            progress=progress,
            command=command,
            backbone="densenet121",
            weights="none",
            strategy="probe",
            keep_unfinished=False,
        )
    return Run.read(out / "run")
