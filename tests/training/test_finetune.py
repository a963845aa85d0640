"""Training of the network: what learns, from which images, with which weights, and what is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import logit
from sklearn.metrics import log_loss, roc_auc_score

from breastlens.config import Augmentation, TrainingRecipe
from breastlens.evaluation.calibration import Calibration
from breastlens.evaluation.platt import fit_platt
from breastlens.models.backbones import Backbone
from breastlens.models.engine import Engine
from breastlens.progress import Progress
from breastlens.training import views as room
from breastlens.training.finetune import TrainedNetwork, train_again, train_network
from breastlens.training.fitted import score_with
from breastlens.training.probe import Probe, fit_probe
from breastlens.training.views import WholeImages

TRAIN, VALIDATION = np.arange(80), np.arange(80, 120)
Train = Callable[..., TrainedNetwork]


@pytest.fixture(scope="module")
def probe(build_tiny: Callable[[], Any], pictures: tuple[np.ndarray, np.ndarray]) -> Probe:
    pixels, labels = pictures
    features = Engine.from_keras(build_tiny()).run(pixels)["features"]
    return fit_probe(features[TRAIN], labels[TRAIN], TRAIN, seed=0)


@pytest.fixture
def train(
    tiny_backbone: Backbone, build_tiny: Callable[[], Any], pictures: tuple[np.ndarray, np.ndarray]
) -> Train:
    def call(recipe: TrainingRecipe, probe: Probe | None, **options: Any) -> TrainedNetwork:
        given: dict[str, Any] = {"progress": Progress(), "title": "training"} | options
        images = {
            "shown": WholeImages(pictures[0], recipe),
            "labels": pictures[1],
            "train": TRAIN,
            "validation": VALIDATION,
        }
        return train_network(
            build_tiny,
            tiny_backbone,
            probe,
            *(options.pop(name, value) for name, value in images.items()),
            recipe=recipe,
            **{name: value for name, value in given.items() if name not in images},
        )

    return call


def weights_of(model: Any) -> dict[str, list[np.ndarray]]:
    return {
        layer.name: [weight.copy() for weight in layer.get_weights()]
        for layer in model.layers
        if layer.weights
    }


def moved(before: dict[str, list[np.ndarray]], after: dict[str, list[np.ndarray]]) -> set[str]:
    return {
        name
        for name, arrays in before.items()
        if any(not np.array_equal(one, other) for one, other in zip(arrays, after[name], strict=True))
    }


@pytest.mark.parametrize(
    ("stages", "expected"),
    [(0, set()), (1, {"conv2"}), ("all", {"conv0", "conv1", "conv2"})],
)
def test_only_the_top_stages_learn_and_batch_norm_never(
    train: Train,
    probe: Probe,
    build_tiny: Callable[[], Any],
    recipe: Callable[..., TrainingRecipe],
    stages: int | str,
    expected: set[str],
) -> None:
    before = weights_of(build_tiny())
    network = train(recipe(epochs=1, learning_rate=1e-3, trainable_stages=stages), probe).network
    assert moved(before, weights_of(network.get_layer("finetuned"))) == expected
    assert moved(before, weights_of(network.get_layer("probe"))) == set()
    learnt, kept = np.split(network.get_layer("score").get_weights()[0], 2)
    assert not np.allclose(learnt, kept, rtol=1e-3), "the head learns always"


def test_from_scratch_everything_learns(
    train: Train, build_tiny: Callable[[], Any], recipe: Callable[..., TrainingRecipe]
) -> None:
    before = weights_of(build_tiny())
    trained = train(recipe(epochs=2, learning_rate=1e-2, strategy="scratch"), None)
    assert moved(before, weights_of(trained.network)) == {
        "conv0",
        "conv1",
        "conv2",
        "norm0",
        "norm1",
        "norm2",
    }
    assert {row["phase"] for row in trained.history} == {"scratch"}


def test_it_starts_where_the_probe_is_and_the_classes_weigh_the_same(
    train: Train,
    probe: Probe,
    pictures: tuple[np.ndarray, np.ndarray],
    build_tiny: Callable[[], Any],
    recipe: Callable[..., TrainingRecipe],
) -> None:
    """With a learning rate of nearly nothing the probe's own figures are told, its loss with n / (2 n_class)."""
    pixels, labels = pictures
    (told,) = train(recipe(epochs=1, learning_rate=1e-12, weight_decay=0.0), probe).history
    before = probe.scores(Engine.from_keras(build_tiny()).run(pixels)["features"])
    counts = np.bincount(labels[TRAIN])
    weights = (TRAIN.size / (2 * counts))[labels[TRAIN]]
    expected = log_loss(labels[TRAIN], before[TRAIN], sample_weight=weights)
    assert told["loss"] == pytest.approx(expected, rel=1e-4)
    assert abs(expected - log_loss(labels[TRAIN], before[TRAIN])) > 0.01, (
        "without weights it would be another"
    )
    assert told["val_auc"] == pytest.approx(roc_auc_score(labels[VALIDATION], before[VALIDATION]), abs=1e-12)
    assert told["val_loss"] == pytest.approx(log_loss(labels[VALIDATION], before[VALIDATION]), rel=1e-4)


def test_the_best_epoch_is_kept_not_the_last_and_calibrated_on_validation(
    train: Train,
    probe: Probe,
    pictures: tuple[np.ndarray, np.ndarray],
    recipe: Callable[..., TrainingRecipe],
) -> None:
    pixels, labels = pictures[0][VALIDATION], pictures[1][VALIDATION]
    trained = train(recipe(epochs=10, learning_rate=0.03, patience=10, seed=2, trainable_stages="all"), probe)
    areas = [row["val_auc"] for row in trained.history]
    assert [row["epoch"] for row in trained.history] == list(range(10))
    candidates = areas[5:]
    assert candidates[-1] < max(candidates) < max(areas), (
        "a case where neither the last nor the first half is kept"
    )
    assert trained.epochs == 6 + int(np.argmax(candidates))
    scores = score_with(trained.network, pixels)
    assert roc_auc_score(labels, scores) == pytest.approx(max(candidates), abs=1e-6)
    slope, intercept = fit_platt(logit(scores), labels)
    assert slope == pytest.approx(1.0, abs=1e-3), "a second fit finds nothing left to do"
    assert intercept == pytest.approx(0.0, abs=1e-3)
    rates = [row["learning_rate"] for row in trained.history]
    assert all(0 <= rate <= 0.03 for rate in rates)
    assert rates[-1] < 1e-4
    assert rates[1:] == sorted(rates[1:], reverse=True), "it falls after the warm-up"
    assert all(row["seconds"] > 0 and 0 <= row["auc"] <= 1 for row in trained.history)


def test_training_stops_when_it_no_longer_helps(
    train: Train, probe: Probe, recipe: Callable[..., TrainingRecipe]
) -> None:
    trained = train(recipe(epochs=30, learning_rate=0.03, patience=2), probe)
    areas = [row["val_auc"] for row in trained.history]
    assert 15 < len(areas) < 30, "it waits until half of the epochs are over"
    assert 15 + int(np.argmax(areas[15:])) == len(areas) - 3


def test_training_again_is_as_long_on_all_rows_with_the_first_calibration(
    train: Train,
    probe: Probe,
    tiny_backbone: Backbone,
    build_tiny: Callable[[], Any],
    pictures: tuple[np.ndarray, np.ndarray],
    recipe: Callable[..., TrainingRecipe],
) -> None:
    pixels, labels = pictures
    first = train(recipe(epochs=5, learning_rate=3e-3), probe)
    everyone = np.arange(labels.size)

    settings = recipe(epochs=5, learning_rate=3e-3)

    def again(known: TrainedNetwork) -> TrainedNetwork:
        return train_again(
            build_tiny, tiny_backbone, probe, WholeImages(pixels, settings), labels, everyone, known,
            recipe=settings, progress=Progress(), title="again",
        )  # fmt: skip

    second = again(first)
    assert [row["epoch"] for row in second.history] == list(range(first.epochs))
    assert {row["phase"] for row in second.history} == {"again"}
    assert all("val_auc" not in row and row["seconds"] > 0 for row in second.history)
    assert second.history[-1]["learning_rate"] < 1e-6, "it decays over its own epochs"
    logits = logit(score_with(second.network, pixels))
    plain = logit(score_with(again(dataclasses.replace(first, calibration=Calibration())).network, pixels))
    np.testing.assert_allclose(logits, first.calibration.apply(plain), atol=1e-4)


def test_a_network_that_learnt_nothing_is_not_blown_up_by_its_calibration(
    train: Train,
    tiny_backbone: Backbone,
    build_tiny: Callable[[], Any],
    recipe: Callable[..., TrainingRecipe],
    pictures: tuple[np.ndarray, np.ndarray],
) -> None:
    settings = recipe(epochs=2, learning_rate=1e-5, strategy="scratch")
    first = train(settings, None)
    assert first.calibration.slope == 1.0
    assert first.calibration.knots == ()
    pixels, labels = pictures
    everyone = np.arange(labels.size)
    second = train_again(
        build_tiny, tiny_backbone, None, WholeImages(pixels, settings), labels, everyone, first,
        recipe=settings, progress=Progress(), title="again",
    )  # fmt: skip
    scores = score_with(second.network, pixels)
    assert np.unique(scores).size > 60, "the order of the images is kept"
    assert abs(scores.mean() - labels.mean()) < 0.1, "at the prevalence"


def test_training_images_alone_are_augmented_each_once_an_epoch(
    train: Train, probe: Probe, recipe: Callable[..., TrainingRecipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, int, int]] = []

    def note(
        image: np.ndarray, augmentation: Augmentation, *, seed: int, epoch: int, record: int
    ) -> np.ndarray:
        assert augmentation.horizontal_flip
        calls.append((seed, epoch, record))
        return image

    monkeypatch.setattr(room, "augment", note)
    rows = np.arange(20, 100)
    train(
        recipe(epochs=3, seed=11, augmentation=Augmentation(horizontal_flip=True)),
        probe,
        train=rows,
        validation=np.r_[0:20, 100:120],
    )
    assert {seed for seed, _, _ in calls} == {11}
    assert len(calls) <= 3 * 80 + 2 * 16, "Keras looks at one or two batches beforehand, and no more"
    epochs = [calls[-240:-160], calls[-160:-80], calls[-80:]]
    for one in epochs:
        assert sorted(record for _, _, record in one) == rows.tolist()
        assert len({epoch for _, epoch, _ in one}) == 1
    assert [one[0][1] for one in epochs] == [0, 1, 2], "each epoch has augmentations of its own"
    assert [record for _, _, record in epochs[0]] != [record for _, _, record in epochs[1]]


def test_the_same_seed_is_the_same_network_and_another_is_not(
    train: Train, probe: Probe, pictures: tuple[np.ndarray, np.ndarray], recipe: Callable[..., TrainingRecipe]
) -> None:
    settings = {"epochs": 2, "learning_rate": 3e-3, "augmentation": Augmentation(rotation_range=20)}
    first, again, other = (train(recipe(seed=seed, **settings), probe) for seed in (5, 5, 6))
    score = [score_with(one.network, pictures[0]) for one in (first, again, other)]
    np.testing.assert_array_equal(score[0], score[1])
    assert (score[0] != score[2]).any()
    times = {"seconds"}
    assert [{k: v for k, v in row.items() if k not in times} for row in first.history] == [
        {k: v for k, v in row.items() if k not in times} for row in again.history
    ]


def test_progress_and_tensorboard_hear_of_it(
    train: Train, probe: Probe, recipe: Callable[..., TrainingRecipe], tmp_path: Path
) -> None:
    heard: list[tuple[int, dict[str, float]]] = []

    class Heard(Progress):
        def task(self, title: str, total: int | None = None):  # type: ignore[no-untyped-def]
            assert (title, total) == ("fold 1", 10)
            return _Told(heard)

    train(recipe(epochs=2), probe, progress=Heard(), title="fold 1", tensorboard=str(tmp_path / "logs"))
    assert [done for done, _ in heard] == list(range(1, 11))
    assert set(heard[4][1]) == {"loss", "auc"}
    assert set(heard[-1][1]) == {"loss", "auc", "val_auc"}
    assert list((tmp_path / "logs").rglob("events.out.tfevents.*"))


class _Told:
    def __init__(self, heard: list[tuple[int, dict[str, float]]]) -> None:
        self.heard = heard

    def __enter__(self) -> Callable[..., None]:
        return lambda done, **figures: self.heard.append((done, figures))

    def __exit__(self, *_: object) -> None:
        pass
