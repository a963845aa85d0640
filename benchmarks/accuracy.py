"""What ensembles, image sizes and views of an image bring beside the best single network.

Run as ``python benchmarks/accuracy.py --data FOLDER --positive NAME --weights FOLDER``, and add what of the data is in
a manifest (``--manifest``, ``--exclude-when``, ``--year COLUMN``).

Every way is scored out of fold, on five folds by patient or group of linked images, dealt anew in each repeat; all it
chooses it chooses inside the training folds. Its AUC is the mean over the repeats. The difference to the best single
network is paired on the same images in the same repeats, its interval DeLong's over patients of the mean over repeats.
Beside it stands the same way on images of which only the border was left: a way that raises both has learnt nothing of
the breast. With ``--year`` the AUC is given again for images of the years in which both categories were recorded, and
for pairs of the same year. Many ways on the same images: the best of them is flattered.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, stdtrit

from breastlens.audit.strata import strata
from breastlens.cohort.batches import load_images
from breastlens.cohort.records import Cohort
from breastlens.cohort.splits import split_folds
from breastlens.config import ImageRecipe
from breastlens.evaluation.delong import estimate_aucs
from breastlens.evaluation.inputs import find_units
from breastlens.evaluation.metrics import auc
from breastlens.evaluation.platt import fit_platt
from breastlens.evaluation.thresholds import choose_operating_point
from breastlens.imaging.occlusions import keep_border
from breastlens.models.backbones import get_backbone
from breastlens.models.feature_cache import FeatureCache
from breastlens.models.feature_network import FeatureNetwork
from breastlens.models.joint_features import JointFeatures
from breastlens.models.views import VIEWS
from breastlens.runs.preparation import prepare
from breastlens.training.ensemble import learn_shares
from breastlens.training.probe import STRENGTHS, fit_probe
from side_by_side import data_options, report, say

FOLDS = 5
LEVEL = 0.95
HEADER = (
    "way", "AUC", "less the best single", "its 95 % interval", "accuracy", "border control",
    "years with both", "less the best single", "its 95 % interval", "its border control", "within years",
)  # fmt: skip

Floats = NDArray[np.float64]
Features = NDArray[np.float32]
Images = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Study:
    """The images in use: labels, what stays together, patients, and years where they are known."""

    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    patients: list[str]
    years: NDArray[np.str_]
    folds: list[NDArray[np.int64]]

    def parts(self) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
        """Of each fold of each repeat the two numbers, and which images are trained on."""
        for repeat, folds in enumerate(self.folds):
            for fold in range(FOLDS):
                yield repeat, fold, folds != fold

    @property
    def in_years_with_both(self) -> NDArray[np.bool_]:
        """Images up to the last year that has both labels."""
        both = [
            year for year in set(self.years) - {""} if np.unique(self.labels[self.years == year]).size == 2
        ]
        return np.asarray((self.years != "") & (self.years <= max(both, default="")))


@dataclass(frozen=True, eq=False)
class Scored:
    """Log-odds of every image out of fold, (repeats, n), and those of the training images on inner folds."""

    logits: Floats
    inner: Floats = field(repr=False)
    """(repeats, folds, n), NaN where an image was held out."""


def main() -> None:
    """Prints one table."""
    arguments = parse()
    say("images")
    study, shown = read(arguments)
    hidden = {
        size: keep_border(pixels, ImageRecipe(image_size=size).border_px) for size, pixels in shown.items()
    }
    pairs: dict[str, tuple[Scored, Scored]] = {}
    features: dict[str, tuple[Features, Features]] = {}
    for size, name, tta in itertools.product(arguments.sizes, arguments.backbones, ["none", *arguments.tta]):
        way = f"{name} at {size} px" + (f", {tta}" if tta != "none" else "")
        say(way)
        network = joint(arguments, name, size, tta)
        whole, border = (network.run(partial(_once, images)) for images in (shown[size], hidden[size]))
        both = (whole, border)
        pairs[way] = (score(study, whole, arguments.strengths), score(study, border, arguments.strengths))
        if tta == "none":
            features[way] = both
    best = max(features, key=lambda way: judge(study, pairs[way][0], None)["auc"])
    for chosen in (c for count in (2, 3, 4) for c in itertools.combinations(features, count)):
        say(" + ".join(chosen))
        pairs |= ensembles(study, arguments.strengths, {way: pairs[way] for way in chosen}, features)
    told = {
        way: judge(study, whole, pairs[best][0]) | {"border": judge(study, border, None)}
        for way, (whole, border) in pairs.items()
    }
    title = f"mean of {arguments.repeats} repeats of {FOLDS} folds; the best single network is {best}"
    rows = [row(way, each) for way, each in told.items()]
    report("accuracy", title, HEADER, rows, arguments.out, arguments=vars(arguments), figures=told)


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = data_options(__doc__, repeats=5)
    parser.add_argument("--year", help="a date column of the manifest")
    parser.add_argument("--backbones", nargs="+", default=["vgg16", "mobilenet:0.75", "mobilenetv2:0.35"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128])
    parser.add_argument("--tta", nargs="*", default=[], choices=sorted(VIEWS), help="views to try as well")
    parser.add_argument(
        "--strengths", type=float, nargs="+", default=list(STRENGTHS), help="penalties that a probe tries"
    )
    return parser.parse_args()


def read(arguments: argparse.Namespace) -> tuple[Study, dict[int, Images]]:
    """Reads the images once a size; copies are left out, and near-duplicates stay together."""

    def cohort(size: int) -> Cohort:
        return Cohort.read(
            arguments.data,
            manifest=arguments.manifest,
            exclude_when=arguments.exclude_when,
            positive=arguments.positive,
            image=ImageRecipe(image_size=size),
        )

    seen = prepare(cohort(arguments.sizes[0])).seen
    used = seen.used
    shown = {size: load_images(cohort(size), used).pixels for size in arguments.sizes}
    labels = used["label"].to_numpy()
    years = strata(used, f"{arguments.year}:year", seen.properties) if arguments.year else [""] * len(used)
    folds = [split_folds(labels, seen.groups, FOLDS, repeat) for repeat in range(arguments.repeats)]
    return Study(labels, seen.groups, used["patient_id"].tolist(), np.asarray(years, dtype=str), folds), shown


def joint(arguments: argparse.Namespace, name: str, size: int, tta: str) -> JointFeatures:
    """One backbone and its views, with the user's cache."""
    network = FeatureNetwork(
        get_backbone(name), image_size=size, weights=arguments.weights, seed=0, cache=FeatureCache()
    )
    return JointFeatures([network], VIEWS[tta])


def score(study: Study, features: Features, strengths: Sequence[float]) -> Scored:
    """A probe in each fold of each repeat."""
    shape = len(study.folds), study.labels.size
    logits, inner = np.empty(shape), np.full((shape[0], FOLDS, shape[1]), np.nan)
    for repeat, fold, train in study.parts():
        probe = fit_probe(
            features[train],
            study.labels[train],
            study.groups[train],
            seed=repeat,
            strengths=tuple(strengths),
        )
        logits[repeat, ~train] = probe.head.logits(features[~train])
        inner[repeat, fold, train] = probe.inner_logits
    return Scored(logits, inner)


def ensembles(
    study: Study,
    strengths: Sequence[float],
    members: dict[str, tuple[Scored, Scored]],
    features: dict[str, tuple[Features, Features]],
) -> Iterator[tuple[str, tuple[Scored, Scored]]]:
    """The mean of log-odds; of two also with learnt shares, and one probe on the features of both."""
    name = " + ".join(members)
    sides = list(zip(*members.values(), strict=True))
    whole, border = (average(study, side, learnt=False) for side in sides)
    yield name, (whole, border)
    if len(members) == 2:
        whole, border = (average(study, side, learnt=True) for side in sides)
        yield f"{name}, learnt", (whole, border)
        joined = [
            np.concatenate(side, axis=1) for side in zip(*(features[way] for way in members), strict=True)
        ]
        whole, border = (score(study, side, strengths) for side in joined)
        yield f"{name}, one probe", (whole, border)


def _once(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    yield images


def average(study: Study, members: Sequence[Scored], *, learnt: bool) -> Scored:
    """The mean of log-odds, or one by shares learnt on inner folds; calibrated there."""
    logits, inner = np.empty_like(members[0].logits), np.full_like(members[0].inner, np.nan)
    for repeat, fold, train in study.parts():
        within = np.stack([member.inner[repeat, fold, train] for member in members])
        outside = np.stack([member.logits[repeat, ~train] for member in members])
        labels = study.labels[train]
        shares = learn_shares(within, labels) if learnt else np.full(len(members), 1 / len(members))
        slope, offset = fit_platt(shares @ within, labels)
        logits[repeat, ~train] = slope * (shares @ outside) + offset
        inner[repeat, fold, train] = slope * (shares @ within) + offset
    return Scored(logits, inner)


def judge(study: Study, one: Scored, other: Scored | None) -> dict[str, Any]:
    """Mean AUC over the repeats and accuracy; differences to another way on the same images."""
    told: dict[str, Any] = {"accuracy": accuracy(study, one)}
    told |= compare(study, np.ones(study.labels.size, dtype=bool), one, other)
    if study.in_years_with_both.any():
        told["years"] = compare(study, study.in_years_with_both, one, other)
        told["within"] = float(np.mean([within_years(study, logits) for logits in one.logits]))
    return told


def compare(study: Study, rows: NDArray[np.bool_], one: Scored, other: Scored | None) -> dict[str, Any]:
    """Mean AUC on some images, and its difference with an interval."""
    sides = [one.logits[:, rows]] + ([] if other is None else [other.logits[:, rows]])
    patients = [study.patients[row] for row in np.flatnonzero(rows)]
    units = find_units(patients, int(rows.sum()), study.groups[rows])
    found = estimate_aucs(study.labels[rows], np.concatenate(sides), units)
    repeats = len(one.logits)
    told: dict[str, Any] = {"auc": float(found.values[:repeats].mean())}
    if other is not None:
        contrast = np.repeat([1 / repeats, -1 / repeats], repeats)
        half = stdtrit(found.degrees, (1 + LEVEL) / 2) * np.sqrt(
            max(0.0, contrast @ found.covariance @ contrast)
        )
        told["difference"] = float(contrast @ found.values)
        told["low"], told["high"] = told["difference"] - half, told["difference"] + half
    return told


def accuracy(study: Study, one: Scored) -> float:
    """At the threshold that each fold chose inside, mean over the repeats."""
    right = np.empty_like(one.logits, dtype=bool)
    for repeat, fold, train in study.parts():
        inner = expit(one.inner[repeat, fold, train])
        threshold = choose_operating_point(study.labels[train], inner).threshold
        right[repeat, ~train] = (expit(one.logits[repeat, ~train]) >= threshold) == study.labels[~train]
    return float(right.mean())


def within_years(study: Study, logits: Floats) -> float:
    """The share of pairs of one year in which the positive scores higher."""
    won, pairs = 0.0, 0
    for year in set(study.years.tolist()) - {""}:
        own = study.years == year
        count = int(study.labels[own].sum()) * int((1 - study.labels[own]).sum())
        if count:
            won += count * (auc(study.labels[own], expit(logits[own])) or 0.0)
            pairs += count
    return won / pairs


def row(way: str, told: dict[str, Any]) -> list[str]:
    """A line of the table."""
    cells = [
        way,
        f"{told['auc']:.4f}",
        *difference(told),
        f"{told['accuracy']:.3f}",
        f"{told['border']['auc']:.4f}",
    ]
    if "years" not in told:
        return [*cells, *[""] * (len(HEADER) - len(cells))]
    years, border = told["years"], told["border"]["years"]
    return [
        *cells,
        f"{years['auc']:.4f}",
        *difference(years),
        f"{border['auc']:.4f}",
        f"{told['within']:.3f}",
    ]


def difference(told: dict[str, Any]) -> tuple[str, str]:
    """A difference and its interval in words."""
    return f"{told['difference']:+.4f}", f"{told['low']:+.4f} to {told['high']:+.4f}"


if __name__ == "__main__":
    main()
