"""Several runs on the same images, trained here or before, and the page that sets them side by side."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from breastlens.cohort.records import Cohort
from breastlens.config import TrainingRecipe
from breastlens.errors import BreastLensError, DataError, RunDirectoryError
from breastlens.models.backbones import ALL_COMPARED
from breastlens.models.feature_cache import FeatureCache
from breastlens.progress import Progress
from breastlens.report.comparison import ComparisonEntry, read_entries, write_comparison
from breastlens.runs.conduct import Begun, begin, finish
from breastlens.runs.directory import first_free, new_directory
from breastlens.runs.job import RUNS, open_job, purpose_of, read_purpose
from breastlens.runs.pairs import compare_pairs
from breastlens.runs.preparation import Prepared, prepare
from breastlens.runs.settings import checked
from breastlens.runs.splitting import refuse_unsplittable
from breastlens.runs.workplace import Workplace
from breastlens.work.places import HERE, choose_place
from breastlens.work.run import Place

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
    on: str | Place = HERE,
    resume: bool = False,
    arguments: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """Train each backbone on the same split; one that fails is listed with its error and the others go on.

    A disk that is full is no failure of a backbone, and ends all of it. What was finished when the process ends
    otherwise is kept, as by ``train``.

    Args:
        cohort: The labelled images.
        out: A directory to make, with a run directory a backbone and comparison.html and .csv; None: ``runs/all-N``.
        cache: Where features are kept for later; None: in the user's cache folder.
        progress: Where to tell how far it is.
        command: The command line, for run.json and the reports.
        tensorboard: Folder for TensorBoard's logs, if wanted.
        backbones: Which ones.
        on: Where trainings are done, as for ``train``.
        resume: Go on with a comparison that was begun for ``out`` with the same data, settings and versions.
        arguments: What a command was given, for one that goes on by the name of the directory alone.
        **settings: Fields of ``TrainingRecipe`` but ``backbone``.

    Returns:
        The path of comparison.html.

    Raises:
        BreastLensError: A setting is not valid, the directory cannot be made, or every backbone failed.
    """
    recipe = checked(TrainingRecipe, settings)
    if recipe.ensemble:
        raise DataError("an ensemble is one model: it is not compared with its members")
    progress, place = progress or Progress(), choose_place(on)
    out = first_free(Path("runs"), "all") if out is None else Path(out)
    purpose = purpose_of(cohort, recipe, arguments=arguments, command=command, compared=backbones)
    if resume:
        command = read_purpose(out).command
    with open_job(out, cohort, purpose, resume=resume, progress=progress) as job:
        refuse_unsplittable(cohort, recipe)
        trainings = _Trainings(
            prepare(cohort, audit=recipe.audit, seed=recipe.seed, progress=progress),
            recipe,
            Workplace(job, place, cache or FeatureCache(), progress),
            None if tensorboard is None else Path(tensorboard),
            command,
        )
        at_once = [backbones] if trainings.workplace.elsewhere else [[name] for name in backbones]
        entries = [entry for names in at_once for entry in trainings.do(names)]
        if all(entry.error for entry in entries):
            raise BreastLensError(f"every backbone failed; the first: {entries[0].error}")
        found = read_entries(entries)
        paired = compare_pairs(found, seed=recipe.seed) if len(found) > 1 else None
        with new_directory(out, data=cohort.scanned) as unfinished:
            brought = [_brought(entry, unfinished) for entry in entries]
            write_comparison(unfinished, brought, paired, noun="backbone")
    return out / "comparison.html"


@dataclass(frozen=True, eq=False)
class _Trainings:
    """The networks of a comparison, each with a run directory in the folder of the job until all are done."""

    prepared: Prepared
    recipe: TrainingRecipe
    workplace: Workplace
    tensorboard: Path | None
    command: Sequence[str]

    def do(self, names: Sequence[str]) -> list[ComparisonEntry]:
        """Train networks, all their trainings at once where that can be; one that fails is listed with its error."""
        say, failed = self.workplace.progress.say, dict[str, str]()
        begun: dict[str, Begun] = {}
        for name in names:
            say(f"--- {name}")
            if self._run_dir(name).exists():
                say(f"{name} was finished before")
                continue
            with self._failures_noted(name, failed):
                recipe = self.recipe.model_copy(update={"backbone": name})
                logs = None if self.tensorboard is None else self.tensorboard / _as_folder(name)
                begun[name] = begin(self.prepared, recipe, self.workplace, logs)
        trained = self.workplace.fit([each.plans for each in begun.values()])
        for name, result in zip(list(begun), trained, strict=True):
            if len(names) > 1:
                say(f"--- {name}")
            with self._failures_noted(name, failed), new_directory(self._run_dir(name)) as unfinished:
                finish(begun.pop(name), result, unfinished, self.workplace.progress, self.command)
        return [
            ComparisonEntry(name, None if name in failed else self._run_dir(name), failed.get(name))
            for name in names
        ]

    def _run_dir(self, name: str) -> Path:
        return self.workplace.job / RUNS / _as_folder(name)

    @contextmanager
    def _failures_noted(self, name: str, failed: dict[str, str]) -> Iterator[None]:
        """Let the other networks go on where one fails, but not where they would fare no better."""
        try:
            yield
        except (RunDirectoryError, OSError):
            raise
        except Exception as error:
            # What the user can mend is told in a line; anything else is ours, and its traceback is needed.
            level = logging.INFO if isinstance(error, BreastLensError) else logging.ERROR
            logger.log(level, "%s failed", name, exc_info=True)
            failed[name] = str(error) or type(error).__name__
            self.workplace.progress.say(f"{name} failed: {failed[name]}")


def _as_folder(name: str) -> str:
    return name.replace(":", "-")


def _brought(entry: ComparisonEntry, directory: Path) -> ComparisonEntry:
    """A run that was finished, also where it is compared; it stays where it is until all is done."""
    if entry.run_dir is None:
        return entry
    copy = directory / entry.run_dir.name
    shutil.copytree(entry.run_dir, copy, copy_function=_second_name)
    return replace(entry, run_dir=copy)


def _second_name(file: str, name: str) -> None:
    try:
        os.link(file, name)
    except OSError:  # the file system has none
        shutil.copy2(file, name)


def compare_runs(
    runs: Sequence[str | Path], *, out: str | Path | None = None, margin: float | None = None, seed: int = 0
) -> Path:
    """Compare finished runs, every two of them, on the images that all of them judged.

    Args:
        runs: Their directories, from training or evaluation.
        out: A directory to make, with comparison.html, .csv and .json; None: ``runs/comparison-N``.
        margin: By how much the AUC of one may be worse than another's without being inferior; None: not asked.
        seed: Of the bootstrap.

    Returns:
        The path of comparison.html.

    Raises:
        DataError: There are fewer than two runs, one is named twice, or the margin is not above 0 and below 1.
        RunDirectoryError: A run cannot be read, they share no judged image, label one differently, or the directory
            cannot be made.
    """
    paths = [Path(run) for run in runs]
    if len(paths) < 2:
        raise DataError(f"a comparison needs at least two runs, received {len(paths)}")
    if len({path.resolve() for path in paths}) < len(paths):
        raise DataError("a run is named twice, and differs from itself in nothing: name each once")
    if margin is not None and not 0 < margin < 1:
        raise DataError(f"--margin must lie between 0 and 1, received {margin:g}")
    entries = [ComparisonEntry(name, path, None) for name, path in zip(_names(paths), paths, strict=True)]
    paired = compare_pairs(read_entries(entries), margin=margin, seed=seed)
    out = first_free(Path("runs"), "comparison") if out is None else Path(out)
    with new_directory(out) as unfinished:
        write_comparison(unfinished, entries, paired)
    return out / "comparison.html"


def _names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path; where two are the same, the paths as they were given."""
    names = [path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]
