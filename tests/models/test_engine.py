from __future__ import annotations

import errno
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from breastlens.errors import BundleError, DataError
from breastlens.models._keras import import_keras
from breastlens.models._openvino import import_openvino
from breastlens.models.engine import Engine, _settings, convert, save_graph

SIZE = 32


@pytest.fixture(scope="module")
def network():
    """A network whose answers are known: channel means and maxima of the grey levels, and a score of red alone."""
    keras = import_keras()
    image = keras.Input((SIZE, SIZE, 3), dtype="uint8", name="image")
    grey = keras.layers.Rescaling(1 / 255)(image)
    pooled = [keras.layers.GlobalAveragePooling2D()(grey), keras.layers.GlobalMaxPooling2D()(grey)]
    features = keras.layers.Concatenate(name="features")(pooled)
    dense = keras.layers.Dense(1, activation="sigmoid", name="score")
    score = dense(features)
    dense.set_weights([np.array([[3.0], [0], [0], [0], [0], [0]]), np.array([-1.0])])
    return keras.Model(image, {"score": score, "features": features})


@pytest.fixture(scope="module")
def engine(network):
    return Engine.from_keras(network)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(5).integers(0, 256, (23, SIZE, SIZE, 3), dtype=np.uint8)


def test_answers_are_right_named_and_in_order(engine, images):
    out = engine.run(images)
    means, maxima = images.mean(axis=(1, 2)) / 255, images.max(axis=(1, 2)) / 255
    assert engine.outputs == ("features", "score")
    assert engine.image_size == SIZE
    assert {name: (value.dtype, value.shape) for name, value in out.items()} == {
        "features": (np.float32, (23, 6)),
        "score": (np.float32, (23, 1)),
    }
    np.testing.assert_allclose(out["features"], np.hstack([means, maxima]), rtol=1e-5)
    np.testing.assert_allclose(out["score"][:, 0], 1 / (1 + np.exp(1 - 3 * means[:, 0])), rtol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 7, 23])
def test_batching_does_not_change_a_single_bit(engine, images, size):
    whole = engine.run(images)
    parts = engine.run(images[start : start + size] for start in range(0, len(images), size))
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)


def test_neighbours_do_not_change_a_single_bit(engine, images):
    alone = engine.run(images[11:12])
    assert np.array_equal(alone["features"][0], engine.run(images)["features"][11])


def test_batches_are_not_read_ahead_of_the_computation(engine, images):
    finished = []
    ahead = []

    def batches():
        for start in range(0, 23):
            ahead.append(start - (finished[-1] if finished else 0))
            yield images[start : start + 1]

    engine.run(batches(), on_done=finished.append)
    assert finished == list(range(1, 24))
    assert max(ahead) <= 2 * engine._calls


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_however_many_images_there_are_the_table_has_a_row_for_each(engine, images, count):
    many = images[np.arange(count) % len(images)]
    whole = engine.run(many)
    found = engine.run(many[start : start + 1] for start in range(count))
    assert whole["features"].shape == found["features"].shape == (count, 6)
    assert all(np.array_equal(whole[name], found[name]) for name in whole)
    assert np.array_equal(whole["features"][-1], engine.run(many[-1:])["features"][0])


def test_a_stream_gives_each_image_a_row_of_its_own_in_order(engine, images):
    rows = list(engine.stream(images[start : start + 4] for start in range(0, len(images), 4)))
    whole = engine.run(images)
    assert len(rows) == len(images)
    for name in engine.outputs:
        assert np.array_equal(np.stack([row[name] for row in rows]), whole[name])


def test_a_stream_reads_no_further_than_it_must_and_may_be_left(engine, images):
    read = []

    def batches():
        for start in range(len(images)):
            read.append(start)
            yield images[start : start + 1]

    stream = engine.stream(batches())
    first = next(stream)
    assert len(read) <= 2 * engine._calls + 1
    stream.close()
    assert np.array_equal(first["features"], engine.run(images[:1])["features"][0])


def test_no_images_give_empty_arrays_of_the_right_width(engine, images):
    for nothing in (images[:0], iter(())):
        out = engine.run(nothing)
        assert out["features"].shape == (0, 6)
        assert out["score"].shape == (0, 1)


def test_strided_images_are_read_as_they_are_seen(engine, images):
    mirrored = images[:, :, ::-1, ::-1]
    np.testing.assert_array_equal(
        engine.run(mirrored)["features"], engine.run(np.ascontiguousarray(mirrored))["features"]
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            np.zeros((2, SIZE, SIZE, 3), np.float32),
            r"expected images as uint8 \(n, 32, 32, 3\) in RGB, got float32",
        ),
        (np.zeros((2, 64, 64, 3), np.uint8), r"got uint8 \(2, 64, 64, 3\)"),
        (np.zeros((SIZE, SIZE, 3), np.uint8), r"got uint8 \(32, 32, 3\)"),
    ],
)
def test_images_of_another_kind_are_refused(engine, wrong, said):
    with pytest.raises(DataError, match=said):
        engine.run(wrong)


def test_an_error_while_reading_comes_through(engine, images):
    def batches():
        yield images
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="went away"):
        engine.run(batches())


def test_several_threads_share_one_engine(engine, images):
    expected = engine.run(images)["features"]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: engine.run(images)["features"], range(8)):
            assert np.array_equal(found, expected)


def test_names_and_numbers_survive_saving(network, engine, images, tmp_path):
    save_graph(convert(network), tmp_path / "model.xml")
    loaded = Engine.load(tmp_path / "model.xml")
    assert loaded.outputs == engine.outputs
    assert all(np.array_equal(loaded.run(images)[name], value) for name, value in engine.run(images).items())


def test_engines_can_be_thrown_away_right_after_use(network, images, tmp_path):
    """OpenVINO aborted the process when the last reference to a network ended inside one of its callbacks."""
    save_graph(convert(network), tmp_path / "model.xml")
    for _ in range(20):
        assert Engine.load(tmp_path / "model.xml").run(images)["score"].shape == (23, 1)


def test_one_output_keeps_its_name(network):
    keras = import_keras()
    features_only = keras.Model(network.input, network.get_layer("features").output)
    assert Engine.from_keras(features_only).outputs == ("features",)


def test_everything_is_computed_and_saved_in_float32(network, engine, tmp_path):
    assert engine._compiled.get_property("INFERENCE_PRECISION_HINT") == import_openvino().Type.f32
    save_graph(convert(network), tmp_path / "model.xml")
    assert 'element_type="f16"' not in (tmp_path / "model.xml").read_text(encoding="utf-8")


def test_bfloat16_where_the_processor_has_it_and_float32_where_not(network, engine, images, tmp_path):
    native = "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    graph = convert(network)
    save_graph(graph, tmp_path / "model.xml")
    for other in (
        Engine.from_graph(graph, precision="bf16"),
        Engine.load(tmp_path / "model.xml", precision="bf16"),
    ):
        assert other.precision == ("bf16" if native else "fp32")
        found, exact = other.run(images)["score"], engine.run(images)["score"]
        assert np.array_equal(found, exact) is not native
        np.testing.assert_allclose(found, exact, atol=0.02)
    assert engine.precision == "fp32"


def test_bfloat16_is_never_imitated():
    class Older:
        """A processor without instructions for it, where OpenVINO would be several times slower than in float32."""

        def get_property(self, device, name):
            return ["FP32", "INT8"]

    class Newer(Older):
        def get_property(self, device, name):
            return ["BF16", "FP32", "INT8"]

    for precision, core, hint in (
        ("bf16", Older(), "f32"),
        ("bf16", Newer(), "bf16"),
        ("fp32", Newer(), "f32"),
    ):
        assert _settings(core, precision)["INFERENCE_PRECISION_HINT"] == hint


def test_compiling_leaves_the_graph_as_it_was(network, tmp_path):
    graph = convert(network)
    Engine.from_graph(graph)
    assert graph.input().partial_shape[0].is_dynamic


def test_a_broken_graph_is_a_bundle_error(network, tmp_path):
    save_graph(convert(network), tmp_path / "model.xml")
    text = (tmp_path / "model.xml").read_text(encoding="utf-8")
    (tmp_path / "model.xml").write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(BundleError, match=r"model\.xml cannot be read as an OpenVINO graph: "):
        Engine.load(tmp_path / "model.xml")


def test_a_full_disk_is_an_input_output_error(network, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError, match=r"could not write its graph: .*model\.xml") as caught:
            save_graph(convert(network), tmp_path / "model.xml")
        assert caught.value.errno == errno.EIO
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_openvino_does_not_report_its_use(network, tmp_path):
    """As shipped, importing it makes ~/intel with a client id and sends an event."""
    save_graph(convert(network), tmp_path / "model.xml")
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import sys; from pathlib import Path; from breastlens.models.engine import Engine\n"
        "Engine.load(Path(sys.argv[1]))\n"
        "print(sys.modules['openvino_telemetry'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.xml")],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(home)},
    )
    assert done.stdout == "None\n"
    assert list(home.iterdir()) == []
