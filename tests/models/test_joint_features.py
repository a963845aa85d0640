"""Several backbones and views as one network: the graph, the cached features and the head agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from breastlens.models.backbones import get_backbone
from breastlens.models.feature_cache import FeatureCache
from breastlens.models.feature_network import FeatureNetwork
from breastlens.models.head import compress
from breastlens.models.joint_features import JointFeatures
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
