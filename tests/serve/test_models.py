"""The models of the service: checked before they are believed, and replaced while it runs."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from breastlens.errors import BundleError, DataError
from breastlens.models.bundle import load_bundle
from breastlens.runs.directory import Run
from breastlens.serve.models import ModelSource, ModelTable, load_model, name_sources
from breastlens.serve.signature import read_public_key


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "breast"))


def change_card(folder: Path, **fields: object) -> None:
    path = folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields, indent=2))


def test_kerass_file_is_neither_needed_nor_opened(holdout_run: Run, bundle: Path, tmp_path: Path) -> None:
    assert not (bundle / "model.keras").exists()
    source = Path(shutil.copytree(holdout_run.model, tmp_path / "whole"))
    (source / "model.keras").write_bytes(b"what would run code if anything looked at it")
    assert load_model(ModelSource("a", source)).version == load_model(ModelSource("b", bundle)).version
    with pytest.raises(BundleError, match=r"model\.keras"):
        load_bundle(source)


def test_the_version_names_all_that_decides_the_model(copy: Path) -> None:
    before = load_model(ModelSource("a", copy)).version
    change_card(copy, threshold=0.123)
    assert load_model(ModelSource("a", copy)).version != before


@pytest.mark.parametrize("name", ["model.xml", "model.bin", "reference.npz"])
def test_an_altered_file_is_refused_before_it_is_parsed(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match="is not the file that was saved"):
        load_model(ModelSource("a", copy))


@pytest.mark.parametrize("name", ["bundle.json", "model.xml", "model.bin", "reference.npz"])
def test_links_and_giants_are_refused(copy: Path, name: str, tmp_path: Path) -> None:
    path = copy / name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="is a link"):
        load_model(ModelSource("a", copy))
    path.unlink()
    with path.open("wb") as file:
        file.truncate(2**33)
    with pytest.raises(BundleError, match="more than the"):
        load_model(ModelSource("a", copy))


def test_a_graph_of_another_size_than_the_card_says_is_refused(copy: Path) -> None:
    card = json.loads((copy / "bundle.json").read_text())
    change_card(copy, image=card["image"] | {"image_size": 96})
    with pytest.raises(BundleError, match="its graph takes 64 px, its card says 96"):
        load_model(ModelSource("a", copy))


def test_figures_that_are_missing_or_damaged_are_not_shown_and_linked_ones_refused(
    copy: Path, tmp_path: Path
) -> None:
    assert load_model(ModelSource("a", copy)).figures is not None
    for content in (b"{", b"[]", b"\xff"):
        (copy / "figures.json").write_bytes(content)
        assert load_model(ModelSource("a", copy)).figures is None
    (copy / "figures.json").unlink()
    assert load_model(ModelSource("a", copy)).figures is None
    (tmp_path / "other.json").write_text("{}")
    (copy / "figures.json").symlink_to(tmp_path / "other.json")
    with pytest.raises(BundleError, match="is a link"):
        load_model(ModelSource("a", copy))


def test_a_new_version_is_taken_and_a_broken_one_is_not(
    copy: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    table = ModelTable([ModelSource("a", copy)])
    old = table.get("a")
    assert asyncio.run(table.refresh()) == []
    next_one = Path(shutil.copytree(copy, tmp_path / "next"))
    change_card(next_one, threshold=0.25)
    (copy / "bundle.json").unlink()
    assert asyncio.run(table.refresh()) == [], "while it is away the old one answers"
    shutil.copy(copy / "model.xml", tmp_path / "whole.xml")
    (copy / "model.xml").write_bytes(b"half")
    shutil.copy(next_one / "bundle.json", copy / "bundle.json")
    for _ in range(3):
        assert asyncio.run(table.refresh()) == []
    assert table.get("a") is old
    assert caplog.text.count("is not used") == 1, "said once, though it is tried again"
    shutil.copy(tmp_path / "whole.xml", copy / "model.xml")
    assert asyncio.run(table.refresh()) == ["a"]
    new = table.get("a")
    assert new is not None
    assert new.bundle.card.threshold == 0.25
    assert old is not None
    rows = list(old.bundle.engine.stream(np.zeros((2, 64, 64, 3), np.uint8)))
    assert len(rows) == 2, "requests that began go on"
    assert table.get(None) is new
    assert table.get("b") is None


def test_names_come_from_directories_unless_given(tmp_path: Path) -> None:
    (tmp_path / "run" / "model").mkdir(parents=True)
    found = name_sources([f"{tmp_path}/run/model", f"{tmp_path}/other", f"best={tmp_path}/other"])
    assert [(one.name, one.directory) for one in found] == [
        ("run", tmp_path / "run" / "model"),
        ("other", tmp_path / "other"),
        ("best", tmp_path / "other"),
    ]
    for given, words in (
        ([f"{tmp_path}/run", f"{tmp_path}/run/model"], "two models are called run"),
        ([f"a/b={tmp_path}"], "no name of a model"),
        ([f"={tmp_path}"], "no name of a model"),
        (["x" * 65], "no name of a model"),
    ):
        with pytest.raises(DataError, match=words):
            name_sources(given)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """Makes an Ed25519 key by name with OpenSSL, as its users do."""
    folder = tmp_path_factory.mktemp("keys")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")

    def make(name: str) -> tuple[Path, Path]:
        private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
        if not private.exists():
            _run("openssl", "genpkey", "-algorithm", "ed25519", "-out", private)
            _run("openssl", "pkey", "-in", private, "-pubout", "-out", public)
        return private, public

    return make


def test_only_what_the_key_signed_is_served(copy: Path, keys: Callable[[str], tuple[Path, Path]]) -> None:
    private, public = keys("ours")
    source = ModelSource("a", copy, read_public_key(public))
    with pytest.raises(BundleError, match="is not signed"):
        load_model(source)
    sign = ("openssl", "pkeyutl", "-sign", "-rawin")
    card, signature = copy / "bundle.json", copy / "bundle.json.sig"
    _run(*sign, "-inkey", private, "-in", card, "-out", signature)
    assert load_model(source).name == "a"
    other, _ = keys("theirs")
    _run(*sign, "-inkey", other, "-in", card, "-out", signature)
    with pytest.raises(BundleError, match="was not made by the key"):
        load_model(source)
    _run(*sign, "-inkey", private, "-in", card, "-out", signature)
    change_card(copy, threshold=0.9)
    with pytest.raises(BundleError, match="was not made by the key"):
        load_model(source)


def test_with_a_key_figures_are_shown_that_were_signed_with_their_model(
    copy: Path, keys: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    private, public = keys("ours")
    source = ModelSource("a", copy, read_public_key(public))
    sign = ("openssl", "pkeyutl", "-sign", "-rawin", "-inkey", private, "-in")
    card, figures = copy / "bundle.json", copy / "figures.json"
    _run(*sign, card, "-out", copy / "bundle.json.sig")
    assert load_model(source).figures is None, (
        "what was signed before figures could be is served without them"
    )
    _run(*sign, figures, "-out", copy / "figures.json.sig")
    assert load_model(source).figures is None, "alone they might be those of another model"
    (tmp_path / "both").write_bytes(card.read_bytes() + figures.read_bytes())
    _run(*sign, tmp_path / "both", "-out", copy / "figures.json.sig")
    assert load_model(source).figures is not None
    figures.write_text(json.dumps(json.loads(figures.read_text()) | {"verdict": "It is perfect."}))
    assert load_model(source).figures is None
    assert load_model(ModelSource("a", copy)).figures is not None, "nobody asked for a signature"


def test_a_key_of_another_kind_is_told(tmp_path: Path, keys: Callable[[str], tuple[Path, Path]]) -> None:
    keys("ours")
    (tmp_path / "text.pem").write_text("no key")
    _run("openssl", "genpkey", "-algorithm", "RSA", "-out", tmp_path / "rsa.pem")
    _run("openssl", "pkey", "-in", tmp_path / "rsa.pem", "-pubout", "-out", tmp_path / "rsa.pub.pem")
    for name, words in (
        ("none", "cannot be read"),
        ("text.pem", "no public key"),
        ("rsa.pub.pem", "no Ed25519 key"),
    ):
        with pytest.raises(DataError, match=words):
            read_public_key(tmp_path / name)


def _run(*call: str | os.PathLike[str]) -> None:
    subprocess.run(call, check=True, capture_output=True, timeout=60)
