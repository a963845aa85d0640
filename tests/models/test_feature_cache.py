from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breastlens.errors import CacheError
from breastlens.models import feature_cache as room
from breastlens.models.feature_cache import FeatureCache

NETWORK = "a network, fp32"
SIDE, WIDTH = 8, 5


def make_images(count, *, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def feature_of(image):
    """A row that no other image shares."""
    return (image.reshape(-1)[:WIDTH] / 7 + image.sum()).astype(np.float32)


class Counted:
    """Computes features, and counts of how many images."""

    def __init__(self):
        self.count = 0

    def __call__(self, batches):
        for batch in batches:
            for image in batch:
                self.count += 1
                yield feature_of(image)


def in_batches(images, size=4):
    return [images[start : start + size] for start in range(0, len(images), size)]


def features(cache, images, compute=None, *, network=NETWORK):
    rows = cache.features(network, in_batches(images), compute or Counted())
    return np.stack(rows) if rows else np.empty((0, WIDTH))


def files(folder):
    return sorted(path for path in folder.glob("*/*"))


EXPECTED = np.stack([feature_of(image) for image in make_images(10)])
EXPECTED_OF_SIX = np.stack([feature_of(image) for image in make_images(6)])


def test_each_image_is_computed_once_and_comes_back_to_the_last_bit(tmp_path):
    first, second = Counted(), Counted()
    images = make_images(10)
    np.testing.assert_array_equal(features(FeatureCache(tmp_path), images, first), EXPECTED)
    np.testing.assert_array_equal(features(FeatureCache(tmp_path), images, second), EXPECTED)
    assert (first.count, second.count) == (10, 0)


def test_only_what_is_missing_is_computed_whatever_the_order(tmp_path):
    images = make_images(10)
    features(FeatureCache(tmp_path), images[:6])
    compute, shuffled = Counted(), np.array([9, 0, 7, 3, 1, 8, 2, 6, 5, 4])
    np.testing.assert_array_equal(
        features(FeatureCache(tmp_path), images[shuffled], compute), EXPECTED[shuffled]
    )
    assert compute.count == 4


def test_an_image_that_comes_twice_is_computed_once(tmp_path):
    images, compute = make_images(10)[[0, 1, 0, 0, 2, 1]], Counted()
    np.testing.assert_array_equal(
        features(FeatureCache(tmp_path), images, compute), EXPECTED[[0, 1, 0, 0, 2, 1]]
    )
    assert compute.count == 3


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), max_size=7), max_size=5))
def test_what_was_asked_before_never_changes_an_answer(tmp_path_factory, asked):
    cache, images = FeatureCache(tmp_path_factory.mktemp("cache")), make_images(6)
    for wanted in asked:
        np.testing.assert_array_equal(
            features(cache, images[wanted]), EXPECTED_OF_SIX[wanted].reshape(-1, WIDTH)
        )


def test_networks_do_not_share_rows(tmp_path):
    cache, compute = FeatureCache(tmp_path), Counted()
    features(cache, make_images(3))
    assert cache.knows(NETWORK)
    assert not cache.knows("another")
    features(cache, make_images(3), compute, network="another")
    assert compute.count == 3


def test_one_changed_pixel_is_another_image(tmp_path):
    cache, compute, images = FeatureCache(tmp_path), Counted(), make_images(1)
    features(cache, images)
    images[0, 7, 7, 2] ^= 1
    features(cache, images, compute)
    assert compute.count == 1


def test_the_same_bytes_in_another_shape_are_another_image(tmp_path):
    cache, compute, flat = FeatureCache(tmp_path), Counted(), make_images(1)
    features(cache, flat)
    features(cache, flat.reshape(1, 4, 16, 3), compute)
    assert compute.count == 1


def test_rows_are_written_in_files_of_bounded_size_while_they_are_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "_SEGMENT_BYTES", 3 * 4 * WIDTH)
    seen = []

    def compute(batches):
        for row in Counted()(batches):
            seen.append(len(files(tmp_path)))
            yield row

    np.testing.assert_array_equal(features(FeatureCache(tmp_path), make_images(10), compute), EXPECTED)
    assert seen == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
    assert len(files(tmp_path)) == 4


def test_progress_is_told_for_known_images_too(tmp_path):
    cache, told = FeatureCache(tmp_path), []
    for _ in range(2):
        cache.features(NETWORK, in_batches(make_images(10)), Counted(), on_done=told.append)
    assert told == [4, 8, 10, 4, 8, 10]


@pytest.mark.parametrize("place", [0, 20, 300, -1], ids=["header", "end of header", "keys", "rows"])
def test_a_damaged_file_is_removed_and_computed_again(tmp_path, place, caplog):
    features(FeatureCache(tmp_path), make_images(10))
    (path,) = files(tmp_path)
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    compute = Counted()
    np.testing.assert_array_equal(features(FeatureCache(tmp_path), make_images(10), compute), EXPECTED)
    assert compute.count == 10
    assert "is damaged" in caplog.text
    assert path not in files(tmp_path)
    again = Counted()
    features(FeatureCache(tmp_path), make_images(10), again)
    assert again.count == 0


@pytest.mark.parametrize("size", [0, 10, 255, 256, 300, 500])
def test_a_cut_file_is_removed_and_computed_again(tmp_path, size):
    features(FeatureCache(tmp_path), make_images(10))
    (path,) = files(tmp_path)
    with path.open("r+b") as file:
        file.truncate(size)
    np.testing.assert_array_equal(features(FeatureCache(tmp_path), make_images(10)), EXPECTED)


@pytest.mark.parametrize(
    "header",
    [
        b"[1, 2]",
        b'{"images": -1}',
        b'{"images": "x", "shape": [5], "keys_crc32": 0, "rows_crc32": 0}',
        b"null",
    ],
)
def test_a_header_of_something_else_is_damage(tmp_path, header):
    features(FeatureCache(tmp_path), make_images(10))
    (path,) = files(tmp_path)
    path.write_bytes(header.ljust(256) + path.read_bytes()[256:])
    np.testing.assert_array_equal(features(FeatureCache(tmp_path), make_images(10)), EXPECTED)
    assert FeatureCache(tmp_path).use().rows == 10


CHILD = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    import numpy as np
    from models.test_feature_cache import Counted, features, make_images
    from breastlens.models.feature_cache import FeatureCache

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    {moment}
    features(FeatureCache(Path({folder!r})), make_images(10))
"""
MOMENTS = {
    "a file half written": """
    opened = os.fdopen
    def half(*arguments):
        file = opened(*arguments)
        class Half:
            def __enter__(self): return self
            def __exit__(self, *_): file.close()
            def write(self, data):
                if memoryview(data).nbytes == 200:  # the rows: 10 images x 5 features x 4 bytes
                    file.write(bytes(data)[:90]); file.flush(); die()
                file.write(data)
        return Half()
    os.fdopen = half
    """,
    "a file written, not yet safe": "os.fsync = die",
    "a file that has no name yet": "Path.replace = die",
}


def child(moment, folder):
    code = textwrap.dedent(CHILD).format(
        tests=str(Path(__file__).parents[1]), folder=str(folder), moment=textwrap.dedent(moment)
    )
    return subprocess.Popen([sys.executable, "-c", code])


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_a_process_killed_while_it_writes_leaves_nothing_that_is_read(tmp_path, moment):
    assert child(moment, tmp_path).wait() == -signal.SIGKILL
    (left,) = files(tmp_path)
    compute = Counted()
    np.testing.assert_array_equal(features(FeatureCache(tmp_path), make_images(10), compute), EXPECTED)
    assert compute.count == 10
    assert left in files(tmp_path), "it could belong to a process that is still writing"
    long_ago = time.time() - 2 * 3600
    os.utime(left, (long_ago, long_ago))
    features(FeatureCache(tmp_path), make_images(1, seed=5))
    assert left not in files(tmp_path)


def test_two_processes_may_fill_one_cache_at_once(tmp_path):
    running = [child("pass", tmp_path) for _ in range(2)]
    assert [one.wait() for one in running] == [0, 0]
    compute = Counted()
    np.testing.assert_array_equal(features(FeatureCache(tmp_path), make_images(10), compute), EXPECTED)
    assert compute.count == 0


def test_what_another_process_writes_meanwhile_is_neither_lost_nor_mixed(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "_SEGMENT_BYTES", 3 * 4 * WIDTH)
    images, other = make_images(10), np.concatenate([make_images(10)[::-2], make_images(4, seed=1)])

    def compute(batches):
        for number, batch in enumerate(batches):
            rows = features(FeatureCache(tmp_path), other[number:])  # from its first file to its last
            np.testing.assert_array_equal(rows, [feature_of(image) for image in other[number:]])
            yield from map(feature_of, batch)

    np.testing.assert_array_equal(features(FeatureCache(tmp_path), images, compute), EXPECTED)
    again = Counted()
    np.testing.assert_array_equal(
        features(FeatureCache(tmp_path), np.concatenate([images, other]), again),
        [feature_of(image) for image in (*images, *other)],
    )
    assert again.count == 0


def test_a_file_removed_by_another_process_is_computed_again(tmp_path):
    images, compute = make_images(10), Counted()
    features(FeatureCache(tmp_path), images)

    def batches():
        for path in files(tmp_path):  # after the files were listed, before the first is read
            path.unlink()
        yield images

    rows = FeatureCache(tmp_path).features(NETWORK, batches(), compute)
    np.testing.assert_array_equal(np.stack(rows), EXPECTED)
    assert compute.count == 10


def test_a_disk_that_refuses_more_costs_nothing_but_the_time(tmp_path, caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
    try:
        rows = features(FeatureCache(tmp_path), make_images(10))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    np.testing.assert_array_equal(rows, EXPECTED)
    assert "features were not kept for the next time: File too large" in caplog.text
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_made_costs_nothing_but_the_time_and_is_told_once(
    tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(room, "_SEGMENT_BYTES", 3 * 4 * WIDTH)
    (tmp_path / "file").write_text("in the way")
    cache = FeatureCache(tmp_path / "file")
    for _ in range(2):  # whole images and a control, say
        np.testing.assert_array_equal(features(cache, make_images(10)), EXPECTED)
    assert caplog.text.count("features were not kept") == 1
    assert cache.room_bytes(NETWORK) == 0


def test_there_is_no_room_where_only_the_networks_own_folder_cannot_be_written(tmp_path):
    cache = FeatureCache(tmp_path)
    features(cache, make_images(1))
    (path,) = files(tmp_path)
    shutil.rmtree(path.parent)
    path.parent.write_text("in the way")
    assert cache.room_bytes(NETWORK) == 0
    assert cache.room_bytes("another") > 0


def test_what_must_not_fill_the_memory_ends_where_it_cannot_be_written(tmp_path, monkeypatch):
    """A disk that fills midway: one file is written, the second is not, and nothing is computed after that."""
    monkeypatch.setattr(room, "_SEGMENT_BYTES", 3 * 4 * WIDTH)
    write = room.write_whole

    def write_once(path, parts):
        if files(tmp_path):
            raise OSError(28, "No space left on device")
        write(path, parts)

    monkeypatch.setattr(room, "write_whole", write_once)
    compute = Counted()
    with pytest.raises(CacheError, match="No space left on device"):
        FeatureCache(tmp_path).features(NETWORK, in_batches(make_images(100)), compute, on_disk_only=True)
    assert compute.count == 6


def test_more_files_may_be_in_use_than_a_process_may_open(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "_SEGMENT_BYTES", 4 * WIDTH)
    limits, images = resource.getrlimit(resource.RLIMIT_NOFILE), make_images(100)
    opened = len(list(Path("/dev/fd").iterdir()))
    written, read = FeatureCache(tmp_path), FeatureCache(tmp_path)
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 20, limits[1]))
    try:
        held = [
            written.features(NETWORK, [images], Counted()),
            read.features(NETWORK, [images], compute := Counted()),
        ]
        assert len(list(Path("/dev/fd").iterdir())) == opened
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(files(tmp_path)) == 100
    assert compute.count == 0
    for path in files(tmp_path):
        path.unlink()
    for rows in held:
        np.testing.assert_array_equal(np.stack(rows), [feature_of(image) for image in images])


def test_a_file_that_was_written_but_cannot_be_mapped_is_kept_and_its_rows_stay_in_memory(
    tmp_path, caplog, monkeypatch
):
    def refuse(path):
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as patched:
        patched.setattr(room, "map_file", refuse)
        np.testing.assert_array_equal(features(FeatureCache(tmp_path), make_images(10)), EXPECTED)
    assert "not kept" not in caplog.text
    features(FeatureCache(tmp_path), make_images(10), compute := Counted())
    assert compute.count == 0


@pytest.mark.parametrize("reader", ["_read_keys", "_map_rows"])
@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(24, "Too many open files")]
)
def test_a_file_that_may_not_be_read_now_is_no_damaged_one(tmp_path, caplog, monkeypatch, reader, error):
    features(FeatureCache(tmp_path), make_images(10))
    before, whole = files(tmp_path), getattr(room, reader)

    def refuse(path, *given):
        if path in before:
            raise error
        return whole(path, *given)

    monkeypatch.setattr(room, reader, refuse)
    np.testing.assert_array_equal(features(FeatureCache(tmp_path), make_images(10)), EXPECTED)
    assert "is damaged" not in caplog.text
    assert set(before) < set(files(tmp_path))


def test_room_is_the_limit_or_what_the_disk_has_left_for_it(tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path / "features", limit_bytes=5000)
    features(cache, make_images(10))
    used = cache.use().size_bytes
    free = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: free._replace(free=4000))
    assert cache.room_bytes(NETWORK) == 3600 + used < 5000
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: free._replace(free=5500))
    assert cache.room_bytes(NETWORK) == 5000
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: free._replace(free=10))
    assert cache.room_bytes("another") == used + 9


def test_beyond_the_limit_what_was_not_used_for_longest_goes_first(tmp_path):
    cache = FeatureCache(tmp_path, limit_bytes=3 * (256 + 16 + 4 * WIDTH) + 50)
    for number, name in enumerate("abc"):
        known = set(files(tmp_path))
        features(cache, make_images(1), network=name)
        (new,) = set(files(tmp_path)) - known
        os.utime(new, (1000.0 + number, 1000.0 + number))
    features(cache, make_images(1), network="a")  # used today
    features(cache, make_images(1), network="d")
    assert [name for name in "abcd" if cache.knows(name)] == ["a", "c", "d"]


def test_a_cache_smaller_than_the_data_gives_the_right_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "_SEGMENT_BYTES", 3 * 4 * WIDTH)
    cache = FeatureCache(tmp_path, limit_bytes=500)
    for _ in range(2):
        np.testing.assert_array_equal(features(cache, make_images(10)), EXPECTED)
        assert cache.use().size_bytes <= 500


@pytest.fixture
def stuck(monkeypatch):
    """Files that cannot be removed, as those of another user."""
    kept, unlink = set(), Path.unlink

    def refuse(path, missing_ok=False):
        if path in kept:
            raise PermissionError(1, "Operation not permitted", str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    return kept


def test_a_file_that_cannot_be_removed_does_not_drive_out_the_others(tmp_path, stuck, caplog):
    row = 256 + 16 + 4 * WIDTH
    features(FeatureCache(tmp_path), make_images(30), network="of another user")
    stuck |= set(files(tmp_path))
    cache = FeatureCache(tmp_path, limit_bytes=2 * row + 20)
    for name in "abc":
        features(cache, make_images(1), network=name)
    assert cache.knows("c")
    assert [cache.knows(name) for name in "ab"].count(True) == 1
    assert caplog.text.count("comes on top of the cache's limit") == 1
    free = shutil.disk_usage(tmp_path)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(room.shutil, "disk_usage", lambda _: free._replace(free=0))
        assert cache.room_bytes(NETWORK) == 2 * row


def test_the_file_just_written_stays_whatever_the_limit(tmp_path):
    cache = FeatureCache(tmp_path, limit_bytes=1)
    for name in "ab":
        features(cache, make_images(1), network=name)
    assert [name for name in "ab" if cache.knows(name)] == ["b"]


def test_clear_removes_what_is_half_written_whatever_its_age_and_counts_what_stays(tmp_path, stuck):
    cache = FeatureCache(tmp_path)
    features(cache, make_images(3))
    half = tmp_path / "of a network" / ".unfinished-1"
    half.parent.mkdir()
    half.write_bytes(bytes(500))
    before = cache.use()
    assert before.size_bytes == 256 + 3 * 36 + 500
    stuck.add(half)
    assert cache.clear().size_bytes == before.size_bytes - 500
    assert cache.use().size_bytes == 500
    stuck.clear()
    assert cache.clear().size_bytes == 500
    assert files(tmp_path) == []


def test_what_cannot_be_looked_at_is_passed_over(tmp_path, monkeypatch):
    cache, look = FeatureCache(tmp_path), Path.stat
    features(cache, make_images(2), network="b")
    hidden = files(tmp_path)

    def refuse(path, **options):
        if path in hidden:
            raise OSError(116, "Stale file handle", str(path))
        return look(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    np.testing.assert_array_equal(features(cache, make_images(10)), EXPECTED)
    assert cache.use().rows == 10


def test_a_limit_of_nothing_reads_nothing_and_removes_nothing(tmp_path):
    images, compute = make_images(10), Counted()
    features(FeatureCache(tmp_path), images)
    before = files(tmp_path)
    np.testing.assert_array_equal(features(FeatureCache(tmp_path, limit_bytes=0), images, compute), EXPECTED)
    assert compute.count == 10
    assert files(tmp_path) == before
    assert not FeatureCache(tmp_path, limit_bytes=0).knows(NETWORK)


def test_use_counts_and_clear_removes(tmp_path):
    cache = FeatureCache(tmp_path)
    features(cache, make_images(10))
    features(cache, make_images(3), network="another")
    used = cache.use()
    assert (used.rows, used.networks) == (13, 2)
    assert used.size_bytes == sum(path.stat().st_size for path in files(tmp_path)) == 2 * 256 + 13 * (16 + 20)
    assert cache.clear() == used
    assert files(tmp_path) == []
    assert (cache.use().rows, cache.use().size_bytes) == (0, 0)


def test_a_row_of_the_cache_cannot_be_written_to_by_mistake(tmp_path):
    features(FeatureCache(tmp_path), make_images(2))
    rows = FeatureCache(tmp_path).features(NETWORK, in_batches(make_images(2)), Counted())
    with pytest.raises(ValueError, match="read-only"):
        rows[0][0] = 1


def test_it_lies_in_the_users_cache_folder_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("BREASTLENS_CACHE", str(tmp_path))
    assert FeatureCache().folder == tmp_path / "features"
