"""Decoders: one that hangs or dies costs one image, and what it may do is little."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import pytest

from breastlens.config import ImageRecipe, ReadingLimits
from breastlens.errors import DecodeError
from breastlens.imaging.decode import decode
from breastlens.imaging.preprocess import preprocess
from breastlens.serve.decoding import DecoderLostError, DecoderPool
from breastlens.serve.limits import MIB, ServiceLimits

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the service runs on POSIX systems")

RECIPE = ImageRecipe(image_size=64, fit="letterbox", crop="body")
Result = TypeVar("Result")


def with_pool(
    use: Callable[[DecoderPool], Awaitable[Result]], *, count: int = 1, **limits: object
) -> tuple[Result, int]:
    """What ``use`` makes of a pool, and how many decoders were lost."""
    lost = 0

    def on_lost() -> None:
        nonlocal lost
        lost += 1

    async def run() -> Result:
        pool = DecoderPool(count, ServiceLimits.model_validate(limits), on_lost=on_lost)
        await pool.start()
        try:
            return await use(pool)
        finally:
            await pool.stop()

    return asyncio.run(run()), lost


@pytest.fixture(scope="module")
def image(phantom_dir: Path) -> Path:
    return next((phantom_dir / "sick").glob("*.png"))


def test_squares_are_those_of_decode_and_preprocess(phantom_dir: Path) -> None:
    paths = sorted((phantom_dir / "sick").glob("*.png"))[:20]

    async def use(pool: DecoderPool) -> list[object]:
        return list(
            await asyncio.gather(
                *(pool.decode(path.read_bytes(), path.suffix, RECIPE, preview_px=100) for path in paths)
            )
        )

    found, lost = with_pool(use, count=2)
    assert lost == 0
    for path, one in zip(paths, found, strict=True):
        expected = preprocess(decode(path), RECIPE)
        np.testing.assert_array_equal(one.image.pixels, expected.pixels)  # type: ignore[attr-defined]
        assert (one.image.box, one.image.frame, one.image.low) == (expected.box, expected.frame, expected.low)  # type: ignore[attr-defined]
        preview = cv2.imdecode(np.frombuffer(one.preview, np.uint8), cv2.IMREAD_UNCHANGED)  # type: ignore[attr-defined]
        assert max(preview.shape[:2]) == 100


def test_one_that_hangs_is_killed_and_the_next_image_is_read(image: Path) -> None:
    async def use(pool: DecoderPool) -> str:
        [process] = pool._running
        os.kill(process.pid, signal.SIGSTOP)  # as a decoder in an endless loop: it does not answer
        with pytest.raises(DecoderLostError) as lost:
            await pool.decode(image.read_bytes(), ".png", RECIPE)
        assert process.returncode is not None, "it was ended"
        await pool.decode(image.read_bytes(), ".png", RECIPE)
        return lost.value.reason

    reason, lost = with_pool(use, decode_s=0.5)
    assert reason == "it was not decoded within 0.5 s"
    assert lost == 1


def test_one_that_is_too_slow_ends_itself() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4000, 4000, 3), dtype=np.uint8)
    data = cv2.imencode(".png", noise)[1].tobytes()

    async def use(pool: DecoderPool) -> str:
        [process] = pool._running
        with pytest.raises(DecoderLostError) as lost:
            await pool.decode(data, ".png", RECIPE)
        assert process.returncode == -signal.SIGALRM
        return lost.value.reason

    reason, _ = with_pool(use, decode_s=0.05)
    assert reason == "it was not decoded within 0.05 s"


def test_one_that_dies_costs_one_image(image: Path) -> None:
    async def use(pool: DecoderPool) -> list[object]:
        for process in pool._running:
            os.kill(process.pid, signal.SIGSTOP)
        asking = [asyncio.ensure_future(pool.decode(image.read_bytes(), ".png", RECIPE)) for _ in range(6)]
        await asyncio.sleep(0.2)
        for process in list(pool._running):
            os.kill(process.pid, signal.SIGKILL)
        return list(await asyncio.gather(*asking, return_exceptions=True))

    found, lost = with_pool(use, count=2)
    died = [one for one in found if isinstance(one, DecoderLostError)]
    assert len(died) == lost == 2
    assert {one.reason for one in died} == {"decoding it failed: the file is damaged or hostile"}
    assert sum(not isinstance(one, Exception) for one in found) == 4


def test_an_image_that_needs_more_memory_than_it_is_given_is_refused(image: Path) -> None:
    large = cv2.imencode(".png", np.zeros((15000, 15000, 3), np.uint8))[1].tobytes()

    async def use(pool: DecoderPool) -> str:
        with pytest.raises(DecodeError) as refused:
            await pool.decode(large, ".png", RECIPE)
        await pool.decode(image.read_bytes(), ".png", RECIPE)
        return refused.value.reason

    reason, _ = with_pool(use, decoder_memory_bytes=900 * MIB, reading=ReadingLimits(pixels=10**9))
    assert "allocate" in reason or "memory" in reason


def test_a_client_that_gives_up_leaves_no_answer_for_the_next(image: Path, phantom_dir: Path) -> None:
    other = next((phantom_dir / "healthy").glob("*.png"))

    async def use(pool: DecoderPool) -> object:
        [process] = pool._running
        os.kill(process.pid, signal.SIGSTOP)
        asking = asyncio.ensure_future(pool.decode(image.read_bytes(), ".png", RECIPE))
        await asyncio.sleep(0.1)
        asking.cancel()
        os.kill(process.pid, signal.SIGCONT)
        with pytest.raises(asyncio.CancelledError):
            await asking
        return await pool.decode(other.read_bytes(), ".png", RECIPE)

    found, _ = with_pool(use)
    np.testing.assert_array_equal(found.image.pixels, preprocess(decode(other), RECIPE).pixels)  # type: ignore[attr-defined]


def test_a_decoder_may_write_no_file_and_leaves_no_core(image: Path) -> None:
    async def use(pool: DecoderPool) -> dict[str, str]:
        await pool.decode(image.read_bytes(), ".png", RECIPE)
        [process] = pool._running
        lines = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
        return {line[:25].strip(): line[25:].split()[0] for line in lines}

    if not Path("/proc/self/limits").exists():
        pytest.skip("limits of another process are not told here")
    limits, _ = with_pool(use)
    assert limits["Max file size"] == "0"
    assert limits["Max core file size"] == "0"
    assert int(limits["Max address space"]) == ServiceLimits().decoder_memory_bytes
