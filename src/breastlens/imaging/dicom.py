"""DICOM through pydicom and pylibjpeg: technical tags and the patient id, nothing else of the person.

Only the tags listed here are ever parsed into values, so no name, date or address can reach a warning, a log
or an error message. For the same reason pydicom's own messages about a header are not repeated.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from breastlens.imaging.header import Header, Pixels, Window, require_finite, unpack
from breastlens.imaging.raster_header import jpeg_header

_META_OFFSET = 132  # after 128 bytes of anything and "DICM"
_RLE_NOTHING = 128  # the control byte that stands for no pixel
_RLE_PADDING = 128  # a byte of padding can look like the start of a run
_JPEG2000_START = b"\xff\x4f\xff\x51"
_MOST_EDGE = float(np.finfo(np.float32).max)
_TAGS = (
    "PatientID", "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored",
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "HighBit",
    "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in ("Red", "Green", "Blue")),
    *(f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData",
)  # fmt: skip


@dataclass(frozen=True)
class DicomHeader(Header):
    """A header with what was parsed, so that many frames of one file cost one parsing.

    Attributes:
        dataset: The pydicom dataset: technical tags only, pixel data still as stored.
    """

    dataset: Any = None


def read_header(data: bytes) -> DicomHeader:
    """Read size, depth, frames and patient id without decoding the pixel data.

    Raises:
        ValueError: It is damaged, without an image, or deflated.
    """
    dataset = _read(data)
    try:
        frames = int(dataset.get("NumberOfFrames") or 1)
        height, width = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
        bits = int(dataset.get("BitsStored") or dataset.get("BitsAllocated") or 0)
        patient_id = _patient_id(dataset)
        dataset.pop("PatientID", None)
    except Exception:  # noqa: BLE001  pydicom raises whatever it meets in a damaged value
        raise ValueError("its DICOM header is damaged: the size of the image cannot be read") from None
    if not (height and width and bits):
        raise ValueError("it is a DICOM file without an image (no rows, columns or bits)")
    return DicomHeader(
        "DICOM", width, height, bits, frames=max(frames, 1), patient_id=patient_id, dataset=dataset
    )


def read_pixels(data: bytes, header: DicomHeader, frame: int) -> tuple[Pixels, Window | None]:
    """Decode one frame and bring it to what the file says is to be shown, short of the window itself.

    The modality LUT or rescale is applied. Where the file has a VOI window its limits are returned, in
    rescaled units; where it has a VOI LUT or a sigmoid that is applied and the range of its output returned.
    MONOCHROME1 is turned so that more is always brighter. Values of enhanced multi-frame files are taken from
    the frame's functional groups.

    Args:
        data: The whole file; not looked at again, because the header holds what was parsed of it.
        header: What ``read_header`` made of it.
        frame: From 0.

    Returns:
        (h, w) or (h, w, 3) RGB; uint8 or uint16 where the stored grey levels are what is shown, else float32.
        Then the window, None where the file states none.

    Raises:
        ValueError: The pixel data are truncated, damaged or compressed in a way that is not read.
    """
    from pydicom.pixels import get_decoder

    dataset = header.dataset
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        if syntax.is_encapsulated:
            _require_honest_frame(dataset, header, frame)
        stored, facts = get_decoder(syntax).as_array(dataset, index=frame, decoding_plugin=_plugin(syntax))
        shown_by = _merge_functional_groups(dataset, frame)
        with np.errstate(all="ignore"):
            pixels, window = _shown(np.asarray(stored), shown_by, str(facts["photometric_interpretation"]))
    except Exception as error:
        # Only technical tags are in the dataset, so that this message cannot name the patient.
        told = " ".join(str(error).split())[:300]
        raise ValueError(f"its DICOM pixel data cannot be read: {told or type(error).__name__}") from error
    if pixels.shape[:2] != (header.height, header.width):
        raise ValueError(
            f"its header tells {header.width}x{header.height} px,"
            f" its data are {pixels.shape[1]}x{pixels.shape[0]}"
        )
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        raise ValueError(
            f"its pixels come in {pixels.shape[2]} colours, expected 3; its palette may be damaged"
        )
    require_finite(pixels)
    if window is not None and not all(abs(edge) <= _MOST_EDGE for edge in window):
        raise ValueError("its DICOM window is damaged: it does not begin and end with finite numbers")
    return pixels, window


def import_decoders() -> None:
    """Import pydicom and what it decodes pixels with; it takes some tenths of a second."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

    for syntax in (RLELossless, JPEGBaseline8Bit, JPEG2000Lossless):
        _ = get_decoder(syntax).is_available


def _read(data: bytes) -> Any:
    """Parse the tags listed here only. A transfer syntax whose size is unknown before unpacking is refused."""
    import pydicom
    from pydicom.filereader import read_dataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    source = io.BytesIO(data)
    try:
        source.seek(_META_OFFSET)
        meta = read_dataset(source, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
        syntax = meta.TransferSyntaxUID
        if syntax != DeflatedExplicitVRLittleEndian:
            source.seek(0)
            return pydicom.dcmread(source, specific_tags=list(_TAGS))
    except Exception:  # noqa: BLE001  pydicom raises whatever it meets in a damaged header
        raise ValueError("its DICOM header is truncated or damaged") from None
    raise ValueError(
        "it is a deflated DICOM file, whose size is unknown until it is unpacked; save it uncompressed"
    )


def _plugin(syntax: Any) -> str:
    """The one decoder used for a transfer syntax, so that pixels do not depend on what else is installed.

    pylibjpeg's RLE decoder is faster than pydicom's, but damaged data make it panic in a way that no ``except
    Exception`` catches.
    """
    from pydicom.uid import RLELossless

    if syntax == RLELossless:
        return "pydicom"
    return "pylibjpeg" if syntax.is_encapsulated else ""


def _patient_id(dataset: Any) -> str | None:
    """The patient id as it stands in the file.

    Its bytes are taken as UTF-8 or else Latin-1 whatever the header's character set: an id has to be the same
    in all files of one person, not beautiful, and pydicom's own conversion would quote a faulty id in a
    warning.
    """
    element = dataset.get_item("PatientID") if "PatientID" in dataset else None
    if element is None or element.value is None:
        return None
    value = element.value if isinstance(element.value, bytes) else str(element.value).encode()
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return text.strip(" \0") or None


def _require_honest_frame(dataset: Any, header: Header, frame: int) -> None:
    """Refuse a compressed frame of another size than the outer header, which the limits were held against."""
    from pydicom.encaps import get_frame
    from pydicom.uid import RLELossless

    offsets = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    code = get_frame(
        dataset.PixelData,
        frame,
        number_of_frames=header.frames,
        extended_offsets=offsets if all(offsets) else None,
    )
    if dataset.file_meta.TransferSyntaxUID == RLELossless:
        _require_rle_length(code, header.width * header.height)
        return
    if code.startswith(b"\xff\xd8"):
        inner = jpeg_header(code)
        width, height = inner.width, inner.height
    elif code.startswith(_JPEG2000_START):
        right, bottom, left, top = unpack(">4I", code, 8)
        width, height = right - left, bottom - top
        if unpack(">H", code, 40)[0] != dataset.SamplesPerPixel:
            raise ValueError("its compressed frame has more or fewer channels than its header tells")
    else:
        raise ValueError("its compressed frame begins neither as JPEG nor as JPEG 2000 does")
    if (width, height) != (header.width, header.height):
        raise ValueError(
            f"its header tells {header.width}x{header.height} px, its compressed frame {width}x{height}"
        )


def _require_rle_length(code: bytes, pixels: int) -> None:
    """Refuse an RLE frame that would unpack to more than it may: runs are checked without writing them out.

    Each of up to 15 segments holds one byte of every pixel (DICOM PS3.5, annex G).
    """
    count, *starts = unpack("<16I", code, 0)
    starts = [*starts[: min(count, 15)], len(code)]
    for start, end in pairwise(starts):
        position, unpacked = start, 0
        while position < min(end, len(code)):
            control = code[position]
            position += 2 if control > _RLE_NOTHING else control + 2 if control < _RLE_NOTHING else 1
            unpacked += (
                257 - control if control > _RLE_NOTHING else control + 1 if control < _RLE_NOTHING else 0
            )
            if unpacked > pixels + _RLE_PADDING:
                raise ValueError(f"its RLE frame unpacks to more than the {pixels} px that its header tells")


def _merge_functional_groups(dataset: Any, frame: int) -> Any:
    """A copy with rescale and window of an enhanced file at the top, the frame's own over the shared ones."""
    from pydicom.dataset import Dataset

    merged = Dataset()  # of its own, so that nothing of this frame is left for the next one
    merged.update(dataset)
    merged.file_meta = dataset.file_meta
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    for groups in [*(dataset.get("SharedFunctionalGroupsSequence") or []), *per_frame[frame : frame + 1]]:
        for macro in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in groups.get(macro) or []:
                merged.update(item)
    return merged


def _shown(stored: Pixels, dataset: Any, photometric: str) -> tuple[Pixels, Window | None]:
    """From stored values to what is to be shown (DICOM PS3.3 C.7.6.3.1.2, C.11.1, C.11.2)."""
    from pydicom.pixels import apply_color_lut

    bits = int(dataset.BitsStored)
    if photometric == "PALETTE COLOR":
        coloured = np.asarray(apply_color_lut(stored, dataset))
        return coloured, None if coloured.dtype == np.uint8 else (0.0, float(np.iinfo(coloured.dtype).max))
    if stored.ndim == 3:
        if stored.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"its colours are {stored.dtype}, expected 8 or 16 bits a channel")
        return stored, None
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(f"its photometric interpretation {photometric!r} is not read")
    pixels, window = _grey(stored, dataset, bits)
    if photometric == "MONOCHROME1":
        pixels, window = _turned(pixels, window, bits)
    return pixels, window


def _grey(stored: Pixels, dataset: Any, bits: int) -> tuple[Pixels, Window | None]:
    """Modality transform, then VOI LUT or window."""
    from pydicom.pixels import apply_modality_lut, apply_voi

    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    values = stored
    if "ModalityLUTSequence" in dataset or (slope, intercept) != (1.0, 0.0):
        values = np.asarray(apply_modality_lut(stored, dataset))
    if dataset.get("VOILUTSequence"):
        depth = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return np.asarray(apply_voi(values, dataset), np.float32), (0.0, float(2**depth - 1))
    if values is stored and stored.dtype.kind == "u" and bits <= 16:
        values = stored.astype(np.uint8 if bits <= 8 else np.uint16)
    else:
        values = values.astype(np.float32)
    center, width = _first_number(dataset, "WindowCenter"), _first_number(dataset, "WindowWidth")
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    if center is None or width is None or (width < 1 and (function == "LINEAR" or width <= 0)):
        # No window, or one that the standard forbids: 8-bit levels stay as they are, fewer bits fill theirs.
        return values, (0.0, float(2**bits - 1)) if values.dtype == np.uint8 and bits < 8 else None
    if function == "SIGMOID":
        exponent = np.clip(-4 * (values.astype(np.float32) - center) / width, -80, 80)
        return 1 / (1 + np.exp(exponent)), (0.0, 1.0)
    if function == "LINEAR_EXACT":
        return values, (center - width / 2, center + width / 2)
    return values, (center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2)


def _turned(pixels: Pixels, window: Window | None, bits: int) -> tuple[Pixels, Window | None]:
    """Black for white: mirrored within the window, else the stored depth, else the values there are."""
    if window is not None:
        return (window[0] + window[1] - pixels.astype(np.float32)), window
    if pixels.dtype.kind == "u":
        return np.asarray(2**bits - 1 - pixels, pixels.dtype), None
    return pixels.min() + pixels.max() - pixels, None


def _first_number(dataset: Any, keyword: str) -> float | None:
    """The first value of a tag that may hold several, None where it is missing or empty."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return None
    return float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)
