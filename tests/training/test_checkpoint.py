"""A training that ended after any epoch, and goes on from its state, comes to the very network of one that did not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from breastlens import whole_files
from breastlens.config import Augmentation, TrainingRecipe
from breastlens.models.backbones import Backbone
from breastlens.progress import Progress
from breastlens.training import checkpoint as room
from breastlens.training.finetune import TrainedNetwork, train_again, train_network
from breastlens.training.probe import Probe, fit_probe
from breastlens.training.views import WholeImages

TRAIN, VALIDATION = np.arange(60), np.arange(60, 90)
EPOCHS = 6
Train = Callable[..., TrainedNetwork]


class PowerCut(BaseException):
    """Nothing of the training catches it."""


@pytest.fixture(scope="module")
def probe(build_tiny: Callable[[], Any], pictures: tuple[np.ndarray, np.ndarray]) -> Probe:
    pixels, labels = pictures
    features = build_tiny().predict(pixels[TRAIN], verbose=0)
    return fit_probe(features, labels[TRAIN], np.arange(TRAIN.size), seed=0)


@pytest.fixture(scope="module")
def fit(
    build_tiny: Callable[[], Any],
    tiny_backbone: Backbone,
    pictures: tuple[np.ndarray, np.ndarray],
    recipe: Callable[..., TrainingRecipe],
    probe: Probe,
) -> Train:
    """Trains; everything random is drawn, and early stopping has something to count."""
    pixels, labels = pictures

    def call(checkpoints: Path | None, strategy: str = "finetune", **changes: Any) -> TrainedNetwork:
        own = recipe(
            strategy=strategy,
            augmentation=Augmentation(rotation_range=10, horizontal_flip=True),
            trainable_stages=1,
            **{"epochs": EPOCHS} | changes,
        )
        return train_network(
            build_tiny,
            tiny_backbone,
            probe if strategy == "finetune" else None,
            WholeImages(pixels, own),
            labels,
            TRAIN,
            VALIDATION,
            recipe=own,
            progress=Progress(),
            title="tiny",
            checkpoints=checkpoints,
        )

    return call


@pytest.fixture(scope="module")
def undisturbed(fit: Train) -> Train:
    """The same without checkpoints, each but once."""
    known: dict[str, TrainedNetwork] = {}

    def call(*strategy: str, **changes: Any) -> TrainedNetwork:
        name = repr((strategy, changes))
        if name not in known:
            known[name] = fit(None, *strategy, **changes)
        return known[name]

    return call


def end_after(monkeypatch: pytest.MonkeyPatch, states: int, step: str = "directory renamed") -> None:
    """Let the power go when so many states have reached a step."""
    left = states

    def reached(name: str) -> None:
        nonlocal left
        left -= name == step
        if left == 0 and name == step:
            raise PowerCut

    monkeypatch.setattr(whole_files, "reached", reached)


def told(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


def assert_same(one: TrainedNetwork, other: TrainedNetwork) -> None:
    for mine, theirs in zip(one.network.get_weights(), other.network.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert told(one.history) == told(other.history)
    assert (one.epochs, one.calibration, one.choice) == (other.epochs, other.calibration, other.choice)


@pytest.mark.parametrize("strategy", ["finetune", "scratch"])
@pytest.mark.parametrize(
    ("states", "step"),
    [
        (1, "directory renamed"),
        (4, "directory renamed"),
        (EPOCHS, "directory renamed"),
        (3, "directory synced"),
    ],
)
def test_it_goes_on_as_if_nothing_had_been(
    fit: Train,
    undisturbed: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    strategy: str,
    states: int,
    step: str,
) -> None:
    with monkeypatch.context() as patch:
        end_after(patch, states, step)
        with pytest.raises(PowerCut):
            fit(tmp_path, strategy)
    kept = sorted(path.name for path in tmp_path.glob("epoch-*"))
    assert kept[-1] == f"epoch-{states - 1 - (step != 'directory renamed'):05}"
    assert_same(fit(tmp_path, strategy), undisturbed(strategy))


def test_it_may_end_after_every_single_epoch(
    fit: Train, undisturbed: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(EPOCHS):
        with monkeypatch.context() as patch:
            end_after(patch, 1)
            with pytest.raises(PowerCut):
                fit(tmp_path)
    assert_same(fit(tmp_path), undisturbed("finetune"))


@pytest.mark.parametrize("before", [0, 1])
def test_what_early_stopping_has_counted_is_kept(
    fit: Train, undisturbed: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """It ends once it had stopped, and one epoch before that, when one in vain was counted."""
    slow = {"epochs": 10, "patience": 2, "learning_rate": 1e-6}
    whole = undisturbed(**slow)
    assert len(whole.history) < 10
    with monkeypatch.context() as patch:
        end_after(patch, len(whole.history) - before)
        with pytest.raises(PowerCut):
            fit(tmp_path, **slow)
    state = json.loads((max(tmp_path.glob("epoch-*")) / "state.json").read_text())
    assert state["stopped"] == (before == 0)
    assert state["stopping"]["wait"] == 2 - before
    assert_same(fit(tmp_path, **slow), whole)


def test_the_best_weights_are_written_once_and_kept(
    fit: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    savez = np.savez
    monkeypatch.setattr(np, "savez", lambda path, *arrays: written.append(path.name) or savez(path, *arrays))
    kept = fit(tmp_path)
    candidates = kept.history[EPOCHS // 2 :]
    best = [max(row["val_auc"] for row in candidates[: n + 1]) for n in range(len(candidates))]
    assert written.count("variables.npz") == EPOCHS
    assert written.count("best.npz") == 1 + sum(later > earlier for earlier, later in pairwise(best))
    (newest,) = tmp_path.glob("epoch-*")
    assert newest.name == f"epoch-{EPOCHS - 1:05}"
    assert {path.name for path in newest.iterdir()} == {"state.json", "variables.npz", "best.npz"}


def test_training_again_on_all_goes_on_too(
    undisturbed: Train,
    build_tiny: Callable[[], Any],
    tiny_backbone: Backbone,
    pictures: tuple[np.ndarray, np.ndarray],
    recipe: Callable[..., TrainingRecipe],
    probe: Probe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, own = undisturbed("finetune"), recipe(epochs=EPOCHS, trainable_stages=1)
    rows = np.arange(90)

    def again(checkpoints: Path | None) -> TrainedNetwork:
        return train_again(
            build_tiny,
            tiny_backbone,
            probe,
            WholeImages(pictures[0], own),
            pictures[1],
            rows,
            first,
            recipe=own,
            progress=Progress(),
            title="tiny",
            checkpoints=checkpoints,
        )

    whole = again(None)
    with monkeypatch.context() as patch:
        end_after(patch, 2)
        with pytest.raises(PowerCut):
            again(tmp_path)
    assert_same(again(tmp_path), whole)


@pytest.mark.parametrize("states", [1, 3])
@pytest.mark.parametrize("spoil", ["state.json", "variables.npz", "all"])
def test_a_damaged_state_is_not_used(
    fit: Train,
    undisturbed: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    spoil: str,
    states: int,
) -> None:
    with monkeypatch.context() as patch:
        end_after(patch, states)
        with pytest.raises(PowerCut):
            fit(tmp_path)
    for newest in tmp_path.glob("epoch-*"):
        if spoil == "all":
            shutil.rmtree(newest)
        else:
            (newest / spoil).write_text("{")
    assert_same(fit(tmp_path), undisturbed("finetune"))
    assert ("is damaged" in caplog.text) == (spoil != "all")


def test_a_state_of_other_views_is_not_used(
    fit: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        end_after(patch, 2)
        with pytest.raises(PowerCut):
            fit(tmp_path)
    monkeypatch.setattr(WholeImages, "views", 4)
    assert room.newest_checkpoint(tmp_path, WholeImages) is None
    assert list(tmp_path.iterdir()) == []
    assert "room for another number of views" in caplog.text
