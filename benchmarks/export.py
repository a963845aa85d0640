"""Every backbone in every format: how far its scores are from the bundle's, and what it weighs and takes.

Run as ``python benchmarks/export.py [--backbones NAME...] [--formats NAME...]``.

A small training on simulated thermograms with random weights makes a bundle; ``breastlens.export_model`` writes it in
each format and checks it there on 64 images. Then the format's own runtime is timed on one image a call. The bundle's
engine stands beside them: it runs as many calls side by side as there are cores, so it is timed one image a call, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens import export_model
from breastlens.errors import BreastLensError
from breastlens.export.formats import FORMATS
from breastlens.models.backbones import ALL_COMPARED, list_backbones
from breastlens.models.bundle import Bundle, load_bundle
from saved_models import train_model
from side_by_side import options, report, say, seconds, spread, take_turns, temporary_folder

ALL_FORMATS = ("onnx", "openvino")
"""For every backbone; the others only for those that are compared by default."""

TURN_S, WARM_UP = 1.0, 3


def main() -> None:
    """Prints one table over backbones and formats."""
    arguments = parse()
    rows: list[list[str]] = []
    figures: dict[str, Any] = {}
    with temporary_folder() as folder:
        for backbone in arguments.backbones:
            run, _ = train_model(folder, backbone, "none")
            formats = arguments.formats or (FORMATS if backbone in ALL_COMPARED else ALL_FORMATS)
            figures[backbone] = measure(run, folder, formats, arguments.repeats)
            rows += [tabulate(backbone, name, told) for name, told in figures[backbone].items()]
    report(
        "export",
        f"Exported models beside their bundles, random weights, 128x128, {arguments.repeats} repeats",
        ("backbone", "format", "largest difference", "MB", "ms an image"),
        rows,
        arguments.out,
        left=2,
        arguments=vars(arguments),
        figures=figures,
    )


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = options(__doc__, repeats=3)
    names = [backbone.name for backbone in list_backbones()]
    parser.add_argument("--backbones", nargs="+", default=names, metavar="NAME", help="which ones (all)")
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=FORMATS,
        help=f"which ones (all for {', '.join(ALL_COMPARED)}; {' and '.join(ALL_FORMATS)} for the others)",
    )
    return parser.parse_args()


def measure(run: Path, folder: Path, formats: Any, repeats: int) -> dict[str, dict[str, Any]]:
    """Export one model to each format; a format that refuses it has its words instead of figures."""
    bundle = load_bundle(run)
    told: dict[str, dict[str, Any]] = {"bundle": {"largest_difference": 0.0, "bytes": bundle_bytes(bundle)}}
    square = np.random.default_rng(0).integers(0, 256, (1, *(bundle.card.image.image_size,) * 2, 3), np.uint8)
    calls: dict[str, Callable[[], object]] = {"bundle": lambda: bundle.engine.run(square)}
    for name in formats:
        say(f"{run.name} to {name}")
        try:
            made = export_model(run, name, out=folder / "exports" / f"{run.name}-{name}")
        except BreastLensError as error:
            told[name] = {"error": str(error)}
            continue
        told[name] = made.facts["check"] | {
            "bytes": sum(file["bytes"] for file in made.facts["files"].values())
        }
        opened = FORMATS[name].open(made.directory)
        calls[name] = caller(opened.call, square)
    taken = take_turns({name: timer(call) for name, call in calls.items()}, repeats)
    for name, each in taken.items():
        told[name]["ms"] = spread(each)
    return told


def caller(call: Callable[[NDArray[np.uint8]], Any], square: NDArray[np.uint8]) -> Callable[[], object]:
    """One call of one image."""
    return lambda: call(square)


def timer(call: Callable[[], object]) -> Callable[[], float]:
    """Milliseconds a call, over about a second of them."""

    def time_calls() -> float:
        for _ in range(WARM_UP):
            call()
        count = max(1, round(TURN_S / seconds(call)))
        return 1000 * seconds(lambda: [call() for _ in range(count)]) / count

    return time_calls


def bundle_bytes(bundle: Bundle) -> int:
    """Of the graph that the bundle's engine reads."""
    return sum(path.stat().st_size for path in bundle.directory.glob("model.[xb]*"))


def tabulate(backbone: str, name: str, told: dict[str, Any]) -> list[str]:
    """A row of the table."""
    if "error" in told:
        return [backbone, name, told["error"], "", ""]
    difference = "" if name == "bundle" else f"{told['largest_difference']:.1e}"
    return [backbone, name, difference, f"{told['bytes'] / 1e6:.1f}", told["ms"].written()]


if __name__ == "__main__":
    main()
