"""prepare.py beside an export: it reads what BreastLens reads, with the same pixels, or refuses in one line."""

from __future__ import annotations

import importlib.util
import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from breastlens.config import ImageRecipe
from breastlens.errors import DecodeError
from breastlens.export import prepare as beside
from breastlens.export.example import write_example
from breastlens.export.recipe import describe_preprocessing
from breastlens.imaging.decode import decode, decode_bytes
from breastlens.imaging.preprocess import preprocess

RECIPE = ImageRecipe(image_size=40)
COLOURS = np.random.default_rng(0).integers(0, 256, (20, 50, 3), dtype=np.uint8)
COLOUR = Image.fromarray(COLOURS)
GREY = COLOUR.convert("L")


@pytest.fixture
def prepared(card, tmp_path):
    """What the copy of prepare.py in an export makes of a file."""

    def prepare(path, recipe=RECIPE):
        folder = tmp_path / "export"
        folder.mkdir()
        write_example(folder, "onnx", card, None)
        facts = {"preprocessing": describe_preprocessing(recipe)}
        (folder / "export.json").write_text(json.dumps(facts), encoding="utf-8")
        spec = importlib.util.spec_from_file_location("prepare", folder / "prepare.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.prepare(str(path))

    return prepare


def encode(image, kind, **options):
    """The bytes of a picture."""
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def exif(orientation):
    """An Exif block."""
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def saved(array):
    """What numpy.save writes."""
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@pytest.mark.parametrize("shape", [(20, 50, 3), (90, 40, 3), (33, 33), (40, 31, 3), (32, 32, 3)])
@pytest.mark.parametrize(
    "recipe",
    [
        ImageRecipe(image_size=40),
        ImageRecipe(image_size=32, fit="letterbox"),
        ImageRecipe(image_size=64, fit="letterbox", hide_border=True),
    ],
)
def test_it_resizes_as_breastlens_does(recipe, shape, prepared, tmp_path):
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    assert np.array_equal(prepared(path, recipe), preprocess(decode(path), recipe).pixels)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("colour.png", encode(COLOUR, "PNG")),
        ("grey.PNG", encode(GREY, "PNG")),
        ("palette.png", encode(COLOUR.convert("P"), "PNG")),
        ("line.png", encode(COLOUR.convert("1"), "PNG")),
        ("opaque.png", encode(COLOUR.convert("RGBA"), "PNG")),
        ("grey-opaque.png", encode(COLOUR.convert("LA"), "PNG")),
        ("upright.png", encode(COLOUR, "PNG", exif=exif(1))),
        ("colour.jpg", encode(COLOUR, "JPEG")),
        ("grey.jpeg", encode(GREY, "JPEG")),
        ("progressive.jpg", encode(COLOUR, "JPEG", progressive=True)),
        ("print.jpg", encode(COLOUR.convert("CMYK"), "JPEG")),
        ("upright.jpg", encode(COLOUR, "JPEG", exif=exif(1))),
    ],
)
def test_pictures_are_read_as_breastlens_reads_them(name, content, prepared, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    assert np.array_equal(prepared(path), preprocess(decode(path), RECIPE).pixels)


def test_a_square_is_taken_as_it_is(prepared, tmp_path):
    square = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    np.save(tmp_path / "square.npy", square)
    assert np.array_equal(
        prepared(tmp_path / "square.npy", RECIPE.model_copy(update={"crop": "body"})), square
    )


PNG, JPEG = encode(COLOUR, "PNG"), encode(COLOUR, "JPEG")
TAKEN = "expected a picture as .png or .jpg, or a square that BreastLens made as .npy"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.png", None, "it cannot be read: no such file or directory"),
        ("folder.png/", None, "it cannot be read: is a directory"),
        ("image.tif", encode(COLOUR, "TIFF"), TAKEN),
        ("image", PNG, TAKEN),
        ("image.jpg", PNG, "its content is not what its suffix .jpg says"),
        ("empty.png", b"", "its content is not what its suffix .png says"),
        (
            "16-bits.png",
            encode(Image.fromarray(COLOURS[..., 0].astype(np.uint16)), "PNG"),
            "it has 16 bits a channel",
        ),
        (
            "shade.png",
            encode(Image.merge("RGBA", (*COLOUR.split(), GREY)), "PNG"),
            "it has transparent pixels",
        ),
        ("key.png", encode(COLOUR, "PNG", transparency=COLOUR.getpixel((0, 0))), "it has transparent pixels"),
        (
            "moving.png",
            encode(COLOUR, "PNG", save_all=True, append_images=[GREY.convert("RGB")]),
            "it is an animation",
        ),
        ("cut.png", PNG[:-12], "it is truncated or damaged"),
        ("flipped.png", PNG[:99] + bytes([PNG[99] ^ 1]) + PNG[100:], "it is truncated or damaged"),
        ("cut.jpg", JPEG[:-2], "it is truncated"),
        ("begun.jpg", JPEG[:30], "it is truncated or damaged"),
        ("turned.png", encode(COLOUR, "PNG", exif=exif(6)), "it is stored turned"),
        ("mirrored.jpg", encode(COLOUR, "JPEG", exif=exif(2)), "it is stored turned"),
        (
            "torn.jpg",
            encode(COLOUR, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09"),
            "its Exif block is damaged",
        ),
        (
            "small.npy",
            saved(np.zeros((32, 32, 3), np.uint8)),
            "expected uint8 (40, 40, 3) as numpy.save writes it",
        ),
        ("heat.npy", saved(np.zeros((40, 40))), "expected uint8 (40, 40, 3) as numpy.save writes it"),
        ("cut.npy", saved(np.zeros((40, 40, 3), np.uint8))[:-1], "it has 4927 bytes and begins"),
    ],
)
def test_what_would_be_read_otherwise_is_refused_in_one_line(name, content, said, prepared, tmp_path, capfd):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    elif name.endswith("/"):
        path.mkdir()
    with pytest.raises(SystemExit) as ended:
        prepared(path)
    assert ended.value.code == 2
    told = capfd.readouterr().err
    assert told.startswith(f"{path}: ")
    assert said in told
    assert told.count("\n") == 1


def test_where_more_than_resizing_is_needed_it_says_so(prepared, tmp_path, capfd):
    (tmp_path / "image.png").write_bytes(PNG)
    with pytest.raises(SystemExit):
        prepared(tmp_path / "image.png", ImageRecipe(crop="body", hide_marks=True, normalise="per-image"))
    assert capfd.readouterr().err == (
        f"{tmp_path / 'image.png'}: this model's images take more than resizing (painting over marks, cropping to the "
        "body, normalising grey levels): expected a square that BreastLens made as .npy\n"
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_file_with_wrong_bytes_is_read_as_breastlens_reads_it_or_refused(kind):
    """Bytes changed in the header, where Exif stands: readers differ in what they make of a broken one."""
    random = np.random.default_rng(1)
    wholes = [encode(COLOUR, kind, exif=exif(orientation)) for orientation in (1, 6)]
    read = 0
    for _ in range(400):
        content = bytearray(wholes[random.integers(2)])
        for place in random.integers(8, 90, 2):
            content[place] = random.choice([random.integers(256), random.integers(4)])
        try:
            found = beside._read_picture(bytes(content))
        except ValueError:
            continue
        try:
            expected = decode_bytes(bytes(content)).pixels
        except DecodeError as error:
            pytest.fail(f"BreastLens refuses what was read: {error}; {bytes(content[:120])!r}")
        assert np.array_equal(found, expected), bytes(content[:120])
        read += 1
    assert read > 0
