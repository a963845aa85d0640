"""A decoder of the service: a process that can be killed, and the next one in the place of one that died."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
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
_INHERITED = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


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


class Decoder:
    """One process that decodes, and the next one where it died; for one thread at a time."""

    def __init__(self, limits: ServiceLimits, *, on_lost: Callable[[], None] = lambda: None) -> None:
        """Begin to start the process; ``wait_until_ready`` ends that.

        Args:
            limits: What one image may cost.
            on_lost: Told of each process that died or was killed.
        """
        self._limits, self._on_lost = limits, on_lost
        self._is_ready = False
        self._process, self._connection = self._spawn(complete=False)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process now."""
        return self._process

    def wait_until_ready(self) -> None:
        """Wait until the process takes questions.

        Raises:
            OSError, EOFError, ValueError: It does not come that far.
        """
        self._connection.settimeout(_START_S)
        receive_message(self._connection, 0)
        self._connection.settimeout(self._limits.decode_s + GRACE_S)
        self._is_ready = True

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._connection.close()
        self._process.wait()

    def decode(
        self, data: bytes | bytearray, suffix: str, recipe: ImageRecipe, *, preview_px: int = 0
    ) -> Decoded:
        """Decode one image.

        Args:
            data: The file's content.
            suffix: Of its name, such as ``.png``.
            recipe: How the network's square is made.
            preview_px: Longer side of the picture to make of it; 0 for none.

        Raises:
            DecodeError: It cannot be read as an image; ``DecoderLostError`` where the process died of it.
        """
        try:
            if self._process.poll() is not None:  # it died while nothing was asked: no fault of this image
                self._replace()
            if not self._is_ready:
                self.wait_until_ready()
            return self._ask(data, suffix, recipe, preview_px)
        except DecodeError:
            raise
        except Exception as error:  # it died, is late, or does not keep to the protocol
            reason = self._explain_loss()
            self._replace()
            raise DecoderLostError("", reason) from error

    def _ask(self, data: bytes | bytearray, suffix: str, recipe: ImageRecipe, preview_px: int) -> Decoded:
        """The image.

        Raises:
            DecodeError: Why there is none.
            OSError, EOFError, ValueError: The process died, is late, or does not keep to the protocol.
        """
        side = recipe.image_size
        square_bytes = side * side * 3
        question = {"suffix": suffix, "recipe": recipe.model_dump_json(), "preview_px": preview_px}
        send_message(self._connection, question, data)
        head, body = receive_message(self._connection, square_bytes + _MOST_PREVIEW_BYTES)
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

    def _replace(self) -> None:
        """End the process that was, and begin to start another."""
        self.end()
        self._on_lost()
        logger.warning("a decoder was lost and is replaced")
        self._is_ready = False
        self._process, self._connection = self._spawn(complete=True)

    def _spawn(self, *, complete: bool) -> tuple[subprocess.Popen[bytes], socket.socket]:
        """Start a process, which imports all that any format needs before it is ready, or later."""
        limits = self._limits
        settings = {
            "limits": limits.reading.model_dump(),
            "decode_s": limits.decode_s,
            "memory_bytes": limits.decoder_memory_bytes,
            "complete": complete,
        }
        own, other = socket.socketpair()
        with other:
            for end in (own, other):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
            number = other.fileno()
            process = subprocess.Popen(  # noqa: S603  this very program
                # -P: nothing is imported from the folder that the service was started in
                [sys.executable, "-P", "-m", "breastlens.serve.decoder", str(number), json.dumps(settings)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(number,),
                cwd="/",
                env={name: os.environ[name] for name in _INHERITED if name in os.environ} | _ONE_THREAD,
            )
        return process, own

    def _explain_loss(self) -> str:
        """Tell why the image has no score, by how the process ended."""
        try:
            code = self._process.wait(_NOTICE_S)  # where it ended by itself, a moment ago
        except subprocess.TimeoutExpired:
            code = -signal.SIGALRM
        if code == -signal.SIGALRM:
            return f"it was not decoded within {self._limits.decode_s:g} s"
        return "decoding it failed: the file is damaged or hostile"
