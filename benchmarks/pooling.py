"""What other pooled statistics of the same network bring, and left held against right, beside mean and maximum.

Run as ``python benchmarks/pooling.py --data FOLDER --positive NAME --weights FOLDER --backbones vgg16``, with the other
options of ``accuracy.py``, whose rules it is judged by. Quarters are the halves of the height times those of the width.
"Left against right" gives of the upper and the lower half the absolute difference of left and right, and what both
have together, so that a mirrored image has the same features. The difference to the mirror image is absolute, place by
place, of the activations. Aligned images are moved so that the body's best axis of symmetry is in the middle.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from accuracy import HEADER, Features, Images, judge, parse, read, row, score
from breastlens.config import ImageRecipe
from breastlens.imaging.body import body_mask
from breastlens.imaging.occlusions import intensity_statistics, keep_border
from breastlens.imaging.texture import texture_features
from breastlens.models._keras import import_keras
from breastlens.models.backbones import Backbone, get_backbone
from breastlens.models.classifier import build_features
from breastlens.models.engine import Engine
from side_by_side import report, say

Statistics = dict[str, NDArray[np.float32]]
USUAL = ("mean", "max")
WAYS = {
    "mean and maximum": USUAL,
    "mean": ("mean",),
    "mean and standard deviation": ("mean", "std"),
    "mean, maximum and standard deviation": (*USUAL, "std"),
    "generalised mean": ("gem",),
    "and of quarters": (*USUAL, *(f"{kind}{part}" for part in range(4) for kind in ("mean", "max"))),
    "left against right": ("sides",),
    "and difference to the mirror image": (*USUAL, "mirrored mean", "mirrored max"),
    "difference to the mirror image alone": ("mirrored mean", "mirrored max"),
}
STAGES = {"all stages": (0, 1, 2, 3, 4), "stages 2 to 5": (1, 2, 3, 4), "stages 2 to 4": (1, 2, 3)}


def main() -> None:
    """Prints one table."""
    arguments = parse()
    size, name = arguments.sizes[0], arguments.backbones[0]
    study, by_size = read(arguments)
    shown = by_size[size]
    hidden = keep_border(shown, ImageRecipe(image_size=size).border_px)
    backbone = get_backbone(name)
    engine = Engine.from_keras(build_statistics(backbone, size, arguments.weights))
    sides = []
    for images in (shown, hidden):
        say("features")
        seen, turned = engine.run(images), engine.run(align(images))
        usual = tuple(range(len(backbone.stages)))[-len(backbone.probe_stages) :]
        features = {way: pooled(seen, usual, kinds) for way, kinds in WAYS.items()}
        features |= {way: pooled(seen, stages, USUAL) for way, stages in STAGES.items()}
        features |= {
            "left against right, aligned": pooled(turned, usual, ("sides",)),
            "and grey statistics": np.hstack([pooled(seen, usual, USUAL), intensity_statistics(images)]),
            "and texture": np.hstack([pooled(seen, usual, USUAL), texture_features(images)]),
        }
        sides.append(
            {way: score_said(study, way, each, arguments.strengths) for way, each in features.items()}
        )
    best = sides[0]["mean and maximum"]
    told = {
        way: judge(study, whole, best) | {"border": judge(study, sides[1][way], None)}
        for way, whole in sides[0].items()
    }
    title = f"{name} at {size} px, mean of {arguments.repeats} repeats; differences are to mean and maximum"
    rows = [row(way, each) for way, each in told.items()]
    report("pooling", title, HEADER, rows, arguments.out, arguments=vars(arguments), figures=told)


def score_said(study: Any, way: str, features: Features, strengths: Iterable[float]) -> Any:
    """``score``, and say so."""
    say(way)
    return score(study, features, tuple(strengths))


def build_statistics(backbone: Backbone, size: int, weights: str) -> Any:
    """The network in Keras, with every statistic of every stage as an output named ``STAGE statistic``."""
    keras = import_keras()
    ops = keras.ops
    network = build_features(backbone, image_size=size, weights=weights, seed=0)
    outputs: dict[str, Any] = {}
    for number, stage in enumerate(backbone.stages):
        seen = network.get_layer(stage).output
        height, width = seen.shape[1] // 2, seen.shape[2] // 2
        apart = ops.abs(seen - ops.flip(seen, axis=2))
        cube = ops.mean(ops.power(ops.relu(seen) + 1e-6, 3.0), axis=(1, 2))
        own = {"std": ops.std(seen, axis=(1, 2)), "gem": ops.power(cube, 1 / 3)}
        parts = {"": seen, "mirrored ": apart}
        quarters = [
            (rows, columns)
            for rows in (slice(height), slice(height, None))
            for columns in (slice(width), slice(width, None))
        ]
        parts |= {str(part): seen[:, rows, columns] for part, (rows, columns) in enumerate(quarters)}
        for part, each in parts.items():
            for kind, over in (("mean", ops.mean), ("max", ops.max)):
                own[f"{part}{kind}" if part == "mirrored " else f"{kind}{part}"] = over(each, axis=(1, 2))
        outputs |= {f"{number} {kind}": keras.layers.Identity()(value) for kind, value in own.items()}
    return keras.Model(network.input, outputs)


def pooled(seen: Statistics, stages: Iterable[int], kinds: Iterable[str]) -> Features:
    """Statistics of some stages side by side, (n, d)."""
    columns: list[NDArray[np.floating[Any]]] = []
    for stage in stages:
        for kind in kinds:
            if kind != "sides":
                columns.append(seen[f"{stage} {kind}"])
                continue
            for left, right in ((0, 1), (2, 3)):
                means, largest = (
                    [seen[f"{stage} {name}{part}"] for part in (left, right)] for name in ("mean", "max")
                )
                columns += [np.abs(means[0] - means[1]), (means[0] + means[1]) / 2]
                columns += [np.abs(largest[0] - largest[1]), np.maximum(largest[0], largest[1])]
    return np.concatenate(columns, axis=1)


def align(images: Images) -> Images:
    """Move each image so that the axis on which the body's outline is most alike on both sides is in the middle."""
    moved = images.copy()
    side = images.shape[2]
    for image in moved:
        body = body_mask(image)
        if body is None:
            continue
        places = np.arange(side)
        unlike = {}
        for twice in range(int(0.7 * side), int(1.3 * side)):  # a column x lies opposite of twice - x
            opposite = twice - places
            inside = (opposite >= 0) & (opposite < side)
            unlike[twice] = (body[:, inside] != body[:, opposite[inside]]).sum() + body[:, ~inside].sum()
        right = (side - 1 - min(unlike, key=unlike.__getitem__)) / 2
        matrix = np.array([[1, 0, right], [0, 1, 0]], dtype=np.float32)
        image[:] = cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return moved


if __name__ == "__main__":
    main()
