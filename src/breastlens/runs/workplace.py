"""Where the trainings of a run are done, and where their results are kept meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from breastlens.config import TrainingRecipe
from breastlens.models.feature_cache import FeatureCache
from breastlens.models.joint_features import JointFeatures
from breastlens.progress import Progress
from breastlens.runs.ground_files import FilesOfGround, write_ground
from breastlens.runs.job import unit_store
from breastlens.runs.material import Material
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

    def ground(
        self, material: Material, network: JointFeatures, recipe: TrainingRecipe, *, controls: bool
    ) -> Ground:
        """What trainings start from; written to disk where others than this process are to train.

        Args:
            material: What is trained on.
            network: The material's own, or one of other random weights.
            recipe: How to train, with the seed of that network.
            controls: Whether the trained models are to score the occluded images too.

        Raises:
            OSError: It cannot be written.
        """
        files = None
        if self.elsewhere:
            folder = write_ground(material, (self.job / "ground").absolute())
            files = FilesOfGround(
                folder=str(folder),
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
