"""Whether images that a model should refuse are farther from its training images than new ones like these.

Run as ``python benchmarks/novelty.py DATA MANIFEST OTHER_DATA OTHER_MANIFEST --backbone NAME --weights FILE``. Of
DATA a fifth of the patients is held out, in two of five folds in turn; novelty is measured from the others. Strange
images are those of OTHER_DATA, photographs and drawings that scikit-image and scikit-learn ship, and held-out images
spoilt on purpose. The table has, for each measure, the AUC against held-out images and the share that lies beyond 95 %
of these.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from breastlens.cohort.records import Cohort
from breastlens.cohort.splits import split_folds
from breastlens.config import ImageRecipe
from breastlens.errors import DecodeError
from breastlens.imaging.corruptions import corruptions
from breastlens.imaging.decode import decode
from breastlens.imaging.layout import describe_layout
from breastlens.imaging.preprocess import preprocess
from breastlens.inference.novelty import METHODS, count_axes, fit_reference, measure_novelty
from breastlens.models.backbones import get_backbone
from breastlens.models.feature_cache import FeatureCache
from breastlens.models.feature_network import FeatureNetwork
from breastlens.progress import Progress
from breastlens.runs.preparation import prepare

FOLDS = (0, 1)
MOST = 200


def photographs() -> NDArray[np.uint8]:
    """What scikit-image and scikit-learn ship, as the network would see it."""
    import skimage
    import sklearn

    folders = (Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets" / "images")
    found = []
    for path in sorted(path for folder in folders for path in folder.iterdir()):
        if path.suffix not in {".png", ".jpg"}:
            continue
        try:
            found.append(preprocess(decode(path), ImageRecipe()).pixels)
        except DecodeError as error:
            print(f"left out: {error}")
    return np.stack(found)


def strange(pixels: NDArray[np.uint8], other: NDArray[np.uint8]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Images that are to be refused, by name."""
    yield "other modality", other
    yield "photographs", photographs()
    yield from corruptions(pixels, seed=1)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("data", "manifest", "other_data", "other_manifest"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--exclude-when", action="append", default=[])
    parser.add_argument("--backbone", default="mobilenet:0.75")
    parser.add_argument("--weights", default="imagenet")
    arguments = parser.parse_args()
    cohort = Cohort.read(
        arguments.data, manifest=arguments.manifest, exclude_when=tuple(arguments.exclude_when)
    )
    seen = prepare(cohort, audit=False, seed=0, progress=Progress()).seen
    pixels, groups = np.asarray(seen.loaded.pixels), seen.groups
    labels = seen.used["label"].to_numpy()
    other = prepare(
        Cohort.read(arguments.other_data, manifest=arguments.other_manifest),
        audit=False,
        seed=0,
        progress=Progress(),
    ).seen.loaded.pixels
    network = FeatureNetwork(
        get_backbone(arguments.backbone),
        image_size=128,
        weights=arguments.weights,
        seed=0,
        cache=FeatureCache(),
    )
    features, layout = network.run(pixels), describe_layout(pixels)
    folds = split_folds(labels, groups, 5, 0)
    rows: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for fold in FOLDS:
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        references = fit_reference(
            features[inside],
            layout[inside],
            labels[inside],
            groups[inside],
            inside,
            axes=count_axes(min(int(np.sum(folds != each)) for each in FOLDS)),
            seed=0,
        )
        for name, shown in strange(pixels[outside], other[:MOST]):
            far = network.run(np.ascontiguousarray(shown)), describe_layout(shown)
            for method in METHODS:
                usual = measure_novelty(references[method], method, features[outside], layout[outside])
                distance = measure_novelty(references[method], method, *far)
                truth = np.repeat([0, 1], [usual.size, distance.size])
                found = (
                    float(roc_auc_score(truth, np.concatenate([usual, distance]))),
                    float(np.mean(distance > np.quantile(usual, 0.95))),
                )
                rows.setdefault(name, {}).setdefault(method, []).append(found)
    print("| against | " + " | ".join(f"{method}: AUC | refused" for method in METHODS) + " |")
    print("|---" * (1 + 2 * len(METHODS)) + "|")
    for name, by_method in rows.items():
        means = [np.mean(by_method[method], axis=0) for method in METHODS]
        print(f"| {name} | " + " | ".join(f"{auc:.3f} | {share:.0%}" for auc, share in means) + " |")


if __name__ == "__main__":
    main()
