from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys

import pytest

from breastlens.errors import MissingDependencyError
from breastlens.models._keras import import_keras, require_keras


def test_missing_keras_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(
        MissingDependencyError, match=r"keras, which is not installed: pip install 'breastlens\[train\]'"
    ):
        import_keras()


def test_a_missing_package_is_named_before_anything_is_read(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorflow" else object())
    with pytest.raises(MissingDependencyError, match="needs tensorflow, which is not installed"):
        require_keras()


@pytest.mark.slow
def test_import_says_nothing_and_does_not_swallow_later_stderr():
    code = (
        "import os, sys; from breastlens.models._keras import import_keras, require_keras; keras = import_keras();"
        "keras.ops.ones((2, 2)); os.write(2, b'after'); print(keras is import_keras())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "after"
    assert done.stdout == "True\n"


def test_stderr_comes_back_when_the_import_fails():
    code = (
        "import os; from breastlens.models._keras import native_stderr_held_back\n"
        "with native_stderr_held_back():\n"
        "    os.write(2, b'reason from C++')\n"
        "    raise OSError('broken library')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "reason from C++" in done.stderr
    assert "OSError: broken library" in done.stderr


def test_tensorflows_remark_on_tracing_each_network_is_left_out_and_others_are_not(caplog):
    pytest.importorskip("keras")
    import_keras()
    logger = logging.getLogger("tensorflow")
    logger.warning("5 out of the last 10 calls to %s triggered tf.function retracing. It is slow.", "f")
    logger.warning("a layer has no gradient")
    assert [record.getMessage() for record in caplog.records] == ["a layer has no gradient"]
