from __future__ import annotations

import threading
import time

import cv2
import numpy as np
import pytest

from breastlens.cohort import Cohort
from breastlens.cohort.batches import load_images
from breastlens.cohort.parallel import map_in_order
from breastlens.config import ImageRecipe
from breastlens.errors import DecodeError
from breastlens.imaging.decode import decode
from breastlens.imaging.preprocess import preprocess


@pytest.fixture
def cohort(tmp_path, write_image) -> Cohort:
    for number in range(11):
        write_image(
            f"{'sick' if number % 2 else 'healthy'}/{number:02}.png", number, width=40 + number, height=50
        )
    cv2.imwrite(
        str(tmp_path / "data/sick/deep.png"),
        np.full((50, 40), 700, np.uint16) + np.arange(40, dtype=np.uint16),
    )
    return Cohort.read(tmp_path / "data", image=ImageRecipe(image_size=32))


def test_images_come_in_the_order_of_the_rows_as_preprocess_makes_them(cohort):
    rows = cohort.included.sample(frac=1, random_state=3)
    told: list[int] = []
    loaded = load_images(cohort, rows, workers=4, on_progress=lambda done, total: told.append(done))
    assert loaded.pixels.shape == (12, 32, 32, 3)
    assert loaded.pixels.dtype == np.uint8
    for index, path in enumerate(rows["path"]):
        expected = preprocess(decode(cohort.root / path), cohort.image)
        np.testing.assert_array_equal(loaded.pixels[index], expected.pixels)
        assert (loaded.window_low[index], loaded.window_high[index]) == (expected.low, expected.high)
        assert loaded.boxes[index] == expected.box
    assert told == list(range(1, 13))
    deep = rows["path"].tolist().index("sick/deep.png")
    assert loaded.window_low[deep] >= 700
    assert len(set(loaded.window_high)) == 2


def test_crops_are_recorded(tmp_path):
    for category in ("healthy", "sick"):
        scene = np.full((60, 80), 10, np.uint8)
        scene[20:50, 25:65] = 200
        (tmp_path / category).mkdir()
        scene[0, 0] += category == "sick"
        cv2.imwrite(str(tmp_path / category / "body.png"), scene)
    cohort = Cohort.read(tmp_path, image=ImageRecipe(image_size=32, crop="body"))
    for box in load_images(cohort, cohort.included).boxes:
        assert box is not None
        np.testing.assert_allclose(box, (25, 20, 40, 30), atol=3)


def test_a_file_that_has_gone_is_named(cohort):
    (cohort.root / "sick/03.png").unlink()
    with pytest.raises(DecodeError, match=r"sick/03\.png"):
        load_images(cohort, cohort.included)


def test_threads_run_ahead_of_the_consumer_but_not_far():
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        return item * item

    results = map_in_order(work, range(100_000), workers=2)
    for taken in range(1, 301):
        assert next(results) == (taken - 1) ** 2
        assert len(begun) <= taken + 63
    while len(begun) < taken + 16:  # they go on while nothing is taken
        time.sleep(0.001)
    results.close()
    assert len(begun) <= taken + 63


def test_every_item_comes_once_whatever_their_number():
    for count in (0, 1, 32, 63, 64, 65, 97, 200):
        assert list(map_in_order(lambda item: -item, range(count), workers=3)) == [
            -item for item in range(count)
        ]


def test_what_was_not_begun_when_one_fails_is_not_done():
    begun: list[int] = []
    go_on = threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item == 0:
            raise ValueError(item)
        go_on.wait(60)
        return item

    results = map_in_order(work, range(50), workers=2)
    threading.Timer(0.2, go_on.set).start()  # what runs already is waited for
    with pytest.raises(ValueError, match="0"):
        next(results)
    assert len(begun) <= 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("breastlens-read")]


def test_the_first_error_in_order_is_raised():
    def work(item: int) -> int:
        if item >= 5:
            raise ValueError(item)
        return item

    results = map_in_order(work, range(50), workers=3)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="5"):
        next(results)
