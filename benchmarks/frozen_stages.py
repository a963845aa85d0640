"""Test AUC of fine-tuning with frozen stages, whose activations are computed once, beside that with all layers.

Run as ``python benchmarks/frozen_stages.py --data FOLDER --positive NAME --weights FOLDER``.

For each seed the images are split anew, with patients and near-duplicates in one part. Every way starts from the same
probe and is judged on the same test images: the fine-tuned network averaged with its probe, kept or not. Differences
are means over the seeds, their intervals a bootstrap that draws patients or, where these are unknown, groups of linked
images, with all their test images in all seeds.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.cohort.records import Cohort
from breastlens.config import TrainingRecipe
from breastlens.evaluation.scalars import weighted_auc
from breastlens.models.backbones import get_backbone
from breastlens.models.feature_cache import FeatureCache
from breastlens.models.feature_network import FeatureNetwork
from breastlens.progress import Progress
from breastlens.runs.preparation import Prepared, prepare
from breastlens.runs.splitting import split_records
from breastlens.training.finetune import train_network
from breastlens.training.fitted import score_with
from breastlens.training.probe import fit_probe
from breastlens.training.views import show_images
from side_by_side import data_options, report, say, spread, temporary_folder

DRAWS = 2000
HEADER = ("way", "stages", "views", "test AUC", "less all layers", "its 95 % interval", "s an epoch")


@dataclass(frozen=True, eq=False)
class Judged:
    """Test images of one seed: their groups, labels and scores; and the median epoch of the training."""

    groups: NDArray[np.int64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    epoch_s: float

    def aucs(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The AUC for each weighting of the groups, (draws, groups) to (draws,)."""
        return weighted_auc(self.labels, self.scores, weights[:, self.groups])


def main() -> None:
    """Prints one table over all ways."""
    arguments = parse()
    prepared = prepare(
        Cohort.read(
            arguments.data,
            manifest=arguments.manifest,
            exclude_when=arguments.exclude_when,
            positive=arguments.positive,
        )
    )
    stages = len(get_backbone(arguments.backbone).stages)
    ways = {"all layers": (stages, 0)}
    for way in arguments.ways:
        learning, _, views = way.partition("x")
        ways[f"{way}" if views != "0" else f"{learning}, all layers run"] = (int(learning), int(views))
    with temporary_folder() as folder:
        judged = {name: train_all(arguments, prepared, *way, folder) for name, way in ways.items()}
    count = int(prepared.seen.groups.max()) + 1
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), DRAWS).astype(float)
    figures = {name: compare(each, judged["all layers"], drawn) for name, each in judged.items()}
    rows = [
        [
            name,
            str(ways[name][0]),
            str(ways[name][1] or "new ones"),
            f"{told['auc']:.4f}",
            f"{told['difference']:+.4f}",
            f"{told['low']:+.4f} to {told['high']:+.4f}",
            told["epoch_s"].written(2),
        ]
        for name, told in figures.items()
    ]
    title = f"{arguments.backbone}, mean of {len(arguments.seeds)} seeds"
    report("frozen_stages", title, HEADER, rows, arguments.out, arguments=vars(arguments), figures=figures)


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = data_options(__doc__, repeats=1)
    parser.add_argument("--backbone", default="mobilenet:0.75")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--training-precision", default="float32", help="float32, bfloat16 or auto")
    ways = ["2x8", "1x8", "1x4", "1x20", "1x0"]
    parser.add_argument("--ways", nargs="+", default=ways, help="STAGESxVIEWS; no views: all layers run")
    return parser.parse_args()


def train_all(
    arguments: argparse.Namespace, prepared: Prepared, stages: int, views: int, folder: Path
) -> list[Judged]:
    """Fine-tunes once a seed."""
    seen, backbone = prepared.seen, get_backbone(arguments.backbone)
    pixels, labels = seen.loaded.pixels, seen.used["label"].to_numpy()
    network = FeatureNetwork(
        backbone,
        image_size=pixels.shape[1],
        weights=arguments.weights,
        seed=0,
        cache=FeatureCache(folder, limit_bytes=int(16e9)),
    )
    features = network.run(pixels)
    judged = []
    for seed in arguments.seeds:
        say(f"{stages} stages, {views} views, seed {seed}")
        recipe = TrainingRecipe(
            strategy="finetune",
            seed=seed,
            epochs=arguments.epochs,
            trainable_stages=stages,
            views=views,
            training_precision=arguments.training_precision,
        )
        _, split = split_records(seen.used, seen.groups, recipe)
        train, validation, test = (
            np.flatnonzero(np.asarray(split) == part) for part in ("train", "validation", "test")
        )
        probe = fit_probe(features[train], labels[train], seen.groups[train], seed=seed)
        shared: dict[str, Any] = {"recipe": recipe, "progress": Progress(), "title": "fine-tuning"}
        with show_images(pixels, network.frozen_part, backbone, train, validation, **shared) as (shown, _):
            trained = train_network(
                network.build, backbone, probe, shown, labels, train, validation, **shared
            )
        scores = score_with(trained.network, pixels[test])
        epoch_s = float(np.median([row["seconds"] for row in trained.history[1:]]))
        judged.append(Judged(seen.groups[test], labels[test], scores, epoch_s))
    return judged


def compare(these: list[Judged], those: list[Judged], drawn: NDArray[np.float64]) -> dict[str, Any]:
    """Mean AUC over seeds, and its difference with an interval; both sides have the same images in each seed."""

    def mean_auc(side: list[Judged], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.mean([each.aucs(weights) for each in side], axis=0))

    once = np.ones((1, drawn.shape[1]))
    low, high = np.nanpercentile(mean_auc(these, drawn) - mean_auc(those, drawn), [2.5, 97.5])
    return {
        "auc": float(mean_auc(these, once)[0]),
        "difference": float((mean_auc(these, once) - mean_auc(those, once))[0]),
        "low": float(low),
        "high": float(high),
        "epoch_s": spread([each.epoch_s for each in these]),
    }


if __name__ == "__main__":
    main()
