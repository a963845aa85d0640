"""The decoders of the service: a few processes that can be killed, and the next one in the place of one that died."""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from breastlens.config import ImageRecipe
from breastlens.errors import DecodeError
from breastlens.imaging.preprocess import PreparedImage
from breastlens.serve.decoder import GRACE_S, receive_message, send_message
from breastlens.serve.limits import MIB, ServiceLimits

logger = logging.getLogger(__name__)

_BUFFER_BYTES = 256 * 1024
_MOST_PREVIEW_BYTES = 16 * MIB
_START_S = 60.0
_NOTICE_S = 0.2


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


class _Decoder:
    """One process, and the socket to it."""

    def __init__(self, limits: ServiceLimits) -> None:
        settings = {
            "limits": limits.reading.model_dump(),
            "decode_s": limits.decode_s,
            "memory_bytes": limits.decoder_memory_bytes,
        }
        self.connection, other = socket.socketpair()
        with other:
            for end in (self.connection, other):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
            number = other.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "breastlens.serve.decoder", str(number), json.dumps(settings)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(number,),
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )

    def wait_until_ready(self) -> None:
        """Wait for its first message.

        Raises:
            RuntimeError: It does not come.
        """
        self.connection.settimeout(_START_S)
        try:
            receive_message(self.connection, 0)
        except (OSError, EOFError) as error:
            self.end()
            raise RuntimeError("a decoder could not be started") from error

    def end(self) -> int:
        """End it; gives its exit code if it had ended by itself, else that of the signal."""
        try:
            self.process.wait(_NOTICE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.connection.close()
        return self.process.wait()


class DecoderPool:
    """Processes that decode for the service; any thread may ask."""

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
        self._idle: queue.LifoQueue[_Decoder | None] = queue.LifoQueue()
        self._running: set[_Decoder] = set()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start all processes and wait until they answer.

        Raises:
            RuntimeError: One does not.
        """
        begun = [self._spawn() for _ in range(self._count)]
        for decoder in begun:
            decoder.wait_until_ready()
            self._idle.put(decoder)

    def stop(self) -> None:
        """End all processes."""
        with self._lock:
            running, self._running = self._running, set()
        for decoder in running:
            decoder.process.kill()
            decoder.end()

    def decode(
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
        decoder = self._idle.get()
        try:
            if decoder is None:
                decoder = self._spawn()
                decoder.wait_until_ready()
            return self._ask(decoder, data, suffix, recipe, preview_px)
        except (OSError, EOFError, ValueError) as error:
            lost, decoder = decoder, None
            raise DecoderLostError("", self._explain_loss(lost)) from error
        finally:
            self._idle.put(decoder)

    def _ask(
        self, decoder: _Decoder, data: bytes | bytearray, suffix: str, recipe: ImageRecipe, preview_px: int
    ) -> Decoded:
        """The image.

        Raises:
            DecodeError: Why there is none.
            OSError, EOFError, ValueError: The process died, is late, or does not keep to the protocol.
        """
        side = recipe.image_size
        square_bytes = side * side * 3
        decoder.connection.settimeout(self._limits.decode_s + GRACE_S)
        question = {"suffix": suffix, "recipe": recipe.model_dump_json(), "preview_px": preview_px}
        send_message(decoder.connection, question, data)
        head, body = receive_message(decoder.connection, square_bytes + _MOST_PREVIEW_BYTES)
        if "error" in head:
            raise DecodeError("", str(head["error"]))
        if len(body) < square_bytes:
            raise ValueError("a decoder answered with an image of another size")
        pixels = np.frombuffer(body, np.uint8, square_bytes).reshape(side, side, 3)
        height, width = map(int, head["frame"])
        box = None
        if head["box"] is not None:
            x, y, across, down = map(int, head["box"])
            box = (x, y, across, down)
        image = PreparedImage(pixels, float(head["low"]), float(head["high"]), box, (height, width))
        return Decoded(image, str(head["format"]), bytes(body[square_bytes:]))

    def _spawn(self) -> _Decoder:
        decoder = _Decoder(self._limits)
        with self._lock:
            self._running.add(decoder)
        return decoder

    def _explain_loss(self, decoder: _Decoder | None) -> str:
        """End a process that is of no use any more, and tell why the image has no score."""
        self._on_lost()
        logger.warning("a decoder was lost and is replaced")
        code = -signal.SIGKILL
        if decoder is not None:
            with self._lock:
                self._running.discard(decoder)
            ended_itself = decoder.process.poll() is not None
            code = decoder.end()
            late = code == -signal.SIGALRM or (code == -signal.SIGKILL and not ended_itself)
            if late:
                return f"it was not decoded within {self._limits.decode_s:g} s"
        return "decoding it failed: the file is damaged or hostile"
