"""A Keras network becomes a graph for OpenVINO: as BreastLens hands it over, and as OpenVINO takes Keras models.

Run as ``python benchmarks/convert.py [--backbones NAME...]``.

Each side converts the same features model, of 64x64 px and random weights, in a process of its own, and what both
graphs give for the same noise must be equal to the last bit. Time is that of the conversion alone, memory that of the
process.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from breastlens.models._openvino import import_openvino
from breastlens.models.backbones import get_backbone
from breastlens.models.classifier import build_features
from breastlens.models.engine import Engine, convert
from breastlens.work.unit import content_key
from side_by_side import Child, options, report, run_child, seconds, spread, take_turns

IMAGE_SIZE = 64


def as_openvino_does(model: Any) -> Any:
    """The converter is given the Keras model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = import_openvino().convert_model(model)
    graph.output().get_tensor().set_names(set(model.output_names))
    return graph


SIDES = {"the Keras model": as_openvino_does, "breastlens": convert}


def main() -> None:
    """Prints one table, or is one of its sides."""
    arguments = parse()
    if arguments.side is not None:
        print(json.dumps(measure(arguments.side, arguments.backbones[0])))
        return
    rows, figures = [], {}
    for backbone in arguments.backbones:
        command = [sys.executable, Path(__file__), "--backbones", backbone, "--side"]
        taken = take_turns({side: partial(run_child, [*command, side]) for side in SIDES}, arguments.repeats)
        told = {side: [told_by(child) for child in children] for side, children in taken.items()}
        if len({each["features"] for some in told.values() for each in some}) > 1:
            raise SystemExit(f"{backbone}: the two graphs do not give the same features")
        spreads = {side: spread([each["seconds"] for each in some]) for side, some in told.items()}
        megabytes = {side: spread([each["peak_mb"] for each in some]) for side, some in told.items()}
        figures[backbone] = {"seconds": spreads, "peak_mb": megabytes}
        theirs, ours = (spreads[side].median for side in SIDES)
        rows.append(
            [
                backbone,
                *(spreads[side].written(2) for side in SIDES),
                f"{theirs / ours:.1f}",
                *(megabytes[side].written(0) for side in SIDES),
            ]
        )
    report(
        "convert",
        f"Conversion for OpenVINO, {arguments.repeats} repeats",
        ("backbone", *(f"{side}, s" for side in SIDES), "times faster", *(f"{side}, MB" for side in SIDES)),
        rows,
        arguments.out,
        backbones=figures,
    )


def told_by(child: Child) -> dict[str, Any]:
    """What a side printed, and its memory."""
    told = json.loads(child.stdout.splitlines()[-1])
    return dict(told) | {"peak_mb": (child.peak_bytes or 0) / 2**20}


def measure(side: str, backbone: str) -> dict[str, Any]:
    """Convert once; a first conversion of a small network loads what is loaded but once."""
    small = build_features(get_backbone("mobilenet:0.25"), image_size=IMAGE_SIZE, weights="none", seed=0)
    SIDES[side](small)
    model = build_features(get_backbone(backbone), image_size=IMAGE_SIZE, weights="none", seed=3)
    graphs: list[Any] = []
    taken_s = seconds(lambda: graphs.append(SIDES[side](model)))
    noise = np.random.default_rng(0).integers(0, 256, (4, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    return {"seconds": taken_s, "features": content_key(Engine.from_graph(graphs[0]).run(noise)["features"])}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = options(__doc__, repeats=3)
    parser.add_argument(
        "--backbones", nargs="+", default=["mobilenetv2", "vgg16", "resnet50", "densenet121", "resnet152"]
    )
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
