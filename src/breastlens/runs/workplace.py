"""Where the trainings of a run are done, and where their results are kept meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from breastlens.config import TrainingRecipe
from breastlens.models.feature_cache import FeatureCache
from breastlens.models.joint_features import JointFeatures
from breastlens.progress import Progress
from breastlens.runs.ground_files import FilesOfGround, open_array, write_array
from breastlens.runs.job import unit_store
from breastlens.runs.material import HIDDEN, Material
from breastlens.runs.plans import Plan, fit_runs
from breastlens.runs.trainings import Ground, Trained
from breastlens.work.run import Failed, Here, Place
from breastlens.work.store import UnitStore


def _from_anywhere(weights: str) -> str:
    """The path of weights where these are a file or a folder, for a process that stands elsewhere."""
    return str(Path(weights).absolute()) if Path(weights).exists() else weights


@dataclass(frozen=True, eq=False)
class Workplace:
    """Where trainings are done.

    Attributes:
        job: The job's folder.
        place: This process, others, or a cluster.
        cache: Where features are kept.
        progress: Where to tell how far it is.
    """

    job: Path
    place: Place
    cache: FeatureCache
    progress: Progress

    @cached_property
    def store(self) -> UnitStore:
        """Where results of trainings are kept."""
        return unit_store(self.job.absolute())

    @property
    def elsewhere(self) -> bool:
        """Whether others than this process train."""
        return not isinstance(self.place, Here)

    def settle(self, material: Material) -> Material:
        """The same material, with its features on the disk alone where others than this process are to train.

        Raises:
            OSError: They cannot be written.
        """
        if not self.elsewhere:
            return material
        folder = (self.job / "ground").absolute()
        files = {name: str(write_array(array, folder)) for name, array in material.arrays.items()}
        return replace(
            material,
            features=open_array(files["features"]),
            occluded={
                name: replace(each, features=open_array(files[f"{HIDDEN}{name}"]))
                for name, each in material.occluded.items()
            },
            files=tuple(files.items()),
        )

    def ground(
        self, material: Material, network: JointFeatures, recipe: TrainingRecipe, *, controls: bool
    ) -> Ground:
        """What trainings start from.

        Args:
            material: What is trained on, settled.
            network: The material's own, or one of other random weights.
            recipe: How to train, with the seed of that network.
            controls: Whether the trained models are to score the occluded images too.
        """
        files = None
        if self.elsewhere:
            files = FilesOfGround(
                arrays=material.files,
                recipe=recipe.model_copy(
                    update={"weights": _from_anywhere(recipe.weights)}
                ).model_dump_json(),
                image=material.prepared.cohort.image.model_dump_json(),
                cache=str(self.cache.folder.absolute()),
                cache_bytes=self.cache.limit_bytes,
                audited=material.prepared.audited,
                controls=controls,
            )
        return Ground(
            material.images,
            material.backbones[0],
            network.build,
            network.frozen_part,
            network.identity,
            material.occluded if controls else {},
            self.progress,
            files,
        )

    def fit(self, runs: list[list[Plan]]) -> list[list[list[Trained]] | Failed]:
        """As ``fit_runs``; trainings in this process tell of themselves."""
        return fit_runs(runs, self.store, self.place, self.progress if self.elsewhere else None)
