"""A network in two: the frozen part, which shows each image to no more than one pass, and the part that learns."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from breastlens.models._keras import import_keras
from breastlens.models.backbones import Backbone
from breastlens.models.engine import Engine
from breastlens.models.feature_cache import FeatureCache, Images, Row


def build_lower(features_model: Any, backbone: Backbone, stage: str) -> Any:
    """Build the part of a features model up to a stage.

    Args:
        features_model: From ``build_features``, or a classifier of it.
        backbone: Which network.
        stage: One of ``backbone.stages``: where to cut.

    Returns:
        ``keras.Model`` from uint8 ``image`` (n, s, s, 3) to float32 ``row`` (n, d): the activations of the stage (their
        maxima, where the layers above take only those), and then the pooled features that were made up to there.
    """
    keras = import_keras()
    activations, *pooled = _at_cut(features_model, backbone, stage)
    parts = [keras.layers.Flatten()(activations), *pooled]
    row = keras.layers.Concatenate(name="row")(parts) if pooled else parts[0]
    return keras.Model(features_model.input, keras.layers.Identity(name="row")(row) if not pooled else row)


def build_upper(classifier: Any, backbone: Backbone, stage: str) -> Any:
    """Build the part of a classifier above a stage; it shares its layers, so that what it learns the whole has learnt.

    Args:
        classifier: From ``build_classifier``.
        backbone: Which network it is made of.
        stage: Where ``build_lower`` has cut.

    Returns:
        ``keras.Model`` from float32 ``row`` (n, d) to ``score`` (n, 1).
    """
    keras = import_keras()
    cut = _at_cut(classifier, backbone, stage)
    above = keras.Model(cut, classifier.output["score"], name="above")
    widths = [math.prod(tensor.shape[1:]) for tensor in cut]
    row = keras.Input((sum(widths),), name="row")
    pieces, start = [], 0
    for tensor, width in zip(cut, widths, strict=True):
        pieces.append(keras.ops.reshape(row[:, start : start + width], (-1, *tensor.shape[1:])))
        start += width
    return keras.Model(row, above(pieces))


def _at_cut(model: Any, backbone: Backbone, stage: str) -> list[Any]:
    """What crosses the cut: the activations of the stage, and the pooled features of those before it.

    Where the layers above take no more than the maxima of the activations, as in VGG, these cross, a quarter as many,
    and the pooled features of the stage with them.
    """
    activations = model.get_layer(stage).output
    maxima = _maxima(model, activations)
    before = backbone.stages[: backbone.stages.index(stage) + (maxima is not None)]
    pooled = model.get_layer("features").input  # two of each probe stage: average and maximum
    of_stage = [name for name in backbone.probe_stages for _ in range(2)]
    crossing = [tensor for tensor, name in zip(pooled, of_stage, strict=True) if name in before]
    return [activations if maxima is None else maxima, *crossing]


def _maxima(model: Any, activations: Any) -> Any | None:
    """What max pooling makes of activations, if nothing else but the features is made of them."""
    keras = import_keras()
    features = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
    takers = [
        layer
        for layer in model.layers
        if any(tensor is activations for tensor in keras.tree.flatten(layer.input))
        and not isinstance(layer, (keras.layers.InputLayer, *features))
    ]
    alone = len(takers) == 1 and isinstance(takers[0], keras.layers.MaxPooling2D)
    return takers[0].output if alone else None


class FrozenPart:
    """What a backbone makes of images up to a stage, each image computed once.

    Attributes:
        stage: Where it ends.
        cache: Where its rows are kept.
    """

    def __init__(
        self, build: Callable[[], Any], backbone: Backbone, stage: str, *, identity: str, cache: FeatureCache
    ) -> None:
        """Settle what it is; it is built when first needed.

        Args:
            build: Makes the features model.
            backbone: Which network.
            stage: One of ``backbone.stages``.
            identity: What decides the features of the whole backbone besides the pixels.
            cache: Where rows are kept for later.
        """
        self.stage = stage
        self.cache = cache
        self._build = build
        self._backbone = backbone
        self._identity = repr((identity, "cut after", stage))

    @functools.cached_property
    def _lower(self) -> Any:
        return build_lower(self._build(), self._backbone, self.stage)

    @functools.cached_property
    def _engine(self) -> Engine:
        return Engine.from_keras(self._lower)

    @property
    def row_bytes(self) -> int:
        """What one image takes."""
        return 4 * int(self._lower.output.shape[-1])

    def room_bytes(self, cache: FeatureCache) -> int:
        """How many bytes of its rows a cache may hold."""
        return cache.room_bytes(self._identity)

    def rows(
        self,
        batches: Iterable[Images],
        *,
        cache: FeatureCache | None = None,
        on_done: Callable[[int], None] | None = None,
    ) -> list[Row]:
        """Compute the rows of all images, or find them in the cache.

        Args:
            batches: uint8 (k, s, s, 3) each, read no faster than they are computed.
            cache: Where they are kept; None: in its own.
            on_done: Told how many images were looked at so far.

        Returns:
            For each image float32 (d,) as ``build_upper`` takes it; most are views of files.

        Raises:
            CacheError: They cannot be written, and memory may not hold them.
        """
        cache = self.cache if cache is None else cache
        return cache.features(self._identity, batches, self._compute, on_done=on_done, on_disk_only=True)

    def _compute(self, batches: Iterable[Images]) -> Iterator[Row]:
        for batch in batches:
            yield from self._engine.run(batch)["row"]
