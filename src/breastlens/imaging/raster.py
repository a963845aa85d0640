"""Decodes PNG, JPEG, TIFF, BMP, WebP, PGM and PPM with OpenCV, once their headers have been checked."""

from __future__ import annotations

import struct

import cv2
import numpy as np

from breastlens.imaging.header import Pixels, Window
from breastlens.imaging.quiet import quiet_opencv
from breastlens.imaging.raster_header import RasterHeader


def read_pixels(data: bytes, header: RasterHeader, frame: int) -> tuple[Pixels, Window | None]:
    """Decode one frame: upright, transparency laid on black, grey as (h, w), colour as (h, w, 3) RGB.

    Black is the ground because it is what surrounds the body in every modality read here, and what
    transparent pixels most often hide. A colour key in a grey PNG (tRNS) is ignored.

    Args:
        data: The whole file.
        header: What its header said.
        frame: TIFF page, from 0; 0 for all others.

    Returns:
        uint8 or uint16 pixels, and the window if the file states one: a raw PGM or PPM with a white level
        below 255.

    Raises:
        ValueError: OpenCV cannot decode it, or what it decodes is not what the header said.
    """
    page = header.pages[frame] if header.pages else None
    orientation = header.orientation if page is None else page.orientation
    if page is not None and page.orientation != 1 and page.orientation_entry is not None:
        # OpenCV turns TIFF files, and only those, even when told not to. One place decides: here.
        unturned = bytearray(data)
        struct.pack_into(page.orientation_entry.layout, unturned, page.orientation_entry.offset, 1)
        data = bytes(unturned)
    stored = _decode(data, frame if page is None else page.index)
    bits = header.bits if page is None else page.header.bits
    expected = np.uint16 if bits > 8 else np.uint8
    if stored.shape[:2] != (header.height, header.width) or stored.dtype != expected:
        raise ValueError(
            f"its header tells {header.width}x{header.height} px of {bits} bits, its data are"
            f" {stored.shape[1]}x{stored.shape[0]} of {stored.dtype}"
        )
    if page is not None and page.white_is_zero and stored.dtype == np.uint16:
        stored = np.iinfo(np.uint16).max - stored  # OpenCV does this itself for 8 bits and less, not for more
    # Of TIFF alpha, libtiff has multiplied all but the straight 16-bit kind already.
    multiply = page is None or (page.straight_alpha and stored.dtype == np.uint16)
    pixels = _to_grey_or_rgb(stored, multiply_alpha=multiply)
    if header.grey_with_alpha and pixels.ndim == 3:
        pixels = pixels[..., 0]
    window = None if header.white_level is None else (0.0, float(header.white_level))
    return np.ascontiguousarray(_upright(pixels, orientation)), window


def _decode(data: bytes, page: int) -> Pixels:
    """OpenCV's own result, BGR or BGRA or grey."""
    encoded = np.frombuffer(data, np.uint8)
    try:
        with quiet_opencv():
            if page == 0:
                array = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
            else:
                done, arrays = cv2.imdecodemulti(encoded, cv2.IMREAD_UNCHANGED, range=(page, page + 1))
                array = arrays[0] if done and arrays else None
    except cv2.error as error:
        raise ValueError(f"OpenCV cannot decode it: {error.err}") from error
    if array is None:
        raise ValueError(
            "OpenCV cannot decode it: it is damaged, truncated, or of a rare kind; save it anew as PNG"
        )
    return np.asarray(array)


def _to_grey_or_rgb(stored: Pixels, *, multiply_alpha: bool) -> Pixels:
    """BGR, BGRA or grey to RGB or grey of the same dtype."""
    if stored.ndim == 2:
        return stored
    if stored.shape[2] == 3:
        return np.asarray(cv2.cvtColor(stored, cv2.COLOR_BGR2RGB))
    if stored.shape[2] != 4:
        raise ValueError(f"it has {stored.shape[2]} channels, expected 1, 3 or 4")
    rgb = np.asarray(cv2.cvtColor(stored, cv2.COLOR_BGRA2RGB))
    full = np.iinfo(stored.dtype).max
    alpha = stored[..., 3:]
    if not multiply_alpha or (alpha == full).all():
        return rgb
    # In as few bits as hold the product, and in place: of a large image each further copy counts.
    product = np.multiply(rgb, alpha, dtype=np.uint16 if stored.dtype == np.uint8 else np.uint32)
    np.add(product, full // 2, out=product)
    np.floor_divide(product, full, out=product)
    return np.asarray(product, stored.dtype)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo what the Exif orientation tag (CIPA DC-008, tag 274) says of how rows and columns are stored."""
    match orientation:
        case 2:
            return pixels[:, ::-1]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[::-1]
        case 5:
            return pixels.swapaxes(0, 1)
        case 6:
            return np.rot90(pixels, -1)
        case 7:
            return pixels[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return np.rot90(pixels, 1)
        case _:
            return pixels
