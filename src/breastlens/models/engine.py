"""OpenVINO: run one compiled graph over many images, the same numbers however they are batched."""

from __future__ import annotations

import errno
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from breastlens.errors import BundleError, DataError
from breastlens.models._openvino import import_openvino

OnDone = Callable[[int], None]
UInt8Images = npt.NDArray[np.uint8]


class Engine:
    """A compiled network: raw uint8 images in, every named output as float32.

    Each image is one call on one thread, and as many calls run side by side as there are processor cores.
    So a result depends on the image alone, never on its neighbours in a batch or on the number of cores.
    Several threads may call ``run`` at once.

    Attributes:
        image_size: Side in pixels of the images it takes.
        outputs: Names of what it gives, in alphabetical order, for example ``("features", "score")``.
    """

    def __init__(self, graph: Any) -> None:
        """Compile an ``openvino.Model`` for this machine's processor; see ``load`` and ``from_keras``."""
        openvino = import_openvino()
        _, height, width, channels = graph.input().partial_shape
        self.image_size: int = height.get_length()
        graph.reshape([1, height, width, channels])
        self._calls = _usable_cores()
        self._compiled = openvino.Core().compile_model(
            graph,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32",
                "NUM_STREAMS": self._calls,
                "INFERENCE_NUM_THREADS": self._calls,
            },
        )
        self.outputs: tuple[str, ...] = tuple(sorted(out.any_name for out in self._compiled.outputs))

    @classmethod
    def load(cls, path: Path) -> Engine:
        """Read a graph that ``save_graph`` wrote; needs neither Keras nor TensorFlow.

        Args:
            path: The ``.xml`` file; its ``.bin`` stands beside it.

        Raises:
            BundleError: OpenVINO cannot read it.
        """
        openvino = import_openvino()
        try:
            return cls(openvino.Core().read_model(path))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise BundleError(f"{path} cannot be read as an OpenVINO graph: {reason}") from error

    @classmethod
    def from_keras(cls, model: Any) -> Engine:
        """Convert a Keras model in memory; nothing is written.

        Args:
            model: ``keras.Model`` with one uint8 input (n, s, s, 3), for example from ``build_features``.
        """
        return cls(_convert(model))

    def run(
        self, images: UInt8Images | Iterable[UInt8Images], *, on_done: OnDone | None = None
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Compute every output for every image.

        Args:
            images: uint8 (n, s, s, 3), or an iterable of such batches, read no faster than they are
                computed.
            on_done: Called after each image, in the caller's thread, with the number of images finished
                so far.

        Returns:
            For each output name an array (n, ...) in the order of the images.

        Raises:
            DataError: The images have another type or shape than the network takes.
        """
        rows: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in self.outputs}
        # Requests are waited for here, in turn, without callbacks: a callback that ends last would drop
        # the last reference to the compiled network on one of its own threads, and OpenVINO then aborts
        # the process.
        idle = [self._compiled.create_infer_request() for _ in range(2 * self._calls)]
        busy: deque[Any] = deque()

        def finish_oldest() -> None:
            request = busy.popleft()
            request.wait()
            for name, column in rows.items():
                column.append(request.get_tensor(name).data[0].copy())
            idle.append(request)
            if on_done is not None:
                on_done(len(column))

        for image in self._each(images):
            if not idle:
                finish_oldest()
            request = idle.pop()
            request.start_async({0: image[np.newaxis]})
            busy.append(request)
        while busy:
            finish_oldest()
        return {name: self._stacked(name, column) for name, column in rows.items()}

    def _each(self, images: UInt8Images | Iterable[UInt8Images]) -> Iterator[UInt8Images]:
        """The images one by one, each batch checked."""
        expected = (self.image_size, self.image_size, 3)
        for batch in (images,) if isinstance(images, np.ndarray) else images:
            if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[1:] != expected:
                raise DataError(
                    f"expected images as uint8 (n, {', '.join(map(str, expected))}) in RGB, "
                    f"got {batch.dtype} {batch.shape}"
                )
            yield from batch

    def _stacked(self, name: str, column: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        if column:
            return np.stack(column)
        return np.empty((0, *tuple(self._compiled.output(name).shape)[1:]), np.float32)


def save_graph(model: Any, path: Path) -> None:
    """Convert a Keras model and write it as OpenVINO IR in full float32 precision, for any number of images.

    Args:
        model: ``keras.Model`` with one uint8 input (n, s, s, 3).
        path: The ``.xml`` file; the weights go to a ``.bin`` of the same name beside it.

    Raises:
        OSError: The files cannot be written; OpenVINO does not say why, so that it is an input/output error.
    """
    graph = _convert(model)
    try:
        import_openvino().save_model(graph, path, compress_to_fp16=False)
    except RuntimeError as error:
        raise OSError(errno.EIO, "OpenVINO could not write its graph", str(path)) from error


def _convert(model: Any) -> Any:
    """Keras to ``openvino.Model``, input and outputs keeping their names."""
    openvino = import_openvino()
    with warnings.catch_warnings():
        # the converter passes a list where Keras knows its input by name; Keras says so and takes it
        warnings.filterwarnings("ignore", message="The structure of `inputs` doesn't match")
        graph = openvino.convert_model(model)
    if len(graph.outputs) == 1:
        graph.output().get_tensor().set_names(set(model.output_names))
    return graph


def _usable_cores() -> int:
    """Processor cores that this process may use; ``taskset`` may allow fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
