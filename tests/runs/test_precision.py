"""The precision of the saved model: taken only where it decides like float32."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from breastlens.errors import MissingDependencyError
from breastlens.inference.predictor import load
from breastlens.models._keras import import_keras
from breastlens.models._openvino import import_openvino
from breastlens.models.engine import convert
from breastlens.models.quantise import can_quantise
from breastlens.progress import Progress
from breastlens.runs import precision
from breastlens.runs.precision import Candidate, choose_precision, compare, measure_speeds, pick, spread

SIZE = 32
NATIVE = "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
needs_bf16 = pytest.mark.skipif(not NATIVE, reason="this processor has no instructions for bfloat16")
needs_nncf = pytest.mark.skipif(not can_quantise(), reason="NNCF is not installed")

LABELS = np.repeat([0, 1], 100)
EXACT = np.linspace(0.01, 0.99, 200)


def held(scores, threshold=0.5, labels=LABELS):
    return compare("bf16", labels, EXACT[: labels.size], scores, threshold, 150.0, 100.0)


def test_the_same_scores_are_accepted():
    found = held(EXACT)
    assert (found.accepted, found.auc, found.changed, found.images_per_s) == (True, 1.0, 0, 150.0)
    assert found.why == (
        "bf16 was accepted: AUC 1.0000 against 1.0000 in fp32, 0 of 200 decisions changed, 1.5 times as fast."
    )


@pytest.mark.parametrize(("moved", "accepted"), [(1, True), (2, False)])
def test_of_200_decisions_one_may_change(moved, accepted):
    scores = EXACT.copy()
    scores[100 : 100 + moved] = 0.499  # below the threshold, still above every negative
    found = held(scores)
    assert (found.changed, found.accepted) == (moved, accepted)
    assert found.auc == 1.0
    assert ("was refused" in found.why) is not accepted


def test_an_auc_that_moves_too_far_is_refused_though_no_decision_changes():
    scores = EXACT.copy()
    scores[150:] = EXACT[150:][::-1]  # among positives: no change of the AUC
    assert held(scores).accepted
    labels = LABELS.copy()
    labels[::40] = 1  # so that some positives stand among the negatives
    scores = EXACT.copy()
    scores[:20] = EXACT[:20][::-1]
    found = compare("bf16", labels, EXACT, scores, 0.5, 1.0, 1.0)
    assert found.changed == 0
    assert found.auc is not None
    exact = compare("bf16", labels, EXACT, EXACT, 0.5, 1.0, 1.0).auc
    # the positive at the bottom rises over 19 images, of which 19 are negatives, among 105 * 95 pairs
    assert found.auc - exact == pytest.approx(19 / (105 * 95), abs=1e-4)
    assert found.accepted
    scores[:60] = EXACT[:60][::-1]
    found = compare("bf16", labels, EXACT, scores, 0.5, 1.0, 1.0)
    assert found.changed == 0
    assert not found.accepted


def test_an_auc_that_rises_too_far_is_refused_as_well():
    labels = np.roll(LABELS, 3)
    better = np.where(labels == 1, EXACT + 0.1, EXACT).clip(0, 1)
    found = compare("int8", labels, EXACT, better, 0.0, 1.0, 1.0)
    assert found.auc > compare("int8", labels, EXACT, EXACT, 0.0, 1.0, 1.0).auc
    assert not found.accepted


def test_one_class_cannot_be_compared():
    found = held(EXACT[:100], labels=LABELS[:100])
    assert found.auc is None
    assert not found.accepted
    assert "one class" in found.why


def one(name, speed, accepted=True):
    return Candidate(name, 0.9, 0, speed, accepted, "")


@pytest.mark.parametrize(
    ("asked", "candidates", "used"),
    [
        ("bf16", [one("bf16", 50.0)], "bf16"),  # asked for by name, so its speed is the user's affair
        ("bf16", [one("bf16", 500.0, accepted=False)], "fp32"),
        ("int8", [], "fp32"),
        ("auto", [one("bf16", 180.0), one("int8", 300.0)], "int8"),
        ("auto", [one("bf16", 180.0), one("int8", 300.0, accepted=False)], "bf16"),
        ("auto", [one("bf16", 109.0), one("int8", 90.0)], "fp32"),
        ("auto", [one("bf16", 111.0)], "bf16"),
    ],
)
def test_the_fastest_of_what_was_accepted_is_used(asked, candidates, used):
    assert pick(asked, [one("fp32", 100.0), *candidates]) == used


def test_speeds_are_medians_of_turns_taken_in_turn(monkeypatch):
    clock, order = [0.0], []

    class Timed:
        def __init__(self, name, seconds):
            self.name, self.seconds = name, seconds

        def run(self, images):
            order.append(self.name)
            slow = 100 if order.count(self.name) == 3 else 1  # once something else ran besides
            clock[0] += slow * self.seconds * len(images)
            return {"score": np.zeros((len(images), 1))}

    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    engines = {"fp32": Timed("fp32", 0.01), "bf16": Timed("bf16", 0.004)}
    speeds = measure_speeds(engines, np.zeros((20, 1, 1, 3), np.uint8))
    assert speeds == pytest.approx({"fp32": 100.0, "bf16": 250.0})
    assert order == ["fp32", *["fp32", "bf16"] * precision.TURNS]


def test_rows_are_spread_evenly():
    rows = np.arange(100, 200)
    assert spread(rows, 200).tolist() == rows.tolist()
    assert spread(rows, 4).tolist() == [100, 133, 166, 199]


@pytest.fixture(scope="module")
def graph():
    """Random convolutions and a steep head: rounding to bfloat16 changes its scores."""
    keras = import_keras()
    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, 3), dtype="uint8", name="image")
    seen = keras.layers.Conv2D(8, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(image))
    seen = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(seen))
    centred = keras.layers.Rescaling(300.0)(keras.layers.BatchNormalization()(seen))
    dense = keras.layers.Dense(1, activation="sigmoid", name="score", use_bias=False)
    return convert(keras.Model(image, dense(centred)))


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(5).integers(0, 256, (24, SIZE, SIZE, 3), dtype=np.uint8)


SPLIT = np.repeat(["train", "validation", "test"], [8, 12, 4])
LABELS_24 = np.tile([0, 1], 12)


def chosen(asked, graph, pixels, split=SPLIT, threshold=0.0):
    return choose_precision(asked, graph, pixels, LABELS_24, split, threshold, Progress())


def test_float32_is_not_compared_with_anything(graph, pixels):
    found = chosen("fp32", graph, pixels)
    assert (found.used, found.candidates, found.notes) == ("fp32", (), [])
    assert found.graph is graph
    assert found.describe()["asked"] == found.describe()["used"] == "fp32"


@needs_bf16
def test_what_is_compared_is_validation_or_else_everything_that_was_learnt_from(graph, pixels):
    found = chosen("bf16", graph, pixels)
    assert (found.images, found.compared_on) == (12, "validation images")
    found = chosen("bf16", graph, pixels, split=np.tile(["0", "1", "2"], 8))
    assert (found.images, found.compared_on) == (24, "training images, since the model learnt from all")
    assert "24 training images" in found.notes[0]


@needs_bf16
def test_figures_of_a_refusal_are_told_and_float32_is_kept(graph, pixels, monkeypatch):
    monkeypatch.setattr(precision, "AUC_LIMIT", -1.0)
    found = chosen("bf16", graph, pixels)
    assert found.used == "fp32"
    assert [one.precision for one in found.candidates] == ["fp32", "bf16"]
    assert not found.candidates[1].accepted
    assert "computes in fp32; asked for was bf16" in found.notes[0]
    assert "bf16 was refused: AUC " in found.notes[0]
    assert found.graph is graph
    json.dumps(found.describe(), allow_nan=False)


@needs_nncf
def test_integers_are_saved_as_integers(graph, pixels, monkeypatch):
    monkeypatch.setattr(precision, "AUC_LIMIT", 1.0)
    found = chosen("int8", graph, pixels)
    assert found.used == "int8"
    assert found.graph is not graph
    assert any(node.get_type_name() == "FakeQuantize" for node in found.graph.get_ops())


def test_auto_does_without_what_is_not_there(graph, pixels, monkeypatch):
    monkeypatch.setattr(precision, "can_quantise", lambda: False)
    monkeypatch.setattr(
        "breastlens.models.engine._settings", lambda core, _: {"INFERENCE_PRECISION_HINT": "f32"}
    )
    found = chosen("auto", graph, pixels)
    assert found.used == "fp32"
    assert [one.why for one in found.candidates[1:]] == [
        "bf16 was not tried: this processor has no instructions for it.",
        "int8 was not tried: NNCF is not installed.",
    ]
    assert [one.images_per_s for one in found.candidates[1:]] == [None, None]


def test_a_failure_of_nncf_does_not_lose_the_trained_model(graph, pixels, monkeypatch):
    def fail(*_):
        raise RuntimeError("first line\nno such operation")

    monkeypatch.setattr(precision, "can_quantise", lambda: True)
    monkeypatch.setattr(precision, "quantise", fail)
    found = chosen("int8", graph, pixels)
    assert found.used == "fp32"
    assert found.graph is graph
    assert "int8 was not tried: NNCF failed (no such operation)." in found.notes[0]


@pytest.mark.parametrize("step", ["compile", "run"])
def test_a_candidate_that_cannot_be_compiled_or_run_does_not_lose_the_trained_model(
    step, graph, pixels, monkeypatch
):
    made, whole = object(), precision.Engine.from_graph

    def fail(*_):
        raise RuntimeError("Check failed\nno kernel for it")

    def compile_it(candidate, **options):
        if candidate is not made:
            return whole(candidate, **options)
        return fail() if step == "compile" else SimpleNamespace(precision="fp32", run=fail)

    monkeypatch.setattr(precision, "can_quantise", lambda: True)
    monkeypatch.setattr(precision, "quantise", lambda *_: made)
    monkeypatch.setattr(precision.Engine, "from_graph", compile_it)
    found = chosen("int8", graph, pixels)
    assert found.used == "fp32"
    assert found.graph is graph
    assert "int8 was not tried: OpenVINO failed (no kernel for it)." in found.notes[0]


def test_int8_without_nncf_is_refused_before_anything_is_read(phantoms, tmp_path, monkeypatch):
    pytest.importorskip("keras")
    from breastlens.runs.train import train

    monkeypatch.setattr("breastlens.models.quantise.can_quantise", lambda: False)
    with pytest.raises(MissingDependencyError, match="nncf"):
        train(phantoms, out=tmp_path / "run", precision="int8")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("figures_not_drawn")
@pytest.mark.parametrize(
    "asked", [pytest.param("bf16", marks=needs_bf16), pytest.param("int8", marks=needs_nncf)]
)
def test_a_run_says_what_it_computes_in_and_prediction_follows(
    asked, phantoms, phantom_dir, quick, tmp_path, monkeypatch
):
    pytest.importorskip("keras")
    from breastlens.runs.train import train

    monkeypatch.setattr(precision, "AUC_LIMIT", 1.0)
    monkeypatch.setattr(precision, "CHANGED_LIMIT", 1.0)
    run = train(phantoms, out=tmp_path / "run", precision=asked, audit=False, **quick)
    facts = json.loads((run.directory / "run.json").read_text(encoding="utf-8"))
    assert facts["precision"]["used"] == facts["precision"]["asked"] == asked
    assert [one["precision"] for one in facts["precision"]["candidates"]] == ["fp32", asked]
    assert any(f"computes in {asked}" in note for note in facts["notes"])
    predictor = load(run.directory)
    assert predictor.bundle.card.precision == asked
    assert predictor.bundle.engine.precision == ("bf16" if asked == "bf16" else "fp32")
    assert predictor.bundle.engine.outputs == (
        *("activation_constant", "activation_map", "features", "score"),
    )
    rows = run.predictions
    found = list(predictor.predict_files([phantom_dir / path for path in rows["path"]]))
    off = np.abs([one.y_score - score for one, score in zip(found, rows["y_score"], strict=True)])
    assert 0 < off.max() < 0.2  # the run's own scores are in fp32
    again = list(load(run.directory).predict_files([phantom_dir / path for path in rows["path"]]))
    assert again == found
