"""The formats that a model can be exported to: what each needs, how it is written, and which runtime opens it."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from breastlens.errors import DataError, MissingDependencyError
from breastlens.export.convert import Batch, write_litert, write_onnx, write_openvino, write_saved_model
from breastlens.export.runtimes import Opened, open_litert, open_onnx, open_openvino, open_saved_model

_TRAIN = {"keras": "keras", "tensorflow": "tensorflow"}


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: On the command line.
        title: Of its runtime.
        from_keras: Whether it is made of the bundle's Keras model; else of its OpenVINO graph.
        modules: What has to be installed: the package by the module that is imported.
        write: Writes a network to a folder; see ``convert``.
        open: Opens what is in a folder; see ``runtimes``.
    """

    name: str
    title: str
    from_keras: bool
    modules: dict[str, str]
    write: Callable[[Any, Path, Batch], None]
    open: Callable[[Path], Opened]

    def require(self) -> None:
        """Refuse at once what would need a package later.

        Raises:
            MissingDependencyError: It is not installed.
        """
        for module, package in self.modules.items():
            if importlib.util.find_spec(module) is None:
                raise MissingDependencyError(package, "export", f"export to {self.name}")


FORMATS = {
    each.name: each
    for each in (
        Format(
            name="onnx",
            title="ONNX Runtime",
            from_keras=True,
            modules=_TRAIN | {"tf2onnx": "tf2onnx", "onnx": "onnx", "onnxruntime": "onnxruntime"},
            write=write_onnx,
            open=open_onnx,
        ),
        Format(
            name="openvino",
            title="OpenVINO",
            from_keras=False,
            modules={},
            write=write_openvino,
            open=open_openvino,
        ),
        Format(
            name="litert",
            title="LiteRT",
            from_keras=True,
            modules=_TRAIN | {"ai_edge_litert": "ai-edge-litert"},
            write=write_litert,
            open=open_litert,
        ),
        Format(
            name="savedmodel",
            title="TensorFlow",
            from_keras=True,
            modules=_TRAIN,
            write=write_saved_model,
            open=open_saved_model,
        ),
    )
}
"""By name."""


def get_format(name: str) -> Format:
    """Look a format up by the name used on the command line.

    Raises:
        DataError: No format has that name.
    """
    if name not in FORMATS:
        close = difflib.get_close_matches(name, FORMATS, n=1)
        hint = f"; did you mean {close[0]}?" if close else "."
        raise DataError(f"no format is called {name!r}{hint} Known: {', '.join(FORMATS)}")
    return FORMATS[name]
