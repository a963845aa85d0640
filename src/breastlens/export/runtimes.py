"""Exported files opened by the runtimes that they are made for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.export.convert import OUTPUT, Batch
from breastlens.models._keras import import_keras, native_stderr_held_back
from breastlens.models._openvino import import_openvino

Images = NDArray[np.uint8]
Scores = NDArray[np.float64]

MANY = 16
"""Images a call in the check of a file that takes any number."""


@dataclass(frozen=True)
class Opened:
    """An exported file in its runtime.

    Attributes:
        call: From uint8 (n, s, s, 3) to scores (n, 1), as the runtime gives them.
        input_name: As the file has it.
        output_name: Likewise.
        input_shape: Sides; None where any number will do.
        output_shape: Likewise.
    """

    call: Callable[[Images], Any]
    input_name: str
    output_name: str
    input_shape: tuple[int | None, ...]
    output_shape: tuple[int | None, ...]

    def score(self, images: Images, batch: Batch) -> Scores:
        """Score images as the file takes them.

        Args:
            images: uint8 (n, s, s, 3), RGB.
            batch: What it was made for; None: the first image alone, then ``MANY`` at a time, so that both are tried.

        Returns:
            (n,).
        """
        first, step = (1, MANY) if batch is None else (batch, batch)
        starts = [0, *range(first, len(images), step)]
        scores = []
        for start, end in zip(starts, [*starts[1:], len(images)], strict=True):
            part = images[start:end]
            short = 0 if batch is None else batch - len(part)
            filled = np.concatenate([part, np.repeat(part[-1:], short, axis=0)])
            scores.append(np.asarray(self.call(filled), dtype=np.float64)[: len(part), 0])
        return np.concatenate(scores)


def open_onnx(folder: Path) -> Opened:
    """Open ``model.onnx`` in ONNX Runtime, on the processor."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    return Opened(
        lambda images: session.run([made.name], {given.name: images})[0],
        given.name,
        made.name,
        _shape(given.shape),
        _shape(made.shape),
    )


def open_openvino(folder: Path) -> Opened:
    """Open ``model.xml`` in OpenVINO, on the processor and in 32 bits, which it does not take by itself everywhere."""
    core = import_openvino().Core()
    compiled = core.compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    given, made = compiled.input(), compiled.output()
    return Opened(
        lambda images: compiled(images)[made],
        given.any_name,
        made.any_name,
        _shape([None if side.is_dynamic else side.get_length() for side in given.partial_shape]),
        _shape([None if side.is_dynamic else side.get_length() for side in made.partial_shape]),
    )


def open_litert(folder: Path) -> Opened:
    """Open ``model.tflite`` in LiteRT's interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    with native_stderr_held_back():  # it tells which of its kernels it takes
        interpreter = Interpreter(model_path=str(folder / "model.tflite"))
        interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    (names,) = interpreter.get_signature_list().values()

    def call(images: Images) -> Any:
        if tuple(interpreter.get_input_details()[0]["shape"]) != images.shape:
            interpreter.resize_tensor_input(given["index"], images.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(made["index"])

    return Opened(
        call,
        names["inputs"][0],
        names["outputs"][0],
        _shape(given["shape_signature"]),
        _shape(made["shape_signature"]),
    )


def open_saved_model(folder: Path) -> Opened:
    """Open the folder ``saved_model`` in TensorFlow."""
    import_keras()  # keeps TensorFlow's chatter out of the terminal
    import tensorflow as tf

    loaded = tf.saved_model.load(folder / "saved_model")
    signature = loaded.signatures["serving_default"]
    ((name, given),) = signature.structured_input_signature[1].items()
    made = signature.structured_outputs[OUTPUT]

    def call(
        images: Images, kept: Any = loaded
    ) -> Any:  # the signature needs what was loaded, and does not hold it
        return signature(**{name: tf.constant(images)})[OUTPUT]

    return Opened(call, name, OUTPUT, tuple(given.shape), tuple(made.shape))


def _shape(sides: Any) -> tuple[int | None, ...]:
    """Sides as whole numbers, None for what a runtime calls free: a name, None or -1."""
    return tuple(None if isinstance(side, str) or side is None or side < 0 else int(side) for side in sides)
