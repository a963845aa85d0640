"""The steps in words and the example's code do what the preprocessing does."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest

from breastlens.config import ImageRecipe
from breastlens.export.example import write_example
from breastlens.export.recipe import describe_steps, needs_breastlens
from breastlens.imaging.decode import decode
from breastlens.imaging.preprocess import preprocess


def squares_of_example(card, path):
    """What the example makes of a file, without the runtime."""
    text = write_example("onnx", card, None)
    reading = text[text.index("import cv2") : text.index("session = ")].replace("import onnxruntime\n", "")
    names = {"sys": sys, "Path": type(path), "__file__": str(path)}
    before, sys.argv = sys.argv, ["example.py", str(path)]
    try:
        exec(compile(reading, "example.py", "exec"), names)
    finally:
        sys.argv = before
    return names["images"]


@pytest.mark.parametrize("shape", [(20, 50, 3), (90, 40, 3), (33, 33), (40, 31, 3), (32, 32, 3)])
@pytest.mark.parametrize(
    "recipe",
    [
        ImageRecipe(image_size=40),
        ImageRecipe(image_size=32, fit="letterbox"),
        ImageRecipe(image_size=64, fit="letterbox", hide_border=True),
    ],
)
def test_the_example_prepares_images_as_breastlens_does(recipe, shape, card, tmp_path):
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    (found,) = squares_of_example(card.model_copy(update={"image": recipe}), path)
    assert np.array_equal(found, preprocess(decode(path), recipe).pixels)


def test_where_more_than_resizing_is_needed_the_example_says_so_and_takes_squares(card, tmp_path):
    recipe = ImageRecipe(crop="body", hide_marks=True, normalise="per-image")
    text = write_example("onnx", card.model_copy(update={"image": recipe}), None)
    assert "more than resizing: painting over marks, cropping to the body, normalising grey levels" in text
    (tmp_path / "example.py").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, tmp_path / "example.py", "image.png"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (
        1,
        "expected a square as .npy, as breastlens.imaging.preprocess makes it",
    )


@pytest.mark.parametrize(
    "recipe", [ImageRecipe(), ImageRecipe(fit="letterbox", crop="body", hide_border=True)]
)
def test_an_example_is_short(recipe, card):
    for name in ("onnx", "openvino", "litert", "savedmodel"):
        assert len(write_example(name, card.model_copy(update={"image": recipe}), 1).splitlines()) <= 40


def test_each_setting_has_its_step():
    plain = describe_steps(ImageRecipe())
    assert needs_breastlens(ImageRecipe()) == []
    for change, said in (
        ({"hide_marks": True}, "Paint over letters"),
        ({"crop": "body"}, "Crop to the box"),
        ({"normalise": "per-image"}, "mean of 128 and a standard deviation of 51"),
        ({"fit": "letterbox"}, "the middle of a black square of 128 px"),
        ({"hide_border": True}, "outermost 8 px"),
        ({"temperature_range": (21.5, 36.0)}, "21.5 and 36 deg C"),
        ({"image_size": 96}, "Resize to 96x96 px"),
    ):
        steps = describe_steps(ImageRecipe(**change))
        assert any(said in step for step in steps)
        assert not any(said in step for step in plain)
