"""A network becomes the file of another runtime: raw squares in, the calibrated probability out, and nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from breastlens.models._keras import import_keras, native_stderr_held_back
from breastlens.models._openvino import import_openvino
from breastlens.models.engine import save_graph

INPUT = "image"
OUTPUT = "score"
OPSET = 18
"""Of ONNX: what runtimes since 2023 read."""

Batch = int | None
"""How many images a call takes; None: any number."""


def score_network(model: Any) -> Any:
    """A classifier without its further outputs.

    Args:
        model: ``keras.Model`` from a bundle: uint8 ``image`` (n, s, s, 3) to ``score`` and more.

    Returns:
        ``keras.Model`` with the same layers, from ``image`` to ``{"score": (n, 1)}``.
    """
    return import_keras().Model(model.input, {OUTPUT: model.output[OUTPUT]}, name=model.name)


def score_graph(graph: Any, batch: Batch) -> Any:
    """A copy of a bundle's graph without its further outputs.

    Args:
        graph: ``openvino.Model`` with ``score`` (n, 1) among its outputs; it stays as it is.
        batch: Of the copy.

    Returns:
        ``openvino.Model`` from ``image`` to ``score``.
    """
    openvino = import_openvino()
    copy = graph.clone()
    score = copy.output(OUTPUT).get_node()
    alone = openvino.Model([score], copy.get_parameters(), graph.get_friendly_name())
    _, *square = alone.input().partial_shape
    alone.reshape([-1 if batch is None else batch, *square])
    return alone


def write_openvino(graph: Any, folder: Path, batch: Batch) -> None:
    """Write ``model.xml`` and ``model.bin``, every number as it is.

    Args:
        graph: ``openvino.Model`` from a bundle.
        folder: Where.
        batch: How many images a call takes.

    Raises:
        OSError: They cannot be written.
    """
    save_graph(score_graph(graph, batch), folder / "model.xml")


def write_onnx(network: Any, folder: Path, batch: Batch) -> None:
    """Write ``model.onnx``, by Keras's own export, which tf2onnx does.

    Args:
        network: From ``score_network``.
        folder: Where.
        batch: How many images a call takes.
    """
    import onnx

    _hold_constants_as_arrays(network)
    path = folder / "model.onnx"
    _export(network, path, batch, format="onnx", opset_version=OPSET)
    made = onnx.load(path)
    for value in (*made.graph.input, *made.graph.output):
        if batch is None:  # tf2onnx numbers what is free
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    made.doc_string = "For research use only."
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, path)


def _hold_constants_as_arrays(network: Any) -> None:
    """Let normalisation layers hold their constants as arrays, of the same numbers.

    EfficientNetV2 begins with one. Of tensors that a network refers to and that are no variables, tf2onnx makes further
    inputs.
    """
    keras = import_keras()
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            _hold_constants_as_arrays(layer)
        elif isinstance(layer, keras.layers.Normalization):
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)


def write_litert(network: Any, folder: Path, batch: Batch) -> None:
    """Write ``model.tflite`` of LiteRT's own operations, so that its plain interpreter runs it.

    Args:
        network: From ``score_network``.
        folder: Where.
        batch: How many images a call takes.
    """
    import tensorflow as tf

    own = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    _export(network, folder / "model.tflite", batch, format="litert", target_spec=own)


def write_saved_model(network: Any, folder: Path, batch: Batch) -> None:
    """Write the folder ``saved_model``, whose signature ``serving_default`` is the network.

    By Keras's archive rather than ``network.export``, which writes every weight twice: as a variable of Keras and as
    the variable of TensorFlow within it.

    Args:
        network: From ``score_network``.
        folder: Where.
        batch: How many images a call takes.
    """
    with _silent():
        archive = import_keras().export.ExportArchive()
        archive.add_endpoint("serve", network.__call__, _signature(network, batch))
        archive.write_out(str(folder / "saved_model"), verbose=False)


def _export(network: Any, path: Path, batch: Batch, **options: Any) -> None:
    """Keras's export, silent."""
    with _silent():
        network.export(str(path), verbose=False, input_signature=_signature(network, batch), **options)


def _signature(network: Any, batch: Batch) -> list[Any]:
    """What a call takes, as Keras says it."""
    square = network.input.shape[1:]
    return [import_keras().InputSpec(shape=(batch, *square), dtype="uint8", name=INPUT)]


@contextmanager
def _silent() -> Iterator[None]:
    """Keep warnings and what native code prints off the terminal."""
    with warnings.catch_warnings(), native_stderr_held_back():
        warnings.simplefilter("ignore")
        yield
