"""The ground of trainings as files, for processes that are to train on it: paths travel, not pixels."""

from __future__ import annotations

import functools
import io
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
from breastlens.runs.material import HIDDEN, chosen_occlusions, starting_network
from breastlens.runs.trainings import Ground, Occluded
from breastlens.training.fitted import TrainingImages
from breastlens.whole_files import write_whole
from breastlens.work.unit import content_key


@dataclass(frozen=True)
class FilesOfGround:
    """A ground on disk.

    Attributes:
        arrays: By the names of ``Material.arrays``, their files; every process finds them under these paths.
        recipe: How it is trained and what the network starts from, as JSON.
        image: How images are prepared, as JSON.
        cache: Folder of the feature cache.
        cache_bytes: How much that may take.
        audited: Whether all occlusions were tried.
        controls: Whether trained models are to score them.
    """

    arrays: tuple[tuple[str, str], ...]
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
            WorkerError: This machine does not see them.
        """
        recipe = TrainingRecipe.model_validate_json(files.recipe)
        image = ImageRecipe.model_validate_json(files.image)
        backbones = tuple(get_backbone(name) for name in recipe.backbones)
        cache = FeatureCache(Path(files.cache), limit_bytes=files.cache_bytes)
        network = starting_network(backbones, image.image_size, recipe, cache)
        arrays = {name: open_array(path) for name, path in files.arrays}
        images = TrainingImages(
            arrays["pixels"],
            None if recipe.strategy == "scratch" else arrays["features"],
            arrays["labels"],
            arrays["groups"],
            tuple(arrays["widths"].tolist()),
        )
        occluded = {}
        if files.controls:
            for occlusion in chosen_occlusions(image, audit=files.audited):
                hide = partial(hidden, occlusion=occlusion, seed=recipe.seed)
                occluded[occlusion.name] = Occluded(hide, arrays[f"{HIDDEN}{occlusion.name}"])
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


def open_array(path: str) -> NDArray[Any]:
    """An array that stays on the disk until it is looked at.

    Raises:
        WorkerError: This machine does not see the file.
    """
    try:
        return np.asarray(np.load(path, mmap_mode="r"))
    except FileNotFoundError as error:
        raise WorkerError(
            f"{path} cannot be seen from a worker: put --out on a drive that all machines share"
        ) from error


def write_array(array: NDArray[Any], folder: Path) -> Path:
    """Write an array, named by its content, unless it is there.

    Args:
        array: Of numbers.
        folder: Where.

    Raises:
        OSError: It cannot be written.
    """
    path = folder / f"{content_key(array)}.npy"
    if not path.exists():
        array = np.ascontiguousarray(array)
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
        write_whole(path, [head.getvalue(), array.data.cast("B") if array.size else b""])
    return path
