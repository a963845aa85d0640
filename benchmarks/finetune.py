"""Seconds an epoch and to the best validation AUC: a whole network by Keras's ``fit`` beside BreastLens.

Run as ``python benchmarks/finetune.py --data FOLDER --positive NAME --weights FOLDER --backbones mobilenet:0.75``.

All sides get the same images, read once, with the same split, and start from the same ImageNet weights. Each runs in a
process of its own with empty caches, but for the row that says otherwise. The clock starts when the images are in
memory and Keras is imported; what comes before the first epoch counts: building, the probe, frozen layers, compiling.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.cohort.records import Cohort
from breastlens.config import TrainingRecipe
from breastlens.evaluation.metrics import auc
from breastlens.models.backbones import Backbone, get_backbone
from breastlens.models.weights import resolve_weights
from breastlens.progress import Progress
from breastlens.runs.preparation import prepare
from breastlens.runs.splitting import split_records
from side_by_side import data_options, report, run_child, spread, take_turns, temporary_folder

KERAS = "Keras fit, all layers"
WHOLE = "breastlens, all layers"
FIRST = "breastlens, frozen below"
SECOND = "the same, second run"
HEADER = (
    "backbone",
    "side",
    "stages that learn",
    "s an epoch",
    "s before epochs",
    "s to best AUC",
    "best validation AUC",
    "test AUC",
    "epoch: Keras / this",
    "to best: Keras / this",
)
AUGMENTATION = {
    "rotation_range": 10,
    "width_shift_range": 0.05,
    "height_shift_range": 0.05,
    "zoom_range": 0.1,
    "horizontal_flip": True,
}
"""What BreastLens does unless told otherwise."""

Told = dict[str, Any]


def main() -> None:
    """Prints one table over all backbones; or, started by itself, trains one side and prints what it came to."""
    arguments = parse()
    if arguments.side:
        arrays = np.load(arguments.arrays)
        train = by_keras if arguments.side == KERAS else by_us
        print(json.dumps(train(arguments, get_backbone(arguments.backbones[0]), arrays)))
        return
    rows: list[list[str]] = []
    figures: dict[str, Any] = {}
    with temporary_folder() as folder:
        arrays, parts = lay_down(arguments, folder)
        for name in arguments.backbones:
            taken = take_turns(make_sides(arguments, name, arrays), arguments.repeats)
            outcomes = {
                row: [told[row] for told in repeats] for repeats in taken.values() for row in repeats[0]
            }
            figures[name] = {row: judge(outcomes[row], outcomes[KERAS]) for row in outcomes}
            rows += [tabulate(name, row, figures[name][row]) for row in outcomes]
    report(
        "finetune",
        f"Fine-tuning for {arguments.epochs} epochs, images in memory ({parts}), median (range) of {arguments.repeats}",
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
    parser.add_argument("--backbones", nargs="+", default=["mobilenet:0.75"])
    parser.add_argument("--epochs", type=int, default=15, help="of all sides (%(default)s)")
    parser.add_argument(
        "--stages", type=int, default=2, help="top stages that learn above frozen ones (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--arrays", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def lay_down(arguments: argparse.Namespace, folder: Path) -> tuple[Path, str]:
    """Reads the images, splits them as BreastLens would, and writes them down for every side."""
    cohort = Cohort.read(
        arguments.data,
        manifest=arguments.manifest,
        exclude_when=arguments.exclude_when,
        positive=arguments.positive,
    )
    seen = prepare(cohort).seen
    _, split = split_records(seen.used, seen.groups, TrainingRecipe(seed=arguments.seed))
    path = folder / "images.npz"
    labels = seen.used["label"].to_numpy()
    np.savez(path, pixels=seen.loaded.pixels, labels=labels, groups=seen.groups, split=np.asarray(split, str))
    counts = {part: int((np.asarray(split) == part).sum()) for part in ("train", "validation", "test")}
    return path, ", ".join(f"{count} {part}" for part, count in counts.items())


def make_sides(arguments: argparse.Namespace, backbone: str, arrays: Path) -> dict[str, Callable[[], Told]]:
    """What takes turns; the first and the second run of ours go together."""
    shared: list[Any] = ["--data", arguments.data, "--weights", arguments.weights, "--backbones", backbone]
    shared += ["--epochs", arguments.epochs, "--stages", arguments.stages, "--seed", arguments.seed]
    shared += [part for name in arguments.positive for part in ("--positive", name)]
    command: list[str | Path] = [
        sys.executable,
        Path(__file__),
        *map(str, shared),
        "--arrays",
        arrays,
        "--side",
    ]

    def run(side: str, caches: Path | None = None) -> Told:
        told: Told = json.loads(run_child([*command, side], caches=caches).stdout.splitlines()[-1])
        return told

    def twice() -> Told:
        with temporary_folder() as caches:
            return {name: run(name, caches) for name in (FIRST, SECOND)}

    return {KERAS: lambda: {KERAS: run(KERAS)}, WHOLE: lambda: {WHOLE: run(WHOLE)}, FIRST: twice}


def by_keras(arguments: argparse.Namespace, backbone: Backbone, arrays: Any) -> Told:
    """The network with a dense head, every layer learning, as its users write it."""
    import keras
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    pixels, labels, split = (arrays[name] for name in ("pixels", "labels", "split"))
    parts = {part: np.flatnonzero(split == part) for part in ("train", "validation", "test")}
    started = time.perf_counter()
    keras.utils.set_random_seed(arguments.seed)
    module = importlib.import_module(f"keras.applications.{backbone.keras_module}")
    width = {} if backbone.alpha is None else {"alpha": backbone.alpha}
    source = resolve_weights(arguments.weights, backbone)
    weights = source.path or (None if source.kind == "none" else source.kind)
    base = getattr(module, backbone.keras_name)(
        include_top=False, weights=weights and str(weights), input_shape=pixels.shape[1:], **width
    )
    pooled = keras.layers.GlobalAveragePooling2D()(base.output)
    hidden = keras.layers.Dropout(0.5)(keras.layers.Dense(128, activation="relu")(pooled))
    model = keras.Model(base.input, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(
        optimizer=keras.optimizers.Adam(1e-4),
        loss="binary_crossentropy",
        metrics=[keras.metrics.AUC(name="auc")],
    )
    augmenting = ImageDataGenerator(preprocessing_function=module.preprocess_input, **AUGMENTATION)
    ready = {part: module.preprocess_input(pixels[rows].astype("float32")) for part, rows in parts.items()}
    flow = augmenting.flow(pixels[parts["train"]].astype("float32"), labels[parts["train"]], batch_size=32)
    ends, areas = [time.perf_counter()], list[float]()

    class Note(keras.callbacks.Callback):  # type: ignore[misc]
        """Notes when each epoch ended, and its exact validation AUC."""

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            scores = self.model.predict(ready["validation"], verbose=0)[:, 0]
            areas.append(auc(labels[parts["validation"]], scores) or 0.0)
            ends.append(time.perf_counter())

    model.fit(flow, epochs=arguments.epochs, callbacks=[Note()], verbose=0)
    test = model.predict(ready["test"], verbose=0)[:, 0]
    best = int(np.argmax(areas))
    return {
        "stages": len(backbone.stages),
        "epoch_s": np.diff(ends).tolist(),
        "before_s": ends[0] - started,
        "to_best_s": ends[best + 1] - started,
        "validation_auc": areas[best],
        "test_auc": auc(labels[parts["test"]], test),
    }


def by_us(arguments: argparse.Namespace, backbone: Backbone, arrays: Any) -> Told:
    """The strategy ``finetune``: probe, views, training, choice, average."""
    from breastlens.models._keras import import_keras
    from breastlens.models.feature_cache import FeatureCache
    from breastlens.models.feature_network import FeatureNetwork
    from breastlens.training.fit import fit_model
    from breastlens.training.fitted import TrainingImages

    import_keras()
    pixels, labels, groups, split = (arrays[name] for name in ("pixels", "labels", "groups", "split"))
    train, validation, test = (np.flatnonzero(split == part) for part in ("train", "validation", "test"))
    stages = len(backbone.stages) if arguments.side == WHOLE else arguments.stages
    recipe = TrainingRecipe(
        strategy="finetune",
        backbone=backbone.name,
        epochs=arguments.epochs,
        patience=arguments.epochs,
        trainable_stages=stages,
        seed=arguments.seed,
    )
    started = time.perf_counter()
    network = FeatureNetwork(
        backbone,
        image_size=pixels.shape[1],
        weights=arguments.weights,
        seed=arguments.seed,
        cache=FeatureCache(),
    )
    images = TrainingImages(pixels, network.run(pixels), labels, groups)
    fit = fit_model(
        images,
        train,
        validation,
        backbone=backbone,
        build_features_model=network.build,
        frozen_part=network.frozen_part,
        recipe=recipe,
        progress=Progress(),
        title="fine-tuning",
    )
    total_s = time.perf_counter() - started
    epochs = [row for row in fit.history if row["phase"] == "finetune"]
    seconds: NDArray[np.float64] = np.array([row["seconds"] for row in epochs])
    areas = [row["val_auc"] for row in epochs]
    best = len(areas) // 2 + int(np.argmax(areas[len(areas) // 2 :]))
    return {
        "stages": stages,
        "kept": fit.kept,
        "choice": fit.choice and fit.choice.describe(),
        "notes": fit.notes,
        "epoch_s": seconds.tolist(),
        # what comes after the last epoch counts as before the first: it has to be waited for, too
        "before_s": total_s - seconds.sum(),
        "to_best_s": total_s - seconds[best + 1 :].sum(),
        "validation_auc": max(auc(labels[validation], fit.scores(images, validation)) or 0.0, 0.0),
        "test_auc": auc(labels[test], fit.scores(images, test)),
    }


def judge(repeats: list[Told], by_keras: list[Told]) -> Told:
    """Spreads of the repeats, and how many times longer Keras takes by medians."""

    def seconds_an_epoch(told: Told) -> float:
        return float(statistics.median(told["epoch_s"][1:] or told["epoch_s"]))

    def ratio(figure: Callable[[Told], float]) -> float:
        return statistics.median(map(figure, by_keras)) / statistics.median(map(figure, repeats))

    def to_best(told: Told) -> float:
        return float(told["to_best_s"])

    figures = ("before_s", "to_best_s", "validation_auc", "test_auc")
    return {
        "repeats": repeats,
        "epoch_s": spread([seconds_an_epoch(told) for told in repeats]),
        **{name: spread([told[name] for told in repeats]) for name in figures},
        "epoch_ratio": ratio(seconds_an_epoch),
        "to_best_ratio": ratio(to_best),
    }


def tabulate(backbone: str, name: str, row: Told) -> list[str]:
    """One row of the table."""
    return [
        backbone,
        name,
        str(row["repeats"][0]["stages"]),
        row["epoch_s"].written(2),
        row["before_s"].written(1),
        row["to_best_s"].written(1),
        row["validation_auc"].written(3),
        row["test_auc"].written(3),
        f"{row['epoch_ratio']:.1f}",
        f"{row['to_best_ratio']:.1f}",
    ]


if __name__ == "__main__":
    main()
