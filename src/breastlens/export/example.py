"""The example beside an exported file: a short Python program that scores one image with the format's own runtime."""

from __future__ import annotations

from breastlens.config import ImageRecipe
from breastlens.export.convert import Batch
from breastlens.export.recipe import needs_breastlens
from breastlens.models.bundle import BundleCard

NAME = "example.py"

_RUN = {
    "onnx": (
        "import onnxruntime",
        """session = onnxruntime.InferenceSession(FOLDER / "model.onnx", providers=["CPUExecutionProvider"])
score = session.run(["score"], {"image": images})[0][0, 0]""",
    ),
    "openvino": (
        """sys.modules.setdefault("openvino_telemetry", None)  # else OpenVINO may report its use to its maker
import openvino""",
        """settings = {"INFERENCE_PRECISION_HINT": "f32"}  # else some processors compute in 16 bits
network = openvino.Core().compile_model(FOLDER / "model.xml", "CPU", settings)
score = network(images)["score"][0, 0]""",
    ),
    "litert": (
        "from ai_edge_litert.interpreter import Interpreter",
        """network = Interpreter(model_path=str(FOLDER / "model.tflite")).get_signature_runner()
score = network(image=images)["score"][0, 0]""",
    ),
    "savedmodel": (
        "import tensorflow as tf",
        """network = tf.saved_model.load(FOLDER / "saved_model")
score = network.signatures["serving_default"](image=tf.constant(images))["score"].numpy()[0, 0]""",
    ),
}


def write_example(format_name: str, card: BundleCard, batch: Batch) -> str:
    """The program's text.

    Args:
        format_name: Which format.
        card: Of the bundle: recipe, threshold and names.
        batch: How many images a call takes; None: any number.
    """
    imports, run = _RUN[format_name]
    side, recipe = card.image.image_size, card.image
    return f'''"""Score one image: python {NAME} IMAGE. export.json says how images are prepared. Research use only."""

import sys
from pathlib import Path

import cv2
import numpy as np
{imports}

FOLDER = Path(__file__).parent
path = sys.argv[1]
if path.endswith(".npy"):  # a square as BreastLens prepares it: uint8 ({side}, {side}, 3), red, green, blue
    square = np.load(path)
{_reading(recipe)}
images = np.stack([square] * {batch or 1})
{run}
print(f"{{score:.6f}}", {card.labels.positive_name!r} if score >= {card.threshold!r} else {card.labels.negative_name!r})
'''


def _reading(recipe: ImageRecipe) -> str:
    """The branch for image files."""
    further = needs_breastlens(recipe)
    if further:
        return f"""else:  # this model's images take more than resizing: {", ".join(further)}
    sys.exit("expected a square as .npy, as breastlens.imaging.preprocess makes it")"""
    lines = [
        "else:  # 8 bits a channel and no transparency; squares of all else as .npy",
        "    image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)",
        "    height, width = image.shape[:2]",
    ]
    side, border = recipe.image_size, recipe.hidden_border_px
    if recipe.fit == "stretch":
        lines.append(f"    to = ({side}, {side})")
    else:
        lines += [
            f"    scale = {side} / max(height, width)",
            "    to = max(1, round(width * scale)), max(1, round(height * scale))",
        ]
    lines += [
        "    smaller = min(to[0], width), min(to[1], height)",
        "    image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)",
        "    image = cv2.resize(image, to, interpolation=cv2.INTER_CUBIC)",
    ]
    if recipe.fit == "stretch":
        lines.append("    square = image")
    else:
        lines += [
            f"    left, top = ({side} - to[0]) // 2, ({side} - to[1]) // 2",
            f"    square = np.zeros(({side}, {side}, 3), np.uint8)",
            "    square[top : top + to[1], left : left + to[0]] = image",
        ]
    if border:
        lines.append(
            f"    square[:{border}] = square[-{border}:] = square[:, :{border}] = square[:, -{border}:] = 0"
        )
    return "\n".join(lines)
