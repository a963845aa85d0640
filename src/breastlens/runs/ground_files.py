"""The ground of trainings as files, for processes that are to train on it: paths travel, not pixels."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.audit.shortcuts import hidden
from breastlens.config import ImageRecipe, TrainingRecipe
from breastlens.errors import WorkerError
from breastlens.models.backbones import get_backbone
from breastlens.models.feature_cache import FeatureCache
from breastlens.progress import Progress
from breastlens.runs.material import HIDDEN, Material, chosen_occlusions, starting_network
from breastlens.runs.trainings import Ground, Occluded
from breastlens.training.fitted import TrainingImages
from breastlens.whole_files import new_whole_directory


@dataclass(frozen=True)
class FilesOfGround:
    """A ground on disk.

    Attributes:
        folder: Holds its arrays; every process finds it under this path.
        recipe: How it is trained and what the network starts from, as JSON.
        image: How images are prepared, as JSON.
        cache: Folder of the feature cache.
        cache_bytes: How much that may take.
        audited: Whether all occlusions were tried.
        controls: Whether trained models are to score them.
    """

    folder: str
    recipe: str
    image: str
    cache: str
    cache_bytes: int
    audited: bool
    controls: bool

    @staticmethod
    @functools.lru_cache(maxsize=2)
    def read(files: FilesOfGround) -> Ground:
        """Read it, once a process; arrays stay on the disk until they are looked at.

        Raises:
            WorkerError: This machine does not see the folder.
        """
        folder = Path(files.folder)
        if not folder.is_dir():
            raise WorkerError(
                f"{folder} cannot be seen from a worker: put --out on a drive that all machines share"
            )
        recipe = TrainingRecipe.model_validate_json(files.recipe)
        image = ImageRecipe.model_validate_json(files.image)
        backbones = tuple(get_backbone(name) for name in recipe.backbones)
        cache = FeatureCache(Path(files.cache), limit_bytes=files.cache_bytes)
        network = starting_network(backbones, image.image_size, recipe, cache)

        def array(name: str) -> NDArray[Any]:
            return np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r"))

        images = TrainingImages(
            array("pixels"),
            array("features")
            if (folder / "features.npy").exists() and recipe.strategy != "scratch"
            else None,
            array("labels"),
            array("groups"),
            tuple(array("widths").tolist()),
        )
        occluded = {}
        if files.controls:
            for occlusion in chosen_occlusions(image, audit=files.audited):
                hide = partial(hidden, occlusion=occlusion, seed=recipe.seed)
                occluded[occlusion.name] = Occluded(hide, array(f"{HIDDEN}{occlusion.name}"))
        return Ground(
            images,
            backbones[0],
            network.build,
            network.frozen_part,
            network.identity,
            occluded,
            Progress(),
            files,
        )


def write_ground(material: Material, beside: Path) -> Path:
    """Write the arrays of a ground, unless that was done before.

    Args:
        material: What is trained on.
        beside: The folder of all grounds of a job.

    Returns:
        The folder of this one, named by its content.

    Raises:
        OSError: It cannot be written.
    """
    folder = beside / material.content
    if not folder.is_dir():
        with new_whole_directory(folder) as new:
            for name, array in material.arrays.items():
                np.save(new / f"{name}.npy", array)
    return folder
