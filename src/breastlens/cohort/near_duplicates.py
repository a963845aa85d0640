"""Images that are the same picture though their pixels differ: rescaled, resaved, brightened, cropped, flipped, turned.

Hashes propose pairs (``perceptual_hash``, ``hash_search``), the pixels decide (``alignment``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from breastlens.cohort.alignment import NOT_MOVED, SAME_PICTURE, compare_pictures
from breastlens.cohort.hash_search import find_candidates
from breastlens.cohort.parallel import OnProgress, map_in_order
from breastlens.cohort.perceptual_hash import Thumbnails, fingerprint, thumbnail

__all__ = ["NearDuplicate", "duplicate_components", "find_near_duplicates", "thumbnail"]

LARGE_GROUP = 16
"""Inside a group of so many images no further pairs are sought; thousands of copies would have millions."""

_BATCH = 256
_BLANK_DEVIATION = 4.0
"""Grey levels; a single bright dot on a blank image gives 2."""


@dataclass(frozen=True)
class NearDuplicate:
    """Two images that are the same picture.

    Attributes:
        first: Row of the one.
        second: Row of the other, larger than ``first``.
        similarity: From 0.85 to 1: the correlation of detail that three quarters of the picture reach.
        change: What was changed, in words.
    """

    first: int
    second: int
    similarity: float
    change: str


def find_near_duplicates(
    thumbnails: Thumbnails,
    *,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> list[NearDuplicate]:
    """Finds the pairs of images that are the same picture.

    Images with the same thumbnail are told in pairs with the first of them, and inside a group of 16 no further pairs
    are sought, so that n images never give more than a few times n pairs. Blank images are like no other.

    Args:
        thumbnails: n of them, from ``thumbnail``.
        workers: Threads; None for one a processor.
        on_progress: Told how many images were looked up, and then also how many of the pairs that this proposed were
            compared.

    Returns:
        The pairs, the most similar first.
    """
    copies, distinct = _collapse(thumbnails)
    found = [NearDuplicate(first, second, 1.0, NOT_MOVED) for first, second in copies]
    looked_up = len(distinct)
    candidates = find_candidates(
        fingerprint(thumbnails, distinct, workers=workers),
        workers=workers,
        on_progress=on_progress and (lambda done: on_progress(done, looked_up)),
    )
    query, other = distinct[candidates.query], distinct[candidates.other]
    groups = _Groups(len(thumbnails))
    for pair in found:
        groups.join(pair.first, pair.second)

    def compare(number: int) -> tuple[float, str]:
        turn, flip = int(candidates.turn[number]), int(candidates.flip[number])
        return compare_pictures(thumbnails[query[number]], thumbnails[other[number]], turn, flip)

    total = len(query)
    for start in range(0, total, _BATCH):
        batch = [
            number
            for number in range(start, min(start + _BATCH, total))
            if not groups.settled(int(query[number]), int(other[number]))
        ]
        for number, (similarity, change) in zip(
            batch, map_in_order(compare, batch, workers=workers), strict=True
        ):
            if similarity >= SAME_PICTURE:
                first, second = sorted((int(query[number]), int(other[number])))
                groups.join(first, second)
                found.append(NearDuplicate(first, second, similarity, change))
        if on_progress is not None:
            on_progress(looked_up + min(start + _BATCH, total), looked_up + total)
    return sorted(found, key=lambda pair: (-pair.similarity, pair.first, pair.second))


def duplicate_components(pairs: Sequence[NearDuplicate], count: int) -> NDArray[np.int64]:
    """Numbers the sets of images that are linked by pairs, so that a split can keep them together.

    Args:
        pairs: From ``find_near_duplicates``.
        count: How many images there are.

    Returns:
        int64 (count,), numbered from 0 in order of first appearance; an image in no pair has a number of its own.
    """
    groups = _Groups(count)
    for pair in pairs:
        groups.join(pair.first, pair.second)
    numbers: dict[int, int] = {}
    return np.array(
        [numbers.setdefault(groups.root(row), len(numbers)) for row in range(count)], dtype=np.int64
    )


def _collapse(thumbnails: Thumbnails) -> tuple[list[tuple[int, int]], NDArray[np.int64]]:
    """Pairs of each repeated thumbnail with its first, and the rows that are first and not blank."""
    seen: dict[bytes, int] = {}
    copies: list[tuple[int, int]] = []
    for row, image in enumerate(thumbnails):
        if image.std() < _BLANK_DEVIATION:
            continue
        key = hashlib.sha256(np.ascontiguousarray(image).data).digest()
        first = seen.setdefault(key, row)
        if first != row:
            copies.append((first, row))
    return copies, np.array(list(seen.values()), dtype=np.int64)


class _Groups:
    """Sets of images that grow together (disjoint sets)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))
        self._size = [1] * count

    def root(self, row: int) -> int:
        """The image that stands for the set of this one."""
        while self._parent[row] != row:
            self._parent[row] = self._parent[self._parent[row]]
            row = self._parent[row]
        return row

    def join(self, one: int, two: int) -> None:
        """Make one set of two."""
        larger, smaller = self.root(one), self.root(two)
        if larger == smaller:
            return
        if self._size[larger] < self._size[smaller]:
            larger, smaller = smaller, larger
        self._parent[smaller] = larger
        self._size[larger] += self._size[smaller]

    def settled(self, one: int, two: int) -> bool:
        """Whether both are already in the same large set."""
        root = self.root(one)
        return root == self.root(two) and self._size[root] >= LARGE_GROUP
