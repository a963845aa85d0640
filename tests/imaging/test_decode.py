"""What every raster format must give back: the pixels that were written, upright, grey or RGB."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from breastlens.config import ImageRecipe, ReadingLimits
from breastlens.errors import DecodeError
from breastlens.imaging.decode import IMAGE_SUFFIXES, decode, decode_frames
from breastlens.imaging.preprocess import preprocess

GREY = (np.add.outer(np.arange(24) * 3, np.arange(31) * 5) % 256).astype(np.uint8)
RGB = np.dstack([GREY, GREY // 2, 255 - GREY])
ALPHA = np.tile(np.linspace(0, 255, 31).astype(np.uint8), (24, 1))
GREY16 = GREY.astype(np.uint16) * 257 + 3
RGB16 = RGB.astype(np.uint16) * 250 + 11


def opencv_bytes(suffix: str, array: np.ndarray, *options: int) -> bytes:
    if array.ndim == 3:
        array = cv2.cvtColor(array, cv2.COLOR_RGB2BGR if array.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    return cv2.imencode(suffix, array, options)[1].tobytes()


def pillow_bytes(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def tiff_bytes(array: np.ndarray, order: str = "<", **tags: int) -> bytes:
    """The smallest TIFF there is, with any tag set as wanted."""
    height, width = array.shape[:2]
    samples = array.shape[2] if array.ndim == 3 else 1
    pixels = array.astype(array.dtype.newbyteorder(order)).tobytes()
    entries = {256: width, 257: height, 258: array.itemsize * 8, 259: 1, 262: 2 if samples > 1 else 1}
    entries |= {277: samples, 278: height, 279: len(pixels), 284: 1, 339: 1}
    entries |= {int(tag[1:]): value for tag, value in tags.items()}
    entries[273] = 0
    start = 8 + 2 + 12 * len(entries) + 4
    entries[273] = start + 16
    body = b""
    for tag, value in sorted(entries.items()):
        if tag == 258 and samples > 2:  # a list of depths, one a sample, stands behind the directory
            body += struct.pack(order + "HHII", tag, 3, samples, start)
        elif tag in (273, 279):
            body += struct.pack(order + "HHII", tag, 4, 1, value)
        else:
            body += struct.pack(order + "HHIHH", tag, 3, 1, value, 0)
    depths = struct.pack(order + "4H4H", *[entries[258]] * 4, 0, 0, 0, 0)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "IH", 8, len(entries)) + body + bytes(4) + depths + pixels


def written(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


LOSSLESS = {
    "grey8.png": (opencv_bytes(".png", GREY), GREY, "PNG", 8),
    "rgb8.png": (opencv_bytes(".png", RGB), RGB, "PNG", 8),
    "grey16.png": (opencv_bytes(".png", GREY16), GREY16, "PNG", 16),
    "rgb16.png": (opencv_bytes(".png", RGB16), RGB16, "PNG", 16),
    "grey8.tif": (pillow_bytes(Image.fromarray(GREY), "TIFF"), GREY, "TIFF", 8),
    "lzw.tiff": (pillow_bytes(Image.fromarray(RGB), "TIFF", compression="tiff_lzw"), RGB, "TIFF", 8),
    "deflate.tif": (
        pillow_bytes(Image.fromarray(GREY), "TIFF", compression="tiff_adobe_deflate"),
        GREY,
        "TIFF",
        8,
    ),
    "grey16.tif": (opencv_bytes(".tif", GREY16), GREY16, "TIFF", 16),
    "rgb16.tif": (opencv_bytes(".tif", RGB16), RGB16, "TIFF", 16),
    "big-endian.tif": (tiff_bytes(GREY16, ">"), GREY16, "TIFF", 16),
    "big.tif": (pillow_bytes(Image.fromarray(RGB), "TIFF", big_tiff=True), RGB, "TIFF", 8),
    "rgb8.bmp": (opencv_bytes(".bmp", RGB), RGB, "BMP", 8),
    "grey8.bmp": (opencv_bytes(".bmp", GREY), GREY, "BMP", 8),
    "rgb8.webp": (pillow_bytes(Image.fromarray(RGB), "WEBP", lossless=True), RGB, "WEBP", 8),
    "grey8.pgm": (opencv_bytes(".pgm", GREY), GREY, "PGM", 8),
    "grey16.pgm": (opencv_bytes(".pgm", GREY16), GREY16, "PGM", 16),
    "rgb8.ppm": (opencv_bytes(".ppm", RGB), RGB, "PPM", 8),
    "rgb16.ppm": (opencv_bytes(".ppm", RGB16), RGB16, "PPM", 16),
    "text.pgm": (opencv_bytes(".pgm", GREY, cv2.IMWRITE_PXM_BINARY, 0), GREY, "PGM", 8),
    "UPPER.PNG": (opencv_bytes(".png", GREY), GREY, "PNG", 8),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_give_back_exactly_what_was_written(tmp_path: Path, name: str) -> None:
    data, expected, kind, bits = LOSSLESS[name]
    image = decode(written(tmp_path, name, data))
    np.testing.assert_array_equal(image.pixels, expected)
    assert image.pixels.dtype == expected.dtype
    assert image.pixels.flags.c_contiguous
    assert (image.format, image.bits, image.width, image.height) == (kind, bits, 31, 24)
    assert (image.quantity, image.patient_id, image.frame, image.window) == ("grey", None, 0, None)


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_is_rgb_and_close(tmp_path: Path, progressive: bool) -> None:
    smooth = cv2.resize(RGB[:4, :4], (64, 48), interpolation=cv2.INTER_CUBIC)
    data = pillow_bytes(Image.fromarray(smooth), "JPEG", quality=95, subsampling=0, progressive=progressive)
    image = decode(written(tmp_path, "a.jpg", data))
    assert np.abs(image.pixels.astype(int) - smooth).mean() < 2  # with red and blue swapped it is above 50
    assert (image.format, image.bits) == ("JPEG", 8)


def test_grey_jpeg_stays_grey(tmp_path: Path) -> None:
    assert decode(written(tmp_path, "a.jpeg", pillow_bytes(Image.fromarray(GREY), "JPEG"))).pixels.ndim == 2


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_palette_becomes_the_colours_it_stands_for(tmp_path: Path, kind: str) -> None:
    indexed = Image.fromarray(RGB).quantize(16)
    image = decode(written(tmp_path, "a", pillow_bytes(indexed, kind)))
    np.testing.assert_array_equal(image.pixels, np.asarray(indexed.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_one_bit_becomes_black_and_white(tmp_path: Path, kind: str) -> None:
    image = decode(written(tmp_path, "a", pillow_bytes(Image.fromarray(GREY > 99), kind)))
    np.testing.assert_array_equal(image.pixels, np.where(GREY > 99, 255, 0))


def test_transparency_is_laid_on_black(tmp_path: Path) -> None:
    rgba = np.dstack([RGB, ALPHA])
    expected = (RGB.astype(int) * ALPHA[..., None] + 127) // 255
    files = {
        "a.png": opencv_bytes(".png", rgba),
        "a.webp": pillow_bytes(Image.fromarray(rgba), "WEBP", lossless=True, exact=True),
        "a.bmp": opencv_bytes(".bmp", rgba),
        "straight.tif": tiff_bytes(rgba, t338=2),
    }
    for name, data in files.items():
        pixels = decode(written(tmp_path, name, data)).pixels
        assert pixels.shape == RGB.shape, name
        # libtiff and libwebp may round the product the other way
        assert np.abs(pixels.astype(int) - expected).max() <= (1 if name == "straight.tif" else 0), name


def test_sixteen_bit_transparency_keeps_sixteen_bits(tmp_path: Path) -> None:
    rgba = np.dstack([RGB16, ALPHA.astype(np.uint16) * 257])
    expected = np.rint(RGB16 * (ALPHA[..., None] / 255)).astype(np.uint16)
    for name, data in {"a.png": opencv_bytes(".png", rgba), "a.tif": tiff_bytes(rgba, t338=2)}.items():
        np.testing.assert_array_equal(decode(written(tmp_path, name, data)).pixels, expected, err_msg=name)


def test_colours_that_alpha_was_multiplied_into_are_left_alone(tmp_path: Path) -> None:
    for rgb, alpha in ((RGB, ALPHA), (RGB16, ALPHA.astype(np.uint16))):
        data = tiff_bytes(np.dstack([rgb, alpha]), t338=1)
        np.testing.assert_array_equal(decode(written(tmp_path, "a.tif", data)).pixels, rgb)


def test_grey_with_alpha_stays_grey(tmp_path: Path) -> None:
    image = Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(ALPHA)))
    pixels = decode(written(tmp_path, "a.png", pillow_bytes(image, "PNG"))).pixels
    np.testing.assert_array_equal(pixels, (GREY.astype(int) * ALPHA + 127) // 255)


def test_transparent_palette_entries_are_black(tmp_path: Path) -> None:
    indexed = Image.fromarray(RGB).quantize(8)
    pixels = decode(written(tmp_path, "a.png", pillow_bytes(indexed, "PNG", transparency=3))).pixels
    expected = np.where((np.asarray(indexed) == 3)[..., None], 0, np.asarray(indexed.convert("RGB")))
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_undone_in_every_format_that_has_the_tag(
    tmp_path: Path, orientation: int
) -> None:
    image = Image.fromarray(RGB)
    exif = image.getexif()
    exif[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(image))
    tag = Image.Exif()
    tag[0x0112] = orientation
    grey16 = Image.fromarray(GREY.astype(np.uint16) * 257)
    files = {
        "a.png": (pillow_bytes(Image.fromarray(RGB), "PNG", exif=tag), upright, 0),
        "grey16.png": (pillow_bytes(grey16, "PNG", exif=tag), upright[..., 0].astype(int) * 257, 0),
        "a.webp": (pillow_bytes(Image.fromarray(RGB), "WEBP", exif=tag, lossless=True), upright, 0),
        "a.tif": (tiff_bytes(RGB, t274=orientation), upright, 0),
        "big-endian.tif": (tiff_bytes(RGB, ">", t274=orientation), upright, 0),
        "grey16.tif": (
            tiff_bytes(GREY.astype(np.uint16) * 257, t274=orientation),
            upright[..., 0].astype(int) * 257,
            0,
        ),
        "a.jpg": (
            pillow_bytes(Image.fromarray(RGB), "JPEG", exif=tag, quality=100, subsampling=0),
            upright,
            12,
        ),
    }
    for name, (data, expected, tolerance) in files.items():
        decoded = decode(written(tmp_path, name, data))
        assert decoded.pixels.shape == expected.shape, name
        assert (decoded.height, decoded.width) == expected.shape[:2], name
        assert np.abs(decoded.pixels.astype(int) - expected).max() <= tolerance, name


@pytest.mark.parametrize("levels", [GREY, GREY16])
def test_tiff_that_counts_from_white_is_turned(tmp_path: Path, levels: np.ndarray) -> None:
    pixels = decode(written(tmp_path, "a.tif", tiff_bytes(levels, t262=0))).pixels
    np.testing.assert_array_equal(pixels, np.iinfo(levels.dtype).max - levels)


def test_tiff_pages_are_frames_and_thumbnails_are_not(tmp_path: Path) -> None:
    pages = [
        Image.fromarray(GREY),
        Image.fromarray(GREY[:8, :8]),
        Image.fromarray(GREY.T.copy().reshape(24, 31)),
    ]
    pages[1].encoderinfo = {"tiffinfo": {254: 1}}
    stream = io.BytesIO()
    pages[0].save(stream, "TIFF", save_all=True, append_images=pages[1:])
    path = written(tmp_path, "a.tif", stream.getvalue())
    first, second = decode_frames(path)
    np.testing.assert_array_equal(first.pixels, GREY)
    np.testing.assert_array_equal(second.pixels, np.asarray(pages[2]))
    assert (first.frame, second.frame) == (0, 1)
    np.testing.assert_array_equal(decode(path, frame=1).pixels, np.asarray(pages[2]))
    assert decode(path, frame=1).frame == 1
    with pytest.raises(DecodeError, match=r"frame 2 was asked for, it has 2"):
        decode(path, frame=2)
    with pytest.raises(DecodeError, match="more than the limit of 1"):
        next(decode_frames(path, limits=ReadingLimits(frames=1)))


def test_raw_pgm_below_eight_bits_is_shown_on_its_own_range(tmp_path: Path) -> None:
    image = decode(
        written(tmp_path, "a.pgm", b"P5\n# made by hand\n40 40\n100\n" + bytes([0, 50, 100, 100]) * 400)
    )
    assert image.window == (0.0, 100.0)
    prepared = preprocess(image, ImageRecipe(image_size=40))
    assert sorted(np.unique(prepared.pixels)) == [0, 128, 255]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.fromarray(GREY.astype(np.float32)), "not unsigned 8- or 16-bit.*deg C"),
        (Image.fromarray(GREY.astype(np.int32)), "not unsigned 8- or 16-bit"),
        (Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(ALPHA))), "2 samples a pixel"),
    ],
)
def test_tiff_kinds_that_would_be_misread_are_refused(
    tmp_path: Path, image: Image.Image, message: str
) -> None:
    with pytest.raises(DecodeError, match=message):
        decode(written(tmp_path, "a.tif", pillow_bytes(image, "TIFF")))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_are_refused(tmp_path: Path, kind: str) -> None:
    data = pillow_bytes(
        Image.fromarray(GREY), kind, save_all=True, append_images=[Image.fromarray(255 - GREY)]
    )
    with pytest.raises(DecodeError, match="animation"):
        decode(written(tmp_path, "a", data))


def test_decoding_in_many_threads_gives_the_same_as_in_one(tmp_path: Path) -> None:
    paths = [written(tmp_path, name, data) for name, (data, *_) in LOSSLESS.items()] * 20
    alone = [decode(path).pixels for path in paths]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda path: decode(path).pixels, paths))
    for first, second in zip(alone, together, strict=True):
        np.testing.assert_array_equal(first, second)


def test_opencv_log_level_is_left_as_it_was(tmp_path: Path) -> None:
    log = cv2.utils.logging
    before = log.getLogLevel()
    log.setLogLevel(log.LOG_LEVEL_INFO)
    try:
        path = written(tmp_path, "a.bmp", opencv_bytes(".bmp", RGB)[:-200])
        with ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(decode, path) for _ in range(40)]
        assert all(isinstance(one.exception(), DecodeError) for one in waiting)
        assert log.getLogLevel() == log.LOG_LEVEL_INFO
    finally:
        log.setLogLevel(before)


def test_suffixes_are_lower_case_and_cover_the_formats() -> None:
    assert {".png", ".jpg", ".tiff", ".dcm", ".npy", ".csv", ".txt", ".webp"} <= IMAGE_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in IMAGE_SUFFIXES)


def test_importing_decode_loads_no_dicom_library() -> None:
    code = "import sys, breastlens.imaging.preprocess; print({'pydicom', 'keras', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
