"""Training images as the network that learns takes them: whole squares, or activations that were computed once."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from breastlens.config import Augmentation, TrainingRecipe
from breastlens.errors import CacheError
from breastlens.imaging.augment import augment
from breastlens.models.backbones import Backbone
from breastlens.models.classifier import cut_below, learning_stages
from breastlens.models.cut import FrozenPart
from breastlens.models.feature_cache import FeatureCache, Row
from breastlens.progress import Progress

Rows = NDArray[np.integer]
Images = NDArray[np.uint8]

FEWEST_VIEWS = 4
"""With fewer views of an image than this, whole-network training is the better choice."""

_BATCH_BYTES = 16 * 2**20
"""Of activations that are computed at once."""


class Shown(Protocol):
    """What a network that learns is shown of a cohort's images."""

    @property
    def stage(self) -> str | None:
        """The last frozen stage, of which these are the activations; None: these are the images."""

    @property
    def views(self) -> int | None:
        """After so many epochs they begin anew; None: every epoch has its own."""

    def augmented(self, rows: Rows, epoch: int) -> NDArray[Any]:
        """Images to learn from, as they are drawn in an epoch, (len(rows), ...)."""

    def still(self, rows: Rows) -> NDArray[Any]:
        """Images as they are, (len(rows), ...)."""


class WholeImages:
    """The images themselves: every epoch augments them anew, and every step runs all layers."""

    stage = None
    views = None

    def __init__(self, pixels: Images, recipe: TrainingRecipe) -> None:
        self._pixels = pixels
        self._recipe = recipe

    def augmented(self, rows: Rows, epoch: int) -> Images:
        """uint8 (len(rows), s, s, 3)."""
        return augment_all(self._pixels, rows, self._recipe.augmentation, self._recipe.seed, epoch)

    def still(self, rows: Rows) -> Images:
        """uint8 (len(rows), s, s, 3)."""
        return self._pixels[rows]


class CutImages:
    """Activations at the cut below the trained stages, computed once for so many augmented views of each image.

    The view of an epoch is the image as whole-network training would draw it in that epoch, until the views begin anew.
    """

    def __init__(
        self,
        pixels: Images,
        frozen: FrozenPart,
        cache: FeatureCache,
        views: int,
        learn: Rows,
        check: Rows,
        *,
        recipe: TrainingRecipe,
        progress: Progress,
        title: str,
    ) -> None:
        """Compute them, or find them in the cache.

        Args:
            pixels: All images, uint8 (n, s, s, 3).
            frozen: What computes them.
            cache: Where they are kept.
            views: How many of each image.
            learn: Rows to learn from.
            check: Rows that are needed as they are.
            recipe: Augmentation and seed.
            progress: Where to tell how far it is.
            title: What to call it there.

        Raises:
            CacheError: They cannot be written, and are too many for memory.
        """
        self.stage = frozen.stage
        self.views = views
        at_once = max(1, _BATCH_BYTES // frozen.row_bytes)

        def batches() -> Iterator[Images]:
            for start in range(0, len(check), at_once):
                yield pixels[check[start : start + at_once]]
            for view in range(views):
                for start in range(0, len(learn), at_once):
                    chosen = learn[start : start + at_once]
                    yield augment_all(pixels, chosen, recipe.augmentation, recipe.seed, view)

        with progress.task(title, len(check) + views * len(learn)) as advance:
            found = iter(frozen.rows(batches(), cache=cache, on_done=advance))
        self._still: dict[int, Row] = {int(row): next(found) for row in check}
        self._augmented: list[dict[int, Row]] = [
            {int(row): next(found) for row in learn} for _ in range(views)
        ]

    def augmented(self, rows: Rows, epoch: int) -> NDArray[np.float32]:
        """float32 (len(rows), d)."""
        return _stacked(self._augmented[epoch % self.views], rows)

    def still(self, rows: Rows) -> NDArray[np.float32]:
        """float32 (len(rows), d)."""
        return _stacked(self._still, rows)


@contextlib.contextmanager
def show_images(
    pixels: Images,
    frozen_part: Callable[[str], FrozenPart] | None,
    backbone: Backbone,
    learn: Rows,
    check: Rows,
    *,
    recipe: TrainingRecipe,
    progress: Progress,
    title: str,
) -> Iterator[tuple[Shown, list[str]]]:
    """Settle what a network that learns is shown: activations at the cut where there is one and they have room.

    Room is what the cache may take and its disk has. Where it does not hold as many views as asked for, there are fewer
    of them, but no less than ``FEWEST_VIEWS``; beyond that, and where they cannot be written in the end, all layers run
    at every step. A cache of no size is replaced by a temporary folder of the default size.

    Args:
        pixels: All images, uint8 (n, s, s, 3).
        frozen_part: Gives the backbone up to a stage; None: all layers are to run at every step.
        backbone: Which network.
        learn: Rows to learn from.
        check: Rows that are needed as they are.
        recipe: Views, trainable stages, augmentation and seed.
        progress: Where to tell how far it is.
        title: What to call it there.

    Yields:
        What is shown, and sentences about it for the reader.

    Raises:
        DataError: The backbone has fewer stages than are to be trained.
    """
    stage = cut_below(backbone, learning_stages(backbone, recipe))
    wanted = min(recipe.views, recipe.epochs)
    if frozen_part is None or stage is None or wanted == 0:
        yield WholeImages(pixels, recipe), []
        return
    with contextlib.ExitStack() as held:
        frozen = frozen_part(stage)
        cache = frozen.cache
        if cache.limit_bytes <= 0:
            folder = tempfile.TemporaryDirectory(prefix="breastlens-", ignore_cleanup_errors=True)
            cache = FeatureCache(Path(held.enter_context(folder)))
        # the folds of a run share them: every image is learnt from in one and checked in another
        moved, still = (len(pixels), len(pixels)) if recipe.folds else (len(learn), len(check))
        room_bytes = frozen.room_bytes(cache)
        views, notes = min(wanted, (room_bytes // frozen.row_bytes - still) // moved), []
        if views < wanted:
            gigabytes = frozen.row_bytes * (still + wanted * moved) / 1e9
            said = (
                f"The activations of {wanted} views of each image take {gigabytes:.1f} GB, more than the cache may "
                f"({room_bytes / 1e9:.2g} GB)"
            )
            more = "--cache-limit allows more"
            if room_bytes < cache.limit_bytes:
                more = f"{cache.folder} has no more room, BREASTLENS_CACHE names another folder"
            if views < FEWEST_VIEWS:
                yield WholeImages(pixels, recipe), [f"{said}, so all layers ran at every step; {more}."]
                return
            notes = [f"{said}, so there were {views}; {more}."]
        shown: Shown
        try:
            shown = CutImages(
                pixels, frozen, cache, views, learn, check, recipe=recipe, progress=progress, title=title
            )
        except CacheError as error:
            held.close()  # what a temporary folder holds is of no more use
            shown = WholeImages(pixels, recipe)
            notes = [
                f"The activations of {views} views of each image could not be written to {cache.folder} ({error}), "
                "so all layers ran at every step; BREASTLENS_CACHE names another folder."
            ]
        yield shown, notes


def _stacked(known: dict[int, Row], rows: Rows) -> NDArray[np.float32]:
    return np.stack([known[int(row)] for row in rows])


def augment_all(pixels: Images, rows: Rows, augmentation: Augmentation, seed: int, epoch: int) -> Images:
    """Augment some of the images as drawn by seed, epoch and row, (len(rows), s, s, 3)."""
    return np.stack(
        [augment(pixels[row], augmentation, seed=seed, epoch=epoch, record=int(row)) for row in rows]
    )
