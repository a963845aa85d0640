"""Each format by its own runtime: the network's scores, one input, one output, and the batch that was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from breastlens.export.convert import score_graph, score_network
from breastlens.export.formats import FORMATS
from breastlens.models.engine import convert


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("name", FORMATS)
def test_scores_are_those_of_the_network(name, batch, network, squares, tmp_path):
    form = FORMATS[name]
    form.require()
    form.write(score_network(network) if form.from_keras else convert(network), tmp_path, batch)

    opened = form.open(tmp_path)

    expected = np.asarray(network(squares)["score"])[:, 0]
    assert expected.std() > 0.05
    assert opened.score(squares, batch) == pytest.approx(expected, abs=1e-5)
    assert (opened.input_name, opened.output_name) == ("image", "score")
    assert opened.input_shape == (batch, 32, 32, 3)
    assert opened.output_shape == (batch, 1)


def test_the_graph_of_a_bundle_keeps_its_further_outputs(network):
    graph = convert(network)
    alone = score_graph(graph, 2)
    assert {output.any_name for output in graph.outputs} == {"score", "features"}
    assert [output.any_name for output in alone.outputs] == ["score"]
    assert graph.input().partial_shape[0].is_dynamic


def test_files_of_a_fixed_batch_are_given_whole_batches(network, squares):
    """The last images are filled up, and what fills them is not among the scores."""
    sizes = []

    def call(images):
        sizes.append(len(images))
        return np.asarray(network(images)["score"])

    from breastlens.export.runtimes import Opened

    opened = Opened(call, "image", "score", (8, 32, 32, 3), (8, 1))
    expected = np.asarray(network(squares)["score"])[:, 0]
    assert opened.score(squares, 8) == pytest.approx(expected, abs=1e-6)
    assert sizes == [8, 8, 8]
    sizes.clear()
    assert opened.score(squares, None) == pytest.approx(expected, abs=1e-6)
    assert sizes == [1, 16, 3]


def test_a_saved_model_holds_each_weight_once(tmp_path):
    """Keras's own export writes them twice."""
    keras = pytest.importorskip("keras")
    image = keras.Input((32, 32, 3), dtype="uint8", name="image")
    seen = keras.layers.Dense(256)(keras.layers.Flatten()(keras.ops.cast(image, "float32")))
    network = keras.Model(image, {"score": keras.layers.Dense(1, activation="sigmoid")(seen)})
    FORMATS["savedmodel"].write(network, tmp_path, None)
    written = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    weights = sum(value.nbytes for value in network.get_weights())
    assert weights <= written <= 1.2 * weights
