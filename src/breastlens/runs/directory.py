"""The run directory: written beside its name and renamed when complete, then read back by everything else."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from breastlens.errors import RunDirectoryError
from breastlens.whole_files import current_umask, take_name

FORMAT = 1

_REASONS = {
    errno.ENOSPC: "no space is left on the disk: free some",
    errno.EDQUOT: "the disk quota is used up: free some",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is missing",
    errno.EPERM: "permission is missing",
    errno.EIO: "the disk failed or is full: check it",
}


@contextmanager
def new_directory(out: Path, *, data: Path | None = None) -> Iterator[Path]:
    """Yield a temporary directory beside ``out`` that takes its name once the block has ended well.

    A directory that a killed process leaves behind is called ``.NAME.unfinished-*`` and is never read. When
    the block raises, the temporary directory is removed.

    Args:
        out: The directory to make. It must not exist yet, or be empty.
        data: The folder whose subfolders are read as categories for it, if any.

    Raises:
        RunDirectoryError: ``out`` exists or lies in ``data``, its place cannot be written, or the disk is full.
    """
    refuse_taken(out, data)
    unfinished = _make_unfinished(out)
    try:
        with explained_write_errors(out):
            yield unfinished
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    try:
        if out.exists():
            out.rmdir()
        take_name(unfinished, out)
    except OSError as error:  # hours of work are not thrown away for a name
        said = "was made by something else meanwhile" if os.path.lexists(out) else "could not get its name"
        raise RunDirectoryError(
            f"{out} {said} ({error.strerror}); what was finished lies in {unfinished}"
        ) from error


def refuse_taken(out: Path, data: Path | None = None) -> None:
    """Refuse a directory that holds something already, before any work is put into it.

    Args:
        out: The directory to make.
        data: The folder whose subfolders are read as categories for it, if any.

    Raises:
        RunDirectoryError: ``out`` is a file, a link, a directory that is not empty, or the one you are in; or it lies
            in ``data``, where its pictures would be read as a category the next time.
    """
    with explained_write_errors(out):
        taken = os.path.lexists(out) and (out.is_symlink() or not out.is_dir() or any(out.iterdir()))
    if out.absolute() == Path.cwd():
        raise RunDirectoryError(f"'{out}' is the folder you are in: name a new one with --out")
    if taken:
        raise RunDirectoryError(f"{out} exists already: choose another --out, or move it away first")
    if data is not None and out.resolve().is_relative_to(data.resolve()):
        raise RunDirectoryError(
            f"{out} lies in the folder of images, {data}, and would be read as a category the next time: "
            "choose another --out"
        )


def is_unfinished(path: Path, out: Path) -> bool:
    """Whether a path is what a process that was killed had written of a directory."""
    return path.name.startswith(_unfinished_prefix(out))


def _unfinished_prefix(out: Path) -> str:
    return f".{out.name}.unfinished-"


def _make_unfinished(out: Path) -> Path:
    with _explained_place(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=_unfinished_prefix(out), dir=out.parent))
        unfinished.chmod(0o777 & ~current_umask())
    return unfinished


def make_begun_beside(out: Path) -> Path:
    """Make the folder of ``begun_beside`` where there is none.

    Raises:
        RunDirectoryError: It cannot be written there.
    """
    folder = begun_beside(out)
    with _explained_place(out):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _explained_place(out: Path) -> Iterator[None]:
    """Turn whatever keeps a new directory from being made beside ``out`` into one line."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise RunDirectoryError(
            f"cannot write {out}: {error.filename} is a file where a directory is needed; choose another --out"
        ) from error
    except OSError as error:
        raise RunDirectoryError(f"cannot write {out}: {_reason(error)}; choose another --out") from error


def first_free(parent: Path, stem: str) -> Path:
    """The first of ``STEM-1``, ``STEM-2``, ... in ``parent`` that neither exists nor was begun."""
    number = 1
    while (path := parent / f"{stem}-{number}").exists() or begun_beside(path).exists():
        number += 1
    return path


def begun_beside(out: Path) -> Path:
    """Where the work behind a directory lies that is not complete: beside it, hidden."""
    return out.parent / f".{out.name}.units"


@contextmanager
def explained_write_errors(place: Path, way_out: str = "choose another --out") -> Iterator[None]:
    """Turn a full, read-only or forbidden disk, or a place that cannot be, into one line that says so.

    Args:
        place: What is being written; named in the message unless the error is about a file elsewhere.
        way_out: What to do instead.

    Raises:
        RunDirectoryError: The operating system refused to write for one of these reasons.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REASONS and error.filename != str(place):
            raise
        where = place if _is_beside(error.filename, place) else error.filename
        raise RunDirectoryError(f"cannot write {where}: {_reason(error)}; {way_out}") from error


def _reason(error: OSError) -> str:
    return _REASONS.get(error.errno or 0, error.strerror or str(error))


def _is_beside(name: object, place: Path) -> bool:
    """Whether an error's file is the place itself or lies next to it, where unfinished directories are."""
    return not isinstance(name, str) or Path(name).absolute().is_relative_to(place.absolute().parent)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write readable JSON; NaN and infinity are errors, since JSON has neither."""
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    # Names that are no valid text reach us as lone surrogates, which UTF-8 cannot hold and JSON can escape.
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV whose bytes depend on the values only: floats in their shortest exact form, Unix line ends."""
    table.to_csv(path, index=False, lineterminator="\n", errors="backslashreplace")


@dataclass(frozen=True)
class Run:
    """What one training or evaluation left.

    Attributes:
        directory: The run directory.
        facts: The content of ``run.json``.
        metrics: The content of ``metrics.json``: a block of figures a part, such as ``metrics["test"]["auc"]``.
    """

    directory: Path
    facts: dict[str, Any]
    metrics: dict[str, Any]

    @classmethod
    def read(cls, directory: str | Path) -> Run:
        """Read a finished run directory.

        Raises:
            RunDirectoryError: The directory is missing, is not a run, or is not complete.
        """
        directory = Path(directory)
        if not directory.is_dir():
            raise RunDirectoryError(f"{directory}: there is no such run directory")
        try:
            facts = json.loads((directory / "run.json").read_text(encoding="utf-8"))
            metrics = json.loads((directory / "metrics.json").read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RunDirectoryError(
                f"{directory} is not a run directory: it has no {Path(error.filename).name}"
            ) from error
        except OSError as error:
            raise RunDirectoryError(f"{directory} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise RunDirectoryError(f"{directory} is damaged: {error}") from error
        return cls(directory=directory, facts=facts, metrics=metrics)

    @property
    def report(self) -> Path:
        """The report page."""
        return self.directory / "report.html"

    @property
    def model(self) -> Path:
        """The bundle's directory."""
        return self.directory / "model"

    @property
    def records(self) -> pd.DataFrame:
        """``records.csv``: a row an image, excluded ones too; what the manifest added is text."""
        whole = ("frame", "label", "width", "height", "bits")
        return self._table("records.csv", whole, ("window_low", "window_high"))

    @property
    def predictions(self) -> pd.DataFrame:
        """``predictions.csv``: path, patient_id, split, y_true, y_score, y_pred, raw_logit and more."""
        return self._table(
            "predictions.csv", ("y_true", "y_pred", "novel"), ("y_score", "raw_logit", "distance")
        )

    @property
    def patients(self) -> pd.DataFrame:
        """``patients.csv``: a row a patient, with what their images say together; empty where none has several."""
        if not (self.directory / "patients.csv").is_file():
            return pd.DataFrame()
        return self._table("patients.csv", ("images", "refused", "y_true", "y_pred"), ("y_score",))

    def _table(self, name: str, whole: tuple[str, ...], real: tuple[str, ...]) -> pd.DataFrame:
        """Read a table exactly; all other columns are text, so that patient ``007`` stays who it is."""
        table = pd.read_csv(self.directory / name, dtype=str, keep_default_na=False)
        for kind, columns in (("Int64", whole), ("float64", real)):
            for column in columns:
                # From text, as Python reads it: pandas' own number parser is not exact to the last bit everywhere.
                if column not in table:  # runs of an earlier version lack some
                    continue
                table[column] = table[column].mask(table[column] == "").astype(kind)  # type: ignore[call-overload]
        return table
