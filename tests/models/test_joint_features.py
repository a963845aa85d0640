"""Several backbones and views as one network: the graph, the cached features and the head agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from breastlens.config import Pooling
from breastlens.models.activation_map import build_activation_map
from breastlens.models.backbones import get_backbone
from breastlens.models.classifier import build_classifier, build_features
from breastlens.models.feature_cache import FeatureCache
from breastlens.models.feature_network import FeatureNetwork
from breastlens.models.head import Head, compress
from breastlens.models.joint_features import JointFeatures, join_features
from breastlens.models.pooling import pool
from breastlens.models.views import AS_IT_IS, VIEWS, View, average_views

pytest.importorskip("keras")

SIDE = 32
PIXELS = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[FeatureNetwork]:
    cache = FeatureCache(tmp_path_factory.mktemp("features"))
    return [
        FeatureNetwork(get_backbone(name), image_size=SIDE, weights="none", seed=seed, cache=cache)
        for seed, name in enumerate(("mobilenet:0.25", "mobilenetv2:0.35"))
    ]


def test_a_shift_repeats_the_edge_and_a_mirror_turns_first() -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8), (1, 64, 1))[..., None]
    right, left = View(right=1).look(ramp)[0, 0, :, 0], View(right=-1).look(ramp)[0, 0, :, 0]
    assert right.tolist() == [0, 0, *range(62)], "4 of 128 px are 2 of 64"
    assert left.tolist() == [*range(2, 64), 63, 63]
    assert View(mirrored=True, right=1).look(ramp)[0, 0, :3, 0].tolist() == [63, 63, 63]
    assert View(down=1).look(ramp.swapaxes(1, 2))[0, :4, 0, 0].tolist() == [0, 0, 0, 1]


def test_views_are_the_same_in_numpy_and_keras() -> None:
    from breastlens.models._keras import import_keras

    for view in VIEWS["flip-shift"]:
        found = np.asarray(view.look(import_keras().ops.convert_to_tensor(PIXELS)))
        assert np.array_equal(found, view.look(PIXELS))
    assert all(views[0] == AS_IT_IS for views in VIEWS.values())


def test_what_the_head_sees_of_averaged_views_is_the_mean_of_what_it_sees_of_each() -> None:
    features = np.random.default_rng(1).normal(0, 3, (4, 6, 50)) ** 3
    assert compress(average_views(list(features))) == pytest.approx(compress(features).mean(axis=0))


def test_features_are_those_of_the_members_side_by_side(members: list[FeatureNetwork]) -> None:
    joint = JointFeatures(members)
    found = joint.run(lambda: iter([PIXELS[:3], PIXELS[3:]]))
    assert np.array_equal(found, np.concatenate([one.run(PIXELS) for one in members], axis=1))
    assert sum(joint.widths) == found.shape[1]


def test_the_graph_gives_the_features_that_were_computed_apart(members: list[FeatureNetwork]) -> None:
    from breastlens.models.engine import Engine

    joint = JointFeatures(members, VIEWS["flip-shift"])
    looks: list[int] = []
    found = joint.run(lambda: iter([PIXELS]), on_done=looks.append)
    graph = Engine.from_keras(joint.model).run(PIXELS)["features"]
    assert compress(graph) == pytest.approx(compress(found), abs=2e-4)
    assert looks[-1] == joint.passes * len(PIXELS) == 100
    assert looks == sorted(looks)


def test_mirroring_an_image_changes_nothing_where_both_ways_are_shown(members: list[FeatureNetwork]) -> None:
    joint = JointFeatures(members[:1], VIEWS["flip"])
    one, other = (joint.run(lambda pixels=pixels: iter([pixels])) for pixels in (PIXELS, PIXELS[:, :, ::-1]))
    assert one == pytest.approx(other, rel=1e-6)


def test_one_member_and_one_view_is_that_network(members: list[FeatureNetwork]) -> None:
    assert JointFeatures(members[:1]).model is members[0].model


def test_the_cache_serves_views_and_members(tmp_path: Path) -> None:
    def joint() -> JointFeatures:
        cache = FeatureCache(tmp_path)
        network = FeatureNetwork(
            get_backbone("mobilenet:0.25"), image_size=SIDE, weights="none", seed=0, cache=cache
        )
        return JointFeatures([network], VIEWS["flip"])

    first = joint().run(lambda: iter([PIXELS]))
    again = joint()
    assert np.array_equal(again.run(lambda: iter([PIXELS])), first)
    assert "model" not in vars(again.members[0]), "nothing was built for it"


@pytest.mark.parametrize("names", [("mobilenet:0.25",), ("mobilenet:0.25", "mobilenetv2:0.35")])
@pytest.mark.parametrize("tta", ["none", "flip"])
@pytest.mark.parametrize("pooling", ["global", "sides"])
def test_the_map_adds_up_to_the_log_odds(names: tuple[str, ...], tta: str, pooling: Pooling) -> None:
    backbones, views = [get_backbone(name) for name in names], VIEWS[tta]
    models = [
        build_features(each, image_size=SIDE, weights="none", seed=3, pooling=pooling) for each in backbones
    ]
    model = models[0] if len(models) * len(views) == 1 else join_features(models, views)
    draw = np.random.default_rng(4)
    width = model.output.shape[-1]
    seen = compress(np.asarray(model(PIXELS)))
    head = Head(seen.mean(axis=0), np.maximum(seen.std(axis=0), 1e-4), draw.normal(0, 0.1, width), -0.3)
    log_odds = head.logits(np.asarray(model(PIXELS)))
    found = build_activation_map(build_classifier(model, head), backbones, views, pooling)(PIXELS)
    shown, constant = (
        np.asarray(found[name], np.float64) for name in ("activation_map", "activation_constant")
    )
    assert np.ptp(log_odds) > 0.5
    np.testing.assert_allclose(shown.sum(axis=(1, 2, 3)) + constant[:, 0], log_odds, rtol=0, atol=2e-4)
    assert len(np.unique(constant)) == 1


def test_sides_do_not_change_where_left_and_right_are_exchanged() -> None:
    activations = np.random.default_rng(5).normal(size=(2, 5, 5, 3)).astype(np.float32)
    one, other = (
        np.concatenate([np.asarray(each) for each in pool(turned, "stage", "sides")], axis=1)
        for turned in (activations, activations[:, :, ::-1])
    )
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    left, right = activations[0, :3, :3, 0], activations[0, :3, 2:, 0]
    expected = [abs(left.mean() - right.mean()), (left.mean() + right.mean()) / 2]
    expected += [abs(left.max() - right.max()), max(left.max(), right.max())]
    np.testing.assert_allclose(one[0, [0, 3, 6, 9]], expected, rtol=1e-5)
