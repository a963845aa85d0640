"""Which measure of novelty a trained model gets, and how far its held-out images are by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.imaging.corruptions import corruptions
from breastlens.imaging.layout import describe_layout
from breastlens.inference.novelty import (
    METHODS,
    MOST_IMAGES,
    Reference,
    count_axes,
    fit_reference,
    measure_novelty,
)
from breastlens.models.abstention import Method
from breastlens.runs.outcome import Outcome
from breastlens.runs.precision import spread
from breastlens.training.fitted import in_parts

CORRUPTED = 32
"""So many held-out images are corrupted, in each way, to choose the measure of novelty by."""

Rows = NDArray[np.intp]
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Novelty:
    """The measure of novelty that was chosen.

    Attributes:
        method: Which.
        reference: What the saved model measures from.
        distances: Of images with a held-out score, from images of others, in the order of ``Outcome.scored``.
        corrupted: By kind, the distances of held-out images that were spoilt.
        aucs: By method and kind, how often a spoilt image is farther away than a usual one.
    """

    method: Method
    reference: Reference
    distances: Values
    corrupted: dict[str, Values]
    aucs: dict[Method, dict[str, float]]

    @property
    def mean_aucs(self) -> dict[Method, float]:
        """By method, the mean over the kinds: what it was chosen by."""
        return {method: float(np.mean(list(each.values()))) for method, each in self.aucs.items()}


def choose_novelty(
    used: pd.DataFrame,
    numbers: NDArray[np.integer],
    groups: NDArray[np.int64],
    pixels: NDArray[np.uint8],
    features: NDArray[np.float32],
    features_of: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    outcome: Outcome,
    seed: int,
) -> Novelty:
    """Take the measure that best tells spoilt images from held-out ones: those of validation, or of the first fold.

    Args:
        used: The records in use, with ``label`` and ``split``.
        numbers: What each of them is called where it is shown as similar to another, (n,).
        groups: What belongs together, (n,).
        pixels: Their squares, uint8 (n, s, s, 3).
        features: Their features by the saved model, (n, d).
        features_of: Gives its features of other squares, (m, d).
        outcome: What was trained.
        seed: Of corruptions and of what is held out inside a reference.
    """
    split = used["split"].to_numpy()
    folds = "validation" not in set(split)
    first = outcome.held_out_from[0][1]
    usual = first if folds else first[split[first] == "validation"]
    layout = describe_layout(pixels)
    fit = partial(
        _fit,
        features=features,
        layout=layout,
        labels=used["label"].to_numpy(),
        groups=groups,
        numbers=numbers,
        axes=count_axes(min(inside.size for inside, _ in outcome.held_out_from)),
        seed=seed,
    )
    held, references = _held_out_distances(fit, features, layout, outcome)
    spoilt = {
        name: (features_of(changed), describe_layout(changed))
        for name, changed in corruptions(pixels[spread(usual, CORRUPTED)], seed)
    }
    far = {
        method: {
            name: measure_novelty(references[method], method, *signals) for name, signals in spoilt.items()
        }
        for method in METHODS
    }
    against = np.isin(outcome.scored, usual)
    aucs = {
        method: {name: _auc(held[method][against], each) for name, each in far[method].items()}
        for method in METHODS
    }
    method = max(METHODS, key=lambda each: round(float(np.mean(list(aucs[each].values()))), 4))
    # with folds the saved model has learnt from all of them
    reference = fit(np.arange(len(used)))[method] if folds else references[method]
    return Novelty(method, reference, held[method], far[method], aucs)


def _held_out_distances(
    fit: Callable[[Rows], dict[Method, Reference]],
    features: NDArray[np.float32],
    layout: NDArray[np.float32],
    outcome: Outcome,
) -> tuple[dict[Method, Values], dict[Method, Reference]]:
    """Distances of held-out images by either method, in the order of ``scored``, and what the first were taken from."""
    held = {method: np.zeros(len(layout)) for method in METHODS}
    first: dict[Method, Reference] = {}
    for inside, outside in outcome.held_out_from:
        references = fit(inside)
        for method, rows in product(METHODS, in_parts(outside)):
            held[method][rows] = measure_novelty(references[method], method, features[rows], layout[rows])
        first = first or references
    return {method: held[method][outcome.scored] for method in METHODS}, first


def _fit(
    rows: Rows,
    *,
    features: NDArray[np.float32],
    layout: NDArray[np.float32],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    numbers: NDArray[np.integer],
    axes: int,
    seed: int,
) -> dict[Method, Reference]:
    """The reference that some images make; of very many, evenly spread ones stand for all."""
    kept = spread(rows, MOST_IMAGES)
    return fit_reference(
        features[kept], layout[kept], labels[kept], groups[kept], numbers[kept], axes=axes, seed=seed
    )


def _auc(usual: Values, far: Values) -> float:
    """How often a corrupted image is farther away than a usual one."""
    from sklearn.metrics import roc_auc_score

    truth = np.concatenate([np.zeros(usual.size), np.ones(far.size)])
    return float(roc_auc_score(truth, np.concatenate([usual, far])))
