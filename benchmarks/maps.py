"""Do maps of a score mean anything? Four tests on simulated tumours whose place is known, by network and kind of map.

Run as ``python benchmarks/maps.py [--backbones NAME...] [--weights PATH] [--patients 200] [--test-patients 200]``.

A probe is trained on one simulated cohort and asked about the sick of another, seed and patients all new. Kinds of map:
the sum of all stages, each stage alone, and Grad-CAM on the last (Selvaraju et al., ICCV 2017). The tests:

- exactness: all places and the constant add up to the log-odds of the score;
- pointing game (Zhang et al., ECCV 2016): the place that speaks most for sick lies on the tumour, where the skin is
  warmed by at least half as much as right above it, or within 8 px of that. Chance is the area's share of the image. A
  map that is given the tumour of another patient shows what knowing where tumours are usually found would be worth;
- randomised weights (Adebayo et al., NeurIPS 2018): likeness of a map to that of the same network with the weights of
  its head, and of all its layers, dealt anew within each array;
- deletion: by how much the log-odds of the sick fall when a tenth of the pixels is blurred away: those that speak most
  for sick, as many in random cells of 8 px, or those of another patient's map.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity
from sklearn.metrics import roc_auc_score

import breastlens as bl
from breastlens.cohort.batches import load_images
from breastlens.imaging.phantom import PhantomSettings, write_cohort
from breastlens.imaging.thermogram import HEIGHT_PX, WIDTH_PX
from breastlens.models._keras import import_keras
from breastlens.models.activation_map import build_activation_map, enlarge, with_activation_map
from breastlens.models.backbones import Backbone, get_backbone
from breastlens.models.classifier import build_classifier
from breastlens.models.engine import Engine
from breastlens.models.feature_cache import FeatureCache
from breastlens.models.feature_network import FeatureNetwork
from breastlens.models.head import COMPRESSION_OFFSET
from breastlens.training.probe import fit_probe
from side_by_side import options, report, say, temporary_folder

BACKBONES = ("vgg16", "mobilenet:0.75", "mobilenetv2:0.35")
NEAR_PX = 8
DELETED = 0.1
BLUR_PX = 8.0
POINTING = ("network", "AUC", "map", "on tumour", "chance", "another's", "within 8 px", "chance", "another's")
RANDOMISED = ("network", "map", "dealt anew", "rank correlation", "of absolute values", "SSIM")
DELETION = ("network", "map", "its top tenth", "random cells", "another's top tenth", "more than random")

Maps = NDArray[np.floating]
Squares = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Model:
    """A trained classifier in Keras, and the same with its map in the engine."""

    backbone: Backbone
    network: Any
    engine: Engine


@dataclass(frozen=True, eq=False)
class Sick:
    """The images that maps are asked about.

    Attributes:
        pixels: uint8 (n, s, s, 3).
        tumour: bool (n, s, s).
        near: bool (n, s, s), tumour and what lies within 8 px of it.
    """

    pixels: Squares
    tumour: NDArray[np.bool_]
    near: NDArray[np.bool_]


def main() -> None:
    """Prints three tables and writes one file for each."""
    arguments = parse()
    generator = np.random.default_rng(arguments.seed)
    pointing, randomised, deletion = [], [], []
    with temporary_folder() as folder:
        training, judged = (
            simulate(folder / name, count, arguments.seed + offset)
            for name, count, offset in (
                ("training", arguments.patients, 1),
                ("test", arguments.test_patients, 2),
            )
        )
        sick = find_sick(judged)
        for name in arguments.backbones:
            say(f"{name}: train")
            model = train(name, training, arguments)
            kinds = dict(name_maps(model.engine.run(sick.pixels)["activation_map"], model, sick.pixels))
            told = {"network": name, "auc": measure_auc(model, judged), "error": largest_error(model, sick)}
            say(f"{name}: AUC {told['auc']:.3f}, largest error of a sum {told['error']:.1e}")
            pointing += [{**told, "map": kind, **point(maps, sick)} for kind, maps in kinds.items()]
            say(f"{name}: weights dealt anew")
            randomised += list(randomise(model, sick.pixels, kinds, generator))
            say(f"{name}: pixels blurred away")
            deletion += [
                {"network": name, "map": kind, **delete(model, maps, sick.pixels, generator)}
                for kind, maps in kinds.items()
            ]
    tell(pointing, randomised, deletion, len(sick.pixels), arguments)


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = options(__doc__, repeats=1)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--weights", default="imagenet", help="imagenet, or a folder of weights files")
    parser.add_argument("--patients", type=int, default=200, help="to train on (%(default)s)")
    parser.add_argument("--test-patients", type=int, default=200, help="half of them sick (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def simulate(folder: Path, patients: int, seed: int) -> bl.Cohort:
    """A cohort of one image a patient."""
    write_cohort(folder, PhantomSettings(patients=patients, images_per_patient=1, seed=seed))
    return bl.Cohort.read(folder, manifest=folder / "manifest.csv")


def find_sick(cohort: bl.Cohort) -> Sick:
    """The sick of a cohort, and where their tumours are on the square that the network sees."""
    used = cohort.included
    rows = used[used["label"] == 1]
    pixels = load_images(cohort, rows).pixels
    side = pixels.shape[1]
    y, x = (np.mgrid[:side, :side] + 0.5) * np.array([HEIGHT_PX, WIDTH_PX])[:, None, None] / side - 0.5
    columns = (pd.to_numeric(rows[f"tumour_{one}_px"]).to_numpy() for one in ("x", "y", "reach"))
    tumour = np.stack(
        [
            np.hypot(x - at_x, y - at_y) <= max(reach, WIDTH_PX / side)
            for at_x, at_y, reach in zip(*columns, strict=True)
        ]
    )
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * NEAR_PX + 1, 2 * NEAR_PX + 1))
    near = np.stack([cv2.dilate(one.astype(np.uint8), disc).astype(bool) for one in tumour])
    return Sick(pixels, tumour, near)


def train(name: str, cohort: bl.Cohort, arguments: argparse.Namespace) -> Model:
    """A probe on all of a cohort, as ``breastlens train`` fits it."""
    backbone, used = get_backbone(name), cohort.included
    pixels = load_images(cohort, used).pixels
    network = FeatureNetwork(
        backbone,
        image_size=pixels.shape[1],
        weights=arguments.weights,
        seed=arguments.seed,
        cache=FeatureCache(),
    )
    labels = used["label"].to_numpy()
    probe = fit_probe(network.run(pixels), labels, cohort.groups(), seed=arguments.seed)
    classifier = build_classifier(network.model, probe.head)
    return Model(backbone, classifier, Engine.from_keras(with_activation_map(classifier, backbone)))


def measure_auc(model: Model, cohort: bl.Cohort) -> float:
    """Of the model on all of the cohort that its maps are judged on."""
    used = cohort.included
    return float(roc_auc_score(used["label"], log_odds(model, load_images(cohort, used).pixels)))


def largest_error(model: Model, sick: Sick) -> float:
    """The largest difference between the log-odds of the score and what the map adds up to."""
    score = model.engine.run(sick.pixels)["score"][:, 0].astype(np.float64)
    return float(np.abs(log_odds(model, sick.pixels) - logit(score)).max())


def name_maps(stages: NDArray[np.float32], model: Model, pixels: Squares) -> Iterator[tuple[str, Maps]]:
    """Each kind of map, (n, s, s), by name; above 0 is for sick."""
    side = pixels.shape[1]
    yield "all stages", enlarge(stages.sum(axis=1), side, side)
    for number in range(stages.shape[1]):
        last = number == stages.shape[1] - 1
        yield "last stage" if last else f"stage {number + 1}", enlarge(stages[:, number], side, side)
    yield "Grad-CAM", enlarge(grad_cam(model, pixels), side, side)


def grad_cam(model: Model, pixels: Squares) -> NDArray[np.float64]:
    """Grad-CAM of a probe's last stage, its negative values set to zero as in the paper."""
    network, stage = model.network, model.backbone.probe_stages[-1]
    tap = import_keras().Model(network.input, network.get_layer(stage).output)
    activations = np.concatenate([np.asarray(tap(pixels[at : at + 32])) for at in range(0, len(pixels), 32)])
    _, height, width, channels = activations.shape
    gains = network.get_layer("score").get_weights()[0][:, 0] * np.asarray(
        network.get_layer("standardised").scale
    )
    slopes = [
        0.5 * np.sign(np.abs(pooled)) / np.sqrt(np.abs(pooled) + COMPRESSION_OFFSET)
        for pooled in (activations.mean(axis=(1, 2)), activations.max(axis=(1, 2)))
    ]
    weights = slopes[0] * gains[-2 * channels : -channels] + slopes[1] * gains[-channels:]
    return np.asarray(np.maximum(np.einsum("nhwc,nc->nhw", activations, weights) / (height * width), 0))


def point(maps: Maps, sick: Sick) -> dict[str, float]:
    """Shares of images whose map is largest on or near the tumour, with what chance and another's map would give."""
    peaks = maps.reshape(len(maps), -1).argmax(axis=1)
    found: dict[str, float] = {}
    for name, area in (("tumour", sick.tumour), ("near", sick.near)):
        flat = area.reshape(len(area), -1)
        found[name] = float(flat[np.arange(len(flat)), peaks].mean())
        found[f"{name}_chance"] = float(flat.mean())
        # over all pairs of different patients
        hits = flat[:, peaks]
        found[f"{name}_another"] = float((hits.sum() - np.trace(hits)) / (len(flat) * (len(flat) - 1)))
    return found


def derange(count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """For each image another one, each once."""
    order = generator.permutation(count)
    other = np.empty(count, np.int64)
    other[order] = np.roll(order, 1)
    return other


def randomise(
    model: Model, pixels: Squares, kinds: dict[str, Maps], generator: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """How like the maps are to those of the same network with weights dealt anew."""
    network = model.network
    saved = network.get_weights()
    for what in ("head", "all layers"):
        dense = network.get_layer("score")
        if what == "head":
            kernel, bias = dense.get_weights()
            dense.set_weights([generator.permutation(kernel), bias])
        else:
            network.set_weights([generator.permuted(one.ravel()).reshape(one.shape) for one in saved])
        stages = build_activation_map(network, model.backbone)(pixels)["activation_map"]
        changed = dict(name_maps(np.asarray(stages), model, pixels))
        network.set_weights(saved)
        for kind in kinds:
            likeness = compare(kinds[kind], changed[kind])
            yield {"network": model.backbone.name, "map": kind, "changed": what, **likeness}


def compare(first: Maps, second: Maps) -> dict[str, float]:
    """Mean Spearman correlation of maps and of their absolute values, and structural similarity of the latter."""
    found = []
    for one, two in zip(first[:, 2::4, 2::4], second[:, 2::4, 2::4], strict=True):
        strong, weak = (np.abs(each) / max(float(np.abs(each).max()), 1e-12) for each in (one, two))
        found.append(
            (
                spearmanr(one.ravel(), two.ravel()).statistic if np.ptp(one) and np.ptp(two) else 0.0,
                spearmanr(strong.ravel(), weak.ravel()).statistic if np.ptp(strong) and np.ptp(weak) else 0.0,
                structural_similarity(strong, weak, data_range=1.0),
            )
        )
    rank, absolute, ssim = np.mean(found, axis=0).tolist()
    return {"rank": rank, "absolute": absolute, "ssim": ssim}


def delete(model: Model, maps: Maps, pixels: Squares, generator: np.random.Generator) -> dict[str, Any]:
    """By how much log-odds fall when pixels are blurred away, as means over images."""
    before = log_odds(model, pixels)
    own = np.stack([top_pixels(one) for one in maps])
    cells = np.stack([random_cells(pixels.shape[1], generator) for _ in maps])
    falls = {
        name: before - log_odds(model, blur_away(pixels, chosen))
        for name, chosen in (("own", own), ("random", cells), ("another", own[derange(len(maps), generator)]))
    }
    more = falls["own"] - falls["random"]
    half = 1.96 * more.std(ddof=1) / np.sqrt(len(more))
    return {name: float(fall.mean()) for name, fall in falls.items()} | {
        "more": float(more.mean()),
        "low": float(more.mean() - half),
        "high": float(more.mean() + half),
    }


def log_odds(model: Model, pixels: Squares) -> NDArray[np.float64]:
    """What the maps of images add up to, (n,)."""
    found = model.engine.run(pixels)
    total = found["activation_map"].sum(axis=(1, 2, 3), dtype=np.float64) + found["activation_constant"][:, 0]
    return np.asarray(total)


def top_pixels(one: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """The tenth of a map's pixels with the largest values."""
    count = round(DELETED * one.size)
    chosen = np.zeros(one.size, bool)
    chosen[np.argpartition(one.ravel(), -count)[-count:]] = True
    return chosen.reshape(one.shape)


def random_cells(side: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """A tenth of a square's pixels, in cells of 8 px."""
    return top_pixels(np.kron(generator.random((-(-side // 8),) * 2), np.ones((8, 8)))[:side, :side])


def blur_away(pixels: Squares, chosen: NDArray[np.bool_]) -> Squares:
    """Images whose chosen pixels are replaced by a local mean."""
    blurred = np.stack([cv2.GaussianBlur(image, (0, 0), BLUR_PX) for image in pixels])
    return np.where(chosen[..., None], blurred, pixels)


def tell(
    pointing: list[dict[str, Any]],
    randomised: list[dict[str, Any]],
    deletion: list[dict[str, Any]],
    sick: int,
    arguments: argparse.Namespace,
) -> None:
    """Prints and writes the tables."""
    told = {"out": arguments.out, "arguments": vars(arguments)}
    rows = [
        [one["network"], f"{one['auc']:.3f}", one["map"]]
        + [
            f"{one[f'{area}{what}']:.1%}"
            for area in ("tumour", "near")
            for what in ("", "_chance", "_another")
        ]
        for one in pointing
    ]
    title = f"Share of {sick} sick whose map is largest on their tumour"
    report("maps_pointing", title, POINTING, rows, left=1, figures=pointing, **told)
    rows = [
        [one["network"], one["map"], one["changed"]]
        + [f"{one[key]:.2f}" for key in ("rank", "absolute", "ssim")]
        for one in randomised
    ]
    title = "Likeness of maps to those of a network whose weights were dealt anew"
    report("maps_randomised", title, RANDOMISED, rows, left=3, figures=randomised, **told)
    rows = [
        [one["network"], one["map"]]
        + [f"{one[key]:+.2f}" for key in ("own", "random", "another")]
        + [f"{one['more']:+.2f} ({one['low']:.2f} to {one['high']:.2f})"]
        for one in deletion
    ]
    title = f"Fall of the log-odds of {sick} sick when a tenth of the pixels is blurred away"
    report("maps_deletion", title, DELETION, rows, left=2, figures=deletion, **told)


if __name__ == "__main__":
    main()
