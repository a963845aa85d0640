"""How much memory a decoder of the service takes for the largest images that it is given, format by format.

Run as ``python benchmarks/decoder_memory.py``.

Each file has 25 million pixels of noise and goes to a decoder of its own, for a recipe that only resizes and one that
hides marks, crops and brings grey levels to one mean, and with a preview. Told is the largest resident memory of the
process and the largest address space, which the service limits. Needs Linux.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from breastlens.config import ImageRecipe
from breastlens.serve.decoding import Decoder
from breastlens.serve.limits import MIB, ServiceLimits
from breastlens.serve.preview import PREVIEW_PX
from side_by_side import options, report, say

SIDE_PX = 5000
PLAIN = ImageRecipe(image_size=128)
MOST = ImageRecipe(image_size=128, crop="body", hide_marks=True, normalise="per-image")
ROOM = 16 * 1024 * MIB


def main() -> None:
    """Prints one table."""
    arguments = options(__doc__, repeats=1).parse_args()
    rows = []
    for name, suffix, make in files():
        say(name)
        data = make()
        taken = [measure(data, suffix, recipe) for recipe in (PLAIN, MOST)]
        rows.append([name, len(data) // MIB, *(peak // MIB for peaks in taken for peak in peaks)])
    report(
        "decoder_memory",
        f"MiB that one decoder takes for a file of {SIDE_PX}x{SIDE_PX} px, with a preview",
        ("file", "its size", "resident", "addresses", "resident, all steps", "addresses, all steps"),
        [[str(each) for each in row] for row in rows],
        arguments.out,
        arguments=vars(arguments),
    )


def files() -> list[tuple[str, str, Callable[[], bytes]]]:
    """Names, suffixes, and what makes the content."""
    shapes = {"grey": (SIDE_PX, SIDE_PX), "RGB": (SIDE_PX, SIDE_PX, 3), "RGBA": (SIDE_PX, SIDE_PX, 4)}
    return [
        *(
            (f"{kind}, {bits} bits, {colours}", suffix, partial(raster, suffix, shape, depth))
            for kind, suffix in (("PNG", ".png"), ("TIFF", ".tif"))
            for bits, depth in ((8, np.uint8), (16, np.uint16))
            for colours, shape in shapes.items()
        ),
        ("JPEG", ".jpg", partial(raster, ".jpg", shapes["RGB"], np.uint8)),
        ("NumPy, 64 bits", ".npy", matrix),
    ]


def raster(suffix: str, shape: tuple[int, ...], depth: type[np.integer]) -> bytes:
    """An image of noise, which nothing makes small."""
    noise = np.random.default_rng(0).integers(0, np.iinfo(depth).max, shape, depth, endpoint=True)
    fast = [cv2.IMWRITE_PNG_COMPRESSION, 0] if suffix == ".png" else []
    return cv2.imencode(suffix, noise, fast)[1].tobytes()


def matrix() -> bytes:
    """Temperatures of a warm body everywhere."""
    written = io.BytesIO()
    np.save(written, np.random.default_rng(0).uniform(25, 35, (SIDE_PX, SIDE_PX)))
    return written.getvalue()


def measure(data: bytes, suffix: str, recipe: ImageRecipe) -> tuple[int, int]:
    """Bytes resident and addressed at the most by a decoder that has read one image."""
    standard = ServiceLimits()
    reading = standard.reading.model_copy(update={"file_bytes": ROOM, "memory_bytes": None})
    room = {"reading": reading, "decoder_memory_bytes": ROOM, "decode_s": 600.0}
    decoder = Decoder(standard.model_copy(update=room))
    decoder.wait_until_ready()
    try:
        decoder.decode(data, suffix, recipe, preview_px=PREVIEW_PX)
        lines = Path(f"/proc/{decoder.process.pid}/status").read_text().splitlines()
    finally:
        decoder.end()
    found = dict(line.split(":", 1) for line in lines)
    return 1024 * int(found["VmHWM"].split()[0]), 1024 * int(found["VmPeak"].split()[0])


if __name__ == "__main__":
    main()
