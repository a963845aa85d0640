from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breastlens.cohort import Cohort, hash_search, image_stack
from breastlens.cohort.hash_search import find_candidates, nearest_hashes
from breastlens.cohort.image_stack import ImageStack
from breastlens.cohort.near_duplicates import (
    LARGE_GROUP,
    NearDuplicate,
    duplicate_components,
    find_near_duplicates,
    thumbnail,
)
from breastlens.cohort.perceptual_hash import (
    FLIPS,
    HASH_BITS,
    THUMBNAIL_SIDE,
    TURNS,
    fingerprint,
    flip_masks,
    turn_matrix,
)
from breastlens.imaging.decode import decode
from breastlens.imaging.phantom import PhantomSettings, write_cohort


def draw_picture(seed: int, side: int = 240, grain: float = 4.0) -> np.ndarray:
    """A grey picture with structure of every size, unlike that of any other seed; uint8 (side, side + 40)."""
    noise = np.random.default_rng(seed).standard_normal((side, side + 40)).astype(np.float32)
    layers = [cv2.GaussianBlur(noise, (0, 0), grain * 2**power) * 2**power for power in range(4)]
    picture = np.sum(layers, axis=0)
    return np.clip(128 + 35 * picture / picture.std(), 0, 255).astype(np.uint8)


def rotate(pixels: np.ndarray, degrees: float) -> np.ndarray:
    height, width = pixels.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    return cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_CUBIC)


def recompress(pixels: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(
        cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_UNCHANGED
    )


CHANGES = {
    "smaller": (
        lambda p: cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        "in another size",
    ),
    "larger": (lambda p: cv2.resize(p, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), "in another size"),
    "recompressed": (lambda p: recompress(p, 30), "in another size"),
    "brighter": (lambda p: np.clip(p.astype(int) + 51, 0, 255).astype(np.uint8), "in another size"),
    "darker": (lambda p: np.clip(p.astype(int) - 51, 0, 255).astype(np.uint8), "in another size"),
    "less contrast": (lambda p: np.rint(0.8 * p + 25).astype(np.uint8), "in another size"),
    "colour": (lambda p: np.repeat(p[..., None], 3, axis=2), "in another size"),
    "cropped": (lambda p: p[12:, 14:], "cropped by 5 %"),
    "mirrored": (lambda p: p[:, ::-1], "flipped left to right"),
    "upside down": (lambda p: p[::-1], "flipped upside down"),
    "half turn": (lambda p: p[::-1, ::-1], "turned by 180 degrees"),
    "turned left": (lambda p: rotate(p, 5), "rotated by 5 degrees"),
    "turned right": (lambda p: rotate(p, -3), "rotated by 3 degrees"),
    "several": (
        lambda p: recompress(np.ascontiguousarray(rotate(p, 4)[6:-6, :-12:][:, ::-1]), 50),
        "flipped left to right, rotated by 4 degrees, cropped by",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_copy_is_found_among_other_pictures_and_the_change_is_told(name):
    change, told = CHANGES[name]
    pictures = [draw_picture(seed) for seed in range(6)]
    thumbnails = np.stack([thumbnail(picture) for picture in (*pictures, change(pictures[2]))])
    (found,) = find_near_duplicates(thumbnails)
    assert (found.first, found.second) == (2, 6)
    assert 0.85 <= found.similarity <= 1
    assert found.change.startswith(told)


def test_a_common_frame_and_text_do_not_make_two_pictures_the_same():
    def framed(seed: int) -> np.ndarray:
        picture = draw_picture(seed)
        canvas = np.zeros((320, 360), np.uint8)
        canvas[40:280, 40:320] = picture
        for line in range(4):
            cv2.putText(
                canvas, "RIGHT AXILLA 12 MHz", (10, 30 + 85 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2
            )
        return thumbnail(canvas)

    assert find_near_duplicates(np.stack([framed(seed) for seed in range(8)])) == []


def test_a_broad_outline_in_common_does_not_make_two_pictures_the_same():
    outline = cv2.GaussianBlur(np.pad(np.full((160, 180), 150.0), 50), (0, 0), 8)
    bodies = [outline + 0.15 * draw_picture(seed, 260)[:, :280] for seed in range(8)]
    thumbnails = np.stack([thumbnail(body) for body in bodies])
    assert np.corrcoef(thumbnails[0].ravel(), thumbnails[1].ravel())[0, 1] > 0.95
    assert find_near_duplicates(thumbnails) == []


def test_a_calliper_drawn_into_the_copy_does_not_hide_it():
    picture = draw_picture(1)
    marked = picture.copy()
    cv2.line(marked, (60, 60), (130, 120), 255, 2)
    cv2.putText(marked, "RT 12", (20, 220), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2)
    (found,) = find_near_duplicates(np.stack([thumbnail(picture), thumbnail(marked)]))
    assert found.similarity < 1


def test_thumbnails_do_not_depend_on_depth_unit_or_type():
    picture = draw_picture(3)
    expected = thumbnail(picture)
    assert expected.shape == (128, 128)
    assert expected.dtype == np.uint8
    assert (expected.min(), expected.max()) == (0, 255)
    celsius = 20 + 18 * picture.astype(np.float64) / 255
    for other in (
        picture.astype(np.uint16) * 200,
        celsius.astype(np.float32),
        celsius,
        picture.astype(np.int32),
    ):
        assert np.abs(thumbnail(other).astype(int) - expected).max() <= 1


def test_one_hot_pixel_does_not_decide_the_contrast():
    picture = draw_picture(3).astype(np.float32)
    hot = picture.copy()
    hot[50, 60] = 60_000
    difference = np.abs(thumbnail(hot).astype(int) - thumbnail(picture))
    assert 1 <= np.count_nonzero(difference > 1) <= 4  # those whose area it touches


def test_blank_images_are_like_no_other():
    blank = [thumbnail(np.full((50, 60), level, np.uint8)) for level in (0, 0, 7, 255)]
    blank.append(thumbnail(np.full((480, 640), 22.37, np.float32)))
    assert not np.any(blank)
    almost = np.random.default_rng(0).integers(127, 130, (4, 128, 128)).astype(np.uint8)
    assert find_near_duplicates(np.concatenate([np.stack(blank), almost])) == []


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images_for_a_pair(count):
    assert find_near_duplicates(np.stack([thumbnail(draw_picture(0))] * 2)[:count]) == []


def test_thousands_of_identical_images_give_no_more_pairs_than_images():
    thumbnails = np.broadcast_to(thumbnail(draw_picture(0)), (10_000, 128, 128))
    pairs = find_near_duplicates(thumbnails)
    assert len(pairs) == 9_999
    assert {pair.first for pair in pairs} == {0}
    assert not duplicate_components(pairs, 10_000).any()


def test_many_slightly_different_copies_give_one_group_and_few_pairs():
    draws = np.random.default_rng(0)
    noisy = thumbnail(draw_picture(0)) + draws.normal(0, 3, (300, 128, 128))
    thumbnails = np.clip(noisy, 0, 255).astype(np.uint8)
    pairs = find_near_duplicates(thumbnails)
    assert not duplicate_components(pairs, 300).any()
    assert len(pairs) < 300 * LARGE_GROUP


def test_the_result_neither_depends_on_threads_nor_changes_between_calls():
    pictures = [draw_picture(seed) for seed in range(5)]
    copies = [rotate(picture, 2)[:, ::-1] for picture in pictures]
    thumbnails = np.stack([thumbnail(picture) for picture in (*pictures, *copies)])
    told: list[tuple[int, int]] = []
    first = find_near_duplicates(
        thumbnails, workers=1, on_progress=lambda done, total: told.append((done, total))
    )
    assert first == find_near_duplicates(thumbnails, workers=3)
    assert [(pair.first, pair.second) for pair in sorted(first, key=lambda pair: pair.first)] == [
        (row, row + 5) for row in range(5)
    ]
    assert all(one.similarity >= two.similarity for one, two in pairwise(first))
    assert told[-1][0] == told[-1][1] > len(thumbnails)


def test_thumbnails_in_a_file_give_the_same_pairs(monkeypatch: pytest.MonkeyPatch):
    pictures = [draw_picture(seed) for seed in range(6)]
    thumbnails = np.stack(
        [thumbnail(picture) for picture in (*pictures, pictures[2][:, ::-1], pictures[4] // 2)]
    )
    monkeypatch.setattr(image_stack, "LARGEST_IN_MEMORY", 10)
    stack = ImageStack(len(thumbnails), thumbnails.shape[1:])
    for each in thumbnails:
        stack.append(each)
    found = find_near_duplicates(stack)
    assert {(pair.first, pair.second) for pair in found} == {(2, 6), (4, 7)}
    assert found == find_near_duplicates(thumbnails)


def test_images_of_which_no_two_are_alike_are_told_as_looked_up():
    thumbnails = np.stack([thumbnail(draw_picture(seed)) for seed in range(4)])
    told: list[tuple[int, int]] = []
    assert not find_near_duplicates(thumbnails, on_progress=lambda done, total: told.append((done, total)))
    assert told[0] == (4, 4)


def test_a_flip_of_the_image_is_an_inversion_of_hash_bits():
    picture = thumbnail(draw_picture(5))
    flipped = [
        picture[:: -1 if upside_down else 1, :: -1 if mirrored else 1] for upside_down, mirrored in FLIPS
    ]
    plain = fingerprint(np.stack(flipped)).bits[0]
    for mask, bits in zip(flip_masks(), plain, strict=True):
        assert np.unpackbits(plain[0] ^ mask ^ bits).sum() <= 1


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_turned_copy_is_proposed_by_its_outline_under_that_turn(turn: int):
    pictures = [thumbnail(draw_picture(seed, grain=2.0)) for seed in range(20)]
    copy = cv2.warpAffine(
        pictures[7],
        turn_matrix(turn, THUMBNAIL_SIDE),
        (THUMBNAIL_SIDE, THUMBNAIL_SIDE),
        borderMode=cv2.BORDER_REPLICATE,
    )
    found = find_candidates(fingerprint(np.stack([*pictures, copy])))
    (pair,) = np.flatnonzero((found.query == 7) & (found.other == 20))
    assert found.turn[pair] == turn
    assert found.likeness[pair] > 0.97


def random_hashes(count: int) -> np.ndarray:
    """Under every turn; the second half are copies of the first with a tenth of the bits changed, then flipped."""
    draws = np.random.default_rng(0)
    first = draws.integers(0, 256, (count // 2, HASH_BITS // 8), dtype=np.uint8)
    flips = np.array(flip_masks())[draws.integers(0, len(FLIPS), count // 2)]
    noise = np.packbits(draws.random((len(TURNS), count, HASH_BITS)) < 0.1, axis=2)
    noise[0, : count // 2] = 0
    return np.concatenate([first, first ^ flips]) ^ noise


def test_the_nearest_hashes_are_those_of_a_plain_comparison():
    bits = random_hashes(60)
    neighbour, change = nearest_hashes(bits)
    assert (neighbour[:30, 0] == np.arange(30, 60)).all()
    for row in range(60):
        turn, flip = divmod(int(change[row, 0]), len(FLIPS))
        masks = flip_masks()
        distances = [
            np.unpackbits(bits[t, row] ^ mask ^ bits[0], axis=1).sum(axis=1)
            for t in range(len(TURNS))
            for mask in masks
        ]
        nearest = np.min(distances, axis=0)
        nearest[row] = HASH_BITS
        assert distances[turn * len(FLIPS) + flip][neighbour[row, 0]] == nearest.min()
        assert row not in neighbour[row]
        known = neighbour[row][neighbour[row] >= 0]
        assert len(set(known)) == len(known)


def test_the_search_by_clusters_finds_them_too(monkeypatch):
    monkeypatch.setattr(hash_search, "EXACT_SEARCH_UP_TO", 1_000)
    neighbour, _ = nearest_hashes(random_hashes(12_000))
    there = (neighbour[:6_000] == np.arange(6_000, 12_000)[:, None]).any(axis=1)
    back = (neighbour[6_000:] == np.arange(6_000)[:, None]).any(axis=1)
    assert (there | back).mean() > 0.99


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=15))
@settings(max_examples=60, deadline=None)
def test_components_hold_all_pairs_and_nothing_else(edges):
    pairs = [NearDuplicate(min(edge), max(edge), 0.9, "") for edge in edges if edge[0] != edge[1]]
    numbers = duplicate_components(pairs, 12)
    reach = np.eye(12, dtype=bool)
    for pair in pairs:
        reach[pair.first, pair.second] = reach[pair.second, pair.first] = True
    for middle in range(12):
        reach |= np.outer(reach[:, middle], reach[middle])
    np.testing.assert_array_equal(numbers[:, None] == numbers[None, :], reach)
    first_seen = list(dict.fromkeys(numbers.tolist()))
    assert first_seen == list(range(len(first_seen)))
    assert numbers.dtype == np.int64


def test_simulated_patients_in_one_pose_are_told_apart(tmp_path):
    write_cohort(tmp_path / "phantom", PhantomSettings(patients=12, images_per_patient=1, seed=4))
    images = [decode(file).pixels for file in sorted((tmp_path / "phantom").rglob("*.png"))]
    copy = recompress(np.ascontiguousarray(rotate(images[5], 2)[10:-5, ::-1]), 60)
    thumbnails = np.stack([thumbnail(image) for image in (*images, copy)])
    assert [(pair.first, pair.second) for pair in find_near_duplicates(thumbnails)] == [(5, 12)]


@pytest.mark.real
def test_thermograms_repeat_only_where_their_pixels_do(shared_dir):
    root = shared_dir / "data/dmr"
    table = Cohort.read(root, manifest=root / "manifest.csv").table
    pairs = find_near_duplicates(np.stack([thumbnail(decode(root / path).pixels) for path in table["path"]]))
    pixels = table["pixels_sha256"]
    assert len(pairs) == (pixels.duplicated()).sum() > 0
    assert all(pixels[pair.first] == pixels[pair.second] for pair in pairs)


@pytest.mark.real
def test_ultrasound_repeats_about_two_hundred_times_in_small_groups(shared_dir):
    root = shared_dir / "data/busi"
    files = sorted(root.rglob("*.png"))
    pairs = find_near_duplicates(np.stack([thumbnail(decode(file).pixels) for file in files]))
    assert 190 <= len(pairs) <= 240
    across = [pair for pair in pairs if files[pair.first].parent != files[pair.second].parent]
    assert len(across) >= 9
    assert np.bincount(duplicate_components(pairs, len(files))).max() <= 6
