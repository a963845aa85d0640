"""The precision of a training: measured once, kept, and without a trace in what is trained."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from breastlens.config import TrainingPrecision, TrainingRecipe
from breastlens.models.backbones import Backbone
from breastlens.models.engine import Engine
from breastlens.progress import Progress
from breastlens.training import precision as room
from breastlens.training.finetune import TrainedNetwork, train_network
from breastlens.training.fitted import score_with
from breastlens.training.precision import Choice, Timed, choose_precision
from breastlens.training.probe import Probe, fit_probe
from breastlens.training.views import WholeImages

TASK = {"backbone": "tiny", "cut": None}
PLAIN = Timed(1.1, 0.1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BREASTLENS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "execution"


def choose(
    times: dict[TrainingPrecision, Timed | None], steps: int, task: dict[str, Any] = TASK
) -> tuple[Choice, list[TrainingPrecision]]:
    """The choice, and what was measured for it."""
    asked: list[TrainingPrecision] = []

    def measure(precision: TrainingPrecision) -> Timed | None:
        asked.append(precision)
        return times[precision]

    return choose_precision(measure, steps, task), asked


@pytest.mark.parametrize(
    ("short", "expected"),
    [
        (Timed(1.0, 0.05), "bfloat16"),
        (Timed(1.1, 0.08), "float32"),  # 1.25 times faster only
        (Timed(900.0, 0.01), "float32"),  # compiling takes longer than it saves
        (None, "float32"),
    ],
)
def test_sixteen_bits_are_taken_only_where_they_are_much_faster(short: Timed | None, expected: str) -> None:
    choice, asked = choose({"float32": PLAIN, "bfloat16": short}, 1000)
    assert choice.precision == expected
    assert asked == ["float32", "bfloat16"]
    assert set(choice.measured) == ({"float32", "bfloat16"} if short else {"float32"})


def test_a_short_training_measures_nothing_more_than_its_own_first_steps() -> None:
    """Four steps in bfloat16 would take 1.4 s; a tenth of 100 steps is 1.1 s, of 200 it is 2.1 s."""
    times = {"float32": PLAIN, "bfloat16": Timed(0.1, 0.01)}
    assert choose(times, 100)[1] == ["float32"]
    assert choose(times, 200)[1] == ["float32", "bfloat16"]


def test_what_was_measured_is_kept_for_trainings_of_the_kind() -> None:
    times: dict[TrainingPrecision, Timed | None] = {"float32": PLAIN, "bfloat16": Timed(1.0, 0.02)}
    first, _ = choose(times, 600)
    again, asked = choose({}, 700)
    assert asked == []
    assert (again.precision, again.measured) == (first.precision, first.measured)
    assert choose(times, 600, {**TASK, "cut": "stage1"})[1], "another cut is another task"
    assert choose(times, 1200)[1], "a training of another length has other room for measuring"


@pytest.mark.parametrize(
    "damage", ["", "{}", '{"key": 1, "measured": {"float32": {"step_s": 1}}}', "other", "zero"]
)
def test_what_is_damaged_is_measured_again(
    cache: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    times: dict[TrainingPrecision, Timed | None] = {"float32": PLAIN, "bfloat16": None}
    choose(times, 600)
    (path,) = cache.iterdir()
    content = json.loads(path.read_text())
    if damage == "other":
        damage = json.dumps({**content, "key": {**content["key"], "cores": -1}})
    elif damage == "zero":
        damage = json.dumps({**content, "measured": {"float32": {"first_step_s": 1.0, "step_s": 0.0}}})
    path.write_text(damage)
    with caplog.at_level(logging.WARNING, logger=room.__name__):
        assert choose(times, 600)[1] == ["float32", "bfloat16"]
    assert "is damaged" in caplog.text
    assert choose({}, 600)[1] == []
    assert [one.name for one in cache.iterdir()] == [path.name], "nothing half written is left"


def test_a_cache_that_cannot_be_written_costs_the_measuring_only(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file stands where the folder would be")
    for _ in range(2):
        choice, asked = choose({"float32": PLAIN, "bfloat16": None}, 600)
        assert (choice.precision, asked) == ("float32", ["float32", "bfloat16"])


@pytest.fixture(scope="module")
def probe(build_tiny: Callable[[], Any], pictures: tuple[np.ndarray, np.ndarray]) -> Probe:
    features = Engine.from_keras(build_tiny()).run(pictures[0])["features"]
    return fit_probe(features[:80], pictures[1][:80], np.arange(80), seed=0)


@pytest.fixture
def train(
    tiny_backbone: Backbone,
    build_tiny: Callable[[], Any],
    pictures: tuple[np.ndarray, np.ndarray],
    probe: Probe,
    recipe: Callable[..., TrainingRecipe],
) -> Callable[..., TrainedNetwork]:
    def call(**changes: Any) -> TrainedNetwork:
        settings = recipe(**({"epochs": 2, "learning_rate": 3e-3} | changes))
        return train_network(
            build_tiny, tiny_backbone, probe if settings.strategy == "finetune" else None,
            WholeImages(pictures[0], settings), pictures[1], np.arange(80), np.arange(80, 120),
            recipe=settings, progress=Progress(), title="training",
        )  # fmt: skip

    return call


@pytest.mark.parametrize("strategy", ["finetune", "scratch"])
def test_measuring_leaves_no_trace_in_what_is_trained(
    train: Callable[..., TrainedNetwork],
    pictures: tuple[np.ndarray, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    strategy: str,
) -> None:
    monkeypatch.setattr(room, "MEASURING_SHARE", 1e9)
    monkeypatch.setattr(room, "LEAST_GAIN", 1e9)
    measured = train(training_precision="auto", strategy=strategy)
    assert set(measured.choice.measured) == {"float32", "bfloat16"}
    assert all(timed.step_s > 0 for timed in measured.choice.measured.values())
    found = train(training_precision="auto", strategy=strategy)
    assert found.choice == measured.choice
    told = train(training_precision="float32", strategy=strategy)
    assert told.choice.measured == {}
    expected = score_with(told.network, pictures[0])
    for one in (measured, found):
        assert one.choice.precision == "float32"
        np.testing.assert_array_equal(score_with(one.network, pictures[0]), expected)


def test_sixteen_bits_change_little_and_are_gone_from_the_network(
    train: Callable[..., TrainedNetwork], pictures: tuple[np.ndarray, np.ndarray]
) -> None:
    exact, short = (train(training_precision=each) for each in ("float32", "bfloat16"))
    assert short.choice.describe() == {"precision": "bfloat16", "xla": False, "steps": 10, "measured": {}}
    scores = [score_with(one.network, pictures[0]) for one in (exact, short)]
    assert (scores[0] != scores[1]).any(), "it must have been used"
    np.testing.assert_allclose(scores[1], scores[0], atol=0.05)
    tuned = short.network.get_layer("finetuned")
    assert {layer.compute_dtype for layer in tuned.layers} <= {"float32", "uint8"}
    assert {weight.dtype for weight in short.network.weights} == {"float32"}
    np.testing.assert_allclose(np.asarray(short.network(pictures[0])["score"])[:, 0], scores[1], atol=1e-5)


def test_the_head_has_32_bits_in_either(
    train: Callable[..., TrainedNetwork], build_tiny: Callable[[], Any], probe: Probe
) -> None:
    from breastlens.models.classifier import build_classifier

    classifier = build_classifier(build_tiny(), probe.head)
    layers = {layer.name for layer in room.layers_of_backbone(classifier)}
    assert {"conv0", "norm1", "stage3_out"} <= layers
    assert not layers & {"features", "standardised", "score", "image"}
    assert not any("pooling" in name for name in layers)
    with room.computing_in(room.layers_of_backbone(classifier), "mixed_bfloat16"):
        out = classifier(np.zeros((1, 16, 16, 3), np.uint8))
        assert {str(value.dtype) for value in out.values()} == {"<dtype: 'float32'>"}
