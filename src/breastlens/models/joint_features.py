"""Several backbones, and several views of each image, as one network of features."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.models._keras import import_keras
from breastlens.models.cut import FrozenPart
from breastlens.models.feature_cache import Images
from breastlens.models.feature_network import FeatureNetwork
from breastlens.models.views import AS_IT_IS, View, average_views

MEMBER = "member_{}"
"""What the features model of each backbone is called as a layer of the joint one."""


class JointFeatures:
    """From squares to the features of all members, side by side; each computed once.

    With one member and no view but the image itself it is that member.

    Attributes:
        members: The networks.
        views: What each is shown of an image.
    """

    def __init__(self, members: Sequence[FeatureNetwork], views: Sequence[View] = (AS_IT_IS,)) -> None:
        self.members = tuple(members)
        self.views = tuple(views)

    @property
    def passes(self) -> int:
        """How many times an image goes through a network."""
        return len(self.members) * len(self.views)

    @property
    def identity(self) -> str:
        """What decides a feature besides the pixels."""
        return repr(([member.identity for member in self.members], self.views))

    @functools.cached_property
    def model(self) -> Any:
        """The joint network in Keras, as from ``build``.

        Raises:
            WeightsError: The weights are unreachable or do not fit.
            MissingDependencyError: Keras is not installed.
        """
        return self._join([member.model for member in self.members])

    def build(self) -> Any:
        """Make it anew in Keras, for training to change.

        Raises:
            WeightsError, MissingDependencyError: As ``model``.
        """
        return self._join([member.build() for member in self.members])

    def frozen_part(self, stage: str) -> FrozenPart:
        """As of the only member; there is none of several."""
        (member,) = self.members
        return member.frozen_part(stage)

    def require(self) -> None:
        """Build the members now of which no features were kept.

        Raises:
            WeightsError, MissingDependencyError: As ``model``.
        """
        for member in self.members:
            member.require()

    @property
    def widths(self) -> tuple[int, ...]:
        """How many features each member gives."""
        return tuple(member.model.output.shape[-1] for member in self.members)

    def run(
        self, images: Callable[[], Iterable[Images]], *, on_done: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Compute the features of all images, or find them in the cache.

        Args:
            images: Gives batches of uint8 (n, s, s, 3); called once a pass.
            on_done: Told how many images were looked at so far, ``passes`` times each.

        Returns:
            float32 (n, d), in the order of the images: the features of the first member, of the second and so on.
        """
        done = 0
        blocks = []
        for member in self.members:
            seen = []
            for view in self.views:
                before = done
                told = None if on_done is None else lambda count, before=before: on_done(before + count)
                seen.append(member.run((view.look(batch) for batch in images()), on_done=told))
                done += len(seen[-1])
            blocks.append(average_views(seen).astype(np.float32, copy=False))
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)

    def _join(self, models: Sequence[Any]) -> Any:
        return models[0] if self.passes == 1 else join_features(models, self.views)


def show_views(image: Any, views: Sequence[View]) -> Any:
    """All views of Keras's images (n, s, s, 3), one after the other, (views * n, s, s, 3).

    In one batch, so that the graph holds each network once, however many views there are.
    """
    shown = [view.look(image) for view in views]
    return shown[0] if len(shown) == 1 else import_keras().ops.concatenate(shown, axis=0)


def split_views(seen: Any, views: int) -> list[Any]:
    """What a network gives of ``show_views``, (views * n, ...), view by view."""
    if views == 1:
        return [seen]
    apart = import_keras().ops.reshape(seen, (views, -1, *seen.shape[1:]))
    return [apart[number] for number in range(views)]


def join_features(models: Sequence[Any], views: Sequence[View]) -> Any:
    """Make one features model of several.

    Args:
        models: From ``build_features``, all for squares of one size.
        views: What each is shown of an image.

    Returns:
        ``keras.Model`` from uint8 ``image`` (n, s, s, 3), RGB, to float32 ``features`` (n, d), those of the first
        member first. The members are its layers ``member_0``, ``member_1`` and so on.
    """
    keras = import_keras()
    image = keras.Input(models[0].input.shape[1:], dtype="uint8", name="image")
    shown = show_views(image, views)
    blocks = []
    for number, model in enumerate(models):
        member = keras.Model(model.input, model.output, name=MEMBER.format(number))
        blocks.append(average_views(split_views(member(shown), len(views))))
    name = "features"
    joined = (
        keras.layers.Identity(name=name)(blocks[0])
        if len(blocks) == 1
        else keras.layers.Concatenate(name=name)(blocks)
    )
    return keras.Model(image, joined, name="joint_features")
