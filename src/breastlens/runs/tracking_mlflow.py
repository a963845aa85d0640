"""The one door to MLflow: finished runs go to its store, on this machine unless the user names another."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from breastlens.errors import MissingDependencyError, TrackingError
from breastlens.runs.tracking import Tracked, describe_for_tracker

logger = logging.getLogger(__name__)

LOCAL_STORE = "mlflow.db"
"""In the current folder, where ``mlflow ui`` looks for it; files go into ``mlruns`` beside it."""

EXPERIMENT = "breastlens"
_IDENTITY = "run_json_sha256"
_PACKAGES = ("mlflow", "sqlalchemy", "alembic")
_USER_AND_PASSWORD = re.compile(r"//[^/@\s]*@")
_UNLESS_SET = {
    # As shipped, MLflow reports its use to its makers. Software for medical images must not call anyone.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # A server that does not answer is given up after a minute or two, not after ten.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


class MlflowTracker:
    """An experiment in an MLflow store that was found to answer.

    The store is MLFLOW_TRACKING_URI or else `LOCAL_STORE`, the experiment MLFLOW_EXPERIMENT_NAME or else `EXPERIMENT`;
    it is made where there is none.
    """

    def __init__(self) -> None:
        """Open the store.

        Raises:
            MissingDependencyError: MLflow, or what it keeps its local store with, is not installed.
            TrackingError: The store cannot be reached or read.
        """
        mlflow = _import_mlflow()
        self.store = (
            os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path(LOCAL_STORE).absolute().as_posix()}"
        )
        self.experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        with _explained(self.store):
            self._client = mlflow.MlflowClient(self.store)
            self._experiment_id = self._find_experiment()

    @property
    def place(self) -> str:
        """Store and experiment, for people."""
        return _USER_AND_PASSWORD.sub("//", f"{self.store}, experiment {self.experiment}")

    def _find_experiment(self) -> str:
        found = self._client.get_experiment_by_name(self.experiment)
        if found is None:
            return str(self._client.create_experiment(self.experiment))
        if found.lifecycle_stage != "active":
            raise TrackingError(
                f"the experiment {self.experiment!r} in {self.store} was deleted: restore it, or name another in "
                "MLFLOW_EXPERIMENT_NAME"
            )
        return str(found.experiment_id)

    def log(self, run_dir: Path) -> bool:
        """Log a finished run; one that is there already is left as it is.

        Args:
            run_dir: The run directory.

        Returns:
            Whether it was logged now.

        Raises:
            RunDirectoryError: The run cannot be read.
            TrackingError: The store refused something; what it has of the run is marked as failed there.
        """
        run = describe_for_tracker(run_dir)
        with _explained(self.store):
            known = self._client.search_runs(
                [self._experiment_id],
                f"tags.{_IDENTITY} = '{run.fingerprint}' and attributes.status = 'FINISHED'",
                max_results=1,
            )
            if known:
                return False
            run_id = self._client.create_run(self._experiment_id, run_name=_plain(run.name)).info.run_id
            try:
                self._fill(run_id, run)
            except BaseException:
                self._client.set_terminated(run_id, "FAILED")
                raise
            self._client.set_terminated(run_id, "FINISHED")
        return True

    def _fill(self, run_id: str, run: Tracked) -> None:
        from mlflow.entities import Metric, Param, RunTag

        now_ms = int(time.time() * 1000)
        tags = run.tags | {_IDENTITY: run.fingerprint, "mlflow.note.content": run.note}
        self._client.log_batch(
            run_id,
            metrics=[Metric(name, value, now_ms, 0) for name, value in run.metrics.items()],
            params=[Param(name, _plain(text)) for name, text in run.params.items()],
            tags=[RunTag(name, _plain(text)) for name, text in tags.items()],
        )
        for path in run.files:
            if path.is_dir():
                self._client.log_artifacts(run_id, str(path), path.name)
            else:
                self._client.log_artifact(run_id, str(path))


def _plain(text: str) -> str:
    """Text that every store takes: valid Unicode, of bounded length."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")[:5000]


def _import_mlflow() -> Any:
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(package, "track", "--track mlflow")
    for name, value in _UNLESS_SET.items():
        os.environ.setdefault(name, value)
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # that a store was made is no news
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # nor is each try; the last one is told
    # what fails in the local store is told in a line, not as a traceback too
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    return mlflow


@contextmanager
def _explained(store: str) -> Iterator[None]:
    """Turn whatever the store or its clients raise into one line; which errors these are depends on the store.

    Raises:
        TrackingError: Something was raised.
    """
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:
        logger.info("tracking failed", exc_info=True)
        said = f"the MLflow store {store} cannot be used: {_first_cause(error)}"
        raise TrackingError(_USER_AND_PASSWORD.sub("//", said)) from error


def _first_cause(error: BaseException) -> str:
    """What began a chain of errors, in a line: ``Connection refused``, not what each layer above made of it."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return (text.strip().splitlines() or [type(error).__name__])[0][:300]
