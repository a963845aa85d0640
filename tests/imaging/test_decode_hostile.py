"""Broken, lying and hostile files: one DecodeError each, before anything large is allocated."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.encaps import encapsulate

from breastlens.config import ImageRecipe, ReadingLimits
from breastlens.errors import DecodeError
from breastlens.imaging import raster
from breastlens.imaging.decode import decode, decode_frames
from breastlens.imaging.preprocess import preprocess

NOISE = np.random.default_rng(5).integers(0, 256, (24, 31, 3), dtype=np.uint8)


def pillow_bytes(kind: str, pixels: np.ndarray = NOISE, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def npy_bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def dicom_bytes(name: str) -> bytes:
    """One of the small files that come with pydicom."""
    return (Path(pydicom.__file__).parent / "data" / "test_files" / name).read_bytes()


CELSIUS = 20 + NOISE[..., 0] / 16
WHOLE: dict[str, bytes] = {
    "a.png": pillow_bytes("PNG"),
    "a.jpg": pillow_bytes("JPEG"),
    "progressive.jpg": pillow_bytes("JPEG", progressive=True),
    "a.tif": pillow_bytes("TIFF"),
    "lzw.tif": pillow_bytes("TIFF", compression="tiff_lzw"),
    "jpeg.tif": pillow_bytes("TIFF", compression="jpeg"),
    "a.bmp": pillow_bytes("BMP"),
    "a.webp": pillow_bytes("WEBP"),
    "lossless.webp": pillow_bytes("WEBP", lossless=True),
    "a.pgm": cv2.imencode(".pgm", NOISE[..., 0])[1].tobytes(),
    "sixteen.ppm": cv2.imencode(".ppm", NOISE.astype(np.uint16) * 200)[1].tobytes(),
    "a.npy": npy_bytes(CELSIUS),
    "a.txt": "\n".join(" ".join(f"{value:.2f}" for value in row) for row in CELSIUS).encode(),
    "a.csv": "\n".join(";".join(f"{value:.2f}" for value in row) for row in CELSIUS)
    .replace(".", ",")
    .encode(),
    "native.dcm": dicom_bytes("MR_small.dcm"),
    "rle.dcm": dicom_bytes("MR_small_RLE.dcm"),
    "jpeg2000.dcm": dicom_bytes("MR_small_jp2klossless.dcm"),
    "jpegls.dcm": dicom_bytes("MR_small_jpeg_ls_lossless.dcm"),
    "jpeg.dcm": dicom_bytes("SC_rgb_small_odd_jpeg.dcm"),
    "frames.dcm": dicom_bytes("SC_rgb_rle_2frame.dcm"),
}

STARTS = [
    b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM", b"P5 ", b"RIFF1234WEBP", b"\x93NUMPY\1\0",
    bytes(128) + b"DICM",
]  # fmt: skip


def written(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", WHOLE)
def test_the_files_that_are_damaged_below_can_be_read_whole(tmp_path: Path, name: str) -> None:
    assert decode(written(tmp_path, name, WHOLE[name])).pixels.size


# --- what is no image at all ---------------------------------------------------------------------------------------


def test_missing_file_folder_and_pipe(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=r"none\.png: it cannot be read: no such file"):
        decode(tmp_path / "none.png")
    with pytest.raises(DecodeError, match="not a regular file"):
        decode(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DecodeError, match="not a regular file"):  # opening it would wait for ever
        decode(tmp_path / "pipe.png")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.png", b"", "it is empty"),
        ("a.png", b"Dear colleague,\nplease find", "it is text, not an image.*expected PNG, JPEG"),
        ("a.dcm", b"<html><body>404</body></html>", "it is text"),
        ("a.png", b"GIF89a" + bytes(40), "it is a GIF file"),
        ("a.jpg", b"%PDF-1.7\n", "it is a PDF file"),
        ("a.npy", b"PK\x03\x04" + bytes(40), "it is a ZIP file"),
        ("a.bmp", bytes(range(256)), "it is of unknown content"),
        ("no-suffix", b"30.1 30.2\n30.3 30.4\n", "it is text"),
    ],
)
def test_content_that_is_not_read(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        decode(written(tmp_path, name, data))
    with pytest.raises(DecodeError, match=message):
        next(decode_frames(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("b.jpg", "a.png", r"suffix \.jpg says JPEG, its content is PNG; give it the right suffix"),
        ("b.PNG", "a.jpg", r"suffix \.PNG says PNG, its content is JPEG"),
        ("b.txt", "a.png", r"suffix \.txt says text, its content is PNG"),
        ("b.tif", "native.dcm", r"suffix \.tif says TIFF, its content is DICOM"),
        ("b.dcm", "a.npy", r"suffix \.dcm says DICOM, its content is NumPy"),
    ],
)
def test_mislabelled_files_are_refused_by_both_names(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    with pytest.raises(DecodeError, match=message):
        decode(written(tmp_path, name, WHOLE[content]))


def test_a_suffix_that_claims_nothing_is_accepted(tmp_path: Path) -> None:
    assert decode(written(tmp_path, "IM000001", WHOLE["native.dcm"])).format == "DICOM"
    assert decode(written(tmp_path, "b.dat", WHOLE["a.png"])).format == "PNG"


def test_error_tells_path_and_reason_apart(tmp_path: Path) -> None:
    path = written(tmp_path, "a.png", b"")
    with pytest.raises(DecodeError) as caught:
        decode(path)
    assert (caught.value.path, caught.value.reason) == (str(path), "it is empty")


# --- limits ---------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bombs() -> dict[str, bytes]:
    """Small files that tell of 50000x50000 px (16383 for WebP, which has no larger lossy frame)."""
    side = 50_000
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b"")
    )
    jpeg = bytearray(WHOLE["a.jpg"])
    frame = jpeg.index(b"\xff\xc0")
    struct.pack_into(">HH", jpeg, frame + 5, side, side)
    bmp = bytearray(WHOLE["a.bmp"])
    struct.pack_into("<ii", bmp, 18, side, -side)
    webp = bytearray(WHOLE["a.webp"])
    struct.pack_into("<HH", webp, 26, 16383, 16383)
    tiff = bytearray(WHOLE["a.tif"])
    start = struct.unpack_from("<I", tiff, 4)[0] + 2
    for entry in range(start, start + 12 * struct.unpack_from("<H", tiff, start - 2)[0], 12):
        if struct.unpack_from("<H", tiff, entry)[0] in (256, 257):
            struct.pack_into("<HII", tiff, entry + 2, 4, 1, side)
    dataset = pydicom.dcmread(io.BytesIO(WHOLE["jpeg2000.dcm"]))
    dataset.Rows = dataset.Columns = side
    dicom = io.BytesIO()
    dataset.save_as(dicom)
    npy = WHOLE["a.npy"].replace(b"(24, 31), }", b"(50000, 50000), }")
    return {
        "a.png": png,
        "a.jpg": bytes(jpeg),
        "a.bmp": bytes(bmp),
        "a.webp": bytes(webp),
        "a.tif": bytes(tiff),
        "a.pgm": b"P2\n50000 50000\n255\n0 0\n",
        "a.dcm": dicom.getvalue(),
        "a.npy": npy,
    }


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.webp", "a.tif", "a.pgm", "a.dcm", "a.npy"])
def test_bombs_are_refused_from_their_headers(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object, **__: object) -> None:
        pytest.fail("a bomb reached the decoder")

    monkeypatch.setattr(raster.cv2, "imdecode", explode)
    monkeypatch.setattr(np, "frombuffer", explode)
    with pytest.raises(
        DecodeError, match=r"(50000x50000|16383x16383) px.*(more than the limit of 100000000|are there)"
    ):
        decode(written(tmp_path, name, bombs()[name]))


def test_pixel_limit_counts_one_frame_exactly(tmp_path: Path) -> None:
    for name, data in WHOLE.items():
        path = written(tmp_path, name, data)
        image = decode(path)
        pixels = image.width * image.height
        assert decode(path, limits=ReadingLimits(pixels=pixels)).pixels.shape == image.pixels.shape
        with pytest.raises(
            DecodeError, match=f"{image.width}x{image.height} px, more than the limit of {pixels - 1}"
        ):
            decode(path, limits=ReadingLimits(pixels=pixels - 1))


def test_a_compressed_frame_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    data = WHOLE["jpeg2000.dcm"]
    size = data.index(b"\xff\x4f\xff\x51") + 8
    liar = data[:size] + struct.pack(">II", 50_000, 50_000) + data[size + 8 :]
    with pytest.raises(DecodeError, match="64x64 px, its compressed frame 50000x50000"):
        decode(written(tmp_path, "a.dcm", liar))


def test_a_jpeg_with_a_second_frame_header_is_refused(tmp_path: Path) -> None:
    data = WHOLE["a.jpg"]
    frame = data.index(b"\xff\xc0")
    decoy = bytearray(data[frame : frame + 19])
    with pytest.raises(DecodeError, match="two frame headers"):
        decode(written(tmp_path, "a.jpg", data[:frame] + bytes(decoy) + data[frame:]))


def test_an_rle_frame_that_would_unpack_to_more_than_it_may_is_refused(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(io.BytesIO(WHOLE["rle.dcm"]))
    run = b"\x81\x00"  # 128 times zero, in two bytes
    segments = run * 32, run * 5000  # 64x64 px are 32 runs
    starts = (64, 64 + len(segments[0]))
    frame = struct.pack("<16I", 2, *starts, *[0] * 13) + b"".join(segments)
    dataset.PixelData = encapsulate([frame])
    stream = io.BytesIO()
    dataset.save_as(stream)
    with pytest.raises(DecodeError, match="RLE frame unpacks to more than the 4096 px"):
        decode(written(tmp_path, "a.dcm", stream.getvalue()))


def test_file_size_is_checked_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "a.png", WHOLE["a.png"])
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("the file was read"))
    with pytest.raises(DecodeError, match="bytes, more than the limit of 100"):
        decode(path, limits=ReadingLimits(file_bytes=100))


def test_frame_limit(tmp_path: Path) -> None:
    path = written(tmp_path, "a.dcm", WHOLE["frames.dcm"])
    assert len(list(decode_frames(path))) == 2
    with pytest.raises(DecodeError, match="it has 2 frames, more than the limit of 1"):
        decode(path, limits=ReadingLimits(frames=1))


@pytest.mark.parametrize("frame", [-1, 2])
def test_a_frame_that_is_not_there(tmp_path: Path, frame: int) -> None:
    with pytest.raises(DecodeError, match=rf"frame {frame} was asked for, it has 2"):
        decode(written(tmp_path, "a.dcm", WHOLE["frames.dcm"]), frame=frame)


def test_tiff_that_runs_in_a_circle_or_repeats_itself(tmp_path: Path) -> None:
    circle = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 256, 4, 1, 5, 8)
    with pytest.raises(DecodeError, match="circle"):
        decode(written(tmp_path, "a.tif", circle))
    greedy = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 273, 1, 11_000_000, 8, 0) + bytes(11_000_000)
    with pytest.raises(DecodeError, match="more values than"):
        decode(written(tmp_path, "b.tif", greedy))


# --- truncation and damage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in WHOLE if not name.endswith((".txt", ".csv"))])
def test_truncated_files_never_pass_as_whole(tmp_path: Path, name: str) -> None:
    data = WHOLE[name]
    if name.endswith(".dcm"):  # what follows the pixel data may be missing: nothing of the image is
        data = data[: len(data) - 200]
    for kept in sorted({1, 9, 30, 60, *np.linspace(8, len(data) - 2, 25).astype(int)}):
        with pytest.raises(DecodeError):
            decode(written(tmp_path, name, data[:kept]))


def test_a_changed_byte_in_png_pixels_is_noticed(tmp_path: Path) -> None:
    data = bytearray(WHOLE["a.png"])
    data[len(data) // 2] ^= 1
    with pytest.raises(DecodeError, match="checksum of its IDAT chunk"):
        decode(written(tmp_path, "a.png", bytes(data)))


def test_damaged_exif_leaves_the_image_as_it_stands(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = pillow_bytes("JPEG", exif=exif)
    broken = whole.replace(b"Exif\0\0MM", b"Exif\0\0XX").replace(b"Exif\0\0II", b"Exif\0\0XX")
    assert decode(written(tmp_path, "a.jpg", whole)).width == 24
    assert decode(written(tmp_path, "b.jpg", broken)).width == 31


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(WHOLE)),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), max_size=4),
    early=st.booleans(),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_mutated_files_give_an_image_or_a_decode_error(
    tmp_path: Path, name: str, edits: list[tuple[float, bytes]], early: bool, kept: float
) -> None:
    data = bytearray(WHOLE[name])
    reach = min(len(data), 400) if early else len(data)
    for place, replacement in edits:
        at = int(place * (reach - 1))
        data[at : at + len(replacement)] = replacement
    path = written(tmp_path, name, bytes(data[: max(1, int(kept * len(data)))]))
    try:
        image = decode(path)
    except DecodeError:
        return
    assert image.pixels.dtype in (np.uint8, np.uint16, np.float32)
    prepared = preprocess(image, ImageRecipe(image_size=32))
    assert prepared.pixels.shape == (32, 32, 3)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    suffix=st.sampled_from(
        [".txt", ".csv", ".npy", ".png", ".jpg", ".tif", ".bmp", ".pgm", ".webp", ".dcm", ""]
    ),
    start=st.sampled_from(STARTS),
    rest=st.binary(max_size=200),
)
def test_garbage_gives_a_decode_error(tmp_path: Path, suffix: str, start: bytes, rest: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(written(tmp_path, f"garbage{suffix}", start + rest))


def test_text_garbage_is_never_quoted(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", b"Patient: Florence Nightingale\n30.1 30.2\n")
    with pytest.raises(DecodeError) as caught:
        decode(path)
    assert "Florence" not in str(caught.value)
