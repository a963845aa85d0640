"""What the map of log-odds costs on top of a plain prediction, by network, in the engine and as pictures on disk.

Run as ``python benchmarks/map_cost.py [--backbones NAME...] [--repeats 9]``.

The same classifier with random weights is compiled with and without the map, in 32 bits. Both score the same images in
turns; what is compared is the processor's time of the whole process, which other programs change less than seconds. A
picture is drawn and written for each image by ``MapFolder.write``, as ``predict --maps`` does.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from breastlens.config import ImageRecipe
from breastlens.imaging.preprocess import PreparedImage
from breastlens.inference.activation_map import explain_row
from breastlens.inference.map_picture import MapFolder
from breastlens.models.activation_map import with_activation_map
from breastlens.models.backbones import get_backbone
from breastlens.models.classifier import build_classifier, build_features
from breastlens.models.engine import Engine
from breastlens.models.head import Head
from side_by_side import options, report, say, spread, take_turns, temporary_folder

BACKBONES = ("mobilenet:0.75", "mobilenetv2", "resnet50", "vgg16", "densenet121")
SIZE = 128
HEADER = ("network", "CPU ms an image", "with the map", "ratio in turns", "largest error of the sum")
PICTURES = 50


def main() -> None:
    """Prints one table."""
    arguments = parse()
    rows, figures = [], []
    for name in arguments.backbones:
        say(name)
        told = measure(name, arguments.repeats)
        figures.append(told)
        rows.append(
            [
                name,
                spread(told["plain_ms"]).written(2),
                spread(told["map_ms"]).written(2),
                spread(told["ratios"]).written(3),
                f"{told['error']:.1e}",
            ]
        )
    picture_ms = 1000 * min(time_pictures() for _ in range(arguments.repeats)) / PICTURES
    title = f"Processor time of a prediction with and without its map; a picture of it takes {picture_ms:.1f} ms more"
    facts: dict[str, Any] = {"arguments": vars(arguments), "figures": figures, "picture_ms": picture_ms}
    report("map_cost", title, HEADER, rows, arguments.out, **facts)


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = options(__doc__, repeats=9)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    return parser.parse_args()


def measure(name: str, repeats: int) -> dict[str, Any]:
    """Milliseconds an image of both sides by turn, their ratios, and how exact the sum is."""
    backbone, source = get_backbone(name), np.random.default_rng(0)
    features = build_features(backbone, image_size=SIZE, weights="none", seed=0)
    width = features.output.shape[-1]
    # weights that are not small, so that log-odds are of the size of real ones
    head = Head(np.zeros(width), np.full(width, 0.05), source.normal(size=width) / np.sqrt(width), 0.3)
    network = build_classifier(features, head)
    engines = {
        "plain": Engine.from_keras(network),
        "map": Engine.from_keras(with_activation_map(network, backbone)),
    }
    images = source.integers(0, 256, (16, SIZE, SIZE, 3), dtype=np.uint8)
    found = engines["map"].run(images)
    total = found["activation_map"].sum(axis=(1, 2, 3), dtype=np.float64) + found["activation_constant"][:, 0]
    error = float(np.abs(total - logit(found["score"][:, 0].astype(np.float64))).max())
    count = max(2, round(0.5 / processor_s(lambda: engines["plain"].run(images))))
    batch = np.concatenate([images] * count)

    def side(engine: Engine) -> Callable[[], float]:
        return lambda: 1000 * processor_s(lambda: engine.run(batch)) / len(batch)

    taken = take_turns({name: side(engine) for name, engine in engines.items()}, repeats)
    ratios = [with_map / plain for plain, with_map in zip(taken["plain"], taken["map"], strict=True)]
    return {
        "network": name,
        "plain_ms": taken["plain"],
        "map_ms": taken["map"],
        "ratios": ratios,
        "error": error,
    }


def processor_s(function: Callable[[], object]) -> float:
    """Seconds of all cores that this process takes for a call."""
    started = time.process_time()
    function()
    return time.process_time() - started


def time_pictures() -> float:
    """Seconds for some pictures, drawn and written."""
    source = np.random.default_rng(0)
    pixels: NDArray[np.uint8] = source.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    row = {
        "score": np.array([0.5], np.float32),
        "activation_constant": np.zeros(1, np.float32),
        "activation_map": source.normal(size=(3, 16, 16)).astype(np.float32),
    }
    explanation = explain_row(PreparedImage(pixels, 0.0, 255.0, None, (480, 640)), ImageRecipe(), row)
    with temporary_folder() as folder:
        maps = MapFolder.make(folder / "maps")
        return processor_s(
            lambda: [maps.write(number, Path("image.png"), explanation) for number in range(PICTURES)]
        )


if __name__ == "__main__":
    main()
