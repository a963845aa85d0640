"""Templates to self-contained HTML files: everything escaped, pictures and styles inside, nothing fetched."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "templates"
_PIXELS_A_CSS_PIXEL = 2


@dataclass(frozen=True)
class Picture:
    """A PNG inside a page.

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
    """Turn PNG bytes, drawn at two pixels a CSS pixel, into a picture of a page."""
    width, height = struct.unpack(">II", png[16:24])  # the IHDR chunk is always first
    return Picture(
        source="data:image/png;base64," + base64.b64encode(png).decode("ascii"),
        width=width // _PIXELS_A_CSS_PIXEL,
        height=height // _PIXELS_A_CSS_PIXEL,
        caption=caption,
        alternative=alternative,
    )


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
