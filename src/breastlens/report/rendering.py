"""Templates to self-contained HTML files: everything escaped, pictures and styles inside, nothing fetched."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from breastlens.errors import RunDirectoryError

TEMPLATES = Path(__file__).parent / "templates"
_PIXELS_A_CSS_PIXEL = 2
_HEADER_BYTES = 24
"""Of a PNG, up to the end of its size."""

_PHOTO_BITS = 0.8
"""Bits a pixel of a PNG above which it holds photographs: measured 0.35 to 0.7 for charts, 0.9 to 5.5 for sheets."""

_PHOTO_QUALITY = 90
_WEBP_MOST_PX = 16383


@dataclass(frozen=True)
class Picture:
    """An image inside a page.

    Attributes:
        source: The image as a data URI.
        width: Width in CSS pixels.
        height: Height in CSS pixels.
        caption: What stands below it.
        alternative: What it shows, for those who cannot see it.
    """

    source: str
    width: int
    height: int
    caption: str
    alternative: str


def embed(png: bytes, *, caption: str, alternative: str) -> Picture:
    """Turn PNG bytes, drawn at two pixels a CSS pixel, into a picture of a page.

    A chart stays as it is. A sheet of photographs becomes WebP at quality 90, which cannot be told from it by eye and
    has about a third of its size.

    Raises:
        RunDirectoryError: The bytes end within the header.
    """
    if len(png) < _HEADER_BYTES:
        raise RunDirectoryError("a picture in the folder figures is damaged: it ends within its header")
    width, height = struct.unpack(">II", png[16:_HEADER_BYTES])  # the IHDR chunk is always first
    kind, held = _shrink(png, width, height)
    return Picture(
        source=f"data:image/{kind};base64,{base64.b64encode(held).decode('ascii')}",
        width=width // _PIXELS_A_CSS_PIXEL,
        height=height // _PIXELS_A_CSS_PIXEL,
        caption=caption,
        alternative=alternative,
    )


def _shrink(png: bytes, width: int, height: int) -> tuple[str, bytes]:
    """The kind of image and its bytes: WebP where that is made for what it shows and is smaller, else the PNG."""
    if 8 * len(png) < _PHOTO_BITS * width * height or max(width, height) > _WEBP_MOST_PX:
        return "png", png
    image = cv2.imdecode(np.frombuffer(png, dtype=np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return "png", png
    done, webp = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, _PHOTO_QUALITY])
    return ("webp", webp.tobytes()) if done and webp.size < len(png) else ("png", png)


def write_page(path: Path, template: str, context: dict[str, Any]) -> Path:
    """Fill a template and write it.

    Args:
        path: HTML file to write.
        template: File name of the template.
        context: Its variables; one that is missing is an error.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    html = environment.get_template(template).render(context)
    # File names that are no valid text reach us as lone surrogates, which UTF-8 cannot hold.
    path.write_bytes(html.encode("utf-8", "backslashreplace"))
    return path
