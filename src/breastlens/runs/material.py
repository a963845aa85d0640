"""What one training works on: the images, how they are divided, the network it starts from, and what that sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.inspection import Inspection
from breastlens.audit.shortcuts import FitProbe, Occlusion, hidden, occlusions
from breastlens.config import ImageRecipe, TrainingRecipe
from breastlens.errors import DataError
from breastlens.models.backbones import Backbone, joint_name
from breastlens.models.feature_cache import FeatureCache
from breastlens.models.feature_network import FeatureNetwork
from breastlens.models.joint_features import JointFeatures
from breastlens.models.views import VIEWS
from breastlens.progress import Progress
from breastlens.runs.preparation import Prepared
from breastlens.runs.trainings import Occluded
from breastlens.training.ensemble import fit_members
from breastlens.training.fitted import TrainingImages, in_parts

HIDDEN = "hidden_"
"""How the names of features of occluded images begin in ``Material.arrays``."""

ALWAYS = ("border",)
"""Occlusions that are tried even where the audit is skipped; the grey values are, too, since they cost nothing."""


@dataclass(frozen=True, eq=False)
class Material:
    """What one training works on.

    Attributes:
        recipe: How to train.
        backbones: The network, or the networks of an ensemble.
        prepared: The cohort, and what was found of it.
        kind: How it is divided: ``folds``, ``manifest`` or ``holdout``.
        used: The records in use, with their ``split``.
        network: What the training starts from.
        features: Of whole images by it, (n, d).
        occluded: By name, the same images without the breast.
        files: By their names, where ``arrays`` lie for other processes; empty where this one alone trains.
    """

    recipe: TrainingRecipe
    backbones: tuple[Backbone, ...]
    prepared: Prepared
    kind: str
    used: pd.DataFrame
    network: JointFeatures
    features: NDArray[np.float32]
    occluded: dict[str, Occluded]
    files: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """What its network is called."""
        return joint_name(self.backbones)

    @property
    def seen(self) -> Inspection:
        """The images, looked at once."""
        return self.prepared.seen

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """Their squares, uint8 (n, s, s, 3)."""
        return self.seen.loaded.pixels

    @property
    def groups(self) -> NDArray[np.int64]:
        """What must stay together, (n,)."""
        return self.seen.groups

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """0 or 1, (n,)."""
        return self.used["label"].to_numpy()

    @cached_property
    def split(self) -> NDArray[np.str_]:
        """The part of each, (n,)."""
        return self.used["split"].to_numpy()

    @cached_property
    def images(self) -> TrainingImages:
        """The same as training sees them."""
        return TrainingImages(
            self.pixels,
            None if self.recipe.strategy == "scratch" else self.features,
            self.labels,
            self.groups,
            self.network.widths,
        )

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """By name, all that trainings need of it, for processes that have only a disk in common with this one."""
        images = self.images
        arrays: dict[str, NDArray[Any]] = {
            "pixels": images.pixels,
            "features": self.features,
            "labels": images.labels,
            "groups": images.groups,
            "widths": np.array(images.widths, np.int64),
        }
        return arrays | {f"{HIDDEN}{name}": each.features for name, each in self.occluded.items()}

    @cached_property
    def fit_probe(self) -> FitProbe:
        """What is trained on the features of controls: as many probes as the model has."""
        return partial(fit_members, widths=self.network.widths, weights=self.recipe.ensemble_weights)


def starting_network(
    backbones: Sequence[Backbone], image_size: int, recipe: TrainingRecipe, cache: FeatureCache
) -> JointFeatures:
    """The network that a training starts from; nothing is computed yet.

    Args:
        backbones: Its members.
        image_size: Side of the squares.
        recipe: Weights, views, pooling and seed.
        cache: Where its features are kept.

    Raises:
        DataError: It has fewer stages than are to be trained.
    """
    stages = recipe.trainable_stages
    for backbone in backbones:
        if stages != "all" and stages > len(backbone.stages):
            raise DataError(
                f"--trainable-stages: {backbone.name} has {len(backbone.stages)} stages, received {stages}"
            )
    members = [
        FeatureNetwork(
            backbone,
            image_size=image_size,
            weights="none" if recipe.strategy == "scratch" else recipe.weights,
            seed=recipe.seed + number,
            cache=cache,
            pooling=recipe.pooling,
        )
        for number, backbone in enumerate(backbones)
    ]
    return JointFeatures(members, VIEWS[recipe.tta])


def chosen_occlusions(image: ImageRecipe, *, audit: bool) -> tuple[Occlusion, ...]:
    """The occlusions that a training tries: all of them, or the cheapest where the audit is skipped."""
    return tuple(each for each in occlusions(image) if audit or each.name in ALWAYS)


def compute_features(
    network: JointFeatures, prepared: Prepared, recipe: TrainingRecipe, progress: Progress
) -> tuple[NDArray[np.float32], dict[str, Occluded]]:
    """Features of whole images, and of the same images without the breast.

    Args:
        network: What gives them.
        prepared: The images.
        recipe: With the seed of occlusions.
        progress: Where to tell how far it is.

    Raises:
        WeightsError, MissingDependencyError: As ``JointFeatures.model``.
    """
    pixels = prepared.seen.loaded.pixels
    looks = len(pixels) * network.passes
    with progress.task("features", looks) as advance:
        whole = network.run(
            lambda: (pixels[part] for part in in_parts(np.arange(len(pixels)))), on_done=advance
        )
    occluded = {}
    for occlusion in chosen_occlusions(prepared.cohort.image, audit=prepared.audited):
        hide = partial(hidden, occlusion=occlusion, seed=recipe.seed)
        with progress.task(f"features, {occlusion.name} only", looks) as advance:
            seen = network.run(partial(hide, pixels), on_done=advance)
        occluded[occlusion.name] = Occluded(hide, seen)
    return whole, occluded
