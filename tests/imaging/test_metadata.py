"""What files tell of how they were made: held against what Pillow and pydicom were asked to write."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import asdict

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from breastlens.imaging.metadata import FileMetadata, name_pattern, read_metadata

GREY = Image.fromarray((np.arange(40 * 48) % 251).astype(np.uint8).reshape(40, 48), "L")
COLOUR = GREY.convert("RGB")
SECRET = "Jane Doe"


def save(image: Image.Image, kind: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def exif_block() -> bytes:
    exif = Image.Exif()
    exif[271], exif[272], exif[305] = "FLIR Systems AB", "FLIR T650sc", "FLIR Tools 6.4"
    exif[306], exif[36867] = "2020:01:01 00:00:00", "2019:03:04 10:11:12"
    exif[315], exif[33432], exif[270] = SECRET, SECRET, SECRET  # artist, copyright, description
    return exif.tobytes()


def dicom(**tags: object) -> bytes:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = "1.2.3.4"
    made.Manufacturer, made.ManufacturerModelName = "Siemens", "ACUSON S2000"
    made.SoftwareVersions = ["VB10", "2.1"]
    made.AcquisitionDate, made.StudyDate = "20170203", "20170101"
    made.PatientName, made.PatientID, made.StationName, made.InstitutionName = SECRET, SECRET, SECRET, SECRET
    made.OperatorsName = SECRET
    made.Rows = made.Columns = 4
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation = 7, 0
    made.PixelData = bytes(16)
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    target = io.BytesIO()
    made.save_as(target, enforce_file_format=True)
    return target.getvalue()


FILES = {
    "a.jpg": save(COLOUR, "JPEG", exif=exif_block()),
    "a.png": save(COLOUR, "PNG", exif=exif_block()),
    "a.tif": save(GREY, "TIFF", compression="tiff_lzw"),
    "a.webp": save(COLOUR, "WEBP", exif=exif_block()),
    "a.bmp": save(GREY, "BMP"),
    "a.pgm": save(GREY, "PPM"),
    "a.dcm": dicom(),
}


def test_a_jpeg_tells_the_quality_it_was_saved_with():
    told = [
        read_metadata(save(GREY, "JPEG", quality=quality), "a.jpg").jpeg_quality for quality in range(1, 101)
    ]
    assert told == list(range(1, 101))


def test_opencv_and_pillow_share_the_tables_of_a_quality():
    """Both use the library of the Independent JPEG Group, whose tables these are."""
    written = cv2.imencode(".jpg", np.asarray(COLOUR), [cv2.IMWRITE_JPEG_QUALITY, 83])[1].tobytes()
    ours, theirs = read_metadata(written, "a.jpg"), read_metadata(save(COLOUR, "JPEG", quality=83), "b.jpg")
    assert ours.jpeg_tables == theirs.jpeg_tables
    assert (ours.jpeg_quality, theirs.jpeg_quality) == (83, 83)
    other = read_metadata(save(COLOUR, "JPEG", quality=84), "c.jpg")
    assert other.jpeg_tables != ours.jpeg_tables
    assert len(other.jpeg_tables or "") == 8


def test_tables_of_a_camera_of_its_own_give_the_nearest_quality():
    tables = [[2] * 64, [3] * 64]
    assert read_metadata(save(COLOUR, "JPEG", qtables=tables), "a.jpg").jpeg_quality in range(95, 100)


@pytest.mark.parametrize(("option", "name"), [(0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0")])
def test_chroma_subsampling(option, name):
    assert read_metadata(save(COLOUR, "JPEG", subsampling=option), "a.jpg").chroma_subsampling == name


def test_compression_colour_and_alpha_of_each_format():
    palette = Image.merge("RGB", (GREY, GREY.transpose(Image.Transpose.ROTATE_180), GREY)).quantize(16)
    grey_palette = Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4), "P")
    grey_palette.putpalette([level for level in range(256) for _ in range(3)])
    files = {
        "grey jpeg": (save(GREY, "JPEG"), ("JPEG", "baseline", "grey", False)),
        "progressive": (save(COLOUR, "JPEG", progressive=True), ("JPEG", "progressive", "colour", False)),
        "grey png": (save(GREY, "PNG"), ("PNG", None, "grey", False)),
        "grey png with alpha": (save(GREY.convert("LA"), "PNG"), ("PNG", None, "grey", True)),
        "png with alpha": (save(COLOUR.convert("RGBA"), "PNG"), ("PNG", None, "colour", True)),
        "png with a clear colour": (
            save(COLOUR, "PNG", transparency=(1, 2, 3)),
            ("PNG", None, "colour", True),
        ),
        "png palette": (save(palette, "PNG"), ("PNG", None, "colour", False)),
        "png grey palette": (save(grey_palette, "PNG"), ("PNG", None, "grey", False)),
        "tiff": (save(GREY, "TIFF"), ("TIFF", "none", "grey", False)),
        "tiff lzw": (save(COLOUR, "TIFF", compression="tiff_lzw"), ("TIFF", "LZW", "colour", False)),
        "tiff alpha": (save(COLOUR.convert("RGBA"), "TIFF"), ("TIFF", "none", "colour", True)),
        "big tiff": (save(GREY, "TIFF", big_tiff=True), ("TIFF", "none", "grey", False)),
        "webp": (save(COLOUR, "WEBP", quality=80), ("WEBP", "lossy", "colour", False)),
        "webp lossless": (save(COLOUR, "WEBP", lossless=True), ("WEBP", "lossless", "colour", False)),
        "bmp": (save(COLOUR, "BMP"), ("BMP", "none", "colour", False)),
        "grey bmp": (save(GREY, "BMP"), ("BMP", "none", "grey", False)),
        "pgm": (save(GREY, "PPM"), ("PGM", None, "grey", False)),
        "ppm": (save(COLOUR, "PPM"), ("PPM", None, "colour", False)),
    }
    for name, (data, expected) in files.items():
        found = read_metadata(data, "a")
        assert (found.container, found.compression, found.colour, found.alpha) == expected, name
    clear = COLOUR.convert("RGBA")
    clear.putpixel((0, 0), (0, 0, 0, 0))
    for lossless in (True, False):
        assert read_metadata(save(clear, "WEBP", lossless=lossless), "a").alpha is True


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_exif_tells_device_software_and_the_day_it_was_taken(name):
    found = read_metadata(FILES[name], name)
    assert (found.maker, found.model) == ("FLIR Systems AB", "FLIR T650sc")
    assert (found.software, found.taken) == ("FLIR Tools 6.4", "2019-03-04")


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_exif_directory_behind_the_first_is_read_in_both_byte_orders(order):
    """By hand: directory at 8 with the model and the pointer, Exif directory at 100 with the day."""
    data = bytearray(200)
    struct.pack_into(order + "2sHI", data, 0, b"II" if order == "<" else b"MM", 42, 8)
    struct.pack_into(order + "H", data, 8, 2)
    struct.pack_into(order + "HHI4s", data, 10, 272, 2, 4, b"E8\0\0")
    struct.pack_into(order + "HHII", data, 22, 34665, 4, 1, 100)
    struct.pack_into(order + "H", data, 100, 1)
    struct.pack_into(order + "HHII", data, 102, 36867, 2, 20, 120)
    data[120:140] = b"2011:12:13 01:02:03\0"
    found = read_metadata(bytes(data), "a.tif")
    assert (found.model, found.taken) == ("E8", "2011-12-13")


def test_a_clock_that_was_never_set_is_no_date():
    exif = Image.Exif()
    exif[36867] = "0000:00:00 00:00:00"
    assert read_metadata(save(COLOUR, "JPEG", exif=exif.tobytes()), "a.jpg").taken is None


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "compressed iTXt"])
def test_png_software(kind):
    info = PngImagePlugin.PngInfo()
    if "iTXt" in kind:
        info.add_itxt("Software", "ImageJ 1.53 ü", "de", "Programm", zip=kind.startswith("compressed"))
    else:
        info.add_text("Software", "ImageJ 1.53 ü", zip=kind == "zTXt")
    info.add_text("Author", SECRET)
    found = read_metadata(save(GREY, "PNG", pnginfo=info), "a.png")
    assert found.software == "ImageJ 1.53 ü"
    assert SECRET not in repr(found)


def test_a_text_that_unpacks_to_gigabytes_is_cut():
    body = b"Software\0\0" + zlib.compress(b"a" * 50_000_000)
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    data = save(GREY, "PNG")
    assert len(read_metadata(data[:33] + chunk + data[33:], "a.png").software or "") == 64


def test_dicom():
    found = read_metadata(FILES["a.dcm"], "a.dcm")
    assert (found.maker, found.model, found.software) == ("Siemens", "ACUSON S2000", "VB10\\2.1")
    assert (found.container, found.taken, found.colour) == ("DICOM", "2017-02-03", "grey")
    assert found.compression == "Explicit VR Little Endian"
    assert read_metadata(dicom(AcquisitionDate=""), "a").taken == "2017-01-01"
    assert read_metadata(dicom(PhotometricInterpretation="YBR_FULL_422"), "a").colour == "colour"


def test_the_quality_of_a_jpeg_within_dicom():
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = "1.2.3.4"
    made.PixelData = encapsulate([save(GREY, "JPEG", quality=61)])
    made["PixelData"].is_undefined_length = True
    target = io.BytesIO()
    made.save_as(target, enforce_file_format=True)
    found = read_metadata(target.getvalue(), "a")
    assert (found.jpeg_quality, found.compression) == (61, "JPEG Baseline (Process 1)")


def test_two_transfer_syntaxes_in_one_damaged_tag_are_none():
    data = FILES["a.dcm"].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.1000\\.1.2.1\0")
    found = read_metadata(data, "a.dcm")
    assert (found.container, found.compression) == ("DICOM", None)


@pytest.mark.parametrize("name", sorted(FILES))
def test_nothing_of_the_person_is_kept_or_logged(name, caplog):
    found = read_metadata(FILES[name], name)
    assert SECRET not in repr(found)
    assert SECRET not in caplog.text
    assert all(value is None or isinstance(value, str | int | bool) for value in asdict(found).values())


def test_what_is_no_image_has_no_fields():
    assert read_metadata(b"hello", "notes.md") == FileMetadata(name_pattern="a.a")
    assert read_metadata(b"1 2\n3 4\n", "T1.txt").container == "MATRIX"
    assert read_metadata(b"", "x.png") == FileMetadata(name_pattern="a.a")


def test_a_truncated_file_keeps_what_was_read_before():
    whole = read_metadata(FILES["a.jpg"], "a.jpg")
    scan = FILES["a.jpg"].index(b"\xff\xda")
    cut = read_metadata(FILES["a.jpg"][: scan - 2], "a.jpg")
    assert (cut.maker, cut.taken) == (whole.maker, whole.taken)
    assert cut.jpeg_quality is None


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(sorted(FILES)),
    changes=st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), max_size=8),
    length=st.integers(0, 5000),
)
def test_no_damage_raises(name, changes, length):
    data = bytearray(FILES[name][:length])
    for place, value in changes:
        if place < len(data):
            data[place] = value
    found = read_metadata(bytes(data), name)
    assert found.taken is None or len(found.taken) == 10
    assert found.jpeg_quality is None or 1 <= found.jpeg_quality <= 100
    assert all(len(text or "") <= 64 for text in (found.maker, found.model, found.software))


@settings(max_examples=200, deadline=None)
@given(
    start=st.sampled_from([data[:140] for data in FILES.values()]),
    rest=st.binary(max_size=400),
    name=st.text(),
)
def test_no_bytes_raise(start, rest, name):
    read_metadata(start + rest, name)


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("healthy/T0001.1.1.S.2012-10-08.00.png", "A0.0.0.A.0-0-0.0.a"),
        ("benign (1).png", "a (0).a"),
        ("malignant (210).png", "a (0).a"),
        ("C:\\data\\IMG_0012.JPG", "A_0.A"),
        ("Left_breast", "Aa_a"),
        ("20150304T101112Z", "0A0A"),
        ("", ""),
    ],
)
def test_name_patterns(path, pattern):
    assert name_pattern(path) == pattern


@given(st.text(max_size=30), st.integers(0, 10**6))
def test_a_number_does_not_change_the_pattern(stem, number):
    assert name_pattern(f"{stem}_{number}.png") == name_pattern(f"{stem}_7.png")
