"""Several backbones on the same split, and the page that sets them side by side."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from breastlens.cohort.records import Cohort
from breastlens.config import TrainingRecipe
from breastlens.errors import BreastLensError
from breastlens.models.backbones import ALL_COMPARED
from breastlens.models.feature_cache import FeatureCache
from breastlens.progress import Progress
from breastlens.report.comparison import ComparisonEntry, write_comparison
from breastlens.runs.directory import first_free, new_directory
from breastlens.runs.preparation import prepare
from breastlens.runs.settings import checked
from breastlens.runs.splitting import refuse_unsplittable
from breastlens.runs.train import train

logger = logging.getLogger(__name__)


def train_all(
    cohort: Cohort,
    *,
    out: str | Path | None = None,
    cache: FeatureCache | None = None,
    progress: Progress | None = None,
    command: Sequence[str] = (),
    tensorboard: str | Path | None = None,
    backbones: Sequence[str] = ALL_COMPARED,
    **settings: Any,
) -> Path:
    """Train each backbone on the same split; one that fails is listed with its error and the others go on.

    Args:
        cohort: The labelled images.
        out: A directory to make, with a run directory a backbone and comparison.html and .csv; None: ``runs/all-N``.
        cache: Where features are kept for later; None: in the user's cache folder.
        progress: Where to tell how far it is.
        command: The command line, for run.json and the reports.
        tensorboard: Folder for TensorBoard's logs, if wanted.
        backbones: Which ones.
        **settings: Fields of ``TrainingRecipe`` but ``backbone``.

    Returns:
        The path of comparison.html.

    Raises:
        BreastLensError: A setting is not valid, the directory cannot be made, or every backbone failed.
    """
    recipe = checked(TrainingRecipe, settings)
    progress = progress or Progress()
    out = first_free(Path("runs"), "all") if out is None else Path(out)
    with new_directory(out, data=cohort.scanned, worth_keeping="**/model/bundle.json") as unfinished:
        entries = []
        refuse_unsplittable(cohort, recipe)
        prepared = prepare(cohort, audit=recipe.audit, seed=recipe.seed, progress=progress)
        for name in backbones:
            progress.say(f"--- {name}")
            run_dir = unfinished / name.replace(":", "-")
            logs = None if tensorboard is None else Path(tensorboard) / name.replace(":", "-")
            try:
                train(
                    prepared,
                    out=run_dir,
                    cache=cache,
                    progress=progress,
                    command=command,
                    tensorboard=logs,
                    backbone=name,
                    **settings,
                )
                entries.append(ComparisonEntry(name, run_dir, None))
            except Exception as error:
                # What the user can mend is told in a line; anything else is ours, and its traceback is needed.
                level = logging.INFO if isinstance(error, BreastLensError) else logging.ERROR
                logger.log(level, "%s failed", name, exc_info=True)
                reason = str(error) or type(error).__name__
                progress.say(f"{name} failed: {reason}")
                entries.append(ComparisonEntry(name, None, reason))
        if all(entry.error for entry in entries):
            raise BreastLensError(f"every backbone failed; the first: {entries[0].error}")
        write_comparison(unfinished, entries)
    return out / "comparison.html"
