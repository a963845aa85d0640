"""Images to check an exported file on: of the run where they can be reached, else given ones, else simulated ones."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from breastlens.cohort.duplicates import hash_pixels
from breastlens.cohort.parallel import map_in_order
from breastlens.config import ImageRecipe
from breastlens.errors import DataError, DecodeError, RunDirectoryError
from breastlens.imaging.decode import decode
from breastlens.imaging.phantom import PhantomSettings, write_cohort
from breastlens.imaging.preprocess import preprocess
from breastlens.inference.predictor import find_images
from breastlens.runs.directory import Run
from breastlens.runs.precision import spread

CHECKED = 64
"""So many images are scored by both."""

_PHANTOMS = PhantomSettings(patients=CHECKED // 2, images_per_patient=1)
Images = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class CheckImages:
    """What an exported file is checked on.

    Attributes:
        pixels: uint8 (n, s, s, 3), RGB, at most ``CHECKED``.
        source: What they are, in words.
    """

    pixels: Images
    source: str


def choose_images(model: Path, given: Sequence[Path], recipe: ImageRecipe) -> CheckImages:
    """Take given images; without any those of the run, validation first; where they are gone, simulated ones.

    Args:
        model: The run or bundle directory.
        given: Image files and folders.
        recipe: How they are prepared.

    Raises:
        DataError: Given paths hold no image that can be read.
    """
    if given:
        return _given_images(given, recipe)
    return _run_images(model, recipe) or _simulated_images(recipe)


def _given_images(given: Sequence[Path], recipe: ImageRecipe) -> CheckImages:
    found = find_images(given)
    paths = [found[at] for at in spread(np.arange(len(found)), CHECKED)]
    read = [image for image in map_in_order(lambda path: _read(path, 0, recipe), paths) if image is not None]
    if not read:
        raise DataError(f"--images: none of {len(paths)} files can be read as an image")
    return CheckImages(np.stack(read), f"{len(read)} images that were given")


def _run_images(model: Path, recipe: ImageRecipe) -> CheckImages | None:
    """Images of a training that lie where its command found them and have not changed since; None without any.

    A run keeps the paths of images in the data folder, and of that folder only what was typed.
    """
    try:
        run = Run.read(model)
        records = run.records
    except (RunDirectoryError, FileNotFoundError):
        return None
    used = records[records["split"] != ""]
    if used.empty:
        return None
    folders = [Path(word) for word in run.facts["command"]]
    root = next((each for each in folders if os.path.lexists(each / used["path"].iloc[0])), None)
    if root is None:
        return None
    held_out = used["split"].to_numpy() == "validation"
    rows = np.r_[spread(np.flatnonzero(held_out), CHECKED), spread(np.flatnonzero(~held_out), CHECKED)]

    def read(row: np.intp) -> Images | None:
        record = used.iloc[row]
        return _read(root / record["path"], int(record["frame"]), recipe, record["pixels_sha256"])

    with closing(map_in_order(read, rows)) as squares:
        there = ((row, pixels) for row, pixels in zip(rows, squares, strict=True) if pixels is not None)
        found = list(islice(there, CHECKED))
    if not found:
        return None
    validation = sum(bool(held_out[row]) for row, _ in found)
    others = "of the folds" if run.facts["split"]["kind"] == "folds" else "of training and test"
    parts = [(validation, "of validation"), (len(found) - validation, others)]
    told = " and ".join(f"{count} {what}" for count, what in parts if count)
    return CheckImages(np.stack([pixels for _, pixels in found]), f"images of the run: {told}")


def _simulated_images(recipe: ImageRecipe) -> CheckImages:
    """Half simulated thermograms, half squares of noise, from dark to bright and from faint to strong."""
    with tempfile.TemporaryDirectory() as folder:
        write_cohort(Path(folder), _PHANTOMS)
        phantoms = [_read(path, 0, recipe) for path in sorted(Path(folder).rglob("*.png"))]
    pixels = [*(image for image in phantoms if image is not None), *_noise(recipe.image_size, CHECKED // 2)]
    return CheckImages(
        np.stack(pixels),
        f"{len(phantoms)} simulated thermograms and {CHECKED // 2} squares of noise, since no image of the training "
        "could be reached",
    )


def _noise(size_px: int, count: int) -> Iterator[Images]:
    random = np.random.default_rng(0)
    for _ in range(count):
        middle, reach = random.uniform(0, 255), random.uniform(1, 128)
        yield np.clip(random.normal(middle, reach, (size_px, size_px, 3)), 0, 255).astype(np.uint8)


def _read(path: Path, frame: int, recipe: ImageRecipe, pixels_sha256: str | None = None) -> Images | None:
    """The square of an image; None where it cannot be read or is not that one."""
    try:
        image = decode(path, frame=frame)
    except DecodeError:
        return None
    if pixels_sha256 is not None and hash_pixels(image.pixels) != pixels_sha256:
        return None
    return preprocess(image, recipe).pixels
