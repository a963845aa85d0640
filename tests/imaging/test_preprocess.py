"""From decoded pixels to the network's square: which values become black and white, and how sides change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from breastlens.cohort.records import Cohort
from breastlens.config import ImageRecipe
from breastlens.imaging.decode import DecodedImage
from breastlens.imaging.marks import find_marks, hide_marks
from breastlens.imaging.normalise import standardise
from breastlens.imaging.preprocess import apply_window, preprocess, resize
from breastlens.runs.directory import Run

RNG = np.random.default_rng(11)


def image(pixels: np.ndarray, **facts: object) -> DecodedImage:
    return DecodedImage(pixels, "PNG", pixels.itemsize * 8, pixels.shape[1], pixels.shape[0], **facts)


# --- window ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 3)])
def test_eight_bits_at_the_right_size_pass_unchanged(shape: tuple[int, ...]) -> None:
    pixels = RNG.integers(60, 90, shape, dtype=np.uint8)  # low contrast stays low
    prepared = preprocess(image(pixels), ImageRecipe(image_size=64))
    expected = np.dstack([pixels] * 3) if pixels.ndim == 2 else pixels
    np.testing.assert_array_equal(prepared.pixels, expected)
    assert (prepared.low, prepared.high, prepared.box) == (0.0, 255.0, None)


def test_twelve_bits_in_sixteen_fill_the_range_and_are_not_cut() -> None:
    ramp = np.tile(np.linspace(0, 4095, 64).round().astype(np.uint16), (64, 1))
    prepared = preprocess(image(ramp), ImageRecipe(image_size=64))
    assert (prepared.low, prepared.high) == (0.0, 4095.0)
    np.testing.assert_array_equal(prepared.pixels[0, :, 0], np.rint(ramp[0] / 4095 * 255))
    assert (np.diff(prepared.pixels[0, :, 1].astype(int)) > 0).all()  # a cut to the low byte would run over


def test_one_defective_pixel_does_not_decide_the_contrast() -> None:
    pixels = RNG.integers(1000, 2001, (200, 200)).astype(np.uint16)
    pixels[7, 7], pixels[9, 9] = 65535, 0
    prepared = preprocess(image(pixels), ImageRecipe(image_size=200))
    assert (prepared.low, prepared.high) == (1000.0, 2000.0)
    assert prepared.pixels[7, 7].tolist() == [255, 255, 255]
    assert prepared.pixels[9, 9].tolist() == [0, 0, 0]


def test_colours_share_one_window() -> None:
    pixels = np.zeros((40, 40, 3), np.uint16)
    pixels[:, :20] = (4000, 2000, 1000)
    prepared = preprocess(image(pixels), ImageRecipe(image_size=40))
    assert prepared.pixels[0, 0].tolist() == [255, 128, 64]


def test_window_of_the_file_goes_before_that_of_the_image() -> None:
    pixels = np.linspace(-500, 500, 40 * 40).reshape(40, 40).astype(np.float32)
    prepared = preprocess(image(pixels, window=(-100.0, 100.0)), ImageRecipe(image_size=40))
    assert (prepared.low, prepared.high) == (-100.0, 100.0)
    np.testing.assert_array_equal(
        prepared.pixels[..., 0], np.rint(np.clip((pixels + 100) / 200 * 255, 0, 255))
    )


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_an_image_without_any_contrast_is_black(dtype: type) -> None:
    prepared = preprocess(image(np.full((50, 50), 700, dtype)), ImageRecipe(image_size=32))
    assert prepared.pixels.max() == 0
    assert (prepared.low, prepared.high) == (700.0, 700.0)


@settings(max_examples=100, deadline=None)
@given(
    pixels=arrays.arrays(np.uint16, (9, 9)),
    low=st.integers(0, 60000),
    width=st.integers(1, 60000),
)
def test_window_is_rounded_clipped_and_monotonic(pixels: np.ndarray, low: int, width: int) -> None:
    grey = apply_window(pixels, low, low + width)
    exact = np.clip((pixels.astype(float) - low) / width, 0, 1) * 255
    assert grey.dtype == np.uint8
    assert np.abs(grey - exact).max() <= 0.501
    order = np.argsort(pixels, axis=None)
    assert (np.diff(grey.ravel()[order].astype(int)) >= 0).all()


def test_a_hot_pixel_is_clipped_before_it_is_averaged() -> None:
    celsius = np.full((64, 64), 29.0, np.float32)
    celsius[10, 10] = 120.0
    prepared = preprocess(image(celsius, quantity="temperature_c"), ImageRecipe(image_size=32))
    # A 2x2 area of 255, 128, 128 and 128; averaged before the window it would be all white.
    assert prepared.pixels[5, 5, 0] == round((255 + 3 * 128) / 4)


# --- size ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(300, 400), (300, 400, 3), (20, 30), (1, 1), (1, 900), (900, 1, 3), (128, 50), (500, 60)]
)
@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_shape_becomes_the_square(shape: tuple[int, ...], fit: str, dtype: type) -> None:
    pixels = (RNG.random(shape) * 250).astype(dtype)
    prepared = preprocess(image(pixels), ImageRecipe(image_size=128, fit=fit))
    assert prepared.pixels.shape == (128, 128, 3)
    assert prepared.pixels.dtype == np.uint8
    assert prepared.pixels.flags.c_contiguous


def test_shrinking_averages_areas() -> None:
    pixels = RNG.integers(0, 256, (120, 80), dtype=np.uint8)
    prepared = preprocess(image(pixels), ImageRecipe(image_size=40))
    blocks = pixels.reshape(40, 3, 40, 2).mean(axis=(1, 3))
    assert np.abs(prepared.pixels[..., 0] - blocks).max() <= 0.51


def test_growing_is_bicubic() -> None:
    pixels = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    prepared = preprocess(image(pixels), ImageRecipe(image_size=64))
    np.testing.assert_array_equal(
        prepared.pixels, cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_CUBIC)
    )


def test_a_side_that_shrinks_is_averaged_even_when_the_other_grows() -> None:
    pixels = np.tile(RNG.integers(0, 256, (1, 400), dtype=np.uint8), (10, 1))
    resized = resize(pixels, 100, 20)
    np.testing.assert_allclose(resized[7], pixels[0].reshape(100, 4).mean(axis=1), atol=0.51)


def test_letterbox_keeps_proportions_and_centres_on_black() -> None:
    pixels = np.full((50, 100), 200, np.uint8)
    prepared = preprocess(image(pixels), ImageRecipe(image_size=64, fit="letterbox"))
    grey = prepared.pixels[..., 0]
    assert (grey[16:48] == 200).all()
    assert (grey[:16] == 0).all()
    assert (grey[48:] == 0).all()
    upright = preprocess(image(pixels.T.copy()), ImageRecipe(image_size=64, fit="letterbox"))
    np.testing.assert_array_equal(upright.pixels[..., 0], grey.T)


def test_the_source_is_not_changed() -> None:
    for pixels in (
        RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8),
        RNG.random((64, 64)).astype(np.float32),
    ):
        before = pixels.copy()
        preprocess(image(pixels), ImageRecipe(image_size=64, crop="body"))
        np.testing.assert_array_equal(pixels, before)


# --- border ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "width_px"), [(32, 2), (100, 6), (128, 8), (224, 14)])
@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_the_hidden_border_is_a_black_ring_and_nothing_else_changes(
    side: int, width_px: int, fit: str
) -> None:
    source = image(RNG.integers(1, 256, (90, 70, 3), dtype=np.uint8))
    shown = preprocess(source, ImageRecipe(image_size=side, fit=fit)).pixels
    recipe = ImageRecipe(image_size=side, fit=fit, hide_border=True)
    hidden = preprocess(source, recipe).pixels
    assert recipe.hidden_border_px == width_px
    rows, columns = np.mgrid[:side, :side]
    ring = np.minimum.reduce([rows, columns, side - 1 - rows, side - 1 - columns]) < width_px
    np.testing.assert_array_equal(hidden, np.where(ring[..., None], 0, shown))
    assert hidden.flags.c_contiguous


def test_a_border_that_is_not_hidden_has_no_width() -> None:
    assert ImageRecipe().hidden_border_px == 0


# --- grey levels -----------------------------------------------------------------------------------------------------


def test_grey_levels_are_brought_to_one_mean_and_spread() -> None:
    levels = np.array(
        [[10, 10, 30], [30, 10, 30]], np.uint8
    )  # 20 give or take 10: one spread below and above
    np.testing.assert_array_equal(standardise(levels), np.where(levels == 10, 128 - 51, 128 + 51))


def test_levels_beyond_two_and_a_half_spreads_are_clipped() -> None:
    levels = np.full(1000, 100, np.uint8)
    levels[:10], levels[10:20] = 90, 110  # a spread of 1.41, so that these are 7 of them away
    found = standardise(levels.reshape(20, 50))
    assert sorted(set(found.ravel().tolist())) == [0, 128, 255]


def test_channels_share_one_mean_and_spread() -> None:
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[...] = (60, 100, 140)
    prepared = preprocess(image(pixels), ImageRecipe(image_size=40, normalise="per-image"))
    step = 51 * 40 / np.std([60, 100, 140])
    assert prepared.pixels[7, 7].tolist() == [round(128 - step), 128, round(128 + step)]


@settings(max_examples=100, deadline=None)
@given(
    pixels=arrays.arrays(np.uint8, (8, 9), elements=st.integers(0, 63)),
    gain=st.integers(1, 3),
    offset=st.integers(0, 60),
)
def test_exposure_and_contrast_leave_no_trace(pixels: np.ndarray, gain: int, offset: int) -> None:
    found = standardise(pixels)
    np.testing.assert_array_equal(standardise(pixels + np.uint8(offset)), found)
    stretched = standardise(pixels * np.uint8(gain) + np.uint8(offset))
    assert np.abs(stretched.astype(int) - found).max() <= 1  # where a level lies half way between two
    order = np.argsort(pixels, axis=None, kind="stable")
    assert (np.diff(found.ravel()[order].astype(int)) >= 0).all()
    if found.min() > 0 and found.max() < 255:
        assert found.mean() == pytest.approx(128, abs=0.5)
        assert found.std() == pytest.approx(51 if np.ptp(pixels) else 0, abs=0.5)


@pytest.mark.parametrize("level", [0, 77, 255])
def test_an_image_of_one_level_becomes_mid_grey(level: int) -> None:
    recipe = ImageRecipe(image_size=32, normalise="per-image")
    assert (preprocess(image(np.full((40, 50), level, np.uint8)), recipe).pixels == 128).all()


def test_bars_are_not_counted_and_stay_black() -> None:
    pixels = np.where(np.arange(100) % 2, 210, 190).astype(np.uint8) * np.ones((50, 1), np.uint8)
    recipe = ImageRecipe(image_size=100, fit="letterbox", normalise="per-image")
    grey = preprocess(image(pixels), recipe).pixels[..., 0]
    assert (grey[:25] == 0).all()
    assert (grey[75:] == 0).all()
    assert set(np.unique(grey[25:75])) == {128 - 51, 128 + 51}


def test_the_border_is_hidden_after_the_grey_levels_are_brought_to_one_mean() -> None:
    source = image(RNG.integers(100, 140, (64, 64), dtype=np.uint8))
    normal = preprocess(source, ImageRecipe(image_size=64, normalise="per-image")).pixels
    both = preprocess(source, ImageRecipe(image_size=64, normalise="per-image", hide_border=True)).pixels
    np.testing.assert_array_equal(both[4:-4, 4:-4], normal[4:-4, 4:-4])
    assert not both[:4].any()


def test_a_warmer_day_gives_the_same_square() -> None:
    celsius = (30 + 2 * np.sin(np.linspace(0, 9, 64 * 64)).reshape(64, 64)).astype(np.float32)
    recipe = ImageRecipe(image_size=64, normalise="per-image")
    squares = [
        preprocess(image(celsius + warmer, quantity="temperature_c"), recipe).pixels.astype(int)
        for warmer in (0.0, 1.5)
    ]
    assert np.abs(squares[0] - squares[1]).max() <= 3  # a grey level of the window is 1.8 after scaling


# --- marks -----------------------------------------------------------------------------------------------------------


def layers() -> np.ndarray:
    """Layers that lie across, as in ultrasound: uint8 (256, 256)."""
    random = np.random.default_rng(1)
    drawn = cv2.GaussianBlur(random.normal(0, 1, (256, 256)), (0, 0), sigmaX=12, sigmaY=2.5)
    return np.clip(70 + 25 * drawn / drawn.std(), 0, 255).astype(np.uint8)


def test_marks_are_gone_before_the_window_is_taken() -> None:
    plain = layers().astype(np.uint16) * 10
    letters = cv2.putText(
        np.zeros(plain.shape, np.uint8), "RT LIQ", (40, 200), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 255, 1
    )
    marked = np.where(letters > 128, 2600, plain).astype(np.uint16)
    seen, hidden = (
        preprocess(image(marked), ImageRecipe(image_size=256, hide_marks=hide)) for hide in (False, True)
    )
    assert (seen.high, hidden.high) == (2600.0, preprocess(image(plain), ImageRecipe()).high)
    assert seen.pixels[190:202, 40:90].max() == 255
    assert hidden.pixels[190:202, 40:90].max() < 220


def test_marks_are_gone_before_the_body_is_sought() -> None:
    rows, columns = np.mgrid[:256, :256]
    grey = np.where(np.hypot(rows - 130, columns - 130) < 70, 180, 20).astype(np.uint8)
    cv2.rectangle(
        grey, (2, 225), (199, 253), 200, 1
    )  # a frame, so that letters and body are not one component
    cv2.putText(grey, "LEFT BREAST", (60, 210), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 200, 2)
    box = preprocess(image(grey), ImageRecipe(crop="body", hide_marks=True)).box
    assert box == preprocess(image(hide_marks(grey)), ImageRecipe(crop="body")).box


def test_nothing_changes_where_there_is_no_mark() -> None:
    source = image(layers())
    shown, hidden = (preprocess(source, ImageRecipe(hide_marks=hide)).pixels for hide in (False, True))
    np.testing.assert_array_equal(shown, hidden)


@pytest.mark.parametrize(
    "dtype",
    [np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.float16, np.float32, np.float64],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_marks_are_hidden_whatever_the_values_are_stored_as(dtype: type, channels: int) -> None:
    grey = layers()
    cv2.putText(grey, "RT LIQ", (40, 200), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 255, 1)
    grey[0, :20], grey[1, :20] = 255, 0  # the same range at every depth
    pixels = np.repeat(grey[..., None], 3, axis=2) if channels == 3 else grey
    expected = hide_marks(pixels)
    changed = (expected != pixels) if channels == 1 else (expected != pixels).any(axis=2)
    offset = -128 if dtype is np.int8 else 2**24 + 1 if dtype in (np.uint32, np.int64, np.float64) else 0
    given_values = (pixels.astype(np.int64) + offset).astype(dtype)
    before = given_values.copy()
    hidden = hide_marks(given_values)
    assert hidden.dtype == dtype
    np.testing.assert_array_equal(given_values, before)
    assert changed.sum() > 200
    # what was not painted over keeps its value to the last bit, also where float32 could not hold it
    x, y, width, height = cv2.boundingRect(changed.astype(np.uint8))
    beside = np.ones(grey.shape, dtype=bool)
    beside[y - 1 : y + height + 1, x - 1 : x + width + 1] = False
    assert beside.sum() > 0.9 * beside.size
    np.testing.assert_array_equal(hidden[beside], given_values[beside])
    painted = hidden[changed].astype(np.float64) - offset
    assert np.abs(painted - expected[changed]).mean() < 4


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("shape", [(64, 64, 3), (64, 64)])
def test_the_source_is_not_changed_by_any_of_it(shape: tuple[int, ...], fit: str) -> None:
    pixels = RNG.integers(0, 255, shape, dtype=np.uint8)
    before = pixels.copy()
    every = {"hide_border": True, "hide_marks": True, "normalise": "per-image"}
    for chosen in (every, {"hide_border": True}):
        preprocess(image(pixels), ImageRecipe(image_size=64, fit=fit, **chosen))
        np.testing.assert_array_equal(pixels, before)


# --- the recipe travels ----------------------------------------------------------------------------------------------

REMEDIES: dict[str, Any] = {"hide_border": True, "hide_marks": True, "normalise": "per-image"}


@pytest.fixture
def small_dir(phantom_dir: Path, tmp_path: Path) -> Path:
    """The simulated patients, small; a text is drawn into every second image, so that there is something to hide."""
    folder = tmp_path / "images"
    shutil.copytree(phantom_dir, folder)
    for number, path in enumerate(sorted(folder.glob("*/*.png"))):
        pixels = cv2.resize(
            cv2.imread(str(path), cv2.IMREAD_UNCHANGED), (160, 120), interpolation=cv2.INTER_AREA
        )
        if number % 2:
            cv2.putText(pixels, "RT LIQ", (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 255, 1)
            assert find_marks(pixels).kinds, path.name
        cv2.imwrite(str(path), pixels)
    return folder


@pytest.mark.usefixtures("figures_not_drawn")
def test_a_model_prepares_images_as_it_was_trained_without_being_told(
    small_dir: Path, quick: dict[str, Any], tmp_path: Path
) -> None:
    pytest.importorskip("keras")
    from breastlens.inference.predictor import load
    from breastlens.runs.evaluate import evaluate
    from breastlens.runs.train import train

    recipe = ImageRecipe(image_size=32, **REMEDIES)
    cohort = Cohort.read(small_dir, manifest=small_dir / "manifest.csv", image=recipe)
    run = train(cohort, out=tmp_path / "run", audit=False, **quick)
    predictor = load(run.directory)
    assert predictor.bundle.card.image == recipe
    assert json.loads((run.directory / "run.json").read_text())["image"] == recipe.model_dump(mode="json")
    rows = run.predictions
    paths = [small_dir / path for path in rows["path"]]
    scores = np.array([one.y_score for one in predictor.predict_files(paths)])
    np.testing.assert_allclose(scores, rows["y_score"], rtol=0, atol=1e-4)
    plain = Cohort.read(small_dir, manifest=small_dir / "manifest.csv")
    evaluated = evaluate(predictor, plain, out=tmp_path / "evaluated").predictions.set_index("path")[
        "y_score"
    ]
    np.testing.assert_allclose(evaluated[rows["path"]], rows["y_score"], rtol=0, atol=1e-4)
    for field in REMEDIES:  # each of them alone can be told from the score
        left_out = recipe.model_copy(update={field: ImageRecipe.model_fields[field].default})
        predictor.bundle.card = predictor.bundle.card.model_copy(update={"image": left_out})
        others = np.array([one.y_score for one in predictor.predict_files(paths)])
        assert np.abs(others - rows["y_score"]).max() > 1e-3, field
        predictor.bundle.card = predictor.bundle.card.model_copy(update={"image": recipe})


def test_runs_and_bundles_from_before_are_read(holdout_run: Run, awkward_dir: Path, tmp_path: Path) -> None:
    from breastlens.inference.predictor import load
    from breastlens.report.page import write_report

    run_dir = tmp_path / "run"
    shutil.copytree(holdout_run.directory, run_dir)
    for name in ("run.json", "model/bundle.json"):
        content = json.loads((run_dir / name).read_text())
        for field in REMEDIES:
            del content["image"][field]
        (run_dir / name).write_text(json.dumps(content))
    predictor, rows = load(run_dir), holdout_run.predictions[:3]
    assert predictor.bundle.card.image == ImageRecipe(image_size=64)
    found = predictor.predict_files([awkward_dir / path for path in rows["path"]])
    np.testing.assert_allclose([one.y_score for one in found], rows["y_score"], rtol=0, atol=1e-4)
    assert write_report(run_dir).is_file()
