"""The decoders of the service: a few processes that can be killed, and the next one in the place of one that died."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from breastlens.config import ImageRecipe
from breastlens.errors import DecodeError
from breastlens.imaging.preprocess import PreparedImage
from breastlens.serve.decoder import GRACE_S, frame
from breastlens.serve.limits import ServiceLimits

logger = logging.getLogger(__name__)

_READ_AHEAD_BYTES = 4 * 1024**2
_LONGEST_HEAD_BYTES = 64 * 1024
_MOST_PREVIEW_BYTES = 16 * 1024**2
_START_S = 60.0


class DecoderLostError(DecodeError):
    """The decoder died of an image, or had to be killed."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """One uploaded image as the network takes it.

    Attributes:
        image: The square, and how it came about.
        format: What the file is, as in ``DecodedImage``.
        preview: A PNG of the image itself; empty where none was asked for.
    """

    image: PreparedImage
    format: str
    preview: bytes


class DecoderPool:
    """Processes that decode for the service; see ``breastlens.serve.decoder``."""

    def __init__(
        self, count: int, limits: ServiceLimits, *, on_lost: Callable[[], None] = lambda: None
    ) -> None:
        """Nothing is started yet.

        Args:
            count: How many processes.
            limits: What one image may cost.
            on_lost: Told of each process that died or was killed.
        """
        self._count, self._limits, self._on_lost = count, limits, on_lost
        self._idle: asyncio.LifoQueue[Process | None] = asyncio.LifoQueue()
        self._running: set[Process] = set()

    async def start(self) -> None:
        """Start all processes and wait until they answer.

        Raises:
            RuntimeError: One does not.
        """
        for process in await asyncio.gather(*(self._spawn() for _ in range(self._count))):
            self._idle.put_nowait(process)

    async def stop(self) -> None:
        """End all processes."""
        for process in list(self._running):
            await self._end(process)

    async def decode(
        self, data: bytes | bytearray, suffix: str, recipe: ImageRecipe, *, preview_px: int = 0
    ) -> Decoded:
        """Decode one image in whichever process is free first.

        Args:
            data: The file's content.
            suffix: Of its name, such as ``.png``.
            recipe: How the network's square is made.
            preview_px: Longer side of the picture to make of it; 0 for none.

        Raises:
            DecodeError: It cannot be read as an image; ``DecoderLostError`` where the decoder died of it.
        """
        process = await self._idle.get()
        try:
            if process is None:
                process = await self._spawn()
            answer = await asyncio.wait_for(
                self._ask(process, data, suffix, recipe, preview_px), self._limits.decode_s + GRACE_S
            )
        except (TimeoutError, OSError, EOFError, ValueError, asyncio.IncompleteReadError) as error:
            raise DecoderLostError("", await self._explain_loss(process)) from error
        except BaseException:  # given up halfway: what it would still say belongs to nobody
            if process is not None:
                await asyncio.shield(self._end(process))
                process = None
            raise
        finally:
            alive = process is not None and process in self._running
            self._idle.put_nowait(process if alive else None)
        if isinstance(answer, str):
            raise DecodeError("", answer)
        return answer

    async def _ask(
        self, process: Process, data: bytes | bytearray, suffix: str, recipe: ImageRecipe, preview_px: int
    ) -> Decoded | str:
        """The image, or why there is none.

        Raises:
            OSError, EOFError, ValueError, asyncio.IncompleteReadError: The process died, or does not keep to the
                protocol.
        """
        pipe_in, pipe_out = _pipes(process)
        question = {"suffix": suffix, "recipe": recipe.model_dump(), "preview_px": preview_px}
        pipe_in.write(frame(question, len(data)))
        pipe_in.write(data)
        await pipe_in.drain()
        head = json.loads(await pipe_out.readline())
        if "error" in head:
            return str(head["error"])
        side = recipe.image_size
        square_bytes = side * side * 3
        size = int(head["bytes"])
        if int(head["side"]) != side or not square_bytes <= size <= square_bytes + _MOST_PREVIEW_BYTES:
            raise ValueError("a decoder answered with an image of another size")
        body = await pipe_out.readexactly(size)
        pixels = np.frombuffer(body, np.uint8, square_bytes).reshape(side, side, 3)
        height, width = map(int, head["frame"])
        box = None if head["box"] is None else tuple(map(int, head["box"]))
        image = PreparedImage(pixels, float(head["low"]), float(head["high"]), box, (height, width))  # type: ignore[arg-type]
        return Decoded(image, str(head["format"]), body[square_bytes:])

    async def _spawn(self) -> Process:
        """Start one process and wait until it answers."""
        limits = self._limits
        start = {
            "limits": limits.reading.model_dump(),
            "decode_s": limits.decode_s,
            "memory_bytes": limits.decoder_memory_bytes,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "breastlens.serve.decoder",
            json.dumps(start),
            stdin=PIPE,
            stdout=PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # a library's message may quote what it reads
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            limit=_READ_AHEAD_BYTES,
        )
        self._running.add(process)
        try:
            await asyncio.wait_for(_pipes(process)[1].readuntil(b"\n"), _START_S)
        except (TimeoutError, asyncio.IncompleteReadError) as error:
            await self._end(process)
            raise RuntimeError("a decoder could not be started") from error
        return process

    async def _explain_loss(self, process: Process | None) -> str:
        """End a process that is of no use any more, and tell why the image has no score."""
        self._on_lost()
        logger.warning("a decoder was lost and is replaced")
        code = None
        if process is not None:
            with contextlib.suppress(TimeoutError):
                code = await asyncio.wait_for(process.wait(), 0.2)
            await self._end(process)
        if code is None or code == -_SIGALRM:
            return f"it was not decoded within {self._limits.decode_s:g} s"
        return "decoding it failed: the file is damaged or hostile"

    async def _end(self, process: Process) -> None:
        self._running.discard(process)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


_SIGALRM = 14


def _pipes(process: Process) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
    if process.stdin is None or process.stdout is None:
        raise OSError("a decoder has no pipes")
    return process.stdin, process.stdout
