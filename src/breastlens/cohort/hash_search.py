"""Which images might show the same picture: a fast search among hashes.

The search only proposes. Whether two images are the same picture is decided on their pixels, in ``alignment``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.cohort.parallel import map_in_order
from breastlens.cohort.perceptual_hash import FLIPS, HASH_BITS, Bits, Fingerprints, Floats, flip_masks

NEIGHBOURS = 24
"""Nearest hashes looked at for each image; of copies of 300 simulated thermograms in one pose, 98 in 100 are there."""

KEPT_NEIGHBOURS = 16
LEAST_LIKENESS = 0.6
"""Of copies of real images 0.5 % lie below 0.7; other pairs have a median of 0.2 (ultrasound), 0.5 (thermograms)."""

EXACT_SEARCH_UP_TO = 20_000
_NEIGHBOURS_PER_QUERY = 12
_CLUSTERS = 256
_CLUSTERS_SEARCHED = 16
_TRAINING_HASHES = 20_000
_LARGEST_SHIFT = 4
_CHUNK = 2048
_RERANK_CHUNK = 16  # what is compared at once then fits into a processor's cache
_NOTHING = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pairs of images that may show the same picture, the most alike first; each pair once.

    Attributes:
        query: int64 (m,), the image that was turned and flipped.
        other: int64 (m,), the image it then resembled.
        turn: int64 (m,), index into ``TURNS``.
        flip: int64 (m,), index into ``FLIPS``.
        likeness: float32 (m,), correlation of the outlines at their best shift.
    """

    query: NDArray[np.int64]
    other: NDArray[np.int64]
    turn: NDArray[np.int64]
    flip: NDArray[np.int64]
    likeness: Floats


def find_candidates(
    fingerprints: Fingerprints,
    *,
    workers: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Candidates:
    """Propose the pairs worth comparing pixel by pixel.

    Each image's nearest hashes are compared as outlines, at the shift at which they agree best, and of those that
    agree at all the best few are kept.

    Args:
        fingerprints: Of n images.
        workers: Threads; None for one a processor.
        on_progress: Told for how many images the nearest were found.
    """
    neighbour, change = nearest_hashes(fingerprints.bits, on_progress=on_progress)

    def compare(start: int) -> NDArray[np.float64]:
        rows = slice(start, start + _RERANK_CHUNK)
        return _compare_outlines(fingerprints, start, neighbour[rows], change[rows])

    parts = map_in_order(compare, range(0, len(neighbour), _RERANK_CHUNK), workers=workers)
    table = np.concatenate([np.empty((0, 4)), *parts])
    query, other, changes = table[:, :3].astype(np.int64).T
    likeness = table[:, 3].astype(np.float32)
    first, second = np.minimum(query, other), np.maximum(query, other)
    order = np.lexsort((query, -likeness, second, first))
    once = np.ones(len(order), dtype=bool)
    once[1:] = (np.diff(first[order]) != 0) | (np.diff(second[order]) != 0)
    chosen = order[once]
    chosen = chosen[np.argsort(-likeness[chosen], kind="stable")]
    turn, flip = np.divmod(changes[chosen], len(FLIPS))
    return Candidates(query[chosen], other[chosen], turn, flip, likeness[chosen])


def nearest_hashes(
    bits: Bits, *, on_progress: Callable[[int], None] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find for each image the images whose hash is nearest to one of its own, turned and flipped.

    Every hash is compared with every other for up to 20,000 images. Beyond, hashes are put into 256 clusters by
    faiss (Johnson and others, IEEE Transactions on Big Data 7, 2021), and the 16 nearest are searched.

    Args:
        bits: uint8 (t, n, HASH_BITS / 8); the first turn is that of the images as they are.
        on_progress: Told for how many images it was done.

    Returns:
        int64 (n, NEIGHBOURS), the nearest first, -1 where there are no more; and the change, as
        ``turn * len(FLIPS) + flip``.
    """
    turns, count, _ = bits.shape
    neighbour = np.full((count, NEIGHBOURS), -1, dtype=np.int64)
    change = np.zeros((count, NEIGHBOURS), dtype=np.int64)
    if count < 2:
        return neighbour, change
    index = _build_index(bits[0])
    wanted = min(_NEIGHBOURS_PER_QUERY + 1, count)
    masks = flip_masks()
    for start in range(0, count, _CHUNK):
        rows = slice(start, start + _CHUNK)
        own = np.arange(start, min(start + _CHUNK, count))[:, None]
        found = []
        for turn in range(turns):
            for flip, mask in enumerate(masks):
                distance, other = index.search(np.ascontiguousarray(bits[turn, rows] ^ mask), wanted)
                key = (other << 24) | (distance.astype(np.int64) << 8) | (turn * len(FLIPS) + flip)
                found.append(np.where((other < 0) | (other == own), _NOTHING, key))
        neighbour[rows], change[rows] = _nearest_of(np.concatenate(found, axis=1))
        if on_progress is not None:
            on_progress(min(start + _CHUNK, count))
    return neighbour, change


def _nearest_of(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """From keys of (image, distance, change), the nearest images, each once."""
    keys = np.sort(keys, axis=1)
    again = np.zeros(keys.shape, dtype=bool)
    again[:, 1:] = (keys[:, 1:] >> 24) == (keys[:, :-1] >> 24)
    image, distance, change = keys >> 24, (keys >> 8) & 0xFFFF, keys & 0xFF
    by_distance = np.where(again | (keys == _NOTHING), _NOTHING, (distance << 48) | (image << 8) | change)
    best = np.sort(by_distance, axis=1)[:, :NEIGHBOURS]
    best = np.pad(best, ((0, 0), (0, NEIGHBOURS - best.shape[1])), constant_values=_NOTHING)
    none = best == _NOTHING
    return np.where(none, -1, (best >> 8) & 0xFFFFFFFFFF), np.where(none, 0, best & 0xFF)


def _build_index(bits: Bits) -> Any:
    """A faiss index of the hashes: of all of them, or by clusters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its bindings, on Python 3.12 and later
        import faiss
    flat: Any = faiss.IndexBinaryFlat(HASH_BITS)
    flat.use_heap = False  # counting distances is several times as fast for so few neighbours
    if len(bits) <= EXACT_SEARCH_UP_TO:
        flat.add(np.ascontiguousarray(bits))
        return flat
    index: Any = faiss.IndexBinaryIVF(flat, HASH_BITS, _CLUSTERS)
    index.use_heap = True  # by counting, faiss 1.15.1 finds nothing in clusters
    index.cp.niter = 8
    index.nprobe = _CLUSTERS_SEARCHED
    index.own_fields = False
    index.kept_quantizer = flat  # faiss itself does not keep it alive
    step = max(1, len(bits) // _TRAINING_HASHES)
    index.train(np.ascontiguousarray(bits[::step]))
    index.add(np.ascontiguousarray(bits))
    return index


def _compare_outlines(
    fingerprints: Fingerprints, start: int, neighbour: NDArray[np.int64], change: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Columns query, other, change and likeness of the neighbours that are alike at some small shift."""
    from scipy.fft import irfft2, rfft2

    row, place = np.nonzero(neighbour >= 0)
    if len(row) == 0:
        return np.empty((0, 4))
    other, changes = neighbour[row, place], change[row, place]
    turn, flip = np.divmod(changes, len(FLIPS))
    queries = np.stack([fingerprints.turned_outlines[start + each] for each in range(len(neighbour))])
    turned = queries.view(np.int8)[row, turn].astype(np.float32)
    for number, (upside_down, mirrored) in enumerate(FLIPS):
        which = flip == number
        turned[which] = turned[which][:, :: -1 if upside_down else 1, :: -1 if mirrored else 1]
    still = fingerprints.outlines[other].astype(np.float32)
    product = rfft2(turned, axes=(1, 2)) * np.conj(rfft2(still, axes=(1, 2)))
    correlation = irfft2(product, s=turned.shape[1:], axes=(1, 2))
    near = np.r_[0 : _LARGEST_SHIFT + 1, -_LARGEST_SHIFT:0]
    peak = correlation[:, near][:, :, near].max(axis=(1, 2))
    length = np.sqrt((turned**2).sum(axis=(1, 2)) * (still**2).sum(axis=(1, 2)))
    likeness = peak / np.maximum(length, 1e-6)
    table = np.stack([start + row, other, changes, likeness], axis=1)
    order = np.lexsort((other, -likeness, row))
    ranks = np.arange(len(order)) - np.searchsorted(row[order], row[order])
    kept = order[ranks < KEPT_NEIGHBOURS]
    return np.asarray(table[kept[likeness[kept] >= LEAST_LIKENESS]])
