"""A process that only decodes: bytes of strangers in, the square that a network sees out.

Run as ``python -m breastlens.serve.decoder SOCKET SETTINGS`` by ``breastlens.serve.decoding``. It answers one question
after the other until the socket closes. It may not write files, is given little memory, and kills itself when one image
takes too long, so that whatever a hostile file does to a decoder, it does to this process alone.

A message is two sizes, a head of JSON and a body of bytes. Nothing is ever pickled, since whoever has taken over this
process must not get into the other one.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
from typing import Any

from breastlens.config import ImageRecipe, ReadingLimits
from breastlens.errors import DecodeError
from breastlens.imaging.decode import decode_bytes, import_readers
from breastlens.imaging.preprocess import preprocess
from breastlens.serve.preview import encode_preview

GRACE_S = 1.0
"""How much later than this process itself the one that asks it counts its time as up."""

_IDLE_S = 0.5
_SIZES = struct.Struct("!IQ")
_MOST_HEAD_BYTES = 64 * 1024


def main() -> None:
    """Answer until the socket closes."""
    settings = json.loads(sys.argv[2])
    limits = ReadingLimits.model_validate(settings["limits"])
    _give_up_rights(settings["memory_bytes"])
    # Whatever a library prints goes nowhere: it may quote what it reads.
    for stream in (sys.stdout, sys.stderr):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        # What some formats need takes longer to import than an image may take where that time is short. It is
        # imported at once in the place of a decoder that was lost, else while nobody asks.
        complete = bool(settings["complete"])
        if complete:
            import_readers()
        send_message(connection, {"ready": True})
        while True:
            if not complete and not select.select([connection], [], [], _IDLE_S)[0]:
                import_readers()
                complete = True
            try:
                question, data = receive_message(connection, settings["limits"]["file_bytes"])
            except EOFError:
                return
            signal.setitimer(signal.ITIMER_REAL, settings["decode_s"])
            head, body = _answer(data, question, limits)
            signal.setitimer(signal.ITIMER_REAL, 0)
            send_message(connection, head, *body)


def send_message(connection: socket.socket, head: dict[str, Any], *body: bytes | bytearray) -> None:
    """Send one message.

    Raises:
        OSError: The other side has gone, or does not read.
    """
    written = json.dumps(head).encode()
    parts = [_SIZES.pack(len(written), sum(map(len, body))), written, *body]
    sent = connection.sendmsg(parts)
    total = sum(map(len, parts))
    if sent < total:
        connection.sendall(b"".join(parts)[sent:])


def receive_message(connection: socket.socket, most_bytes: int) -> tuple[dict[str, Any], bytearray]:
    """Wait for one message.

    Raises:
        EOFError: The other side has gone.
        OSError: It does not answer.
        ValueError: It does not keep to the protocol.
    """
    head_bytes, body_bytes = _SIZES.unpack(_receive(connection, _SIZES.size))
    if head_bytes > _MOST_HEAD_BYTES or body_bytes > most_bytes:
        raise ValueError("a message is larger than may be")
    head = json.loads(_receive(connection, head_bytes))
    return head, _receive(connection, body_bytes)


def _receive(connection: socket.socket, size_bytes: int) -> bytearray:
    data = bytearray(size_bytes)
    left = memoryview(data)
    while left:
        received = connection.recv_into(left)
        if received == 0:
            raise EOFError
        left = left[received:]
    return data


def _answer(
    data: bytearray, question: dict[str, Any], limits: ReadingLimits
) -> tuple[dict[str, Any], list[bytes]]:
    recipe = _read_recipe(question["recipe"])
    try:
        decoded = decode_bytes(bytes(data), suffix=question["suffix"], limits=limits)
        image = preprocess(decoded, recipe)
        preview = encode_preview(decoded, image, question["preview_px"]) if question["preview_px"] else b""
    except DecodeError as error:
        return {"error": error.reason}, []
    except MemoryError:
        return {"error": "it does not fit into the memory that one image is given"}, []
    head = {
        "format": decoded.format,
        "low": image.low,
        "high": image.high,
        "box": image.box,
        "frame": image.frame,
    }
    return head, [image.pixels.tobytes(), preview]


@functools.lru_cache(maxsize=8)
def _read_recipe(text: str) -> ImageRecipe:
    return ImageRecipe.model_validate_json(text)


def _give_up_rights(memory_bytes: int) -> None:
    """No files may be written, no memory beyond what is given, no core that would hold an image."""
    for kind, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGTERM):  # they are for the service, which then ends this one
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    main()
