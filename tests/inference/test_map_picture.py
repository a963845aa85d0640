"""Pictures of maps: what is orange and what blue, names that are safe and never twice, and folders that are refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from breastlens.config import ImageRecipe
from breastlens.errors import RunDirectoryError
from breastlens.imaging.decode import DecodedImage
from breastlens.imaging.preprocess import preprocess
from breastlens.inference.activation_map import Explanation
from breastlens.inference.map_picture import AGAINST, FOR, MapFolder, colour_limit, draw_explanation, paint


def decoded(pixels: np.ndarray) -> DecodedImage:
    return DecodedImage(pixels, "PNG", 8, pixels.shape[1], pixels.shape[0])


def explained(stages: np.ndarray) -> Explanation:
    grey = np.full((40, 60), 128, np.uint8)
    recipe = ImageRecipe(image_size=64)
    return Explanation(
        preprocess(decoded(grey), recipe),
        recipe,
        stages.astype(np.float32),
        constant=-0.5,
        y_score=0.6,
    )


def test_orange_speaks_for_positive_and_blue_against_it() -> None:
    pixels = np.full((64, 64, 3), 128, np.uint8)
    shown = np.zeros((64, 64), np.float32)
    shown[:10], shown[-10:] = 2e-3, -1e-3
    limit = colour_limit(shown)
    assert limit == pytest.approx(2e-3 * 64 * 64 / 100)
    painted = paint(pixels, shown, limit).astype(int)
    assert np.array_equal(painted[30, 30], [128, 128, 128])
    np.testing.assert_allclose(painted[5, 5], 0.2 * 128 + 0.8 * np.array(FOR), atol=1)
    np.testing.assert_allclose(painted[60, 5], 0.6 * 128 + 0.4 * np.array(AGAINST), atol=1)


def test_one_place_does_not_take_all_colour() -> None:
    shown = np.full((64, 64), 1e-3, np.float32)
    shown[:8, :8] = 2e-3
    limit = colour_limit(shown)
    shown[0, 0] = 1.0
    assert colour_limit(shown) == pytest.approx(limit)
    assert colour_limit(np.stack([shown, shown])) == pytest.approx(limit)


def test_a_picture_has_image_and_map_side_by_side() -> None:
    stages = np.zeros((3, 8, 8))
    stages[0, :4], stages[2, :4], stages[1, 4:] = 0.01, 0.01, -0.02
    drawn = draw_explanation(explained(stages)).astype(int)
    assert drawn.dtype == int
    assert drawn.shape[2] == 3
    assert np.array_equal(drawn[100, 100], [128, 128, 128])
    red, _, blue = drawn[60, 400]
    assert red > blue + 80
    red, _, blue = drawn[220, 400]
    assert blue > red + 80
    empty = draw_explanation(explained(np.zeros((3, 8, 8))))
    assert empty.shape == drawn.shape
    assert np.array_equal(empty[60, 400], [128, 128, 128])


@pytest.mark.parametrize(
    ("recipe", "shape", "size"),
    [
        (ImageRecipe(image_size=64), (40, 80), (128, 256)),
        (ImageRecipe(image_size=64, fit="letterbox"), (80, 20), (256, 64)),
        (ImageRecipe(image_size=64, crop="body"), (120, 160), None),
    ],
)
def test_a_picture_has_the_proportions_of_the_image(
    recipe: ImageRecipe, shape: tuple[int, int], size: tuple[int, int] | None
) -> None:
    grey = np.full(shape, 90, np.uint8)
    if recipe.crop == "body":
        grey[:] = 5
        grey[30:110, 50:110] = 180
    image = preprocess(decoded(grey), recipe)
    drawn = draw_explanation(Explanation(image, recipe, np.zeros((1, 8, 8), np.float32), 0.0, 0.5))
    panel = drawn[12:268, 12:268]
    inside = (panel != 255).all(axis=2)
    height, width = inside.any(axis=1).sum(), inside.any(axis=0).sum()
    if size is None:
        assert image.box is not None
        size = (256, round(256 * image.box[2] / image.box[3]))
    assert (height, width) == size
    assert inside.sum() == height * width


def test_names_are_safe_and_never_twice(tmp_path: Path) -> None:
    folder = MapFolder.make(tmp_path / "a" / "maps")
    one = explained(np.ones((1, 4, 4)))
    paths = [
        "x/Ärztin 1.png",
        "y/Ärztin 1.png",
        "../../etc/passwd",
        "-rf.png",
        "a\nb;$(c).dcm",
        "." + "n" * 300 + ".png",
        "\udcff",
    ]
    names = [folder.write(number, Path(path), one) for number, path in enumerate(paths, start=1)]
    assert names[:3] == ["000001-rztin_1.png", "000002-rztin_1.png", "000003-passwd.png"]
    assert len(set(names)) == len(paths) == len(list(folder.directory.iterdir()))
    assert all(name.isascii() and len(name) < 100 for name in names)
    read = cv2.imread(str(folder.directory / names[0]))
    assert np.array_equal(read[..., ::-1], draw_explanation(one))


def test_a_folder_that_holds_something_or_lies_among_the_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images" / "sick").mkdir(parents=True)
    with pytest.raises(RunDirectoryError, match=r"lies in .*images"):
        MapFolder.make(tmp_path / "images" / "maps", [tmp_path / "images"])
    with pytest.raises(RunDirectoryError, match="new or empty"):
        MapFolder.make(tmp_path / "images")
    (tmp_path / "file").touch()
    with pytest.raises(RunDirectoryError, match="new or empty"):
        MapFolder.make(tmp_path / "file")
    assert not (tmp_path / "images" / "maps").exists()
