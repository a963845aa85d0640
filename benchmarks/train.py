"""Time to the finished report and test AUC: the usual Keras recipe beside the whole command ``breastlens train``.

Run as ``python benchmarks/train.py --data FOLDER --positive NAME --weights FOLDER --backbones vgg16 mobilenet:0.75``.

Both get the same images with the same split, made once: patients and near-duplicates stay in one part. Both start from
the same weights, and every run has empty caches but for the row that says otherwise. For each MobileNet there is a
third side: in Keras, all layers learn for 15 epochs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.cohort.records import Cohort
from breastlens.config import TrainingRecipe
from breastlens.evaluation.intervals import auc_interval, paired_difference
from breastlens.models.backbones import Backbone, get_backbone
from breastlens.models.weights import resolve_weights
from breastlens.runs.preparation import prepare
from breastlens.runs.splitting import split_records
from side_by_side import (
    BREASTLENS,
    Child,
    data_options,
    report,
    run_child,
    say,
    spread,
    take_turns,
    temporary_folder,
)

RECIPE = "usual recipe"
FINE_TUNED = "Keras, all layers learn"
OURS = "breastlens"
UNAUDITED = "breastlens --no-audit"
AGAIN = "breastlens, second run"
HEADER = (
    "backbone",
    "side",
    "seconds",
    "processor s",
    "recipe / this",
    "this / breastlens",
    "test AUC",
    "its 95 % interval",
    "AUC less breastlens's",
    "peak MB",
)
FINE_TUNING_EPOCHS = 15
FINE_TUNING_RATE = 1e-4


@dataclass(frozen=True, eq=False)
class Task:
    """What both sides are given.

    Attributes:
        rows: path, category, label, patient_id, split of each image; numbered from 0.
        groups: What stays together, (n,): patients, copies and near-duplicates.
        tree: train/, validation/ and test/, each with negative/ and positive/, of links to the images.
        manifest: The same rows as BreastLens reads them.
    """

    rows: pd.DataFrame
    groups: NDArray[np.int64]
    tree: Path
    manifest: Path


@dataclass(frozen=True, eq=False)
class Outcome:
    """One finished training: its process, and its score of each test image by row number."""

    child: Child
    scores: pd.Series[float]


def main() -> None:
    """Prints one table over all backbones."""
    arguments = parse()
    rows: list[list[str]] = []
    figures: dict[str, Any] = {}
    with temporary_folder() as folder:
        task = make_task(arguments, folder)
        for name in arguments.backbones:
            sides = make_sides(arguments, task, get_backbone(name), folder / name.replace(":", "-"))
            taken = take_turns(sides, arguments.repeats)
            outcomes = {
                row: [each[row] for each in repeats] for repeats in taken.values() for row in repeats[0]
            }
            figures[name] = judge(task, outcomes)
            rows += [tabulate(name, row, figures[name]) for row in figures[name]]
        parts = task.rows["split"].value_counts().to_dict()
    report(
        "train",
        f"From starting the command to the finished report, {sum(parts.values())} images "
        f"({', '.join(f'{count} {part}' for part, count in parts.items())}), median (range) of {arguments.repeats}",
        HEADER,
        rows,
        arguments.out,
        left=2,
        arguments=vars(arguments),
        figures=figures,
    )


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = data_options(__doc__, repeats=3)
    parser.add_argument("--backbones", nargs="+", default=["vgg16", "mobilenet:0.75"])
    parser.add_argument("--epochs", type=int, default=30, help="of the usual recipe (%(default)s)")
    parser.add_argument("--no-augmentation", action="store_true", help="the recipe does not augment")
    return parser.parse_args()


def make_task(arguments: argparse.Namespace, folder: Path) -> Task:
    """Splits the images as BreastLens would, and lays the split down for both sides."""
    cohort = Cohort.read(
        arguments.data,
        manifest=arguments.manifest,
        exclude_when=arguments.exclude_when,
        positive=arguments.positive,
    )
    seen = prepare(cohort).seen
    _, split = split_records(seen.used, seen.groups, TrainingRecipe())
    used = seen.used.assign(split=split).reset_index(drop=True)
    rows = used[["path", "category", "label", "patient_id", "split"]]
    tree, manifest = folder / "tree", folder / "manifest.csv"
    for number, row in enumerate(rows.to_dict("records")):
        place = tree / str(row["split"]) / ("positive" if row["label"] else "negative")
        place.mkdir(parents=True, exist_ok=True)
        source = (arguments.data / str(row["path"])).resolve()
        (place / f"{number}{source.suffix}").symlink_to(source)
    known = ["patient_id"] if (rows["patient_id"] != "").any() else []
    rows[["path", "category", "split", *known]].to_csv(manifest, index=False)
    return Task(rows, seen.groups, tree, manifest)


def make_sides(
    arguments: argparse.Namespace, task: Task, backbone: Backbone, folder: Path
) -> dict[str, Callable[[], dict[str, Outcome]]]:
    """What takes turns. Each gives its outcomes by row of the table; the first and the second run go together."""
    path = resolve_weights(arguments.weights, backbone).path
    keras: list[str | Path] = [sys.executable, Path(__file__).with_name("usual_recipe.py"), task.tree]
    by_keras = ["--backbone", backbone.keras_name, "--weights", path or arguments.weights]
    by_keras += [] if backbone.alpha is None else ["--alpha", str(backbone.alpha)]
    by_keras += ["--no-augmentation"] if arguments.no_augmentation else []
    ours = [*BREASTLENS, "train", arguments.data, "--manifest", task.manifest, "--quiet"]
    ours += ["--strategy", "probe", "--backbone", backbone.name, "--weights", arguments.weights]
    ours += [part for name in arguments.positive for part in ("--positive", name)]
    turns: dict[str, int] = {}

    def place(name: str) -> tuple[Path, list[str]]:
        """A new folder for a run, and its seed: the number of the repeat."""
        turns[name] = turns.get(name, -1) + 1
        folder.mkdir(exist_ok=True)
        return folder / f"{name}-{turns[name]}", ["--seed", str(turns[name])]

    def by_recipe(name: str, *more: str) -> dict[str, Outcome]:
        out, seed = place(name)
        child = run_child([*keras, out, *by_keras, *seed, *more])
        table = pd.read_csv(out / "predictions.csv")
        numbers = [int(Path(file).stem) for file in table["file"]]
        return {name: Outcome(child, pd.Series(table["y_score"].to_numpy(), index=numbers))}

    def by_us(name: str, *more: str, caches: Path | None = None) -> Outcome:
        out, seed = place(name)
        child = run_child([*ours, "--out", out, *seed, *more], caches=caches)
        table = pd.read_csv(out / "predictions.csv").query("split == 'test'").set_index("path")["y_score"]
        numbers = task.rows.index[task.rows["path"].isin(table.index)]
        return Outcome(child, table.loc[task.rows.loc[numbers, "path"]].set_axis(numbers))

    def first_and_second() -> dict[str, Outcome]:
        with temporary_folder() as caches:
            return {name: by_us(name, caches=caches) for name in (OURS, AGAIN)}

    sides: dict[str, Callable[[], dict[str, Outcome]]] = {
        RECIPE: partial(by_recipe, RECIPE, "--epochs", str(arguments.epochs)),
        OURS: first_and_second,
        UNAUDITED: lambda: {UNAUDITED: by_us(UNAUDITED, "--no-audit")},
    }
    if backbone.keras_name.startswith("MobileNet"):
        epochs, rate = str(FINE_TUNING_EPOCHS), str(FINE_TUNING_RATE)
        sides[FINE_TUNED] = partial(
            by_recipe, FINE_TUNED, "--train-base", "--epochs", epochs, "--learning-rate", rate
        )
    return sides


def judge(task: Task, outcomes: dict[str, list[Outcome]]) -> dict[str, dict[str, Any]]:
    """For each row its time, memory and AUC; and how far its AUC is from ours on the same patients, repeat by repeat.

    Raises:
        RuntimeError: A side scored other images than the test part.
    """
    test = task.rows.index[task.rows["split"] == "test"]
    y_true = task.rows.loc[test, "label"].to_numpy()
    shared: dict[str, Any] = {
        "patient_id": task.rows.loc[test, "patient_id"].tolist(),
        "linked": task.groups[test],
    }
    scores: dict[str, list[NDArray[np.float64]]] = {}
    for name, repeats in outcomes.items():
        if any(set(each.scores.index) != set(test) for each in repeats):
            raise RuntimeError(f"{name} did not score the images of the test part")
        scores[name] = [np.asarray(each.scores.loc[test], np.float64) for each in repeats]
    figures = {}
    for name, repeats in outcomes.items():
        aucs = [auc_interval(y_true, each, **shared) for each in scores[name]]
        apart = [
            paired_difference(y_true, each, ours, **shared)
            for each, ours in zip(scores[name], scores[OURS], strict=True)
        ]
        figures[name] = {
            "seconds": spread([each.child.elapsed_s for each in repeats]),
            "processor_s": spread([each.child.processor_s for each in repeats]),
            "peak_bytes": [each.child.peak_bytes for each in repeats],
            "recipe_over_this": ratio(outcomes[RECIPE], repeats),
            "this_over_breastlens": ratio(repeats, outcomes[OURS]),
            "auc": aucs,
            "auc_less_ours": apart,
        }
    return figures


def ratio(above: list[Outcome], below: list[Outcome]) -> float:
    """How many times longer the first takes, by medians."""
    medians = [statistics.median(each.child.elapsed_s for each in side) for side in (above, below)]
    return medians[0] / medians[1]


def tabulate(backbone: str, name: str, figures: dict[str, dict[str, Any]]) -> list[str]:
    """One row; interval and difference are those of the repeat with the middle value."""
    row = figures[name]
    auc, apart = middle(row["auc"]), middle(row["auc_less_ours"])
    peaks = [each for each in row["peak_bytes"] if each]
    return [
        backbone,
        name,
        row["seconds"].written(),
        row["processor_s"].written(),
        f"{row['recipe_over_this']:.1f}",
        f"{row['this_over_breastlens']:.1f}",
        spread([each["value"] for each in row["auc"]]).written(3),
        f"{auc['low']:.3f} to {auc['high']:.3f}" if auc["low"] is not None else "-",
        "" if name.startswith(OURS) else written_difference(apart),
        f"{max(peaks) / 1e6:,.0f}" if peaks else "-",
    ]


def written_difference(apart: dict[str, Any]) -> str:
    """A difference with its interval, where it has one."""
    if apart["value"] is None:
        return "-"
    return f"{apart['value']:+.3f} ({apart['low']:+.3f} to {apart['high']:+.3f})"


def middle(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Of several intervals that with the middle value, the lower where there are two."""
    known = [each for each in found if each["value"] is not None]
    return sorted(known, key=lambda each: each["value"])[(len(known) - 1) // 2] if known else found[0]


if __name__ == "__main__":
    say("this takes minutes a backbone and repeat: VGG16 about ten")
    main()
