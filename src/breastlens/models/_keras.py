"""The one door to Keras: a missing package is named, and TensorFlow's chatter stays out of the terminal."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from breastlens.errors import MissingDependencyError

PURPOSE = "training a network"


@contextlib.contextmanager
def native_stderr_held_back() -> Iterator[None]:
    """Keep what C++ writes to file descriptor 2; give it back only if the block fails.

    TensorFlow writes two lines about oneDNN before its own log level is read, so no environment variable
    stops them.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _is_of_use(record: logging.LogRecord) -> bool:
    """Whether a line of TensorFlow's log says something about the training.

    That a graph is traced once more is so by intent: each fold has a network of its own.
    """
    return "triggered tf.function retracing" not in record.getMessage()


def require_keras() -> None:
    """Refuse at once what would need Keras later, without the seconds that importing it takes.

    Raises:
        MissingDependencyError: Keras or TensorFlow is not installed.
    """
    for package in ("keras", "tensorflow"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(package, "train", PURPOSE)


def import_keras() -> Any:
    """Import Keras on its TensorFlow backend, quietly; only the first call costs anything (about 4 s).

    ``TF_CPP_MIN_LOG_LEVEL`` is set to 2 (errors only) unless the environment already says otherwise.

    Returns:
        The ``keras`` module.

    Raises:
        MissingDependencyError: Keras or TensorFlow is not installed.
    """
    logging.getLogger("tensorflow").addFilter(_is_of_use)
    if sys.modules.get("keras") is not None:
        return sys.modules["keras"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with native_stderr_held_back():
            import keras
    except ModuleNotFoundError as error:
        package = (error.name or "keras").partition(".")[0]
        if package not in {"keras", "tensorflow"}:
            raise
        raise MissingDependencyError(package, "train", PURPOSE) from error
    return keras
