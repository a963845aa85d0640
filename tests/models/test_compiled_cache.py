"""Compiled networks on disk: found again, never believed when damaged, never in the way."""

from __future__ import annotations

import hashlib
import logging
import os
import resource
import subprocess
import sys

import numpy as np
import pytest

from breastlens.models import compiled_cache
from breastlens.models._keras import import_keras
from breastlens.models._openvino import import_openvino
from breastlens.models.compiled_cache import clear_compiled
from breastlens.models.engine import Engine, convert, save_graph
from breastlens.whole_files import write_whole

SIZE = 32
IMAGES = np.random.default_rng(5).integers(0, 256, (9, SIZE, SIZE, 3), dtype=np.uint8)
LOAD = (
    "import sys; from pathlib import Path; import numpy as np\n"
    "from breastlens.models.engine import Engine\n"
    "images = np.random.default_rng(5).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)\n"
    "print(Engine.load(Path(sys.argv[1]), content='a').run(images)['score'].tobytes().hex())\n"
)


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """A convolution and a score, saved; its weights are random."""
    keras = import_keras()
    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, 3), dtype="uint8", name="image")
    seen = keras.layers.Conv2D(16, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(image))
    pooled = keras.layers.GlobalAveragePooling2D()(seen)
    network = keras.Model(image, keras.layers.Dense(1, activation="sigmoid", name="score")(pooled))
    path = tmp_path_factory.mktemp("graph") / "model.xml"
    save_graph(convert(network), path)
    return path


@pytest.fixture(scope="module")
def expected(graph):
    return Engine.load(graph).run(IMAGES)["score"]


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """Where entries go; it does not exist yet."""
    monkeypatch.setenv("BREASTLENS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "compiled"


def scores(graph, content="a", **options):
    return Engine.load(graph, content=content, **options).run(IMAGES)["score"]


def only(folder):
    (entry,) = folder.iterdir()
    return entry


def test_a_kept_network_gives_the_same_bits_and_the_graph_is_not_read_again(
    graph, folder, expected, tmp_path
):
    assert np.array_equal(scores(graph), expected)
    assert only(folder).suffix == ".compiled"
    # the bundle has moved, and only its weights are asked for
    moved = tmp_path / "elsewhere.xml"
    moved.with_suffix(".bin").write_bytes(graph.with_suffix(".bin").read_bytes())
    moved.write_text("no graph")
    assert np.array_equal(scores(moved), expected)
    only(folder)


@pytest.mark.skipif(
    "BF16" not in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
    reason="this processor has no instructions for bfloat16",
)
def test_a_network_in_sixteen_bits_is_kept_as_such(graph, folder, expected):
    plain = Engine.load(graph, precision="bf16").run(IMAGES)["score"]
    assert not np.array_equal(plain, expected)
    for _ in range(2):  # compiled and kept, then found
        engine = Engine.load(graph, content="a", precision="bf16")
        assert engine.precision == "bf16"
        assert np.array_equal(engine.run(IMAGES)["score"], plain)
    only(folder)


def test_without_known_content_nothing_is_kept(graph, folder):
    Engine.load(graph)
    assert not folder.exists()


def test_another_content_version_processor_or_setting_is_another_entry(graph, folder, monkeypatch):
    scores(graph)
    scores(graph, content="b")
    assert len(list(folder.iterdir())) == 2
    monkeypatch.setattr("breastlens.models.engine.usable_cores", lambda: 1)
    assert Engine.load(graph, content="a")._calls == 1
    assert len(list(folder.iterdir())) == 3

    class Other:
        """The same machine with something else."""

        def __init__(self, **changed):
            self.core, self.changed = import_openvino().Core(), changed

        def get_property(self, device, name):
            return self.changed.get(name) or self.core.get_property(device, name)

        def get_versions(self, device):
            versions = self.core.get_versions(device)
            build = self.changed.get("build", versions[device].build_number)
            return {device: type("Version", (), {"build_number": build})}

    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    others = [Other(), Other(FULL_DEVICE_NAME="another"), Other(OPTIMIZATION_CAPABILITIES=["FP32"])]
    entries = {compiled_cache._entry(other, "a", settings) for other in [*others, Other(build="2099.1")]}
    entries.add(compiled_cache._entry(Other(), "a", {"INFERENCE_PRECISION_HINT": "bf16"}))
    assert len(entries) == 5
    assert compiled_cache._entry(Other(), "a", settings) in entries


@pytest.mark.parametrize("damage", ["cut", "empty", "bit", "checksum", "swapped", "folder"])
def test_a_damaged_entry_is_told_and_compiled_anew(graph, folder, expected, caplog, damage):
    scores(graph)
    entry = only(folder)
    whole = entry.read_bytes()
    entry.unlink()
    if damage == "cut":
        entry.write_bytes(whole[: len(whole) // 2])
    elif damage == "empty":
        entry.write_bytes(b"")
    elif damage == "bit":
        changed = bytearray(whole)
        changed[len(changed) // 2] ^= 16
        entry.write_bytes(changed)
    elif damage == "checksum":
        entry.write_bytes(bytes(32) + whole[32:])
    elif damage == "swapped":  # whole, but nothing that OpenVINO knows
        body = b"something else entirely"
        write_whole(entry, [hashlib.sha256(body).digest(), body])
    else:
        entry.mkdir()
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(scores(graph), expected)
    assert entry.name in caplog.text
    if damage != "folder":
        only(folder)
        caplog.clear()
        assert np.array_equal(scores(graph), expected)
        assert caplog.text == ""


def test_a_folder_that_cannot_be_made_costs_a_line(graph, folder, expected, caplog):
    folder.parent.write_text("a file, no folder")
    assert np.array_equal(scores(graph), expected)
    assert "was not kept for the next time" in caplog.text


def test_a_full_disk_costs_a_line_and_leaves_nothing(graph, folder, expected, caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        found = scores(graph)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert np.array_equal(found, expected)
    assert "was not kept for the next time" in caplog.text
    assert list(folder.iterdir()) == []


def test_a_process_that_is_killed_while_it_writes_does_no_harm(graph, folder, expected):
    kill = "import os; os.fsync = lambda _: os.kill(os.getpid(), 9)\n"
    done = subprocess.run([sys.executable, "-c", kill + LOAD, str(graph)], check=False)
    assert done.returncode == -9
    left = only(folder)
    assert left.name.startswith(".unfinished-")
    assert np.array_equal(scores(graph), expected)
    assert sorted(path.suffix for path in folder.iterdir()) == ["", ".compiled"]
    os.utime(left, (1e9, 1e9))  # whoever wrote it has ended long ago
    scores(graph, content="b")
    assert not left.exists()


def test_processes_at_once_do_not_disturb_each_other(graph, folder, expected):
    running = [
        subprocess.Popen([sys.executable, "-c", LOAD, str(graph)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [one.communicate()[0].strip() for one in running] == [expected.tobytes().hex()] * 3
    assert only(folder).suffix == ".compiled"


def test_what_was_not_used_for_longest_goes_first(graph, folder, monkeypatch):
    scores(graph, content="a")
    first = only(folder)
    scores(graph, content="b")
    (second,) = set(folder.iterdir()) - {first}
    for age, path in ((200, first), (100, second)):
        os.utime(path, (1e9 - age, 1e9 - age))
    scores(graph, content="a")  # used again
    monkeypatch.setattr(compiled_cache, "LIMIT_BYTES", int(2.5 * first.stat().st_size))
    scores(graph, content="c")
    left = set(folder.iterdir())
    assert len(left) == 2
    assert first in left
    assert second not in left


def test_clearing_removes_everything_and_tells_how_much(graph, folder):
    assert clear_compiled() == 0
    scores(graph)
    size = only(folder).stat().st_size
    assert clear_compiled() == size
    assert list(folder.iterdir()) == []
