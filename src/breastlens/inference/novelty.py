"""How far an image is from those that a model learnt from, and which of these it resembles most.

Two kinds of signals are looked at: the network's features, and the layout of the square (`imaging.layout`). Of each
kind two distances are taken: within the axes along which training images differ most, and beyond these axes, where
they hardly go. Each is brought to one scale by what it is for training images that were held out, and the largest
counts: an image that is strange in one respect is strange. The largest is brought to such a scale again.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from breastlens.models.abstention import Method
from breastlens.models.head import compress

Values = NDArray[np.float64]

METHODS: tuple[Method, ...] = ("mahalanobis", "neighbours")
MOST_IMAGES = 4096
"""More training images than these should not be given: some milliseconds an image, and room in the bundle."""

AXES = 128
"""At most so many main axes."""

IMAGES_AN_AXIS = 4
"""Of so many training images there is one main axis. With nearly as many axes as images, distances along them and
beyond them say more of the number of images than of the image."""

NEIGHBOURS = 5
INNER_FOLDS = 3

LEAST_SPREAD = 0.01
"""A signal counts as spreading by at least this share of its mean: one that is all but constant in training says
nothing of how far it may move."""

LEAST_DISTANCE = 0.1
"""In standard deviations of a signal: a part of a distance that stays below this is rounding, as what lies beyond axes
that hold all signals is."""

_FAR = 0.9
"""Of the held-out training images so many are nearer than 1, and half are nearer than 0."""


@dataclass(frozen=True, eq=False)
class Space:
    """Signals of one kind, and how training images lie in them.

    Attributes:
        mean: Of each signal, (d,).
        scale: Its standard deviation, (d,).
        axes: Directions along which training images differ most, of unit length, (r, d).
        spread: How far they go along each, (r,): the standard deviation, with the shrinkage of Ledoit and Wolf
            (Journal of Multivariate Analysis 88, 2004). Along these axes the covariance is diagonal, and so it stays
            when it is shrunk.
        places: Where the training images are along the axes, (n, r).
    """

    mean: Values
    scale: Values
    axes: Values
    spread: Values
    places: Values

    @functools.cached_property
    def _squares(self) -> Values:
        """The squared distance of each training image from the middle, (n,)."""
        return np.asarray((self.places**2).sum(axis=1))

    def project(self, signals: Values) -> tuple[Values, Values]:
        """Where images are along the axes, (m, r), and how far beyond these, (m,)."""
        standard = (signals - self.mean) / self.scale
        places = standard @ self.axes.T
        beyond = np.maximum((standard**2).sum(axis=1) - (places**2).sum(axis=1), 0)
        return places, np.sqrt(beyond)

    def within(self, places: Values, method: Method) -> Values:
        """How far places along the axes are from those of the training images, (m,)."""
        if method == "mahalanobis":
            return np.asarray(np.sqrt(((places / self.spread) ** 2).sum(axis=1)))
        apart = self.apart(places)
        if apart.shape[1] > NEIGHBOURS:
            apart = np.partition(apart, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        return np.asarray(np.sort(apart, axis=1).mean(axis=1))

    def apart(self, places: Values) -> Values:
        """The distance of each place from each training image, (m, n)."""
        squares = (places**2).sum(axis=1)[:, None] + self._squares
        return np.asarray(np.sqrt(np.maximum(squares - 2 * places @ self.places.T, 0)))


@dataclass(frozen=True, eq=False)
class Reference:
    """The training images as novelty is measured from them.

    Attributes:
        network: Their compressed features.
        layout: Their layout.
        centre: For each part of a distance where 0 is, (4,).
        width: For each the distance from there to 1, (4,); infinite for a part that is the same for all,
            which does not count.
        labels: 0 or 1, (n,).
        numbers: What each image is called, (n,).
    """

    network: Space
    layout: Space
    centre: Values
    width: Values
    labels: NDArray[np.int64]
    numbers: NDArray[np.int64]


@dataclass(frozen=True)
class Similar:
    """A training image that resembles another.

    Attributes:
        number: Its row in ``records.csv`` of the training run, counted from 1.
        label: Its true label, 0 or 1.
        distance: From the image, in the space of features; only its order means something.
    """

    number: int
    label: int
    distance: float


def measure_novelty(
    reference: Reference, method: Method, features: NDArray[np.floating], layout: NDArray[np.floating]
) -> Values:
    """Distance of images from the training images, the largest of its parts.

    Of training images, each measured from those of other groups in two of three turns, half are nearer than 0 and nine
    in ten nearer than 1.

    Args:
        reference: From ``fit_reference``.
        method: ``mahalanobis`` (Lee et al., NeurIPS 2018, with one class) or ``neighbours`` (the mean distance from the
            nearest five; Sun et al., ICML 2022).
        features: As the network gives them, (m, d).
        layout: From ``describe_layout``, (m, k).

    Returns:
        (m,).
    """
    parts = _parts(reference.network, reference.layout, method, compress(features), np.asarray(layout, float))
    return _largest(parts, reference.centre, reference.width)


def count_axes(images: int) -> int:
    """How many main axes to use; over several references of one model, by the smallest of them.

    Args:
        images: How many training images.
    """
    return max(1, min(AXES, images // IMAGES_AN_AXIS))


def fit_reference(
    features: NDArray[np.floating],
    layout: NDArray[np.floating],
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    numbers: NDArray[np.integer],
    *,
    axes: int,
    seed: int,
) -> dict[Method, Reference]:
    """Learn from training images what is usual, for either method.

    Args:
        features: As the network gives them, (n, d).
        layout: From ``describe_layout``, (n, k).
        labels: 0 or 1, (n,).
        groups: What must stay together, (n,); held-out distances are those from images of other groups.
        numbers: What each image is to be called, (n,).
        axes: How many main axes of either kind of signals, fewer only where there are not so many. Distances from
            references of different sizes can be held against each other only if it is the same, as ``count_axes``
            gives it for the smallest.
        seed: Decides which groups are held out together, and the axes' last digits.
    """
    from threadpoolctl import threadpool_limits

    network, seen = compress(features), np.asarray(layout, dtype=np.float64)
    held: dict[Method, list[Values]] = {method: [] for method in METHODS}
    with threadpool_limits(limits=1, user_api="blas"):  # as for a probe
        spaces = _fit_space(network, axes, seed), _fit_space(seen, axes, seed)
        for outside in _inner_folds(np.asarray(groups), seed):
            inner = _fit_space(network[~outside], axes, seed), _fit_space(seen[~outside], axes, seed)
            for method in METHODS:
                held[method].append(_parts(*inner, method, network[outside], seen[outside]))
    return {
        method: Reference(
            *spaces,
            *_find_scale(np.concatenate(each)),
            np.asarray(labels).astype(np.int64),
            np.asarray(numbers),
        )
        for method, each in held.items()
    }


def _find_scale(parts: Values) -> tuple[Values, Values]:
    """Centre and width of each part, (4,), from those of held-out images, (n, 4), for which the largest counts."""
    centre, far = np.quantile(parts, (0.5, _FAR), axis=0)
    width = np.where((far > LEAST_DISTANCE) & (far > centre), far - centre, np.inf)
    middle, beginning = np.quantile(_largest(parts, centre, width), (0.5, _FAR))
    if beginning <= middle:  # as where all parts are the same for all
        return centre, width
    return centre + middle * np.where(np.isinf(width), 0, width), width * (beginning - middle)


def _largest(parts: Values, centre: Values, width: Values) -> Values:
    """The largest of the parts that tell images apart, (m,); 0 where none does."""
    tell = np.isfinite(width)
    if not tell.any():
        return np.zeros(len(parts))
    return np.asarray(((parts[:, tell] - centre[tell]) / width[tell]).max(axis=1))


def find_similar(
    reference: Reference, features: NDArray[np.floating], count: int
) -> list[tuple[Similar, ...]]:
    """The training images whose features are nearest to those of each image, the nearest first.

    Args:
        reference: From ``fit_reference``.
        features: As the network gives them, (m, d).
        count: How many of them; fewer where there are not so many.
    """
    apart = reference.network.apart(reference.network.project(compress(features))[0])
    nearest = np.argsort(apart, axis=1, kind="stable")[:, :count]
    return [
        tuple(
            Similar(int(reference.numbers[one]), int(reference.labels[one]), float(row[one]))
            for one in chosen
        )
        for row, chosen in zip(apart, nearest, strict=True)
    ]


def _parts(network: Space, layout: Space, method: Method, features: Values, seen: Values) -> Values:
    """The parts of a distance, (m, 4)."""
    columns = []
    for space, signals in ((network, features), (layout, seen)):
        places, beyond = space.project(signals)
        columns += [space.within(places, method), beyond]
    return np.stack(columns, axis=1)


def _fit_space(signals: Values, axes: int, seed: int) -> Space:
    from sklearn.covariance import ledoit_wolf
    from sklearn.utils.extmath import randomized_svd

    mean = signals.mean(axis=0)
    scale = np.maximum(signals.std(axis=0), np.maximum(LEAST_SPREAD * np.abs(mean), 1e-3))
    standard = (signals - mean) / scale
    count = max(1, min(axes, len(signals) - 1, signals.shape[1]))
    _, _, directions = randomized_svd(standard, count, random_state=seed)
    places = standard @ directions.T
    covariance, _ = ledoit_wolf(places, assume_centered=True)
    return Space(mean, scale, directions, np.sqrt(np.maximum(np.diag(covariance), 1e-12)), places)


def _inner_folds(groups: NDArray[np.integer], seed: int) -> Iterator[NDArray[np.bool_]]:
    """Which images are held out in each of three turns, (n,), whole groups at a time."""
    _, place = np.unique(groups, return_inverse=True)
    turn = np.random.default_rng(seed).permutation(place.max() + 1) % INNER_FOLDS
    for fold in range(min(INNER_FOLDS, turn.size)):
        yield turn[place] == fold
