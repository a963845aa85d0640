"""One training on given patients: which model is kept, where its threshold comes from, and what it must not see."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import logit
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from breastlens.config import TrainingRecipe
from breastlens.errors import SplitError
from breastlens.evaluation.calibration import Calibration
from breastlens.models.backbones import Backbone
from breastlens.models.cut import FrozenPart
from breastlens.models.engine import Engine
from breastlens.models.feature_cache import FeatureCache
from breastlens.progress import Progress
from breastlens.runs.outcome import conclude
from breastlens.runs.plans import fit_runs, plan_split
from breastlens.runs.trainings import PARTS_OF_TRAINED, Ground, Occluded
from breastlens.training import fit as room
from breastlens.training import learner
from breastlens.training.finetune import TrainedNetwork
from breastlens.training.fit import fit_model
from breastlens.training.fitted import Fit, TrainingImages, score_with
from breastlens.training.precision import Choice
from breastlens.training.probe import fit_probe, sigmoid
from breastlens.work.run import Here
from breastlens.work.store import UnitStore

TRAIN, VALIDATION, TEST = np.arange(60), np.arange(60, 90), np.arange(90, 120)
Build = Callable[[], Any]


@pytest.fixture(scope="module")
def images(build_tiny: Build, pictures: tuple[np.ndarray, np.ndarray]) -> TrainingImages:
    """Two images a patient."""
    pixels, labels = pictures
    features = Engine.from_keras(build_tiny()).run(pixels)["features"]
    return TrainingImages(pixels, features, np.repeat(labels[:60], 2), np.repeat(np.arange(60), 2))


@pytest.fixture
def fit(tiny_backbone: Backbone, build_tiny: Build) -> Callable[..., Fit]:
    def call(
        images: TrainingImages, recipe: TrainingRecipe, validation: np.ndarray | None = VALIDATION
    ) -> Fit:
        train = TRAIN if validation is not None else np.r_[TRAIN, VALIDATION]
        return fit_model(
            images,
            train,
            validation,
            backbone=tiny_backbone,
            build_features_model=build_tiny,
            frozen_part=None,
            recipe=recipe,
            progress=Progress(),
            title="training",
        )

    return call


def separable(images: TrainingImages) -> TrainingImages:
    """The same with features that tell the labels apart without error."""
    generator = np.random.default_rng(0)
    clear = generator.random(images.features.shape) + 4.0 * images.labels[:, None]
    return dataclasses.replace(images, features=clear.astype(np.float32))


def useless(images: TrainingImages) -> TrainingImages:
    """The same with features that tell nothing."""
    noise = np.random.default_rng(1).random(images.features.shape)
    return dataclasses.replace(images, features=noise.astype(np.float32))


def test_a_probe_is_the_probe_of_its_training_rows(
    images: TrainingImages, fit: Callable[..., Fit], build_tiny: Build
) -> None:
    one = fit(images, TrainingRecipe(strategy="probe", seed=4))
    alone = fit_probe(images.features[TRAIN], images.labels[TRAIN], images.groups[TRAIN], seed=4)
    np.testing.assert_array_equal(one.scores(images, TEST), alone.scores(images.features[TEST]))
    network = one.to_network(build_tiny())
    np.testing.assert_allclose(score_with(network, images.pixels[TEST]), one.scores(images, TEST), atol=1e-5)
    assert (one.kept, one.chosen_on, one.notes) == ("probe", "validation", [])
    assert [row["strength"] for row in one.history] == [trial.strength for trial in alone.trials]
    assert [row["val_auc"] for row in one.history] == [trial.auc for trial in alone.trials]


def test_a_probe_knows_its_log_odds_behind_a_steep_calibration(
    images: TrainingImages, fit: Callable[..., Fit]
) -> None:
    one = fit(images, TrainingRecipe(strategy="probe", seed=4))
    raw = one.raw_logits(images, TEST, one.scores(images, TEST))
    np.testing.assert_allclose(one.calibration.apply(raw), logit(one.scores(images, TEST)), atol=1e-6)
    steep = Calibration("platt", slope=5.0)
    head = dataclasses.replace(one.probe.head, weight=50 * one.probe.head.weight)
    probe = dataclasses.replace(one.probe, head=head, calibration=steep)
    steeper = dataclasses.replace(one, probe=probe, calibration=steep)
    scores = steeper.scores(images, TEST)
    found = steeper.raw_logits(images, TEST, scores)
    np.testing.assert_allclose(found, head.logits(images.features[TEST]) / 5)
    assert np.abs(found).max() > 2 * np.abs(steep.raw_logits(scores)).max(), "more than scores can tell"


@pytest.mark.parametrize("validation", [VALIDATION, None])
def test_the_threshold_is_the_best_where_it_was_chosen(
    images: TrainingImages, fit: Callable[..., Fit], validation: np.ndarray | None
) -> None:
    one = fit(images, TrainingRecipe(strategy="probe"), validation)
    if validation is None:
        assert one.chosen_on == "inner folds"
        labels, scores = images.labels[np.r_[TRAIN, VALIDATION]], sigmoid(one.probe.inner_logits)
    else:
        labels, scores = images.labels[validation], one.scores(images, validation)
    reached = balanced_accuracy_score(labels, scores >= one.operating_point.threshold)
    best = max(balanced_accuracy_score(labels, scores >= cut) for cut in [*scores, 2.0])
    assert reached == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("strategy", ["probe", "finetune"])
def test_what_is_held_out_has_no_influence(
    images: TrainingImages, fit: Callable[..., Fit], recipe: Callable[..., TrainingRecipe], strategy: str
) -> None:
    """Other labels, other pixels, other features in the test rows: the same model and the same threshold."""
    labels, pixels, features = images.labels.copy(), images.pixels.copy(), images.features.copy()
    labels[TEST], pixels[TEST], features[TEST] = 1 - labels[TEST], 255 - pixels[TEST], 7.0
    settings = recipe(strategy=strategy, epochs=1)
    first, second = (
        fit(one, settings) for one in (images, TrainingImages(pixels, features, labels, images.groups))
    )
    assert first.operating_point == second.operating_point
    assert first.kept == second.kept
    np.testing.assert_array_equal(first.scores(images, VALIDATION), second.scores(images, VALIDATION))


def test_a_target_sensitivity_is_reached_on_validation(
    images: TrainingImages, fit: Callable[..., Fit]
) -> None:
    one = fit(images, TrainingRecipe(strategy="probe", target_sensitivity=0.9))
    called = one.scores(images, VALIDATION) >= one.operating_point.threshold
    assert called[images.labels[VALIDATION] == 1].mean() >= 0.9


def test_fine_tuning_that_does_harm_is_thrown_away_and_said(
    images: TrainingImages, fit: Callable[..., Fit], recipe: Callable[..., TrainingRecipe], build_tiny: Build
) -> None:
    clear = separable(images)
    one = fit(clear, recipe(epochs=1, learning_rate=100.0))
    assert one.kept == "probe"
    assert one.network is None
    (note,) = one.notes
    assert note.startswith("Fine-tuning was no better than the probe, which was kept (validation AUC 1.000")
    assert {row["phase"] for row in one.history} == {"probe", "finetune"}, "what was tried is on record"
    assert max(row["val_auc"] for row in one.history if row["phase"] == "finetune") < 1
    alone = fit(clear, TrainingRecipe(strategy="probe"))
    assert one.operating_point == alone.operating_point
    np.testing.assert_array_equal(one.scores(clear, TEST), alone.scores(clear, TEST))


def test_fine_tuning_that_helps_is_kept_and_said(
    images: TrainingImages, fit: Callable[..., Fit], recipe: Callable[..., TrainingRecipe], build_tiny: Build
) -> None:
    """The probe stands on features that tell nothing; the network can only become better."""
    pixels = images.pixels.copy()
    pixels[:, 4:12, 4:12] = np.clip(
        pixels[:, 4:12, 4:12] + 60.0 * images.labels[:, None, None, None], 0, 255
    ).astype(np.uint8)
    bright = dataclasses.replace(useless(images), pixels=pixels)
    one = fit(bright, recipe(epochs=8, learning_rate=0.01, patience=8))
    assert one.kept == "finetune"
    assert one.probe is None
    (note,) = one.notes
    assert note.startswith("The fine-tuned network, averaged with the probe it started from, was kept (")
    best = max(row["val_auc"] for row in one.history if row["phase"] == "finetune")
    scores = one.scores(bright, VALIDATION)
    assert roc_auc_score(bright.labels[VALIDATION], scores) == pytest.approx(best, abs=1e-6)
    assert f"{best:.3f} after fine-tuning" in note
    reached = balanced_accuracy_score(bright.labels[VALIDATION], scores >= one.operating_point.threshold)
    assert reached == pytest.approx(
        max(balanced_accuracy_score(bright.labels[VALIDATION], scores >= cut) for cut in scores), abs=1e-12
    )
    assert one.to_network(build_tiny()) is one.network


def test_inside_a_fold_some_training_patients_are_set_aside_to_choose_and_then_learnt_from(
    images: TrainingImages,
    fit: Callable[..., Fit],
    recipe: Callable[..., TrainingRecipe],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, Any] = {}

    def first(
        model: Any, backbone: Any, probe: Any, shown: Any, labels: Any, train: Any, validation: Any, **_: Any
    ):  # type: ignore[no-untyped-def]
        seen.update(train=train, validation=validation)
        return TrainedNetwork("first network", [], 7, (2.0, 0.5), Choice("float32", 14, {}))

    def again(
        model: Any, backbone: Any, probe: Any, shown: Any, labels: Any, train: Any, like: Any, **_: Any
    ):  # type: ignore[no-untyped-def]
        seen.update(all=train, like=like, probe=probe)
        return dataclasses.replace(like, network="second network", history=[{"phase": "again"}])

    monkeypatch.setattr(room, "train_network", first)
    monkeypatch.setattr(room, "train_again", again)
    monkeypatch.setattr(room, "score_with", lambda network, pixels: np.full(sum(map(len, pixels)), 0.5))
    monkeypatch.setattr(room, "_compare", lambda labels, before, after: (True, "it was better"))
    one = fit(images, recipe(), validation=None)
    train, validation = seen["train"], seen["validation"]
    everyone = np.r_[TRAIN, VALIDATION]
    assert sorted([*train, *validation]) == sorted(everyone)
    assert not set(images.groups[train]) & set(images.groups[validation])
    assert set(images.labels[validation]) == {0, 1}
    assert 0.15 < validation.size / (train.size + validation.size) < 0.25
    assert one.chosen_on == "validation patients inside the training folds"
    np.testing.assert_array_equal(seen["all"], everyone)
    assert seen["like"].epochs == 7
    assert seen["probe"].inner_logits.size == everyone.size, "it starts from a probe of all of them"
    assert one.network == "second network"
    assert one.history[-1] == {"phase": "again"}
    assert "(7)" in one.notes[-1]


def test_too_few_patients_to_set_aside_is_told(
    images: TrainingImages, fit: Callable[..., Fit], recipe: Callable[..., TrainingRecipe]
) -> None:
    labels = np.zeros(120, np.int64)
    labels[:2] = 1  # one patient
    with pytest.raises(
        SplitError, match=r"at least 2 patients of each class .* received 1; use --strategy probe"
    ):
        fit(dataclasses.replace(images, labels=labels), recipe(), validation=None)


def test_a_network_that_learnt_nothing_is_told(
    images: TrainingImages, fit: Callable[..., Fit], recipe: Callable[..., TrainingRecipe]
) -> None:
    bare = dataclasses.replace(images, features=None)
    one = fit(bare, recipe(strategy="scratch", epochs=1, learning_rate=1e-9))
    assert one.notes[-1].startswith("The network has learnt next to nothing")
    taught = fit(bare, recipe(strategy="scratch", epochs=3, learning_rate=0.03))
    assert not any("next to nothing" in note for note in taught.notes)


def test_from_scratch_needs_no_features(
    images: TrainingImages, fit: Callable[..., Fit], recipe: Callable[..., TrainingRecipe]
) -> None:
    bare = dataclasses.replace(images, features=None)
    one = fit(bare, recipe(strategy="scratch", epochs=2, learning_rate=0.01))
    assert one.kept == "scratch"
    assert [row["phase"] for row in one.history] == ["scratch", "scratch"]
    assert one.scores(bare, TEST).shape == (30,)


@pytest.mark.parametrize("stages", ["all", 1])
def test_all_trainings_of_a_run_are_in_the_precision_of_the_first(
    images: TrainingImages,
    tiny_backbone: Backbone,
    build_tiny: Build,
    recipe: Callable[..., TrainingRecipe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stages: int | str,
) -> None:
    """Two folds, each with a part set aside, and everyone: six trainings."""
    chosen: list[Choice] = []
    used: list[Choice] = []

    def choose(measure: object, steps: int, task: dict[str, Any]) -> Choice:
        chosen.append(Choice("float32" if chosen else "bfloat16", steps, {}))
        return chosen[-1]

    fit_learner = learner.Learner.fit
    monkeypatch.setattr(learner, "choose_precision", choose)
    monkeypatch.setattr(
        learner.Learner,
        "fit",
        lambda self, *given, **named: used.append(self.choice) or fit_learner(self, *given, **named),
    )
    monkeypatch.setattr(room, "_compare", lambda *_: (True, "as told"))

    def frozen_part(stage: str) -> FrozenPart:
        return FrozenPart(build_tiny, tiny_backbone, stage, identity="tiny", cache=FeatureCache(tmp_path))

    held_out = np.where(images.groups % 2, "1", "0")
    plan = plan_split(
        Ground(
            images,
            tiny_backbone,
            build_tiny,
            frozen_part,
            "tiny",
            {"border": Occluded(lambda pixels: [pixels[:3], pixels[3:]], images.features)},
            Progress(),
        ),
        held_out,
        "folds",
        recipe=recipe(training_precision="auto", epochs=1, trainable_stages=stages, views=8),
    )
    ((trained,),) = fit_runs([[plan]], UnitStore(tmp_path / "units", PARTS_OF_TRAINED), Here())
    outcome = conclude(plan, trained, build_tiny())
    assert len(chosen) == 1
    assert used == [chosen[0]] * 6
    assert outcome.final.choice == chosen[0]
    assert outcome.final.kept == "finetune"
    np.testing.assert_allclose(outcome.occluded["border"], outcome.y_score, atol=1e-6)
