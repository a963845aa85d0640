"""What the network that learns is shown: activations computed once are as good as running all layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import logit
from sklearn.metrics import log_loss, roc_auc_score

from breastlens.config import Augmentation, TrainingRecipe
from breastlens.models.backbones import Backbone
from breastlens.models.cut import FrozenPart
from breastlens.models.engine import Engine
from breastlens.models.feature_cache import FeatureCache
from breastlens.progress import Progress
from breastlens.training.finetune import TrainedNetwork, train_network
from breastlens.training.fitted import score_with
from breastlens.training.probe import Probe, fit_probe
from breastlens.training.views import CutImages, Shown, WholeImages, show_images

TRAIN, VALIDATION = np.arange(80), np.arange(80, 120)
TURNED = Augmentation(rotation_range=20, horizontal_flip=True)
Build = Callable[[], Any]
Pictures = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def part(tiny_backbone: Backbone, build_tiny: Build, tmp_path: Path) -> Callable[..., FrozenPart]:
    def make(stage: str, limit_bytes: int | None = None, build: Build = build_tiny) -> FrozenPart:
        cache = FeatureCache(tmp_path / "cache", limit_bytes=limit_bytes)
        return FrozenPart(build, tiny_backbone, stage, identity="tiny", cache=cache)

    return make


@pytest.fixture
def show(tiny_backbone: Backbone, pictures: Pictures) -> Callable[..., Any]:
    def call(frozen_part: Callable[[str], FrozenPart] | None, recipe: TrainingRecipe) -> Any:
        return show_images(
            pictures[0], frozen_part, tiny_backbone, TRAIN, VALIDATION,
            recipe=recipe, progress=Progress(), title="frozen layers",
        )  # fmt: skip

    return call


@pytest.fixture(scope="module")
def probe(build_tiny: Build, pictures: Pictures) -> Probe:
    features = Engine.from_keras(build_tiny()).run(pictures[0])["features"]
    return fit_probe(features[TRAIN], pictures[1][TRAIN], TRAIN, seed=0)


def train(
    shown: Shown, recipe: TrainingRecipe, probe: Probe, backbone: Backbone, build: Build, labels: np.ndarray
) -> TrainedNetwork:
    return train_network(
        build, backbone, probe, shown, labels, TRAIN, VALIDATION,
        recipe=recipe, progress=Progress(), title="training",
    )  # fmt: skip


@pytest.mark.parametrize("stages", [0, 1, 2])
def test_with_a_view_an_epoch_it_is_the_training_of_the_whole_network(
    stages: int,
    show: Callable[..., Any],
    part: Callable[..., FrozenPart],
    probe: Probe,
    tiny_backbone: Backbone,
    build_tiny: Build,
    pictures: Pictures,
    recipe: Callable[..., TrainingRecipe],
) -> None:
    pixels, labels = pictures
    settings = recipe(
        epochs=3, views=4, trainable_stages=stages, learning_rate=3e-3, augmentation=TURNED, patience=3
    )
    with show(part, settings) as (shown, notes):
        assert isinstance(shown, CutImages)
        assert notes == []
        cut = train(shown, settings, probe, tiny_backbone, build_tiny, labels)
    whole = train(WholeImages(pixels, settings), settings, probe, tiny_backbone, build_tiny, labels)
    assert [row["epoch"] for row in cut.history] == [0, 1, 2]
    for figure in ("loss", "val_loss", "val_auc"):
        np.testing.assert_allclose(
            [row[figure] for row in cut.history], [row[figure] for row in whole.history], atol=2e-3
        )
    before = logit(probe.scores(Engine.from_keras(build_tiny()).run(pixels)["features"]))
    learnt, expected = (logit(score_with(one.network, pixels)) for one in (cut, whole))
    assert np.abs(expected - before).max() > 0.1, "it must have learnt for this to say anything"
    np.testing.assert_allclose(learnt, expected, atol=2e-2)


def test_the_saved_network_says_what_was_judged_on_activations(
    show: Callable[..., Any],
    part: Callable[..., FrozenPart],
    probe: Probe,
    tiny_backbone: Backbone,
    build_tiny: Build,
    pictures: Pictures,
    recipe: Callable[..., TrainingRecipe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The scores that the calibration was made of, from activations; and those of the file, from images."""
    from breastlens.training import finetune as room

    pixels, labels = pictures
    seen: list[np.ndarray] = []
    calibrate = room.choose_calibration
    monkeypatch.setattr(
        room, "choose_calibration", lambda logits, *own: (seen.append(logits), calibrate(logits, *own))[1]
    )
    settings = recipe(epochs=3, views=2, trainable_stages=1, learning_rate=1e-2, augmentation=TURNED)
    with show(part, settings) as (shown, _):
        trained = train(shown, settings, probe, tiny_backbone, build_tiny, labels)
    expected = 1 / (1 + np.exp(-trained.calibration.apply(seen[-1])))
    keras = pytest.importorskip("keras")
    trained.network.save(tmp_path / "model.keras")
    saved = keras.saving.load_model(tmp_path / "model.keras")
    scores = np.asarray(saved(pixels[VALIDATION])["score"])[:, 0]
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    np.testing.assert_allclose(score_with(trained.network, pixels[VALIDATION]), expected, atol=1e-5)


def test_each_epoch_has_a_view_of_its_own_until_they_begin_anew(
    show: Callable[..., Any],
    part: Callable[..., FrozenPart],
    pictures: Pictures,
    recipe: Callable[..., TrainingRecipe],
) -> None:
    settings = recipe(epochs=9, views=3, trainable_stages=1, augmentation=TURNED, seed=7)
    engine = Engine.from_keras(part("stage2_out")._lower)
    drawn, rows = WholeImages(pictures[0], settings), np.array([5, 3, 60])
    with show(part, settings) as (shown, _):
        for epoch in range(7):
            expected = engine.run(drawn.augmented(rows, epoch % 3))["row"]
            np.testing.assert_array_equal(shown.augmented(rows, epoch), expected)
        assert (shown.augmented(rows, 0) != shown.augmented(rows, 1)).any()
        still = engine.run(pictures[0][VALIDATION])["row"]
        np.testing.assert_array_equal(shown.still(VALIDATION), still)


def test_a_second_training_computes_nothing(
    show: Callable[..., Any], part: Callable[..., FrozenPart], recipe: Callable[..., TrainingRecipe]
) -> None:
    settings = recipe(epochs=4, views=4, trainable_stages=1, augmentation=TURNED)
    with show(part, settings) as (shown, _):
        first = shown.augmented(TRAIN, 2)

    def known(stage: str) -> FrozenPart:
        known_part = part(stage)
        known_part._engine = None
        return known_part

    with show(known, settings) as (shown, _):
        np.testing.assert_array_equal(shown.augmented(TRAIN, 2), first)


@pytest.mark.parametrize(
    ("changes", "given"),
    [
        ({"trainable_stages": "all"}, True),
        ({"trainable_stages": 1, "views": 0}, True),
        ({"trainable_stages": 1}, False),
    ],
)  # fmt: skip
def test_all_layers_run_where_nothing_is_frozen_or_that_is_asked_for(
    show: Callable[..., Any],
    part: Callable[..., FrozenPart],
    recipe: Callable[..., TrainingRecipe],
    changes: dict[str, Any],
    given: bool,
    pictures: Pictures,
) -> None:
    with show(part if given else None, recipe(**changes)) as (shown, notes):
        assert shown.stage is None
        assert notes == []
        np.testing.assert_array_equal(shown.still(VALIDATION), pictures[0][VALIDATION])


@pytest.mark.parametrize("folds", [None, 5])
def test_fewer_views_where_the_cache_is_small_and_none_where_it_is_smaller(
    show: Callable[..., Any],
    part: Callable[..., FrozenPart],
    recipe: Callable[..., TrainingRecipe],
    folds: int | None,
) -> None:
    """Without folds an image is learnt from or checked; with them, each is both in turn."""
    settings = recipe(epochs=20, views=8, trainable_stages=1, augmentation=TURNED, folds=folds)
    row_bytes = part("stage2_out").row_bytes

    def small(views: float) -> Callable[[str], FrozenPart]:
        images = (120, 120) if folds else (len(VALIDATION), len(TRAIN))
        return lambda stage: part(stage, int((images[0] + views * images[1]) * row_bytes))

    with show(small(8), settings) as (shown, notes):
        assert notes == []
        assert (shown.augmented(TRAIN, 8) == shown.augmented(TRAIN, 0)).all()
    with show(small(5.5), settings) as (shown, (note,)):
        assert (shown.augmented(TRAIN, 5) == shown.augmented(TRAIN, 0)).all()
        assert (shown.augmented(TRAIN, 4) != shown.augmented(TRAIN, 0)).any()
        assert note.startswith("The activations of 8 views of each image take")
        assert note.endswith("so there were 5; --cache-limit allows more.")
    with show(small(3.5), settings) as (shown, (note,)):
        assert isinstance(shown, WholeImages)
        assert note.endswith("so all layers ran at every step; --cache-limit allows more.")


def test_where_the_cache_cannot_be_written_all_layers_run_instead_of_filling_the_memory(
    show: Callable[..., Any],
    part: Callable[..., FrozenPart],
    recipe: Callable[..., TrainingRecipe],
    tmp_path: Path,
) -> None:
    settings = recipe(epochs=20, views=8, trainable_stages=1, augmentation=TURNED)
    (tmp_path / "cache").write_text("in the way")
    with show(part, settings) as (shown, (note,)):
        assert isinstance(shown, WholeImages)
        assert "more than the cache may (0 GB), so all layers ran at every step" in note
        assert note.endswith(f"{tmp_path / 'cache'} has no more room, BREASTLENS_CACHE names another folder.")


def test_where_the_disk_fills_midway_all_layers_run_at_every_step(
    show: Callable[..., Any],
    part: Callable[..., FrozenPart],
    recipe: Callable[..., TrainingRecipe],
    pictures: Pictures,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from breastlens.models import feature_cache as room

    def full(path: Path, parts: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(room, "write_whole", full)
    with show(part, recipe(epochs=4, views=4, trainable_stages=1)) as (shown, (note,)):
        assert shown.stage is None
        np.testing.assert_array_equal(shown.still(VALIDATION), pictures[0][VALIDATION])
        assert "could not be written" in note
        assert "(No space left on device), so all layers ran at every step" in note


def test_without_a_cache_the_activations_lie_in_a_folder_that_is_gone_afterwards(
    show: Callable[..., Any],
    part: Callable[..., FrozenPart],
    recipe: Callable[..., TrainingRecipe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    settings = recipe(epochs=4, views=4, trainable_stages=1, augmentation=TURNED)
    with show(part, settings) as (shown, _):
        expected = shown.augmented(TRAIN, 1)
    kept = sorted((tmp_path / "cache").rglob("*"))
    with show(lambda stage: part(stage, 0), settings) as (shown, notes):
        assert notes == []
        np.testing.assert_array_equal(shown.augmented(TRAIN, 1), expected)
        assert list(temporary.rglob("*.features"))
    assert list(temporary.iterdir()) == []
    assert sorted((tmp_path / "cache").rglob("*")) == kept


@pytest.mark.real
def test_a_real_network_is_saved_as_it_was_judged_on_activations(shared_dir: Path, tmp_path: Path) -> None:
    """MobileNet with ImageNet weights on ultrasound images, one stage learning: calibration undone, the same logits."""
    from breastlens.cohort.batches import load_images
    from breastlens.cohort.records import Cohort
    from breastlens.models.backbones import get_backbone
    from breastlens.models.feature_network import FeatureNetwork
    from breastlens.models.head import rescale_head

    cohort = Cohort.read(shared_dir / "data" / "busi", positive="malignant")
    used = cohort.included.iloc[::8]
    pixels, labels = load_images(cohort, used).pixels, used["label"].to_numpy()
    backbone = get_backbone("mobilenet:0.75")
    network = FeatureNetwork(
        backbone,
        image_size=128,
        weights=shared_dir / "weights",
        seed=0,
        cache=FeatureCache(tmp_path / "cache"),
    )
    learn, check = np.arange(70), np.arange(70, len(labels))
    settings = TrainingRecipe(
        strategy="finetune", epochs=2, views=2, trainable_stages=1, training_precision="float32"
    )
    own = fit_probe(network.run(pixels)[learn], labels[learn], learn, seed=0)
    with show_images(
        pixels, network.frozen_part, backbone, learn, check,
        recipe=settings, progress=Progress(), title="frozen layers",
    ) as (shown, _):  # fmt: skip
        trained = train_network(
            network.build, backbone, own, shown, labels, learn, check,
            recipe=settings, progress=Progress(), title="training",
        )  # fmt: skip
    kept = trained.history[1]
    assert trained.calibration.knots == ()
    slope, offset = trained.calibration.slope, trained.calibration.intercept
    rescale_head(trained.network, 1 / slope, -offset / slope)
    scores = score_with(trained.network, pixels[check])
    assert log_loss(labels[check], scores) == pytest.approx(kept["val_loss"], abs=1e-5)
    assert roc_auc_score(labels[check], scores) == pytest.approx(kept["val_auc"], abs=1e-9)
