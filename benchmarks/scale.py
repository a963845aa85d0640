"""Time and memory against the number of images: describe, audit without controls, features, predict.

Run as ``python benchmarks/scale.py [--sizes 1000 10000 100000]``.

Images are small PNG files made in a temporary folder and removed afterwards, also after Ctrl-C. Every step is a process
of its own with empty caches. An exponent of 1 means that ten times the images take ten times the time.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.cohort.parallel import map_in_order
from breastlens.config import ImageRecipe
from breastlens.imaging.decode import decode
from breastlens.imaging.preprocess import preprocess
from breastlens.inference.predictor import find_images
from breastlens.models.backbones import get_backbone
from breastlens.models.feature_cache import FeatureCache
from breastlens.models.feature_network import FeatureNetwork
from saved_models import train_model
from side_by_side import (
    BREASTLENS,
    Child,
    options,
    report,
    run_child,
    say,
    spread,
    take_turns,
    temporary_folder,
)

BACKBONE = "mobilenet:0.25"
IMAGE_PX = 64
IMAGES_A_PATIENT = 4
PATTERN = r"(?P<patient_id>p\d+)_"
BATCH = 256


def main() -> None:
    """Prints one table, or runs one step in this process."""
    arguments = parse()
    if arguments.step is not None:
        STEPS[arguments.step](arguments.folder)
        return
    taken: dict[str, dict[int, list[Child]]] = {}
    try:
        with temporary_folder() as folder:
            model, _ = train_model(folder / "model", BACKBONE, "none")
            for count in arguments.sizes:
                with temporary_folder() as images:
                    say(f"writing {count:,} images")
                    write_images(images, count)
                    steps = make_steps(images, model)
                    chosen = {
                        name: run
                        for name, run in steps.items()
                        if name.startswith(tuple(arguments.only or [""]))
                    }
                    for step, children in take_turns(chosen, arguments.repeats).items():
                        taken.setdefault(step, {})[count] = children
    finally:
        if taken:  # the sizes that were finished, even if a later one failed or took too long
            tell(taken, arguments)


def tell(taken: dict[str, dict[int, list[Child]]], arguments: argparse.Namespace) -> None:
    """Prints the table of all sizes that were measured, and writes it."""
    figures = {step: summarise(by_count) for step, by_count in taken.items()}
    sizes = [f"{count:,}" for count in next(iter(taken.values()))]
    report(
        "scale",
        f"Simulated {IMAGE_PX}x{IMAGE_PX} images, median (range) of {arguments.repeats}",
        (
            "step",
            *(f"{size}, s" for size in sizes),
            *(f"{size}, peak MB" for size in sizes),
            "exponent, all",
            "exponent, last two",
            "by processor s",
            "memory, last two",
        ),
        [tabulate(step, each) for step, each in figures.items()],
        arguments.out,
        arguments=vars(arguments),
        figures=figures,
    )


def parse() -> argparse.Namespace:
    """Reads the command line; ``--step`` is for the processes that this one starts."""
    parser = options(__doc__, repeats=1)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="steps whose names begin so")
    parser.add_argument("--step", choices=sorted(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def write_images(folder: Path, count: int) -> None:
    """Writes distinct images, in equal parts healthy and sick: a smooth random field with a little noise."""
    for category in ("healthy", "sick"):
        (folder / category).mkdir()

    def write(number: int) -> None:
        generator = np.random.default_rng(number)
        field = generator.uniform(40, 215, (9, 9)).astype(np.float32)
        smooth = cv2.resize(field, (IMAGE_PX, IMAGE_PX), interpolation=cv2.INTER_CUBIC)
        image = np.clip(smooth + generator.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)
        patient = number // IMAGES_A_PATIENT
        path = folder / ("healthy", "sick")[patient % 2] / f"p{patient:06d}_{number % IMAGES_A_PATIENT}.png"
        if not cv2.imwrite(str(path), image):
            raise OSError(f"{path} could not be written")

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(write, range(count)):
            pass


def make_steps(images: Path, model: Path) -> dict[str, Any]:
    """What is measured on one folder of images."""
    here: list[str | Path] = [sys.executable, Path(__file__), "--folder", images, "--step"]

    def predict() -> Child:
        with temporary_folder() as out:
            return run_child([*BREASTLENS, "predict", model, images, "--out", out / "scores.csv", "--quiet"])

    data: list[str | Path] = [images, "--patient-pattern", PATTERN, "--quiet"]
    describe, audit = [*BREASTLENS, "describe", *data], [*BREASTLENS, "audit", *data, "--no-controls"]
    return {
        "describe": partial(run_child, describe),
        "audit without controls": partial(run_child, audit),
        f"features, {BACKBONE}": partial(run_child, [*here, "features"]),
        f"predict, {BACKBONE}": predict,
    }


def compute_features(folder: Path) -> None:
    """Features of a folder as a training computes them, its squares read no faster than they are used."""
    image = ImageRecipe()
    network = FeatureNetwork(
        get_backbone(BACKBONE), image_size=image.image_size, weights="none", seed=0, cache=FeatureCache()
    )
    features = network.run(read_batches(find_images([folder]), image))
    say(f"features {features.shape}")


def read_batches(paths: list[Path], image: ImageRecipe) -> Iterator[NDArray[np.uint8]]:
    """Squares in batches, decoded in threads."""
    batch = []
    for prepared in map_in_order(lambda path: preprocess(decode(path), image).pixels, paths):
        batch.append(prepared)
        if len(batch) == BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


STEPS = {"features": compute_features}


def summarise(by_count: dict[int, list[Child]]) -> dict[str, Any]:
    """Time and memory by number of images, and with which power of it they grow."""
    times = {count: spread([each.elapsed_s for each in children]) for count, children in by_count.items()}
    peaks = {
        count: spread([each.peak_bytes or 0 for each in children]) for count, children in by_count.items()
    }
    used = {count: spread([each.processor_s for each in children]) for count, children in by_count.items()}
    medians = {count: time.median for count, time in times.items()}
    last = list(by_count)[-2:]
    return {
        "seconds": times,
        "processor_s": used,
        "peak_bytes": peaks,
        "exponent": fit_exponent(medians),
        "exponents_between": {
            f"{low} to {high}": fit_exponent({low: medians[low], high: medians[high]})
            for low, high in pairwise(medians)
        },
        "exponent_last_two": fit_exponent({count: medians[count] for count in last}),
        "exponent_last_two_by_processor": fit_exponent({count: used[count].median for count in last}),
        "memory_last_two": peaks[last[-1]].median / peaks[last[0]].median
        if peaks[last[0]].median
        else math.nan,
    }


def fit_exponent(seconds: dict[int, float]) -> float:
    """The power of n with which the time grows, by least squares on logarithms; not a number for a single n."""
    if len(seconds) < 2:
        return math.nan
    return float(np.polyfit(np.log(list(seconds)), np.log(list(seconds.values())), 1)[0])


def tabulate(step: str, figures: dict[str, Any]) -> list[str]:
    """One row of the table."""
    return [
        step,
        *(time.written() for time in figures["seconds"].values()),
        *(f"{peak.high / 1e6:,.0f}" for peak in figures["peak_bytes"].values()),
        f"{figures['exponent']:.2f}",
        f"{figures['exponent_last_two']:.2f}",
        f"{figures['exponent_last_two_by_processor']:.2f}",
        f"{figures['memory_last_two']:.2f}x",
    ]


if __name__ == "__main__":
    main()
