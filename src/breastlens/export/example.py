"""The two programs beside an exported file: one scores an image with the format's own runtime, one prepares it."""

from __future__ import annotations

import shutil
from pathlib import Path

from breastlens.export.convert import Batch
from breastlens.models.bundle import BundleCard

_PREPARE = Path(__file__).with_name("prepare.py")
"""Copied as it is; it reads this model's settings from export.json."""

_RUN = {
    "onnx": (
        """from pathlib import Path

import onnxruntime""",
        """onnxruntime.disable_telemetry_events()  # as built for Windows it may report its use to its maker
network = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
score = float(network.run(["score"], {"image": images})[0][0, 0])""",
    ),
    "openvino": (
        """import sys
from pathlib import Path

sys.modules["openvino_telemetry"] = None  # else OpenVINO may report its use to its maker
import openvino""",
        """settings = {"INFERENCE_PRECISION_HINT": "f32"}  # else some processors compute in 16 bits
network = openvino.Core().compile_model(folder / "model.xml", "CPU", settings)
score = float(network(images)["score"][0, 0])""",
    ),
    "litert": (
        """from pathlib import Path

from ai_edge_litert.interpreter import Interpreter""",
        """network = Interpreter(model_path=str(folder / "model.tflite")).get_signature_runner()
score = float(network(image=images)["score"][0, 0])""",
    ),
    "savedmodel": (
        """from pathlib import Path

import tensorflow as tf""",
        """network = tf.saved_model.load(folder / "saved_model")
score = float(network.signatures["serving_default"](image=tf.constant(images))["score"][0, 0])""",
    ),
}


def write_example(folder: Path, format_name: str, card: BundleCard, batch: Batch) -> None:
    """Write ``example.py``, and ``prepare.py`` that it imports.

    Args:
        folder: Where the network lies.
        format_name: Which format.
        card: Of the bundle: threshold and names.
        batch: How many images a call takes; None: any number.

    Raises:
        OSError: They cannot be written.
    """
    imports, run = _RUN[format_name]
    positive, negative = card.labels.positive_name, card.labels.negative_name
    images = "square[None]" if batch is None else f"square[None].repeat({batch}, axis=0)"
    text = f'''"""Score one image; prepare.py makes the square, export.json explains both. For research use only."""

import argparse
{imports}
from prepare import prepare

folder = Path(__file__).parent
arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("image")
square = prepare(arguments.parse_args().image)
images = {images}
{run}
print(f"{{score:.6f}}", {positive!r} if score >= {card.threshold!r} else {negative!r})
'''
    (folder / "example.py").write_text(text, encoding="utf-8")
    shutil.copyfile(_PREPARE, folder / _PREPARE.name)
