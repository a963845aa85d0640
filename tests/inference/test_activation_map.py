"""Maps of what influenced a score: their sum, their way back to the original image, and their meaning on phantoms."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.special import logit

from breastlens.config import ImageRecipe
from breastlens.errors import BundleError, DecodeError
from breastlens.imaging.decode import DecodedImage, decode
from breastlens.imaging.preprocess import PreparedImage, preprocess
from breastlens.inference.activation_map import explain_row, to_original
from breastlens.inference.predictor import Predictor, load
from breastlens.runs.directory import Run


@pytest.fixture(scope="module")
def predictor(holdout_run: Run) -> Predictor:
    return load(holdout_run.directory)


def decoded(pixels: np.ndarray) -> DecodedImage:
    return DecodedImage(pixels, "PNG", 8, pixels.shape[1], pixels.shape[0])


def prepared(height: int, width: int, recipe: ImageRecipe) -> PreparedImage:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    pixels[: height // 4] = 0
    return preprocess(decoded(pixels), recipe)


def test_an_explained_file_adds_up_to_its_log_odds(predictor: Predictor, awkward_dir: Path) -> None:
    path = next((awkward_dir / "sick").glob("P*.png"))
    found = predictor.explain(path)
    score = predictor.predict(path).y_score
    assert found.y_score == score
    assert score is not None
    assert found.log_odds == pytest.approx(logit(score), abs=1e-4)
    shape = decode(path).pixels.shape[:2]
    for shown in (found.on_square(), found.on_original()):
        assert found.constant + shown.sum(dtype=np.float64) == pytest.approx(logit(score), abs=1e-4)
    assert found.on_square().shape == (64, 64)
    assert found.on_original().shape == shape
    with pytest.raises(DecodeError, match=r"broken\.png"):
        predictor.explain(awkward_dir / "sick" / "broken.png")


def test_a_model_of_an_earlier_version_is_refused() -> None:
    row = {"score": np.zeros(1, np.float32), "activation_map": np.zeros((4, 4), np.float32)}
    with pytest.raises(BundleError, match="train it again"):
        explain_row(prepared(40, 40, ImageRecipe()), ImageRecipe(), row)


@pytest.mark.parametrize("shape", [(480, 640), (50, 200), (64, 64), (33, 47), (7, 300)])
def test_a_map_goes_back_where_its_pixels_came_from(shape: tuple[int, int]) -> None:
    """A spot on the original, made a square and brought back, is where it was; the sum stays."""
    height, width = shape
    for fit in ("stretch", "letterbox"):
        recipe = ImageRecipe(image_size=64, fit=fit)
        y, x = height * 2 // 3, width // 4
        spot = np.zeros(shape, np.uint8)
        spot[
            max(0, y - height // 10) : y + height // 10 + 1, max(0, x - width // 10) : x + width // 10 + 1
        ] = 255
        image = preprocess(decoded(spot), recipe)
        square = image.pixels[..., 0].astype(np.float32)
        found = to_original(square, image, recipe)
        assert found.shape == image.frame == shape
        assert found.sum() == pytest.approx(square.sum(), rel=1e-3)
        middle = [float((places * weights).sum() / found.sum()) for places, weights in weigh(found)]
        expected = [
            float((places * weights).sum() / spot.sum()) for places, weights in weigh(spot.astype(float))
        ]
        pixel = max(1, *(np.array(shape) / 64))
        assert np.abs(np.subtract(middle, expected)).max() < pixel


def weigh(image: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.arange(image.shape[axis]), image.sum(axis=1 - axis)) for axis in (0, 1)]


def test_bars_of_a_letterbox_belong_to_no_pixel() -> None:
    recipe = ImageRecipe(image_size=64, fit="letterbox")
    image = prepared(100, 200, recipe)
    square = np.zeros((64, 64), np.float32)
    square[:16] = square[48:] = 1
    assert not to_original(square, image, recipe).any()
    square = 1 - square
    np.testing.assert_allclose(to_original(square, image, recipe), 32 * 64 / (100 * 200), rtol=1e-5)


def test_what_was_cropped_away_or_painted_over_was_not_seen() -> None:
    pixels = np.full((200, 300), 10, np.uint8)
    cv2.ellipse(pixels, (150, 100), (60, 70), 0, 0, 360, 200, -1)
    recipe = ImageRecipe(image_size=64, crop="body", hide_border=True)
    image = preprocess(decoded(pixels), recipe)
    assert image.box is not None
    x, y, width, height = image.box
    assert width < 200
    assert height < 200
    found = to_original(np.ones((64, 64), np.float32), image, recipe)
    seen = np.zeros_like(pixels, bool)
    ring_x, ring_y = width * 4 / 64, height * 4 / 64
    seen[round(y + ring_y) : round(y + height - ring_y), round(x + ring_x) : round(x + width - ring_x)] = True
    assert (np.isnan(found) == ~seen).mean() > 0.995
    np.testing.assert_allclose(found[~np.isnan(found)], 64 * 64 / (width * height), rtol=1e-5)
    with pytest.raises(ValueError, match="expected a map"):
        to_original(np.ones((32, 32), np.float32), image, recipe)
