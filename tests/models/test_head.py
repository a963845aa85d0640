"""The bends of an isotonic calibration in the graph: the same numbers in NumPy, Keras and OpenVINO, and no new ties."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit

from breastlens.evaluation import Calibration, fit_calibration
from breastlens.models.classifier import average_classifiers, build_classifier
from breastlens.models.engine import Engine
from breastlens.models.head import Head, bend_head, calibrate_head

SIDE, WIDTH = 16, 12


@pytest.fixture(scope="module")
def features_model() -> Any:
    keras = pytest.importorskip("keras")
    image = keras.Input((SIDE, SIDE, 3), dtype="uint8", name="image")
    pooled = keras.layers.AveragePooling2D(8)(keras.ops.cast(image, "float32"))
    return keras.Model(image, keras.layers.Flatten(name="features")(pooled), name="tiny_features")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (80, SIDE, SIDE, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def head() -> Head:
    generator = np.random.default_rng(1)
    return Head(np.full(WIDTH, 11.2), np.full(WIDTH, 0.3), generator.normal(size=WIDTH), 0.2)


@pytest.fixture(scope="module")
def raw(features_model: Any, head: Head, pixels: np.ndarray) -> np.ndarray:
    return head.logits(Engine.from_keras(features_model).run(pixels)["features"])


@pytest.fixture(scope="module")
def isotonic(raw: np.ndarray) -> Calibration:
    generator = np.random.default_rng(2)
    found = fit_calibration("isotonic", raw, (generator.random(80) < expit(raw)).astype(int))
    assert len(found.knots) > 3, "a case with bends"
    return found


def dense_of(network: Any) -> np.ndarray:
    return network.get_layer("score").get_weights()[0]


def test_keras_openvino_and_a_saved_file_give_the_calibrated_probability(
    features_model: Any,
    head: Head,
    pixels: np.ndarray,
    raw: np.ndarray,
    isotonic: Calibration,
    tmp_path: Path,
) -> None:
    keras = pytest.importorskip("keras")
    network = calibrate_head(build_classifier(features_model, head), isotonic)
    network.save(tmp_path / "model.keras")
    saved = keras.saving.load_model(tmp_path / "model.keras")
    expected = expit(isotonic.apply(raw))
    engine = Engine.from_keras(network)
    assert engine.outputs == ("features", "score")
    for scores in (network(pixels)["score"], saved(pixels)["score"], engine.run(pixels)["score"]):
        np.testing.assert_allclose(np.asarray(scores)[:, 0], expected, atol=1e-5)


def test_no_two_scores_fall_together_and_far_out_it_runs_on(
    features_model: Any, head: Head, pixels: np.ndarray, raw: np.ndarray
) -> None:
    steep = Calibration(
        "isotonic", 1.0, 0.0, knots=(-1.0, -0.5, 0.5, 0.6), values=(-2.0, -1.9999, -1.9998, 2.0)
    )
    network = calibrate_head(build_classifier(features_model, head), steep)
    scores = Engine.from_keras(network).run(pixels)["score"][:, 0]
    assert raw.min() < -1 < 0.6 < raw.max()
    np.testing.assert_array_equal(np.argsort(scores), np.argsort(raw))
    assert np.unique(scores).size == np.unique(raw).size
    far = np.argmax(raw)
    assert logit(float(scores[far])) == pytest.approx(2.0 + raw[far] - 0.6, abs=1e-3)


def test_the_kernel_of_score_stays_that_of_the_linear_head(
    features_model: Any, head: Head, isotonic: Calibration
) -> None:
    plain = dense_of(build_classifier(features_model, head))
    bent = calibrate_head(build_classifier(features_model, head), isotonic)
    np.testing.assert_allclose(dense_of(bent), isotonic.slope * plain, rtol=1e-6)


def test_a_line_folds_into_the_head_and_adds_nothing(
    features_model: Any, head: Head, pixels: np.ndarray, raw: np.ndarray
) -> None:
    network = build_classifier(features_model, head)
    line = Calibration("temperature", 0.4)
    assert calibrate_head(network, line) is network
    scores = Engine.from_keras(network).run(pixels)["score"][:, 0]
    np.testing.assert_allclose(scores, expit(0.4 * raw), atol=1e-5)


def test_an_averaged_network_is_bent_too(
    features_model: Any, head: Head, pixels: np.ndarray, raw: np.ndarray, isotonic: Calibration
) -> None:
    both = average_classifiers(build_classifier(features_model, head), build_classifier(features_model, head))
    network = bend_head(both, isotonic)
    scores = Engine.from_keras(network).run(pixels)["score"][:, 0]
    np.testing.assert_allclose(scores, expit(isotonic.bend(raw)), atol=1e-5)
