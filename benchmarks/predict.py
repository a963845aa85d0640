"""A folder of JPEG files to a CSV of scores: Keras (flow_from_directory and predict) beside ``breastlens predict``.

Run as ``python benchmarks/predict.py [--weights FOLDER] [--data FOLDER]``.

Both use the very same model: model.keras and the graph of one bundle. Whole: from starting the command to the CSV, with
empty caches. After loading: the same command on a single file taken off, so what is left is the images alone. For
BreastLens that is also told as a share of what its engine reaches on squares in memory, in the same turns.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens import load
from breastlens.cohort.folder import TEXT_SUFFIXES
from breastlens.imaging.decode import IMAGE_SUFFIXES
from breastlens.imaging.phantom import PhantomSettings, write_cohort
from saved_models import train_model
from side_by_side import (
    BREASTLENS,
    Child,
    options,
    report,
    run_child,
    say,
    seconds,
    spread,
    take_turns,
    temporary_folder,
)

WIDTH, HEIGHT, QUALITY = 640, 480, 90
PHANTOMS = 100
KERAS = "Keras"
ENGINE_IMAGES, WARM_UP = 600, 32


@dataclass(frozen=True)
class Images:
    """The same images twice over: all of them, and a single one, each in a subfolder as Keras wants it."""

    many: Path
    one: Path
    count: int


@dataclass(frozen=True)
class Times:
    """One side once.

    Attributes:
        whole: The command on all images.
        single: On one.
        scores: What it wrote.
        engine_images_per_s: The engine alone, on squares in memory; None for Keras.
    """

    whole: Child
    single: Child
    scores: NDArray[np.float64]
    engine_images_per_s: float | None


def main() -> None:
    """Prints one table over all backbones and precisions; or, started by itself, how fast an engine is."""
    arguments = parse()
    if arguments.engine is not None:
        print(time_engine(arguments.engine))
        return
    rows: list[list[str]] = []
    figures: dict[str, Any] = {}
    with temporary_folder() as folder:
        images = write_images(arguments, folder / "images")
        for backbone in arguments.backbones:
            sides, weights = make_sides(arguments, backbone, images, folder)
            taken = take_turns(sides, arguments.repeats)
            figures[backbone] = {side: measure(taken, side, images.count - 1) for side in sides}
            rows += [tabulate(backbone, weights, side, each) for side, each in figures[backbone].items()]
    source = "simulated thermograms" if arguments.data is None else "images of --data"
    report(
        "predict",
        f"{images.count:,} JPEG files ({source}, {WIDTH}x{HEIGHT}, quality {QUALITY}) to a CSV, "
        f"median (range) of {arguments.repeats}",
        (
            "backbone",
            "weights",
            "side",
            "whole, s",
            "faster",
            "processor s",
            "images/s after loading",
            "faster",
            "of engine alone",
            "peak MB",
        ),
        rows,
        arguments.out,
        left=3,
        arguments=vars(arguments),
        figures=figures,
    )


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = options(__doc__, repeats=3)
    parser.add_argument("--data", type=Path, help="take the images from this folder, not from simulation")
    parser.add_argument("--weights", default="none", help="none, imagenet, or a folder of weights files")
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--backbones", nargs="+", default=["mobilenet", "densenet121", "resnet50", "vgg16"])
    parser.add_argument(
        "--precisions",
        nargs="+",
        default=["fp32"],
        help="rows of BreastLens; others than fp32 go to train --precision",
    )
    parser.add_argument("--engine", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def write_images(arguments: argparse.Namespace, folder: Path) -> Images:
    """Writes the JPEG files: each original over and over, each time with a little noise of its own."""
    source = arguments.data
    if source is None:
        source = folder / "phantoms"
        folder.mkdir(parents=True)
        write_cohort(source, PhantomSettings(patients=PHANTOMS, images_per_patient=1))
    found = sorted(
        path for path in source.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES - TEXT_SUFFIXES
    )
    if not found:
        raise SystemExit(f"no image was found in {source}")
    many, one = folder / "many" / "images", folder / "one" / "images"
    many.mkdir(parents=True)
    one.mkdir(parents=True)

    def write(number: int) -> None:
        original = found[number % len(found)]
        image = cv2.imread(str(original))
        if image is None:
            raise SystemExit(f"{original} cannot be read by OpenCV")
        image = cv2.resize(image, (WIDTH, HEIGHT))
        noise = np.random.default_rng(number).integers(0, 4, image.shape, dtype=np.uint8)
        path = many / f"{number:06d}.jpg"
        if not cv2.imwrite(str(path), cv2.add(image, noise), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]):
            raise OSError(f"{path} could not be written")

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(write, range(arguments.images)):
            pass
    (one / "000000.jpg").write_bytes((many / "000000.jpg").read_bytes())
    return Images(many.parent, one.parent, arguments.images)


def make_sides(
    arguments: argparse.Namespace, backbone: str, images: Images, folder: Path
) -> tuple[dict[str, Callable[[], Times]], str]:
    """What takes turns for one backbone, and what its weights are."""
    weights, sides = "", dict[str, Callable[[], Times]]()
    for precision in arguments.precisions:
        more = () if precision == "fp32" else ("--precision", precision)
        run, weights = train_model(folder, backbone, arguments.weights, *more)
        if not sides:
            script = Path(__file__).with_name("keras_folder.py")
            sides[KERAS] = partial(
                run_side, [sys.executable, script, run / "model" / "model.keras"], [], images, folder, None
            )
        used = json.loads((run / "run.json").read_text(encoding="utf-8"))["precision"]["used"]
        if used != precision:
            say(f"{backbone}: {precision} was refused or was not to be had, so there is no row of it")
            continue
        sides[f"breastlens {precision}"] = partial(
            run_side, [*BREASTLENS, "predict", run, "--quiet"], ["--out"], images, folder, run
        )
    return sides, weights


def run_side(
    command: list[str | Path], before_out: list[str], images: Images, folder: Path, run: Path | None
) -> Times:
    """Runs one command on all images and on one, and the engine of a run alone."""
    out = folder / "scores.csv"
    children = []
    for place in (images.one, images.many):
        out.unlink(missing_ok=True)
        children.append(run_child([*command, place, *before_out, out]))
    scores = pd.read_csv(out)["y_score"].to_numpy()
    if len(scores) != images.count:
        raise RuntimeError(f"{len(scores)} scores of {images.count} images")
    alone = None
    if run is not None:
        alone = float(run_child([sys.executable, Path(__file__), "--engine", run]).stdout.splitlines()[-1])
    return Times(children[1], children[0], scores, alone)


def time_engine(run: Path) -> float:
    """Images a second of a run's engine on squares in memory."""
    engine = load(run).bundle.engine
    size = engine.image_size
    squares = np.random.default_rng(0).integers(0, 256, (ENGINE_IMAGES, size, size, 3), dtype=np.uint8)
    engine.run(squares[:WARM_UP])
    return ENGINE_IMAGES / seconds(lambda: engine.run(squares))


def measure(taken: dict[str, list[Times]], side: str, images: int) -> dict[str, Any]:
    """The figures of one side, and how many times faster it is than Keras, by medians."""

    def timed(name: str) -> tuple[Any, Any]:
        apart = [each.whole.elapsed_s - each.single.elapsed_s for each in taken[name]]
        # with a few images the time of all may be less than that of one
        rates = [images / each if each > 0 else math.nan for each in apart]
        return spread([each.whole.elapsed_s for each in taken[name]]), spread(rates)

    whole, rate = timed(side)
    keras_whole, keras_rate = timed(KERAS)
    alone = [each.engine_images_per_s for each in taken[side] if each.engine_images_per_s is not None]
    shares = [each / engine for each, engine in zip(rate.values, alone, strict=True)] if alone else []
    return {
        "whole_s": whole,
        "single_s": spread([each.single.elapsed_s for each in taken[side]]),
        "processor_s": spread([each.whole.processor_s for each in taken[side]]),
        "images_per_s": rate,
        "faster_whole": keras_whole.median / whole.median,
        "faster_after_loading": rate.median / keras_rate.median,
        "engine_images_per_s": alone,
        "share_of_engine": spread(shares) if shares else None,
        "largest_difference": float(np.abs(taken[side][0].scores - taken[KERAS][0].scores).max()),
        "peak_bytes": [each.whole.peak_bytes for each in taken[side]],
    }


def tabulate(backbone: str, weights: str, side: str, row: dict[str, Any]) -> list[str]:
    """One row of the table."""
    peaks = [each for each in row["peak_bytes"] if each]
    return [
        backbone,
        weights,
        side,
        row["whole_s"].written(),
        f"{row['faster_whole']:.1f}",
        row["processor_s"].written(),
        row["images_per_s"].written(0),
        f"{row['faster_after_loading']:.1f}",
        f"{row['share_of_engine'].median:.0%}" if row["share_of_engine"] else "",
        f"{max(peaks) / 1e6:,.0f}" if peaks else "-",
    ]


if __name__ == "__main__":
    say("this takes some minutes; VGG16 most of them")
    main()
