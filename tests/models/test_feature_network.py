from __future__ import annotations

import numpy as np
import pytest

from breastlens.errors import WeightsError
from breastlens.models import feature_network as room
from breastlens.models.backbones import get_backbone
from breastlens.models.feature_cache import FeatureCache
from breastlens.models.feature_network import FeatureNetwork

pytest.importorskip("keras")


def network(cache, backbone="mobilenet:0.25", *, weights="none", image_size=32, seed=0):
    return FeatureNetwork(
        get_backbone(backbone), image_size=image_size, weights=weights, seed=seed, cache=cache
    )


def test_whatever_changes_a_feature_is_part_of_the_identity(tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path)
    known = [
        network(cache).identity,
        network(cache, seed=1).identity,
        network(cache, image_size=64).identity,
        network(cache, "mobilenet:0.5").identity,
        network(cache, weights="imagenet").identity,
    ]
    monkeypatch.setattr(room.importlib.metadata, "version", lambda name: "another")
    known.append(network(cache).identity)
    assert len(set(known)) == len(known)


def test_the_seed_changes_no_feature_of_weights_that_are_not_random(tmp_path):
    cache = FeatureCache(tmp_path)
    first, second = (network(cache, weights="imagenet", seed=seed).identity for seed in (0, 1))
    assert first == second


@pytest.mark.real
def test_a_weights_file_is_known_by_its_content(tmp_path, shared_dir):
    cache, (file,) = FeatureCache(tmp_path), (shared_dir / "weights").glob("mobilenet_v1_alpha0.75*.h5")
    moved = tmp_path / file.name.replace("imagenet", "moved")
    moved.write_bytes(file.read_bytes())
    here, there = (network(cache, "mobilenet:0.75", weights=path, seed=1) for path in (file, moved))
    assert here.identity == there.identity != network(cache, "mobilenet:0.75", weights="imagenet").identity


def test_features_do_not_depend_on_how_they_were_asked_for(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    plain = network(FeatureCache(tmp_path, limit_bytes=0)).run(images)
    cached = network(FeatureCache(tmp_path))
    np.testing.assert_array_equal(cached.run(images[:3]), plain[:3])
    np.testing.assert_array_equal(cached.run([images[2:5], images[5:]]), plain[2:])
    assert cached.run([]).shape == (0, plain.shape[1])


def test_nothing_is_built_where_everything_is_known(tmp_path, monkeypatch):
    images = np.zeros((2, 32, 32, 3), np.uint8)
    cache = FeatureCache(tmp_path)
    expected = network(cache).run(images)

    def refuse(*_, **__):
        raise WeightsError("nothing is to be built")

    monkeypatch.setattr(room, "build_features", refuse)
    again = network(cache)
    again.require()
    np.testing.assert_array_equal(again.run(images), expected)
    with pytest.raises(WeightsError, match="nothing is to be built"):
        network(FeatureCache(tmp_path / "empty")).require()
