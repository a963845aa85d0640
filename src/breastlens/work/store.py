"""Results of units on disk: each one file, whole or absent, and beside it what an unfinished one has got so far."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from breastlens.errors import WorkerError
from breastlens.whole_files import write_whole
from breastlens.work.packing import pack, unpack
from breastlens.work.unit import Unit

logger = logging.getLogger(__name__)


class UnitStore:
    """The results of a job's units, in a folder that only this job writes.

    Attributes:
        folder: Holds ``KEY.npz`` of a finished unit, ``KEY.failed.json`` of one that failed, and ``KEY/`` with what one
            that has begun has kept.
    """

    def __init__(self, folder: Path, known: Sequence[type]) -> None:
        """Settle where results are kept; the folder is made with the first of them.

        Args:
            folder: Where.
            known: Dataclasses that results are made of.
        """
        self.folder = folder
        self._known = tuple(known)

    def checkpoints(self, unit_key: str) -> Path:
        """Where a unit may keep what it has got so far; removed when its result is there."""
        return self.folder / unit_key

    def read(self, unit: Unit) -> Any | None:
        """The result of a unit; None where it is not done, or its file is damaged."""
        try:
            return unpack(self._result(unit.key), self._known)
        except FileNotFoundError:
            return None
        except ValueError as error:
            logger.warning("the result of %s is not used, and made again: %s", unit.title, error)
            return None

    def require(self, unit: Unit) -> Any:
        """As ``read``, of a unit that was done.

        Raises:
            WorkerError: Its result has gone, or was damaged meanwhile.
        """
        result = self.read(unit)
        if result is None:
            raise WorkerError(f"the result of {unit.title} has gone from {self.folder} meanwhile: try again")
        return result

    def write(self, unit: Unit, result: Any) -> None:
        """Keep the result of a unit.

        Raises:
            OSError: It cannot be written.
            TypeError: It cannot be packed.
        """
        write_whole(self._result(unit.key), [pack(result)])
        self._failure(unit.key).unlink(missing_ok=True)
        shutil.rmtree(self.checkpoints(unit.key), ignore_errors=True)

    def write_failure(self, unit: Unit, error: BaseException) -> None:
        """Note why a unit failed, as far as that can be written."""
        reason = {"unit": unit.title, "error": type(error).__name__, "reason": str(error)}
        with contextlib.suppress(OSError):
            write_whole(self._failure(unit.key), [json.dumps(reason, indent=1).encode()])

    def _result(self, key: str) -> Path:
        return self.folder / f"{key}.npz"

    def _failure(self, key: str) -> Path:
        return self.folder / f"{key}.failed.json"
