from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from breastlens.config import ImageRecipe, LabelMap
from breastlens.errors import BundleError
from breastlens.models._keras import import_keras
from breastlens.models.bundle import BundleCard, load_bundle, save_bundle
from breastlens.models.engine import convert

FILES = ("model.keras", "model.xml", "model.bin")
CARD = BundleCard(
    created="2026-01-02T03:04:05+00:00",
    backbone="mobilenet:0.25",
    image=ImageRecipe(image_size=32, crop="body", temperature_range=(22.0, 37.0)),
    labels=LabelMap(positive=("sick",), negative=("healthy", "benign")),
    categories=("benign", "healthy", "sick", "unsure"),
    threshold=0.375,
    threshold_rule="largest balanced accuracy, chosen on validation",
    data_fingerprint="ab" * 32,
    versions={"breastlens": "0.1.0"},
)


@pytest.fixture(scope="module")
def network():
    keras = import_keras()
    image = keras.Input((32, 32, 3), dtype="uint8", name="image")
    features = keras.layers.GlobalAveragePooling2D(name="features")(keras.layers.Rescaling(1 / 255)(image))
    dense = keras.layers.Dense(1, activation="sigmoid", name="score", kernel_initializer="ones")
    return keras.Model(image, {"score": dense(features), "features": features})


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    return save_bundle(tmp_path_factory.mktemp("run") / "model", network, convert(network), CARD)


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved.directory, tmp_path / "model")


def test_what_was_saved_is_what_is_loaded(saved, network):
    bundle = load_bundle(saved.directory)
    assert bundle.card == saved.card
    assert bundle.card.model_copy(update={"files": {}}) == CARD
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(
        bundle.engine.run(images)["score"], np.asarray(network(images)["score"]), atol=1e-6
    )
    assert bundle.engine is bundle.engine
    loaded = import_keras().models.load_model(bundle.keras_path)
    assert np.array_equal(loaded(images)["score"], network(images)["score"])


def test_a_bundle_is_four_files_and_says_it_is_for_research(saved):
    assert sorted(path.name for path in saved.directory.iterdir()) == ["bundle.json", *sorted(FILES)]
    content = json.loads((saved.directory / "bundle.json").read_text(encoding="utf-8"))
    assert content["format"] == 1
    assert sorted(content["files"]) == sorted(FILES)
    assert "research use only" in content["notice"]


def test_a_run_directory_stands_for_its_model(saved):
    assert load_bundle(saved.directory.parent).directory == saved.directory


@pytest.mark.parametrize("name", FILES)
def test_one_changed_bit_is_found(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name} is not the file that was saved"):
        load_bundle(copy)


@pytest.mark.parametrize("name", ["bundle.json", *FILES])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(BundleError, match=rf"no {name} in "):
        load_bundle(copy)


@pytest.mark.parametrize("name", ["bundle.json", *FILES])
def test_links_are_refused_even_to_the_right_content(copy, tmp_path, name):
    (copy / name).rename(tmp_path / "elsewhere")
    (copy / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match=rf"{name} is a link"):
        load_bundle(copy)


def test_files_are_looked_for_by_their_fixed_names_only(copy, tmp_path):
    edit(copy, lambda card: card["files"].update({"../outside": "00"}))
    assert load_bundle(copy).directory == copy
    edit(copy, lambda card: card["files"].pop("model.xml"))
    with pytest.raises(BundleError, match=r"model\.xml is not the file that was saved"):
        load_bundle(copy)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda card: card.update(format=2), r"is of format 2; this BreastLens reads up to 1: update it"),
        (lambda card: card.update(format="1"), r"is damaged: format: "),
        (lambda card: card.update(threshold=1.5), r"is damaged: threshold: "),
        (lambda card: card.update(extra=1), r"is damaged: extra: "),
        (lambda card: card.pop("labels"), r"is damaged: labels: "),
        (lambda card: card.pop("format"), r"is damaged: expected (JSON|a JSON object) with a 'format'"),
    ],
)
def test_cards_that_cannot_be_believed_are_refused(copy, change, said):
    edit(copy, change)
    with pytest.raises(BundleError, match=said):
        load_bundle(copy)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe"])
def test_a_damaged_card_is_refused(copy, content):
    (copy / "bundle.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"bundle\.json is damaged"):
        load_bundle(copy)


def test_nothing_is_written_over(copy, network):
    with pytest.raises(BundleError, match="is not empty"):
        save_bundle(copy, network, convert(network), CARD)


def test_a_disk_that_fails_while_reading_is_told(saved, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("hashlib.file_digest", fail)
    with pytest.raises(BundleError, match="the bundle cannot be read: Input/output error"):
        load_bundle(saved.directory)


def test_a_model_is_used_without_keras(saved):
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from breastlens.models.bundle import load_bundle\n"
        "bundle = load_bundle(Path(sys.argv[1]))\n"
        "print('openvino' in sys.modules)\n"
        "print(bundle.engine.run(np.zeros((2, 32, 32, 3), np.uint8))['score'].ravel())\n"
        "print(sorted({'keras', 'tensorflow', 'torch', 'jax'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(saved.directory)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n[0.5 0.5]\n[]\n"


def edit(directory, change):
    path = directory / "bundle.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    change(card)
    path.write_text(json.dumps(card), encoding="utf-8")
