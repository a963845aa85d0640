"""Every backbone in every format: how far its scores are from the bundle's, and what it weighs and takes.

Run as ``python benchmarks/export.py [--backbones NAME...] [--formats NAME...]``.

A network with random weights and a probe on simulated thermograms make a bundle; ``breastlens.export_model`` writes it
in each format and checks it there on 64 images. Then the format's own runtime is timed on one image a call. The
bundle's engine stands beside them: it keeps each call to one thread, the others use all cores.
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens import export_model
from breastlens.cohort.batches import load_images
from breastlens.cohort.records import Cohort
from breastlens.errors import BreastLensError
from breastlens.export.formats import FORMATS
from breastlens.imaging.phantom import PhantomSettings, write_cohort
from breastlens.models._keras import import_keras
from breastlens.models.backbones import ALL_COMPARED, get_backbone, list_backbones
from breastlens.models.bundle import Bundle, BundleCard, save_bundle
from breastlens.models.classifier import build_classifier, build_features
from breastlens.models.engine import Engine, convert
from breastlens.models.head import bend_head
from breastlens.runs.facts import describe_versions
from breastlens.training.probe import fit_probe
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
            say(f"a bundle with {backbone}")
            bundle = make_bundle(folder, backbone)
            formats = arguments.formats or (FORMATS if backbone in ALL_COMPARED else ALL_FORMATS)
            figures[backbone] = measure(bundle, folder, formats, arguments.repeats)
            import_keras().backend.clear_session(free_memory=True)
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


def make_bundle(folder: Path, backbone: str) -> Bundle:
    """A bundle of random weights and a probe; what it scores does not matter, but that its scores spread does."""
    data = folder / "phantoms"
    if not data.exists():
        write_cohort(data, PhantomSettings(patients=20, images_per_patient=2))
    cohort = Cohort.read(data, manifest=data / "manifest.csv")
    pixels = load_images(cohort, cohort.included).pixels
    features_model = build_features(
        get_backbone(backbone), image_size=cohort.image.image_size, weights="none", seed=0
    )
    settle(features_model, pixels)
    features = Engine.from_keras(features_model).run(pixels)["features"]
    probe = fit_probe(features, cohort.included["label"].to_numpy(), cohort.groups(), seed=0)
    classifier = bend_head(build_classifier(features_model, probe.head), probe.calibration)
    card = BundleCard(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        backbone=backbone,
        image=cohort.image,
        labels=cohort.labels,
        categories=cohort.categories,
        threshold=0.5,
        threshold_rule="fixed",
        calibration=probe.calibration,
        data_fingerprint=cohort.fingerprint,
        versions=describe_versions(),
    )
    return save_bundle(folder / backbone.replace(":", "-"), classifier, convert(classifier), card)


def settle(model: Any, pixels: NDArray[np.uint8]) -> None:
    """Give batch normalisation the statistics of these images and scales of its own, as training would.

    As Keras initialises it, it does nothing, and in a deep random network the signal dies or grows beyond bounds.
    """
    random = np.random.default_rng(0)
    layers = [layer for layer in model.layers if isinstance(layer, import_keras().layers.BatchNormalization)]
    for layer in layers:
        layer.gamma.assign(random.uniform(0.5, 1.5, layer.gamma.shape))
        layer.beta.assign(random.normal(1, 0.2, layer.gamma.shape))
        layer.momentum = 0.0
    model(pixels, training=True)


def measure(bundle: Bundle, folder: Path, formats: Any, repeats: int) -> dict[str, dict[str, Any]]:
    """Export one model to each format; a format that refuses it has its words instead of figures."""
    name_of_bundle = bundle.directory.name
    told: dict[str, dict[str, Any]] = {"bundle": {"largest_difference": 0.0, "bytes": bundle_bytes(bundle)}}
    square = np.random.default_rng(0).integers(0, 256, (1, *(bundle.card.image.image_size,) * 2, 3), np.uint8)
    calls: dict[str, Callable[[], object]] = {"bundle": lambda: bundle.engine.run(square)}
    for name in formats:
        say(f"{name_of_bundle} to {name}")
        try:
            made = export_model(bundle.directory, name, out=folder / "exports" / f"{name_of_bundle}-{name}")
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
