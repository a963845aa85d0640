"""Decoders: one that hangs or dies costs one image, and what it may do is little."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from breastlens.config import ImageRecipe, ReadingLimits
from breastlens.errors import DecodeError
from breastlens.imaging.decode import decode
from breastlens.imaging.preprocess import apply_window, preprocess
from breastlens.serve.decoding import Decoder, DecoderLostError
from breastlens.serve.limits import MIB, ServiceLimits

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the service runs on POSIX systems")

RECIPE = ImageRecipe(image_size=64, fit="letterbox", crop="body")


@pytest.fixture
def start() -> Iterator[Callable[..., Decoder]]:
    """Starts decoders with limits; ``decoder.lost`` are those of its processes that were lost."""
    begun: list[Decoder] = []

    def start_(**limits: object) -> Decoder:
        lost: list[int] = []
        decoder = Decoder(ServiceLimits.model_validate(limits), on_lost=lambda: lost.append(1))
        decoder.lost = lost  # type: ignore[attr-defined]
        decoder.wait_until_ready()
        begun.append(decoder)
        return decoder

    yield start_
    for decoder in begun:
        decoder.end()


@pytest.fixture(scope="module")
def image(phantom_dir: Path) -> Path:
    return next((phantom_dir / "sick").glob("*.png"))


def test_squares_are_those_of_decode_and_preprocess(phantom_dir: Path, start: Callable[..., Decoder]) -> None:
    decoder = start()
    for path in sorted((phantom_dir / "sick").glob("*.png"))[:20]:
        found = decoder.decode(path.read_bytes(), path.suffix, RECIPE, preview_px=100)
        expected = preprocess(decode(path), RECIPE)
        np.testing.assert_array_equal(found.image.pixels, expected.pixels)
        assert (found.image.box, found.image.frame) == (expected.box, expected.frame)
        assert (found.image.low, found.image.high) == (expected.low, expected.high)
        preview = cv2.imdecode(np.frombuffer(found.preview, np.uint8), cv2.IMREAD_UNCHANGED)
        assert max(preview.shape[:2]) == 100
    assert decoder.lost == []  # type: ignore[attr-defined]


def test_a_preview_has_the_window_in_which_the_network_sees_what_is_left_by_the_crop(
    image: Path, start: Callable[..., Decoder]
) -> None:
    grey = cv2.imread(str(image), cv2.IMREAD_GRAYSCALE)
    framed = np.full((grey.shape[0] * 2, grey.shape[1] * 2), 60_000, np.uint16)
    framed[: grey.shape[0] * 3 // 2] = 500
    y, x = grey.shape[0] // 4, grey.shape[1] // 2
    framed[y : y + grey.shape[0], x : x + grey.shape[1]] = 1000 + grey * np.uint16(20)
    found = start().decode(cv2.imencode(".png", framed)[1].tobytes(), ".png", RECIPE, preview_px=2000)
    seen = found.image
    preview = cv2.imdecode(np.frombuffer(found.preview, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(preview, apply_window(framed, seen.low, seen.high))


def test_what_is_no_image_is_told_by_the_same_process(image: Path, start: Callable[..., Decoder]) -> None:
    decoder = start()
    process = decoder.process
    for data, words in ((b"", "empty"), (b"text", "expected PNG"), (image.read_bytes()[:99], "truncated")):
        with pytest.raises(DecodeError, match=words) as refused:
            decoder.decode(data, "", RECIPE)
        assert not isinstance(refused.value, DecoderLostError)
    decoder.decode(image.read_bytes(), ".png", RECIPE)
    assert decoder.process is process


def test_one_that_hangs_is_killed_and_the_next_image_is_read(
    image: Path, start: Callable[..., Decoder]
) -> None:
    decoder = start(decode_s=0.5)
    process = decoder.process
    os.kill(process.pid, signal.SIGSTOP)  # as a decoder in an endless loop: it does not answer
    with pytest.raises(DecoderLostError) as lost:
        decoder.decode(image.read_bytes(), ".png", RECIPE)
    assert lost.value.reason == "it was not decoded within 0.5 s"
    assert process.returncode is not None, "it was ended"
    decoder.decode(image.read_bytes(), ".png", RECIPE)
    assert decoder.lost == [1]  # type: ignore[attr-defined]


def test_one_that_is_too_slow_ends_itself(start: Callable[..., Decoder]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4000, 4000, 3), dtype=np.uint8)
    decoder = start(decode_s=0.05)
    process = decoder.process
    with pytest.raises(DecoderLostError, match=r"it was not decoded within 0\.05 s"):
        decoder.decode(cv2.imencode(".png", noise)[1].tobytes(), ".png", RECIPE)
    assert process.returncode == -signal.SIGALRM


def test_one_that_dies_costs_one_image(image: Path, start: Callable[..., Decoder]) -> None:
    decoder = start()
    os.kill(decoder.process.pid, signal.SIGSTOP)
    pid = decoder.process.pid

    def kill() -> None:
        time.sleep(0.2)
        os.kill(pid, signal.SIGKILL)

    killing = threading.Thread(target=kill)
    killing.start()
    with pytest.raises(DecoderLostError, match="decoding it failed: the file is damaged or hostile"):
        decoder.decode(image.read_bytes(), ".png", RECIPE)
    killing.join()
    expected = preprocess(decode(image), RECIPE).pixels
    np.testing.assert_array_equal(decoder.decode(image.read_bytes(), ".png", RECIPE).image.pixels, expected)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_what_a_rare_format_needs_is_imported_in_no_images_time(
    image: Path, start: Callable[..., Decoder]
) -> None:
    """Else, with a short time, the first image of that format would cost a decoder, and so would every next one."""
    decoder = start()
    until = time.monotonic() + 60
    while not _has_openjpeg(decoder) and time.monotonic() < until:  # while nobody asks
        time.sleep(0.05)
    assert _has_openjpeg(decoder)
    decoder.process.kill()
    with pytest.raises(DecoderLostError):
        decoder.decode(image.read_bytes(), ".png", RECIPE)
    decoder.wait_until_ready()
    assert _has_openjpeg(decoder), "the next one is ready with it"


def _has_openjpeg(decoder: Decoder) -> bool:
    return "openjpeg" in Path(f"/proc/{decoder.process.pid}/maps").read_text()


def test_an_image_that_needs_more_memory_than_it_is_given_is_refused(
    image: Path, start: Callable[..., Decoder]
) -> None:
    large = cv2.imencode(".png", np.zeros((15000, 15000, 3), np.uint8))[1].tobytes()
    decoder = start(decoder_memory_bytes=900 * MIB, reading=ReadingLimits(pixels=10**9))
    with pytest.raises(DecodeError, match=r"allocate|memory"):
        decoder.decode(large, ".png", RECIPE)
    decoder.decode(image.read_bytes(), ".png", RECIPE)


def test_an_image_that_may_need_more_memory_by_its_header_is_not_decoded(
    start: Callable[..., Decoder],
) -> None:
    written = cv2.imencode(".png", np.zeros((8, 8, 4), np.uint16))[1].tobytes()
    header = written[12:16] + (5000).to_bytes(4, "big") * 2 + written[24:29]
    claimed = written[:12] + header + zlib.crc32(header).to_bytes(4, "big") + written[33:]
    decoder = start(reading=ServiceLimits().reading.model_copy(update={"memory_bytes": 700 * MIB}))
    with pytest.raises(DecodeError, match=r"5000x5000 px of 16 bits, which may take 762 MiB .* limit of 700"):
        decoder.decode(claimed, ".png", RECIPE)
    standard = start()
    with pytest.raises(DecodeError, match=r"truncated|damaged"):
        standard.decode(claimed, ".png", RECIPE)
    assert decoder.lost == standard.lost == []  # type: ignore[attr-defined]


@pytest.mark.skipif(
    not Path("/proc/self/limits").exists(), reason="limits of another process are not told here"
)
def test_a_decoder_may_write_no_file_and_leaves_no_core(start: Callable[..., Decoder]) -> None:
    decoder = start()
    lines = Path(f"/proc/{decoder.process.pid}/limits").read_text().splitlines()
    limits = {line[:25].strip(): line[25:].split()[0] for line in lines}
    assert limits["Max file size"] == "0"
    assert limits["Max core file size"] == "0"
    assert int(limits["Max address space"]) == ServiceLimits().decoder_memory_bytes


@pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="open files of another process are not told here"
)
def test_a_decoder_holds_nothing_open_but_its_socket(start: Callable[..., Decoder], tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)
        decoder = start()
        folder = Path(f"/proc/{decoder.process.pid}/fd")
        held = {str(each.readlink()) for each in folder.iterdir()}
    assert {name.split(":")[0] for name in held} == {"socket", "/dev/null"}
