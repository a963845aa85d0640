"""The work behind a run directory while it is not complete: beside it, kept after any death, removed in the end."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from breastlens.cohort.records import Cohort
from breastlens.config import TrainingRecipe
from breastlens.errors import RunDirectoryError, WeightsError
from breastlens.models.backbones import get_backbone
from breastlens.models.weights import resolve_weights
from breastlens.progress import Progress
from breastlens.runs.directory import (
    begun_beside,
    explained_write_errors,
    is_unfinished,
    make_begun_beside,
    refuse_taken,
)
from breastlens.runs.facts import describe_versions
from breastlens.runs.job_differences import name_differences
from breastlens.runs.trainings import PARTS_OF_TRAINED
from breastlens.whole_files import UNFINISHED, write_whole
from breastlens.work.store import UnitStore

logger = logging.getLogger(__name__)

RUNS = "runs"
"""In the folder of a job that makes several runs, where they lie when they are complete."""

INCOMPLETE = "incomplete"
"""In a folder of ``kept_beside``, a file that says that something is still to be done: the folder is not removed."""

_FORMAT = 1
_FACTS, _IMAGES, _LOCK, _UNITS = "job.json", "images.json", "lock", "units"
_WORTH_KEEPING = (f"{_UNITS}/*.npz", f"{_UNITS}/*/*/", f"{RUNS}/*/run.json")
_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP})
"""What file systems without locks say, as some shared ones are."""


@dataclass(frozen=True)
class Purpose:
    """What a job was begun for; with anything else it does not go on.

    Attributes:
        recipe: How to train.
        image: How images are prepared.
        labels: Which categories are positive and which negative.
        weights: What the networks start from, by backbone.
        versions: Of Python and the packages that decide figures.
        arguments: What the command was given, for whoever goes on by name alone; empty where it was no command.
        command: The command line that began it, for run.json.
        format: Of the job's folder.
    """

    recipe: dict[str, Any]
    image: dict[str, Any]
    labels: dict[str, Any]
    weights: dict[str, str]
    versions: dict[str, str]
    arguments: dict[str, Any]
    command: list[str]
    format: int = _FORMAT


def purpose_of(
    cohort: Cohort,
    recipe: TrainingRecipe,
    *,
    arguments: Mapping[str, Any] | None,
    command: Sequence[str],
    compared: Sequence[str] = (),
) -> Purpose:
    """What a training of these is for.

    Args:
        cohort: The images.
        recipe: How to train; where its weights lie does not matter, only what they are.
        arguments: What the command was given; None: it was no command.
        command: The command line.
        compared: The networks of a comparison.

    Raises:
        WeightsError: There are no such weights.
    """
    kind = "none" if recipe.strategy == "scratch" else recipe.weights
    weights = {}
    for name in compared or recipe.backbones:
        # a network of a comparison that has no weights is listed with that when its turn comes
        with contextlib.suppress(*[WeightsError] if compared else []):
            weights[name] = resolve_weights(kind, get_backbone(name))
    of_recipe = recipe.model_dump(mode="json", exclude={"weights"})
    return Purpose(
        recipe=of_recipe | {"backbones": list(compared or recipe.backbones)},
        image=cohort.image.model_dump(mode="json"),
        labels=cohort.labels.model_dump(mode="json"),
        weights={name: each.sha256 or each.description for name, each in weights.items()},
        versions=describe_versions(),
        arguments=dict(arguments or {}),
        command=list(command),
    )


def can_resume(out: Path) -> bool:
    """Whether there is something to go on with."""
    return (begun_beside(out) / _FACTS).is_file()


def read_purpose(out: Path) -> Purpose:
    """What a job was begun for.

    Raises:
        RunDirectoryError: There is no such job, or it cannot be read.
    """
    folder = begun_beside(out)
    if any((out / name).is_file() for name in ("run.json", "comparison.html")):
        shutil.rmtree(folder, ignore_errors=True)  # its process may have ended before it could
        raise RunDirectoryError(f"{out} is complete: there is nothing to go on with")
    try:
        content = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise RunDirectoryError(f"{out} was begun by another version of BreastLens: begin anew")
        return Purpose(**content)
    except FileNotFoundError as error:
        raise RunDirectoryError(f"{out}: there is no training to go on with (no {folder})") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunDirectoryError(f"{folder} is damaged ({error}): remove it and begin anew") from error


@contextmanager
def open_job(
    out: Path,
    cohort: Cohort,
    purpose: Purpose,
    *,
    resume: bool,
    progress: Progress,
    keep: bool = True,
) -> Iterator[Path]:
    """Yield the folder of a job, for this process alone; it is removed once the block has ended well.

    Where the block ends otherwise and something would be lost with it, it stays, and how to go on is told: with a note
    on the error, or where it was interrupted by ``progress``.

    Args:
        out: The run directory that comes of it.
        cohort: The images.
        purpose: What it is for.
        resume: Whether to go on with one that was begun.
        progress: Where to tell how to go on.
        keep: Whether to leave anything where the block ends otherwise.

    Raises:
        RunDirectoryError: ``out`` exists; there is nothing to go on with, or it was begun for something else; or the
            other way round there is something and ``resume`` is false; another process works on it; or it cannot be
            written.
    """
    earlier = read_purpose(out) if resume else purpose
    refuse_taken(out, cohort.scanned)
    with explained_write_errors(out):
        folder = make_begun_beside(out)
        with locked(folder, out):
            if not resume and can_resume(out):
                raise RunDirectoryError(
                    f"{out} was begun and not finished: {how_to_go_on(out)} goes on with it; or remove {folder}, or "
                    "choose another --out"
                )
            if resume:
                changed = name_differences(
                    asdict(earlier), asdict(purpose), _read_images(folder, out), cohort.table.astype(str)
                )
                if changed:
                    raise begun_otherwise(out, changed)
                _remove_leftovers(out, folder)
            else:
                images = cohort.table.astype(str).to_dict(orient="split", index=False)
                write_whole(folder / _IMAGES, [json.dumps(images).encode()])
                write_whole(folder / _FACTS, [json.dumps(asdict(purpose), indent=1).encode()])
            try:
                yield folder
            except BaseException as error:
                if keep and _has_begun(folder):
                    _tell_how_to_go_on(out, error, progress, purpose)
                else:
                    shutil.rmtree(folder, ignore_errors=True)
                raise
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def kept_beside(out: Path, progress: Progress) -> Iterator[Path]:
    """Yield a folder beside ``out`` for results of units, for this process alone.

    It goes where the block ends well, or with nothing in it; else, or where the block left ``INCOMPLETE`` in it, the
    same again goes on with what is there.

    Args:
        out: The file or directory that comes of them.
        progress: Where to tell that there is something to go on with.

    Raises:
        RunDirectoryError: Another process works on it, or it cannot be written.
    """
    with explained_write_errors(out):
        folder = make_begun_beside(out)
        with locked(folder, out):
            try:
                yield folder
            except BaseException as error:
                said = "What was done is kept: the same command goes on with it"
                if not any(folder.glob("*.npz")) and not (folder / INCOMPLETE).exists():
                    shutil.rmtree(folder, ignore_errors=True)
                elif isinstance(error, Exception):
                    error.add_note(said)
                else:
                    progress.say(said)
                raise
            if not (folder / INCOMPLETE).exists():
                shutil.rmtree(folder, ignore_errors=True)


def unit_store(folder: Path) -> UnitStore:
    """Where a job keeps the results of its trainings."""
    return UnitStore(folder / _UNITS, PARTS_OF_TRAINED)


def begun_otherwise(out: Path, changed: Sequence[str]) -> RunDirectoryError:
    """The refusal to go on with what was begun for something else.

    Args:
        out: The run directory.
        changed: What differs, pieces of a sentence.
    """
    return RunDirectoryError(
        f"{out} was begun otherwise, so it cannot go on: {'; '.join(changed)}. Give the same again, or begin anew with "
        "another --out"
    )


def how_to_go_on(out: Path) -> str:
    """The command for that."""
    return f"breastlens train --resume {shlex.quote(str(out))}"


def _has_begun(folder: Path) -> bool:
    """Whether there is anything that would be lost with a job's folder."""
    return any(any(folder.glob(pattern)) for pattern in _WORTH_KEEPING)


def _tell_how_to_go_on(out: Path, error: BaseException, progress: Progress, purpose: Purpose) -> None:
    """Tell the command or the call."""
    how = how_to_go_on(out) if purpose.arguments else "the same call with resume=True"
    if isinstance(error, Exception):
        error.add_note(f"What was finished is kept: {how} goes on with it")
    else:
        progress.say(f"What was finished is kept; go on with: {how}")


def _read_images(folder: Path, out: Path) -> pd.DataFrame:
    try:
        told = json.loads((folder / _IMAGES).read_text(encoding="utf-8"))
        return pd.DataFrame(told["data"], columns=told["columns"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunDirectoryError(f"{folder} is damaged ({error}): remove it and begin {out} anew") from error


def _remove_leftovers(out: Path, folder: Path) -> None:
    """What a process that was killed had written of run directories and of files of the job, and not finished."""
    runs = [path for path in out.parent.iterdir() if is_unfinished(path, out)]
    for path in (*runs, *(folder / RUNS).glob(".*"), *folder.rglob(f"{UNFINISHED}*")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, out: Path) -> Iterator[None]:
    """Keep other processes away from a folder; the system opens the lock whenever this one ends, however it does.

    Args:
        folder: Which; it exists.
        out: What comes of it, for the message.

    Raises:
        RunDirectoryError: Another process works on it.
    """
    handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            _lock(handle)
        except BlockingIOError as error:
            raise RunDirectoryError(f"{out}: another process is working on it") from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            logger.warning(
                "%s: the file system has no locks; see that one process works on it at a time", out
            )
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    with contextlib.suppress(ImportError):  # Windows: two processes on one run are the user's care
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
