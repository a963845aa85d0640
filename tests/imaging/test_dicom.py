"""DICOM: what is shown, in which units, and that nothing of the person but the id comes through."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from breastlens.config import ImageRecipe
from breastlens.errors import DecodeError
from breastlens.imaging.decode import DecodedImage, decode, decode_frames
from breastlens.imaging.preprocess import apply_window, preprocess

GREY8 = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
GREY12 = (np.arange(48, dtype=np.uint16).reshape(6, 8) * 80).astype(np.uint16)
SIGNED = (np.arange(48).reshape(6, 8) * 100 - 1500).astype(np.int16)


def dataset(
    pixels: np.ndarray, photometric: str = "MONOCHROME2", bits: int | None = None, **tags: object
) -> Dataset:
    """A small image; frames, if any, come first."""
    colour = photometric in ("RGB", "YBR_FULL")
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = "1.2.3.4"
    shape = pixels.shape[:-1] if colour else pixels.shape
    made.Rows, made.Columns = shape[-2:]
    if len(shape) == 3:
        made.NumberOfFrames = shape[0]
    made.SamplesPerPixel = 3 if colour else 1
    if colour:
        made.PlanarConfiguration = 0
    made.PhotometricInterpretation = photometric
    made.BitsAllocated = pixels.itemsize * 8
    made.BitsStored = bits or made.BitsAllocated
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.add_new("PixelData", "OW" if pixels.itemsize > 1 else "OB", pixels.tobytes())
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    return made


def saved(tmp_path: Path, made: Dataset, name: str = "a.dcm") -> Path:
    made.save_as(tmp_path / name, enforce_file_format=True)
    return tmp_path / name


def read(tmp_path: Path, made: Dataset, frame: int = 0) -> DecodedImage:
    return decode(saved(tmp_path, made), frame=frame)


def shown_grey(image: DecodedImage) -> np.ndarray:
    """The grey levels at full size, by the window the image states."""
    assert image.window is not None
    return apply_window(image.pixels, *image.window)


# --- grey levels -----------------------------------------------------------------------------------------------------


def test_eight_bits_without_a_window_are_left_alone(tmp_path: Path) -> None:
    image = read(tmp_path, dataset(GREY8))
    np.testing.assert_array_equal(image.pixels, GREY8)
    assert (image.pixels.dtype, image.bits, image.format, image.window) == (np.uint8, 8, "DICOM", None)
    prepared = preprocess(image, ImageRecipe())
    assert (prepared.low, prepared.high) == (0.0, 255.0)


def test_eight_bits_in_sixteen_are_eight_bits(tmp_path: Path) -> None:
    image = read(tmp_path, dataset(GREY8.astype(np.uint16), bits=8))
    np.testing.assert_array_equal(image.pixels, GREY8)
    assert image.pixels.dtype == np.uint8


def test_twelve_bits_keep_their_levels_and_are_windowed_by_the_image(tmp_path: Path) -> None:
    image = read(tmp_path, dataset(GREY12, bits=12))
    np.testing.assert_array_equal(image.pixels, GREY12)
    assert (image.pixels.dtype, image.bits) == (np.uint16, 12)
    prepared = preprocess(image, ImageRecipe())
    assert (prepared.low, prepared.high) == (0.0, 3760.0)


def test_rescale_gives_signed_modality_values(tmp_path: Path) -> None:
    image = read(tmp_path, dataset(SIGNED, RescaleSlope="0.5", RescaleIntercept="-10"))
    np.testing.assert_allclose(image.pixels, SIGNED * 0.5 - 10)
    assert image.pixels.dtype == np.float32


def test_modality_lut_is_applied(tmp_path: Path) -> None:
    lut = Dataset()
    lut.LUTDescriptor = [48, 0, 16]
    lut.LUTData = [value * value for value in range(48)]
    lut["LUTData"].VR = "US"
    lut.ModalityLUTType = "US"
    made = dataset(np.arange(48, dtype=np.uint8).reshape(6, 8), ModalityLUTSequence=Sequence([lut]))
    np.testing.assert_array_equal(read(tmp_path, made).pixels, (np.arange(48) ** 2).reshape(6, 8))


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_window_shows_what_pydicom_shows(tmp_path: Path, function: str | None, photometric: str) -> None:
    made = dataset(
        SIGNED, photometric, RescaleSlope="2", RescaleIntercept="7", WindowCenter="300", WindowWidth="1600"
    )
    if function is not None:
        made.VOILUTFunction = function
    values = apply_voi_lut(apply_modality_lut(SIGNED, made), made)
    # pydicom gives the window the whole range of the stored, rescaled depth
    low, high = -(2**15) * 2 + 7, (2**15 - 1) * 2 + 7
    expected = 255 * (values - low) / (high - low)
    if photometric == "MONOCHROME1":
        expected = 255 - expected
    image = read(tmp_path, made)
    assert np.abs(shown_grey(image) - expected).max() <= 0.51
    if function in (None, "LINEAR"):
        assert image.window == (300 - 0.5 - 1599 / 2, 300 - 0.5 + 1599 / 2)


def test_the_first_of_several_windows_counts(tmp_path: Path) -> None:
    made = dataset(GREY12, bits=12, WindowCenter=["1000", "50"], WindowWidth=["2001", "10"])
    image = read(tmp_path, made)
    assert image.window == (-0.5, 1999.5)
    np.testing.assert_array_equal(image.pixels, GREY12)
    prepared = preprocess(image, ImageRecipe())
    assert (prepared.low, prepared.high) == (-0.5, 1999.5)


def test_a_window_without_width_is_no_window(tmp_path: Path) -> None:
    assert read(tmp_path, dataset(GREY12, bits=12, WindowCenter="100", WindowWidth="0")).window is None


@pytest.mark.parametrize(("center", "width"), [("nan", "10"), ("10", "nan"), ("1e39", "10"), ("10", "1e400")])
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_a_window_of_no_finite_numbers_is_refused(
    tmp_path: Path, center: str, width: str, photometric: str
) -> None:
    """It would make every pixel the same, and the image would be scored."""
    made = dataset(GREY12, photometric, bits=12, WindowCenter="11", WindowWidth="22")
    written = saved(tmp_path, made)
    data = written.read_bytes()
    for tag, old, new in ((b"\x50\x10DS", b"11", center), (b"\x51\x10DS", b"22", width)):
        value = new.encode() + b" " * (len(new) % 2)
        old_element = tag + len(old).to_bytes(2, "little") + old
        assert data.count(old_element) == 1
        data = data.replace(old_element, tag + len(value).to_bytes(2, "little") + value)
    written.write_bytes(data)
    with pytest.raises(DecodeError, match="finite numbers"):
        decode(written)


def test_a_window_of_width_one_is_a_threshold(tmp_path: Path) -> None:
    image = read(tmp_path, dataset(GREY12, bits=12, WindowCenter="1600.5", WindowWidth="1"))
    np.testing.assert_array_equal(shown_grey(image), np.where(GREY12 > 1600, 255, 0))


def test_voi_lut_is_applied_and_shown_on_its_own_depth(tmp_path: Path) -> None:
    lut = Dataset()
    lut.LUTDescriptor = [4096, 0, 10]
    lut.LUTData = [min(1023, value // 2) for value in range(4096)]
    lut["LUTDescriptor"].VR = lut["LUTData"].VR = "US"
    image = read(tmp_path, dataset(GREY12, bits=12, VOILUTSequence=Sequence([lut])))
    assert image.window == (0.0, 1023.0)
    np.testing.assert_array_equal(image.pixels, np.minimum(1023, GREY12 // 2))


@pytest.mark.parametrize(
    ("pixels", "bits", "expected"),
    [
        (GREY8, 8, 255 - GREY8),
        (GREY12, 12, 4095 - GREY12),
        (SIGNED, 16, SIGNED.min() + SIGNED.max() - SIGNED),
    ],
)
def test_monochrome1_is_turned(tmp_path: Path, pixels: np.ndarray, bits: int, expected: np.ndarray) -> None:
    image = read(tmp_path, dataset(pixels, "MONOCHROME1", bits=bits))
    np.testing.assert_array_equal(image.pixels, expected)


def test_one_bit_masks_are_black_and_white(tmp_path: Path) -> None:
    path = Path(pydicom.__file__).parent / "data" / "test_files" / "liver_1frame.dcm"
    assert set(np.unique(preprocess(decode(path), ImageRecipe(image_size=512)).pixels)) == {0, 255}


# --- colour ----------------------------------------------------------------------------------------------------------


def test_rgb_and_ybr(tmp_path: Path) -> None:
    rgb = np.dstack([GREY8, GREY8[::-1], 255 - GREY8])
    np.testing.assert_array_equal(read(tmp_path, dataset(rgb, "RGB")).pixels, rgb)
    ybr = np.zeros((4, 4, 3), np.uint8)
    ybr[...] = (76, 85, 255)  # red (ITU-R BT.601)
    assert np.abs(read(tmp_path, dataset(ybr, "YBR_FULL")).pixels.astype(int) - (254, 0, 0)).max() <= 1


def test_palette_colour(tmp_path: Path) -> None:
    made = dataset(np.arange(4, dtype=np.uint8).reshape(2, 2), "PALETTE COLOR")
    for colour, levels in {
        "Red": [0, 65535, 0, 0],
        "Green": [0, 0, 32768, 0],
        "Blue": [0, 0, 0, 65535],
    }.items():
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, 16])
        made[f"{colour}PaletteColorLookupTableDescriptor"].VR = "US"
        setattr(made, f"{colour}PaletteColorLookupTableData", np.array(levels, "<u2").tobytes())
    image = read(tmp_path, made)
    expected = [[[0, 0, 0], [255, 0, 0]], [[0, 128, 0], [0, 0, 255]]]
    np.testing.assert_array_equal(shown_grey(image), expected)


def test_a_palette_without_colours_is_refused(tmp_path: Path) -> None:
    made = dataset(np.arange(4, dtype=np.uint8).reshape(2, 2), "PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, 16])
        made[f"{colour}PaletteColorLookupTableDescriptor"].VR = "US"
        setattr(made, f"Segmented{colour}PaletteColorLookupTableData", b"")
    with pytest.raises(DecodeError, match="its pixels come in 0 colours, expected 3"):
        read(tmp_path, made)


# --- transfer syntaxes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEG2000Lossless]
)
@pytest.mark.parametrize("pixels", [GREY8, GREY12])
def test_lossless_transfer_syntaxes_give_back_what_was_written(
    tmp_path: Path, syntax: str, pixels: np.ndarray
) -> None:
    pixels = np.tile(pixels, (8, 8))
    made = dataset(pixels)
    if syntax in (RLELossless, JPEG2000Lossless):
        made.compress(syntax, encoding_plugin="pydicom" if syntax == RLELossless else "pylibjpeg")
        made.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    else:
        made.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            made.PixelData = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
        made.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(decode(tmp_path / "a.dcm").pixels, pixels)


@pytest.mark.parametrize("name", ["MR_small_jpeg_ls_lossless", "MR_small_jp2klossless", "MR_small_RLE"])
def test_compressed_twins_of_one_image_agree(name: str) -> None:
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    plain, packed = decode(folder / "MR_small.dcm"), decode(folder / f"{name}.dcm")
    np.testing.assert_array_equal(plain.pixels, packed.pixels)
    assert plain.window == packed.window


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("SC_rgb_jpeg_dcmtk", (100, 100, 3), np.uint8),  # baseline
        ("JPGExtended", (1024, 256), np.uint16),  # 12-bit lossy
        ("SC_rgb_jpeg_gdcm", (100, 100, 3), np.uint8),  # lossless, process 14
        ("JPEGLSNearLossless_16", (50, 10), np.uint16),
        ("examples_jpeg2k", (480, 640, 3), np.uint8),
    ],
)
def test_every_jpeg_family_is_read(name: str, shape: tuple[int, ...], dtype: type) -> None:
    image = decode(Path(pydicom.__file__).parent / "data" / "test_files" / f"{name}.dcm")
    assert image.pixels.shape == shape
    assert image.pixels.dtype == dtype
    assert image.pixels.std() > 1


def test_a_preamble_of_another_format_does_not_mislead(tmp_path: Path) -> None:
    made = dataset(GREY8)
    made.preamble = b"II*\0" + bytes(124)
    np.testing.assert_array_equal(read(tmp_path, made).pixels, GREY8)


def test_deflated_files_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    made = dataset(GREY8)
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    with pytest.raises(DecodeError, match=r"deflated DICOM.*save it uncompressed"):
        read(tmp_path, made)


@pytest.mark.parametrize("missing", ["Rows", "BitsStored", "PixelData", "PhotometricInterpretation"])
def test_files_without_an_image(tmp_path: Path, missing: str) -> None:
    made = dataset(GREY8)
    del made[missing]
    if missing == "BitsStored":
        del made["BitsAllocated"]
    with pytest.raises(DecodeError, match=r"without an image|pixel data cannot be read"):
        read(tmp_path, made)


# --- frames ----------------------------------------------------------------------------------------------------------


def test_frames_come_one_at_a_time(tmp_path: Path) -> None:
    frames = np.stack([GREY8, GREY8[::-1], 255 - GREY8])
    path = saved(tmp_path, dataset(frames))
    for images in ([decode(path, frame=number) for number in range(3)], list(decode_frames(path))):
        assert [image.frame for image in images] == [0, 1, 2]
        np.testing.assert_array_equal([image.pixels for image in images], frames)


def test_all_frames_come_of_one_reading_and_one_parsing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, dataset(np.stack([GREY8, GREY8[::-1], 255 - GREY8])))
    read_bytes, dcmread, calls = Path.read_bytes, pydicom.dcmread, []
    monkeypatch.setattr(Path, "read_bytes", lambda self: calls.append("read") or read_bytes(self))
    monkeypatch.setattr(
        pydicom, "dcmread", lambda *args, **options: calls.append("parse") or dcmread(*args, **options)
    )
    assert len(list(decode_frames(path))) == 3
    assert calls == ["read", "parse"]


def test_a_frame_inherits_nothing_from_the_one_before(tmp_path: Path) -> None:
    """The first frame has a window and a rescale, the second has none."""
    first, second = Dataset(), Dataset()
    window, rescale = Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = "100", "101"
    rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = "2", "0", "US"
    first.FrameVOILUTSequence = Sequence([window])
    first.PixelValueTransformationSequence = Sequence([rescale])
    made = dataset(np.stack([GREY12, GREY12]), bits=12)
    made.PerFrameFunctionalGroupsSequence = Sequence([first, second])
    images = list(decode_frames(saved(tmp_path, made)))
    assert [image.window for image in images] == [(49.5, 149.5), None]
    np.testing.assert_array_equal(images[0].pixels, GREY12 * 2.0)
    np.testing.assert_array_equal(images[1].pixels, GREY12)


def test_each_frame_of_an_enhanced_file_has_its_own_window_over_the_shared_rescale(tmp_path: Path) -> None:
    shared, first, second = Dataset(), Dataset(), Dataset()
    rescale = Dataset()
    rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = "2", "0", "US"
    shared.PixelValueTransformationSequence = Sequence([rescale])
    for groups, center in ((first, "100"), (second, "200")):
        window = Dataset()
        window.WindowCenter, window.WindowWidth = center, "101"
        groups.FrameVOILUTSequence = Sequence([window])
    made = dataset(np.stack([GREY12, GREY12]), bits=12)
    made.SharedFunctionalGroupsSequence = Sequence([shared])
    made.PerFrameFunctionalGroupsSequence = Sequence([first, second])
    path = saved(tmp_path, made)
    assert decode(path, frame=0).window == (49.5, 149.5)
    assert decode(path, frame=1).window == (149.5, 249.5)
    np.testing.assert_array_equal(decode(path, frame=1).pixels, GREY12 * 2.0)


# --- the person ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "told"),
    [("P-007", "P-007"), (" P 7 ", "P 7"), ("", None), (None, None), ("Å42", "Å42"), ("x" * 90, "x" * 90)],
)
def test_patient_id_is_taken_from_the_header(tmp_path: Path, stored: str | None, told: str | None) -> None:
    made = dataset(GREY8)
    made.SpecificCharacterSet = "ISO_IR 192"
    if stored is not None:
        with pydicom.config.disable_value_validation():
            made.PatientID = stored
            path = saved(tmp_path, made)
    else:
        path = saved(tmp_path, made)
    assert decode(path).patient_id == told


def test_nothing_else_of_the_person_is_kept_told_or_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = dataset(GREY8)
    with pydicom.config.disable_value_validation():
        made.PatientID = "X1"
        made.PatientName = "Nightingale^Florence"
        made.PatientBirthDate = "Nightingale was born in 1820"  # no date: pydicom quotes it when it is parsed
        made.PatientAge = "Nightingale"
        made.OtherPatientIDs = "Nightingale-2"
        made.StudyDate = "Nightingale"
        data = io.BytesIO()
        made.save_as(data, enforce_file_format=True)
    whole = data.getvalue()
    path = tmp_path / "a.dcm"
    path.write_bytes(whole)
    image = decode(path)  # a warning would fail this test
    assert "Nightingale" not in repr(image)
    assert image.patient_id == "X1"
    name = whole.index(b"Nightingale^Florence")
    for kept in range(name - 4, len(whole) - 1, 7):
        path.write_bytes(whole[:kept])
        with pytest.raises(DecodeError) as caught:
            decode(path)
        chain = [caught.value, caught.value.__cause__]
        assert not any("Nightingale" in str(error) for error in chain)
    assert "Nightingale" not in caplog.text
