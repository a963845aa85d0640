"""Damaged and hostile images: small ones of every format that is read, and what is done to their bytes.

``benchmarks/fuzz_service.py`` sends very many of them, ``tests/serve/test_fuzz.py`` a few. Image number n of a seed is
always the same, so that one which has done harm can be made again.
"""

from __future__ import annotations

import io
import random
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.imaging.anatomy import draw_anatomy
from breastlens.imaging.thermogram import draw_pose, simulate_temperature

_SIDES_PX = ((64, 48), (96, 72))
_LOW_C, _HIGH_C = 20.0, 38.0
_HEAD_BYTES = 300
_INTEGERS = (0, 1, -1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 2, 2**63)
_WORDS = (
    b"0",
    b"-1",
    b"65536",
    b"4294967295",
    b"99999999999999999999",
    b"1e308",
    b"nan",
    b"-inf",
    b"",
    b";",
    b",",
)
_NUMBER = re.compile(rb"\d+(\.\d+)?")
_PNG_START = b"\x89PNG\r\n\x1a\n"
_TIFF_COMPRESSIONS = (1, 5, 8, 32773)  # none, LZW, deflate, packbits

Grey8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Sample:
    """An image as it would be sent.

    Attributes:
        format: What it is, or was before it was damaged.
        suffix: Of its name.
        data: Its bytes.
        damage: What was done to it, in order.
    """

    format: str
    suffix: str
    data: bytes
    damage: tuple[str, ...] = ()


def make_samples(seed: int = 0) -> list[Sample]:
    """Whole images of every format that is read: simulated thermograms and random fields, small so that many are sent.

    Args:
        seed: The same gives the same bytes, as long as the libraries that write them do.
    """
    generator = np.random.default_rng(seed)
    samples = []
    for width, height in _SIDES_PX:
        celsius = simulate_temperature(
            draw_anatomy(generator, sick=True), draw_pose(generator), generator
        ).astype(np.float32)
        celsius = np.asarray(cv2.resize(celsius, (width, height), interpolation=cv2.INTER_AREA))
        grey = np.clip((celsius - _LOW_C) * (255 / (_HIGH_C - _LOW_C)), 0, 255).astype(np.uint8)
        noise = generator.integers(0, 256, (height, width), dtype=np.uint8)
        samples += _text_samples(celsius)
        for picture in (grey, noise):
            samples += [*_raster_samples(picture), *_dicom_samples(picture)]
    return samples


def damaged(samples: Sequence[Sample], seed: int, number: int) -> Sample:
    """Image number n of a seed: one of the samples after one to four mutations.

    Args:
        samples: From ``make_samples``.
        seed: Of all images.
        number: Which one.
    """
    # Formats in turn, so that none is rare because it has few kinds.
    formats = sorted({sample.format for sample in samples})
    chance = random.Random(f"{seed}-{number}")
    own = [sample for sample in samples if sample.format == formats[number % len(formats)]]
    sample = chance.choice(own)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        name, mutate = chance.choice(
            _OF_TEXT if sample.suffix in _TEXTS and chance.random() < 0.5 else MUTATIONS
        )
        sample = replace(mutate(sample, samples, chance), damage=(*sample.damage, name))
    if chance.random() < 0.8:
        sample = replace(sample, data=_mend(sample.data))
    return sample


# What is done to bytes


def _flip_bits(sample: Sample, samples: Sequence[Sample], chance: random.Random) -> Sample:
    data = bytearray(sample.data)
    for _ in range(chance.choice((1, 2, 8, 64)) if data else 0):
        data[_place(data, chance)] ^= 1 << chance.randrange(8)
    return replace(sample, data=bytes(data))


def _overwrite(sample: Sample, samples: Sequence[Sample], chance: random.Random) -> Sample:
    data = bytearray(sample.data)
    begin, length = _place(data, chance), chance.choice((1, 4, 16, 256))
    filled = (bytes(length), b"\xff" * length, chance.randbytes(length))
    data[begin : begin + length] = chance.choice(filled)[: max(0, len(data) - begin)]
    return replace(sample, data=bytes(data))


def _truncate(sample: Sample, samples: Sequence[Sample], chance: random.Random) -> Sample:
    return replace(sample, data=sample.data[: _place(sample.data, chance)])


def _repeat_chunk(sample: Sample, samples: Sequence[Sample], chance: random.Random) -> Sample:
    data, begin = sample.data, _place(sample.data, chance)
    end = begin + chance.choice((1, 12, 64, 1024))
    return replace(sample, data=data[:end] + data[begin:end] * chance.choice((1, 1, 50)) + data[end:])


def _delete_chunk(sample: Sample, samples: Sequence[Sample], chance: random.Random) -> Sample:
    data, begin = sample.data, _place(sample.data, chance)
    return replace(sample, data=data[:begin] + data[begin + chance.choice((1, 2, 12, 64, 1024)) :])


def _extreme_integer(sample: Sample, samples: Sequence[Sample], chance: random.Random) -> Sample:
    data = bytearray(sample.data)
    size = chance.choice((1, 2, 2, 4, 4, 8))
    number = chance.choice((*_INTEGERS, chance.getrandbits(16))) % 2 ** (8 * size)
    begin = min(_place(data, chance), max(0, len(data) - size))
    data[begin : begin + size] = number.to_bytes(size, chance.choice(("little", "big")))
    return replace(sample, data=bytes(data))


def _extreme_word(sample: Sample, samples: Sequence[Sample], chance: random.Random) -> Sample:
    """Another text in place of a number, in files that begin as text."""
    end = len(sample.data) if chance.random() < 0.5 else _HEAD_BYTES
    found = list(_NUMBER.finditer(sample.data, 0, end))
    if not found:
        return _extreme_integer(sample, samples, chance)
    begin, end = chance.choice(found).span()
    return replace(sample, data=sample.data[:begin] + chance.choice(_WORDS) + sample.data[end:])


def _splice(sample: Sample, samples: Sequence[Sample], chance: random.Random) -> Sample:
    """The beginning of one file and the end of another, mostly of the same format."""
    same = [one for one in samples if one.format == sample.format]
    other = chance.choice(same if chance.random() < 0.7 else samples)
    return replace(
        sample,
        data=sample.data[: _place(sample.data, chance)] + other.data[_place(other.data, chance) :],
    )


def _inside(sample: Sample, samples: Sequence[Sample], chance: random.Random) -> Sample:
    """Damage what a PNG has compressed, and compress it again: noise behind a valid checksum."""
    data, chunks, offset = sample.data, [], len(_PNG_START)
    while data.startswith(_PNG_START) and offset + 12 <= len(data):
        end = offset + 12 + int.from_bytes(data[offset : offset + 4], "big")
        chunks.append((data[offset + 4 : offset + 8], data[offset + 8 : end - 4]))
        offset = end
    try:
        pixels = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    except zlib.error:
        pixels = b""
    if not pixels:
        return _flip_bits(sample, samples, chance)
    pixels = chance.choice((_flip_bits, _overwrite, _delete_chunk, _repeat_chunk))(
        replace(sample, data=pixels), samples, chance
    ).data
    whole, rest = [chunk for chunk in chunks if chunk[0] not in (b"IDAT", b"IEND")], (b"IEND", b"")
    packed = b"".join(
        len(body).to_bytes(4, "big") + kind + body + bytes(4)
        for kind, body in (*whole, (b"IDAT", zlib.compress(pixels, 1)), rest)
    )
    return replace(sample, data=_mend_png(_PNG_START + packed))


def _rename(sample: Sample, samples: Sequence[Sample], chance: random.Random) -> Sample:
    """Another suffix, or none."""
    return replace(
        sample, suffix=chance.choice(("", ".txt", ".csv", ".tif", ".dcm", chance.choice(samples).suffix))
    )


_Mutation = Callable[[Sample, Sequence[Sample], random.Random], Sample]
MUTATIONS: tuple[tuple[str, _Mutation], ...] = (
    ("flipped bits", _flip_bits),
    ("overwritten", _overwrite),
    ("truncated", _truncate),
    ("repeated chunk", _repeat_chunk),
    ("deleted chunk", _delete_chunk),
    ("extreme integer", _extreme_integer),
    ("extreme integer", _extreme_integer),
    ("extreme word", _extreme_word),
    ("inside", _inside),
    ("splice", _splice),
    ("other suffix", _rename),
)
_OF_TEXT: tuple[tuple[str, _Mutation], ...] = (
    ("extreme word", _extreme_word),
    ("repeated chunk", _repeat_chunk),
    ("deleted chunk", _delete_chunk),
)
_TEXTS = (".txt", ".csv", ".npy", ".pgm", ".ppm")


def _place(data: bytes | bytearray, chance: random.Random) -> int:
    """Where to strike: in the first or last bytes, where headers and directories lie, or anywhere."""
    if not data:
        return 0
    near = min(len(data), _HEAD_BYTES)
    where = chance.random()
    if where < 0.5:
        return chance.randrange(near)
    return len(data) - 1 - chance.randrange(near) if where < 0.7 else chance.randrange(len(data))


def _mend(data: bytes) -> bytes:
    """Set checksums and lengths right where that is easy, so that the damage reaches what lies behind their checks."""
    if data.startswith(_PNG_START):
        return _mend_png(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]
    return data


def _mend_png(data: bytes) -> bytes:
    whole, offset = bytearray(data), len(_PNG_START)
    while offset + 12 <= len(whole):
        end = offset + 8 + int.from_bytes(whole[offset : offset + 4], "big")
        if end + 4 > len(whole):
            break
        whole[end : end + 4] = zlib.crc32(whole[offset + 4 : end]).to_bytes(4, "big")
        offset = end + 4
    return bytes(whole)


# Whole images


def _raster_samples(picture: Grey8) -> list[Sample]:
    deep = picture.astype(np.uint16) * 257
    colour = np.dstack([picture, picture[::-1], picture[:, ::-1]])
    clear = np.dstack([colour, picture])
    samples = [
        *(Sample("PNG 8", ".png", _encode(".png", one)) for one in (picture, colour, clear)),
        *(Sample("PNG 16", ".png", _encode(".png", one)) for one in (deep, clear.astype(np.uint16) * 257)),
        *(Sample("JPEG", ".jpg", _encode(".jpg", one)) for one in (picture, colour)),
        Sample("JPEG", ".jpeg", _encode(".jpg", colour, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
        Sample("JPEG", ".jpg", _pillow(picture, "JPEG", exif=_exif())),
        *(Sample("BMP", ".bmp", _encode(".bmp", one)) for one in (picture, colour, clear)),
        Sample("BMP", ".bmp", _pillow((picture > 128), "BMP")),
        *(Sample("WebP", ".webp", _encode(".webp", one)) for one in (picture, clear)),
        Sample("WebP", ".webp", _pillow(picture, "WEBP", lossless=True, exif=_exif())),
        *(Sample("PGM", ".pgm", _encode(".pgm", one)) for one in (picture, deep)),
        Sample("PGM", ".ppm", _encode(".ppm", colour)),
        Sample("PGM", ".pgm", _encode(".pgm", picture, cv2.IMWRITE_PXM_BINARY, 0)),
    ]
    for compression in _TIFF_COMPRESSIONS:
        samples += [
            Sample("TIFF", ".tif", _encode(".tif", one, cv2.IMWRITE_TIFF_COMPRESSION, compression))
            for one in (picture, colour, deep, clear)
        ]
    samples += [
        Sample("TIFF", ".tif", _pillow(picture > 128, "TIFF", compression="group4")),
        Sample("TIFF", ".tif", _pillow(colour, "TIFF", compression="jpeg")),
        Sample("TIFF", ".tiff", _pillow(picture, "TIFF", compression="tiff_lzw", exif=_exif())),
        Sample("TIFF", ".tiff", _pillow(picture, "TIFF", big_tiff=True)),
        Sample("TIFF", ".tiff", _pages([picture, picture[::-1]])),
    ]
    return samples


def _text_samples(celsius: NDArray[np.float32]) -> list[Sample]:
    text, table, comma = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savetxt(text, celsius, fmt="%.2f")
    np.savetxt(table, celsius, fmt="%.2f", delimiter=",")
    np.savetxt(comma, celsius, fmt="%.2f", delimiter=";")
    samples = [
        Sample("text", ".txt", text.getvalue()),
        Sample("csv", ".csv", table.getvalue()),
        Sample("csv", ".csv", comma.getvalue().replace(b".", b",")),
    ]
    for kind in ("<f4", ">f8", "<f2", "|u1", "<i4"):
        for array in (celsius.astype(kind), np.asfortranarray(celsius.astype(kind))):
            buffer = io.BytesIO()
            np.save(buffer, array)
            samples.append(Sample("npy", ".npy", buffer.getvalue()))
    return samples


def _dicom_samples(picture: Grey8) -> list[Sample]:
    from pydicom.uid import JPEG2000Lossless, RLELossless

    deep = picture.astype(np.uint16) * 16
    plain = _dataset(deep, 12)
    plain.WindowCenter, plain.WindowWidth = ["2048", "100"], ["4096", "50"]
    plain.RescaleSlope, plain.RescaleIntercept = "1.5", "-1024"
    colour = _dataset(np.dstack([picture, picture[::-1], picture]), 8)
    datasets = [plain, colour, _with_lookup_table(_dataset(deep, 12)), _enhanced(picture)]
    samples = [Sample("DICOM", ".dcm", _written(one)) for one in datasets]
    for pixels, bits in ((picture, 8), (deep, 12)):
        run_lengths = _dataset(pixels, bits)
        run_lengths.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
        samples.append(Sample("DICOM RLE", ".dcm", _written(run_lengths)))
        wavelets = _dataset(pixels, bits)
        wavelets.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
        samples.append(Sample("DICOM JPEG 2000", ".dcm", _written(wavelets)))
    samples.append(Sample("DICOM JPEG", ".dcm", _written(_in_jpeg(picture))))
    return samples


def _dataset(pixels: NDArray[Any], bits: int) -> Any:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    dataset = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=bytes(128))
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4"
    dataset.PatientID = "P0001"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = pixels.itemsize * 8
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    return dataset


def _with_lookup_table(dataset: Any) -> Any:
    from pydicom.dataset import Dataset

    table = Dataset()
    table.LUTDescriptor = [256, 0, 16]
    table.LUTData = (np.arange(256, dtype="<u2") * 257).tobytes()
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "OW"
    dataset.VOILUTSequence = [table]
    return dataset


def _enhanced(picture: Grey8) -> Any:
    """Two frames, with rescale and window in functional groups."""
    from pydicom.dataset import Dataset

    dataset = _dataset(picture, 8)
    dataset.NumberOfFrames, dataset.PixelData = 2, picture.tobytes() + picture[::-1].tobytes()
    rescale, window, groups = Dataset(), Dataset(), Dataset()
    rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = "0.5", "10", "US"
    window.WindowCenter, window.WindowWidth = "60", "100"
    groups.PixelValueTransformationSequence, groups.FrameVOILUTSequence = [rescale], [window]
    dataset.SharedFunctionalGroupsSequence = [groups]
    return dataset


def _in_jpeg(picture: Grey8) -> Any:
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit

    dataset = _dataset(picture, 8)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData = encapsulate([_encode(".jpg", picture)])
    dataset["PixelData"].is_undefined_length = True
    return dataset


def _written(dataset: Any) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _encode(suffix: str, picture: NDArray[Any], *settings: int) -> bytes:
    return bytes(cv2.imencode(suffix, picture, list(settings))[1])


def _pillow(picture: NDArray[Any], kind: str, **settings: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **settings)
    return buffer.getvalue()


def _pages(pictures: Sequence[Grey8]) -> bytes:
    from PIL import Image

    first, *more = map(Image.fromarray, pictures)
    buffer = io.BytesIO()
    first.save(buffer, "TIFF", save_all=True, append_images=more)
    return buffer.getvalue()


def _exif() -> Any:
    """An Exif block that asks for a quarter turn."""
    from PIL import Image

    exif = Image.Exif()
    exif[274] = 6
    exif[271] = "maker"
    return exif
