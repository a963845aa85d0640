"""Networks in 8-bit integers: near the network they were made of, the same each time, and made in silence."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from breastlens.errors import MissingDependencyError
from breastlens.models._keras import import_keras
from breastlens.models.engine import Engine, convert, save_graph
from breastlens.models.quantise import can_quantise, quantise, require_quantisation

SIZE = 32
needs_nncf = pytest.mark.skipif(not can_quantise(), reason="NNCF is not installed")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(5).integers(0, 256, (12, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def graph():
    """Two convolutions, both pooled, and a head; random weights."""
    keras = import_keras()
    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((SIZE, SIZE, 3), dtype="uint8", name="image")
    first = layers.Conv2D(16, 3, activation="relu", bias_initializer="uniform")(
        layers.Rescaling(1 / 255)(image)
    )
    second = layers.Conv2D(16, 3, activation="relu", bias_initializer="uniform")(first)
    pooled = [layers.GlobalAveragePooling2D()(one) for one in (first, second)]
    features = layers.Concatenate(name="features")([*pooled, layers.GlobalMaxPooling2D()(second)])
    score = layers.Dense(1, activation="sigmoid", name="score")(features)
    return convert(keras.Model(image, {"score": score, "features": features}))


@pytest.fixture(scope="module")
def quantised(graph, images):
    if not can_quantise():
        pytest.skip("NNCF is not installed")
    return quantise(graph, images)


def weights_of(graph, kind):
    """Element types of the weights of all operations of a kind, before they are turned into numbers again."""
    found = []
    for node in graph.get_ops():
        if node.get_type_name() == kind:
            weight = node.input_value(1).get_node()
            while weight.get_type_name() != "Constant":
                weight = weight.input_value(0).get_node()
            found.append(weight.get_element_type().get_type_name())
    return found


def test_convolutions_are_in_integers_and_the_head_is_not(quantised, graph):
    assert weights_of(graph, "Convolution") == ["f32", "f32"]
    assert weights_of(quantised, "Convolution") == ["i8", "i8"]
    assert weights_of(quantised, "MatMul") == ["f32"]
    given = {
        node.input_value(0).get_node().get_type_name()
        for node in quantised.get_ops()
        if node.get_type_name() in ("ReduceMean", "ReduceMax", "MatMul", "Concat")
    }
    assert "FakeQuantize" not in given


def test_the_answers_are_near_and_the_network_stays_as_it_was(quantised, graph, images):
    exact, found = Engine.from_graph(graph).run(images), Engine.from_graph(quantised).run(images)
    assert weights_of(graph, "Convolution") == ["f32", "f32"]
    assert set(found) == {"features", "score"}
    assert not np.array_equal(found["features"], exact["features"])
    assert np.abs(found["features"] - exact["features"]).max() < 0.1 * np.abs(exact["features"]).max()
    np.testing.assert_allclose(found["score"], exact["score"], atol=0.02)


def test_the_same_images_give_the_same_network(quantised, graph, images):
    again = Engine.from_graph(quantise(graph, images)).run(images)
    first = Engine.from_graph(quantised).run(images)
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_it_is_saved_and_loaded_in_integers(quantised, images, tmp_path):
    save_graph(quantised, tmp_path / "model.xml")
    loaded = Engine.load(tmp_path / "model.xml", content="quantised").run(images)
    assert np.array_equal(loaded["score"], Engine.from_graph(quantised).run(images)["score"])


@needs_nncf
def test_nothing_is_printed_and_nobody_is_called(graph, tmp_path):
    save_graph(graph, tmp_path / "model.xml")
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import sys; import numpy as np\n"
        "from breastlens.models._openvino import import_openvino\n"
        "from breastlens.models.quantise import quantise\n"
        "graph = import_openvino().Core().read_model(sys.argv[1])\n"
        "quantise(graph, np.zeros((3, 32, 32, 3), np.uint8))\n"
        "print('nncf' in sys.modules, sys.modules['openvino_telemetry'])\n"
        "print(sorted({'torch', 'tensorflow', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.xml")],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(home)},
    )
    assert done.stdout == "True None\n[]\n"
    assert done.stderr == ""
    assert list(home.iterdir()) == []


def test_without_nncf_the_way_out_is_told(monkeypatch, graph, images):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert not can_quantise()
    for ask in (require_quantisation, lambda: quantise(graph, images)):
        with pytest.raises(
            MissingDependencyError, match=r"int8 needs nncf.*pip install 'breastlens\[quantise\]'"
        ):
            ask()
