"""Near-duplicates: time and memory of the search among hashes, and recall and precision on planted copies.

Run as ``python benchmarks/near_duplicates.py [FOLDER ...]``. Copies are planted among 300 simulated thermograms and
among the images of each folder; a pair that was not planted is right if the originals are found to be one picture too.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.cohort.hash_search import nearest_hashes
from breastlens.cohort.near_duplicates import duplicate_components, find_near_duplicates, thumbnail
from breastlens.cohort.perceptual_hash import FLIPS, HASH_BITS, TURNS, flip_masks
from breastlens.imaging.decode import IMAGE_SUFFIXES, decode
from breastlens.imaging.phantom import PhantomSettings, write_cohort

COUNTS = (1_000, 10_000, 100_000)
BITS_CHANGED = 0.1
PHANTOMS = 300

Image = NDArray[np.uint8]
Change = Callable[[Image, np.random.Generator], Image]


def rescale(pixels: Image, draws: np.random.Generator) -> Image:
    """Half to twice the width and height."""
    factor = 2 ** draws.uniform(-1, 1)
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=method))


def recompress(pixels: Image, draws: np.random.Generator) -> Image:
    """JPEG of quality 30 to 90."""
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(draws.integers(30, 91))])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED))


def brighten(pixels: Image, draws: np.random.Generator) -> Image:
    """Up to 20 % of the range brighter or darker, clipped."""
    brighter = np.clip(pixels + np.rint(255 * draws.uniform(-0.2, 0.2)), 0, 255)
    return np.asarray(brighter, np.uint8)


def change_contrast(pixels: Image, draws: np.random.Generator) -> Image:
    """0.8 to 1.25 times the contrast about the middle grey, clipped."""
    changed = np.clip(np.rint((pixels - 127.5) * draws.uniform(0.8, 1.25) + 127.5), 0, 255)
    return np.asarray(changed, np.uint8)


def crop(pixels: Image, draws: np.random.Generator, share: float = 0.05) -> Image:
    """Up to 5 % off width and off height, divided at random between the two sides."""
    height, width = pixels.shape[:2]
    rows, columns = draws.uniform(0, share, 2) * (height, width)
    top, left = (draws.uniform(0, 1, 2) * (rows, columns)).astype(int)
    return np.ascontiguousarray(
        pixels[top : top + round(height - rows), left : left + round(width - columns)]
    )


def crop_each_side(pixels: Image, draws: np.random.Generator) -> Image:
    """Up to 5 % off each of the four sides, twice what is aimed at."""
    height, width = pixels.shape[:2]
    top, bottom = (draws.uniform(0, 0.05, 2) * height).astype(int)
    left, right = (draws.uniform(0, 0.05, 2) * width).astype(int)
    return np.ascontiguousarray(pixels[top : height - bottom, left : width - right])


def flip(pixels: Image, draws: np.random.Generator) -> Image:
    """Left to right, upside down, or both."""
    return np.asarray(cv2.flip(pixels, int(draws.integers(-1, 2))))


def rotate(pixels: Image, draws: np.random.Generator) -> Image:
    """Up to 5 degrees, the corners black or filled from the edge."""
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), draws.uniform(-5, 5), 1)
    border = (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE)[int(draws.integers(2))]
    return np.asarray(
        cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=border)
    )


SINGLE: tuple[Change, ...] = (rescale, recompress, brighten, change_contrast, crop, flip, rotate)
_ORDER: tuple[Change, ...] = (rotate, crop, flip, change_contrast, brighten, rescale, recompress)


def several(pixels: Image, draws: np.random.Generator) -> Image:
    """Two to seven of the changes."""
    chosen = draws.permutation(len(_ORDER))[: draws.integers(2, len(_ORDER) + 1)]
    for number in sorted(chosen):
        pixels = _ORDER[number](pixels, draws)
    return pixels


KINDS: tuple[Change, ...] = (*SINGLE, several, crop_each_side)


def random_hashes(count: int) -> NDArray[np.uint8]:
    """Random hashes under every turn; the second half are copies of the first with some bits changed, flipped."""
    draws = np.random.default_rng(0)
    first = draws.integers(0, 256, (count // 2, HASH_BITS // 8), dtype=np.uint8)
    masks = np.array(flip_masks())[draws.integers(0, len(FLIPS), count // 2)]
    plain = np.concatenate([first, first ^ masks])
    noise = np.packbits(draws.random((len(TURNS), count, HASH_BITS)) < BITS_CHANGED, axis=2)
    noise[0, : count // 2] = 0
    return plain ^ noise


def time_search(count: int) -> None:
    """Print a line of the first table; in a process of its own, for its peak memory."""
    bits = random_hashes(count)
    started = time.perf_counter()
    neighbour, _ = nearest_hashes(bits)
    elapsed_s = time.perf_counter() - started
    half = count // 2
    there = (neighbour[:half] == np.arange(half, count)[:, None]).any(axis=1)
    back = (neighbour[half:] == np.arange(half)[:, None]).any(axis=1)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count:>8} {elapsed_s:>8.1f} {peak_mb:>8.0f} {(there | back).mean():>8.4f}", flush=True)


def measure_method(name: str, images: list[Image]) -> None:
    """Plant one copy of every image, and print what is found of them."""
    count = len(images)
    kinds = [KINDS[index // 2 % len(KINDS)] if index % 2 else several for index in range(count)]
    copies = [
        kind(image, np.random.default_rng([7, index]))
        for index, (kind, image) in enumerate(zip(kinds, images, strict=True))
    ]
    thumbnails = np.stack([thumbnail(image) for image in (*images, *copies)])
    own = duplicate_components(find_near_duplicates(thumbnails[:count]), count)
    started = time.perf_counter()
    pairs = find_near_duplicates(thumbnails)
    elapsed_s = time.perf_counter() - started
    together = duplicate_components(pairs, 2 * count)
    found = together[:count] == together[count:]
    wrong = [pair for pair in pairs if own[pair.first % count] != own[pair.second % count]]
    print(f"\n{name}: {count} images and {count} copies, {elapsed_s:.1f} s")
    print(
        f"recall {found.mean():.4f}, precision {1 - len(wrong) / max(1, len(pairs)):.4f} of {len(pairs)} pairs"
    )
    planted = Counter(kind.__name__ for kind in kinds)
    for kind in KINDS:
        hits = sum(bool(hit) for hit, each in zip(found, kinds, strict=True) if each is kind)
        print(f"  {kind.__name__:<16} {hits:>4} of {planted[kind.__name__]:>4}   {kind.__doc__}")


def read_folder(folder: Path) -> list[Image]:
    """All images of a folder as 8-bit arrays."""
    files = sorted(
        file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES - {".csv", ".txt"}
    )
    return [np.asarray(decode(file).pixels) for file in files]


def main() -> None:
    """Print both tables."""
    if sys.argv[1:2] == ["--search"]:
        time_search(int(sys.argv[2]))
        return
    print(f"{'hashes':>8} {'seconds':>8} {'peak MB':>8} {'recall':>8}", flush=True)
    for count in COUNTS:
        subprocess.run([sys.executable, __file__, "--search", str(count)], check=True)
    with tempfile.TemporaryDirectory() as folder:
        phantoms = Path(folder) / "phantoms"
        write_cohort(phantoms, PhantomSettings(patients=PHANTOMS, images_per_patient=1, seed=3))
        measure_method("simulated thermograms", read_folder(phantoms))
    for argument in sys.argv[1:]:
        measure_method(Path(argument).name, read_folder(Path(argument)))


if __name__ == "__main__":
    main()
