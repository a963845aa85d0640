"""A process that only decodes: bytes of strangers in, the square that a network sees out.

Run as ``python -m breastlens.serve.decoder``. It reads from standard input and writes to standard output, one answer
a question, until the input ends. It may not write files, is given little memory, and kills itself when one image takes
too long, so that whatever a hostile file does to a decoder, it does to this process alone.

A message is a line of JSON and then as many bytes as the line says. Nothing is ever pickled, since whoever has taken
over this process must not get into the other one.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from typing import IO, Any

from breastlens.config import ImageRecipe, ReadingLimits
from breastlens.errors import DecodeError
from breastlens.imaging.decode import decode_bytes
from breastlens.imaging.preprocess import preprocess
from breastlens.serve.preview import encode_preview

GRACE_S = 1.0
"""How much later than this process itself the one that asks it counts its time as up."""


def main() -> None:
    """Answer until the input ends."""
    start = json.loads(sys.argv[1])
    _give_up_rights(start["memory_bytes"])
    limits = ReadingLimits.model_validate(start["limits"])
    questions = sys.stdin.buffer
    # Whatever a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    send(answers, {"ready": True})
    while line := questions.readline():
        question = json.loads(line)
        data = questions.read(question["bytes"])
        signal.setitimer(signal.ITIMER_REAL, start["decode_s"])
        head, body = _answer(data, question, limits)
        signal.setitimer(signal.ITIMER_REAL, 0)
        send(answers, head, *body)


def send(pipe: IO[bytes], head: dict[str, Any], *body: bytes) -> None:
    """Write one message."""
    pipe.write(frame(head, sum(map(len, body))))
    for part in body:
        pipe.write(part)
    pipe.flush()


def frame(head: dict[str, Any], size_bytes: int) -> bytes:
    """The line that begins a message."""
    return json.dumps(head | {"bytes": size_bytes}).encode() + b"\n"


def _answer(
    data: bytes, question: dict[str, Any], limits: ReadingLimits
) -> tuple[dict[str, Any], list[bytes]]:
    recipe = ImageRecipe.model_validate(question["recipe"])
    try:
        decoded = decode_bytes(data, suffix=question["suffix"], limits=limits)
        image = preprocess(decoded, recipe)
        preview = encode_preview(decoded, recipe, question["preview_px"]) if question["preview_px"] else b""
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
        "side": len(image.pixels),
    }
    return head, [image.pixels.tobytes(), preview]


def _give_up_rights(memory_bytes: int) -> None:
    """No files may be written, no memory beyond what is given, no core that would hold an image."""
    for kind, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which then ends this one


if __name__ == "__main__":
    main()
