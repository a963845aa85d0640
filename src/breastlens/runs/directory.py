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

FORMAT = 1

_SPACE_AND_PERMISSION = {
    errno.ENOSPC: "no space is left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission to write is missing",
    errno.EPERM: "permission to write is missing",
}


@contextmanager
def new_directory(out: Path) -> Iterator[Path]:
    """Yield a temporary directory beside ``out`` that takes its name once the block has ended well.

    A directory that a killed process leaves behind is called ``.NAME.unfinished-*`` and is never read. When
    the block raises, the temporary directory is removed.

    Args:
        out: The directory to make. It must not exist yet, or be empty.

    Raises:
        RunDirectoryError: ``out`` exists, its place cannot be written, or the disk is full.
    """
    out = Path(out)
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise RunDirectoryError(f"{out} exists already: choose another --out, or move it away first")
    with explained_write_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{out.name}.unfinished-", dir=out.parent))
        try:
            unfinished.chmod(0o777 & ~_current_umask())
            yield unfinished
            if out.exists():
                out.rmdir()
            unfinished.rename(out)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise


def first_free(parent: Path, stem: str) -> Path:
    """The first of ``STEM-1``, ``STEM-2``, ... in ``parent`` that does not exist yet."""
    number = 1
    while (path := parent / f"{stem}-{number}").exists():
        number += 1
    return path


@contextmanager
def explained_write_errors(place: Path) -> Iterator[None]:
    """Turn a full, read-only or forbidden disk into one line that says so.

    Raises:
        RunDirectoryError: The operating system refused to write for one of these reasons.
    """
    try:
        yield
    except OSError as error:
        reason = _SPACE_AND_PERMISSION.get(error.errno or 0)
        if reason is None and isinstance(error, FileExistsError | NotADirectoryError):
            reason = f"{error.filename} is a file where a directory is needed"
        if reason is None:
            raise
        raise RunDirectoryError(f"cannot write {place}: {reason}; free it or choose another --out") from error


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write readable JSON; NaN and infinity are errors, since JSON has neither."""
    path.write_text(json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV whose bytes depend on the values only: floats in their shortest exact form, Unix line ends."""
    table.to_csv(path, index=False, lineterminator="\n")


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

    def _table(self, name: str) -> pd.DataFrame:
        text = {"path": str, "patient_id": str, "category": str, "excluded": str, "duplicate_group": str}
        return pd.read_csv(
            self.directory / name, dtype=text, keep_default_na=False, na_values={"y_score": [""]}
        )

    @property
    def records(self) -> pd.DataFrame:
        """``records.csv``: a row an image, excluded ones too."""
        return self._table("records.csv")

    @property
    def predictions(self) -> pd.DataFrame:
        """``predictions.csv``: path, patient_id, split, y_true, y_score, y_pred."""
        return self._table("predictions.csv")


def _current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
