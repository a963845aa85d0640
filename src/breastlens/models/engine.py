"""OpenVINO: run one compiled graph over many images, the same numbers however they are batched."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from breastlens.errors import BundleError, DataError
from breastlens.machine import usable_cores
from breastlens.models._keras import import_keras
from breastlens.models._openvino import import_openvino
from breastlens.models.compiled_cache import entry_settings, keep_compiled, load_compiled

Arithmetic = Literal["fp32", "bf16"]
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
        precision: What it computes with. It is float32 where bfloat16 was asked for and the processor has no
            instructions for it: OpenVINO would then imitate it, which is slower than float32 and no more exact.
    """

    def __init__(self, compiled: Any) -> None:
        """Take an ``openvino.CompiledModel`` for one image a call; see ``from_graph``, ``from_keras`` and ``load``."""
        self._compiled = compiled
        self._calls: int = compiled.get_property("NUM_STREAMS")
        self._spare: list[Any] = []
        self.image_size: int = compiled.input().shape[1]
        self.outputs: tuple[str, ...] = tuple(sorted(out.any_name for out in compiled.outputs))
        used = compiled.get_property("INFERENCE_PRECISION_HINT")
        self.precision: Arithmetic = "bf16" if used == import_openvino().Type.bf16 else "fp32"

    @classmethod
    def from_graph(cls, graph: Any, *, precision: Arithmetic = "fp32") -> Engine:
        """Compile a graph in memory for this machine's processor.

        Args:
            graph: ``openvino.Model`` for any number of images, from ``convert``; it stays as it is.
            precision: What to compute with.
        """
        core = import_openvino().Core()
        return cls(core.compile_model(_one_image(graph), "CPU", _settings(core, precision)))

    @classmethod
    def from_keras(cls, model: Any) -> Engine:
        """Convert a Keras model in memory and compile it in float32; nothing is written.

        Args:
            model: ``keras.Model`` with one uint8 input (n, s, s, 3), for example from ``build_features``.
        """
        return cls.from_graph(convert(model))

    @classmethod
    def load(cls, path: Path, *, precision: Arithmetic = "fp32", content: str | None = None) -> Engine:
        """Read a graph that ``save_graph`` wrote; needs neither Keras nor TensorFlow.

        Args:
            path: The ``.xml`` file; its ``.bin`` stands beside it.
            precision: What to compute with.
            content: What decides graph and weights, such as their hashes, if the caller knows it and has seen that the
                files are those: the compiled network is then kept in the user's cache folder and found there.

        Raises:
            BundleError: OpenVINO cannot read it.
        """
        core = import_openvino().Core()
        settings = _settings(core, precision)
        compiled = None if content is None else load_compiled(core, path, content, settings)
        if compiled is None:
            try:
                graph = _one_image(core.read_model(path))
                compiled = core.compile_model(
                    graph, "CPU", settings if content is None else entry_settings(settings)
                )
            except RuntimeError as error:
                reason = str(error).strip().splitlines()[-1]
                raise BundleError(f"{path} cannot be read as an OpenVINO graph: {reason}") from error
            if content is not None:
                keep_compiled(core, compiled, content, settings)
        return cls(compiled)

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
        count = len(images) if isinstance(images, np.ndarray) else 0
        table = {name: np.empty((count, *self._row_shape(name)), np.float32) for name in self.outputs}
        done = 0
        for done, row in enumerate(self.stream(images), start=1):
            for name, column in table.items():
                if done > len(column):
                    # in place where the system can, and by an eighth, so that no second copy is ever held
                    column.resize((max(64, done + done // 8), *column.shape[1:]), refcheck=False)
                column[done - 1] = row[name]
            if on_done is not None:
                on_done(done)
        for column in table.values():
            column.resize((done, *column.shape[1:]), refcheck=False)
        return table

    def stream(
        self, images: UInt8Images | Iterable[UInt8Images]
    ) -> Generator[dict[str, npt.NDArray[np.float32]]]:
        """Compute every output for one image after the other, holding no more than a few.

        Args:
            images: As for ``run``.

        Yields:
            For each image, in order, its row of each output by name; an array of its own that nothing writes to later.

        Raises:
            DataError: The images have another type or shape than the network takes.
        """
        # Requests are waited for here, in turn, without callbacks: a callback that ends last would drop
        # the last reference to the compiled network on one of its own threads, and OpenVINO then aborts
        # the process.
        idle = [self._take_request() for _ in range(2 * self._calls)]
        busy: deque[Any] = deque()

        def finish_oldest() -> dict[str, npt.NDArray[np.float32]]:
            request = busy.popleft()
            request.wait()
            row = self._row(request)
            idle.append(request)
            return row

        try:
            for image in self._each(images):
                if not idle:
                    yield finish_oldest()
                request = idle.pop()
                request.start_async({0: image[np.newaxis]})
                busy.append(request)
            while busy:
                yield finish_oldest()
        finally:
            for request in busy:  # the caller has had enough, or reading failed
                request.wait()
            self._spare += [*idle, *busy]

    def _take_request(self) -> Any:
        """A request that nobody uses; making one takes as long as a small network."""
        try:
            return self._spare.pop()
        except IndexError:
            return self._compiled.create_infer_request()

    def _row(self, request: Any) -> dict[str, npt.NDArray[np.float32]]:
        """What a request that has ended gave for its image."""
        return {name: request.get_tensor(name).data[0].copy() for name in self.outputs}

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

    def _row_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._compiled.output(name).shape)[1:]


def convert(model: Any) -> Any:
    """Turn a Keras model into a graph for OpenVINO, for any number of images, in full float32.

    Args:
        model: ``keras.Model`` with one uint8 input (n, s, s, 3) and one output, or several by name; see
            ``hold_constants_as_arrays`` for what becomes of it.

    Returns:
        ``openvino.Model`` whose input and outputs keep their names.
    """
    traced, named = _with_weights_as_constants(model)
    graph = import_openvino().convert_model(traced, output=list(named))
    graph.input().get_tensor().set_names({model.inputs[0].name})
    for output in graph.outputs:
        (found,) = named.keys() & output.get_names()
        output.get_tensor().set_names({named[found]})
    return graph


def _with_weights_as_constants(model: Any) -> tuple[Any, dict[str, str]]:
    """A model as a graph of TensorFlow, and by what its outputs are called there, their names.

    OpenVINO takes Keras models as they are, too, but looks through all variables for each of them, which takes half of
    the time for networks with hundreds.
    """
    import tensorflow as tf

    hold_constants_as_arrays(model)
    (image,) = model.inputs
    weights = [
        [np.asarray(variable.value) for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]
    with tf.Graph().as_default() as graph:
        squares = tf.compat.v1.placeholder(tf.uint8, image.shape, name=image.name)
        found, _ = model.stateless_call(*weights, squares, training=False)
        if not isinstance(found, dict):
            found = dict(zip(model.output_names, [found], strict=True))
        named = {tf.identity(values, name=f"end_{name}").name: name for name, values in found.items()}
    return graph, named


def hold_constants_as_arrays(network: Any) -> None:
    """Let normalisation layers hold their constants as arrays, of the same numbers.

    EfficientNetV2 begins with one. Tensors that a network refers to and that are no variables cannot become part of a
    graph, and tf2onnx makes further inputs of them.

    Args:
        network: ``keras.Model``, with networks in it or without.
    """
    keras = import_keras()
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            hold_constants_as_arrays(layer)
        elif isinstance(layer, keras.layers.Normalization):
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)


def save_graph(graph: Any, path: Path) -> None:
    """Write a graph as OpenVINO IR, every number as it is.

    Args:
        graph: ``openvino.Model``, from ``convert``.
        path: The ``.xml`` file; the weights go to a ``.bin`` of the same name beside it.

    Raises:
        OSError: The files cannot be written; OpenVINO does not say why, so that it is an input/output error.
    """
    try:
        import_openvino().save_model(graph, path, compress_to_fp16=False)
    except RuntimeError as error:
        raise OSError(errno.EIO, "OpenVINO could not write its graph", str(path)) from error


def _one_image(graph: Any) -> Any:
    """A copy of a graph that takes one image a call; the graph itself stays as it is."""
    single = graph.clone()
    _, height, width, channels = single.input().partial_shape
    single.reshape([1, height, width, channels])
    return single


def _settings(core: Any, precision: Arithmetic) -> dict[str, Any]:
    """How to compile. OpenVINO takes bfloat16 by itself on some processors, so precision is always said."""
    calls = usable_cores()
    native = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" and native else "f32",
        "NUM_STREAMS": calls,
        "INFERENCE_NUM_THREADS": calls,
    }
