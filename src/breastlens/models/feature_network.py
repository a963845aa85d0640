"""A frozen backbone that gives features: built only if a feature is wanted that is not known yet."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.config import Pooling
from breastlens.models._openvino import import_openvino
from breastlens.models.backbones import Backbone
from breastlens.models.classifier import build_features
from breastlens.models.cut import FrozenPart
from breastlens.models.engine import Engine
from breastlens.models.feature_cache import FeatureCache, Images, Row
from breastlens.models.weights import resolve_weights

_BATCH = 256
"""Images that are looked up at once."""


class FeatureNetwork:
    """From squares to pooled activations of a frozen backbone, each computed once.

    Attributes:
        weights: Where its weights come from.
        build: Makes it anew in Keras, for training to change.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        image_size: int,
        weights: str | Path,
        seed: int,
        cache: FeatureCache,
        pooling: Pooling = "global",
    ) -> None:
        """Settle what the network is; it is built when first needed.

        Args:
            backbone: Which network.
            image_size: Side of the squares in pixels.
            weights: ``imagenet``, ``none``, a file or a folder; see ``resolve_weights``.
            seed: For what is random: the weights under ``none``.
            cache: Where features are kept for later.
            pooling: What features are made of each stage.

        Raises:
            WeightsError: There are no such weights.
        """
        self.weights = resolve_weights(weights, backbone)
        self.build = functools.partial(
            build_features, backbone, image_size=image_size, weights=weights, seed=seed, pooling=pooling
        )
        self._cache = cache
        self._backbone = backbone
        self._frozen: dict[str, FrozenPart] = {}
        drawn = seed if self.weights.kind == "none" else None
        self._parts = (backbone, image_size, self.weights.sha256 or self.weights.description, drawn, pooling)

    @functools.cached_property
    def model(self) -> Any:
        """The network in Keras, from ``build_features``.

        Raises:
            WeightsError: The weights are unreachable or do not fit.
            MissingDependencyError: Keras is not installed.
        """
        return self.build()

    @functools.cached_property
    def engine(self) -> Engine:
        """The network, compiled in float32.

        Raises:
            WeightsError, MissingDependencyError: As ``model``.
        """
        return Engine.from_keras(self.model)

    @functools.cached_property
    def identity(self) -> str:
        """What decides a feature besides the pixels.

        Processor and versions are part of it, since the last digits of a float32 differ between them, another version
        of BreastLens may pool otherwise, and a home folder may be shared by several machines.
        """
        core = import_openvino().Core()
        processor = [
            core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
        ]
        versions = {}
        for name in ("breastlens", "openvino", "keras", "tensorflow", "tensorflow-cpu"):
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                versions[name] = importlib.metadata.version(name)
        return repr((*self._parts, "fp32", processor, versions))

    def frozen_part(self, stage: str) -> FrozenPart:
        """The network up to a stage, for a training that moves only what lies above it."""
        if stage not in self._frozen:
            self._frozen[stage] = FrozenPart(
                lambda: self.model, self._backbone, stage, identity=self.identity, cache=self._cache
            )
        return self._frozen[stage]

    def require(self) -> None:
        """Build the network now, unless features of it were kept and it may not be needed at all.

        Raises:
            WeightsError, MissingDependencyError: As ``model``.
        """
        if not self._cache.knows(self.identity):
            _ = self.engine

    def run(
        self, images: Images | Iterable[Images], *, on_done: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Compute the features of all images, or find them in the cache.

        Args:
            images: uint8 (n, s, s, 3), or an iterable of such batches, read no faster than they are computed.
            on_done: Told how many images were looked at so far.

        Returns:
            float32 (n, d), in the order of the images.
        """
        batches = _in_batches(images) if isinstance(images, np.ndarray) else images
        rows = self._cache.features(self.identity, batches, self._compute, on_done=on_done)
        if not rows:
            return self.engine.run(())["features"]
        features = np.empty((len(rows), *rows[0].shape), np.float32)
        for number in reversed(range(len(rows))):  # a file goes from memory with the last row of it
            features[number] = rows.pop()
        return features

    def _compute(self, batches: Iterable[Images]) -> Iterator[Row]:
        # looked at first: where everything is known there is nothing to build a network for
        for batch in batches:
            yield from self.engine.run(batch)["features"]


def _in_batches(images: Images) -> Iterator[Images]:
    for start in range(0, len(images), _BATCH):
        yield images[start : start + _BATCH]
