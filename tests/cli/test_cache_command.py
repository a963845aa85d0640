from __future__ import annotations

import json
from pathlib import Path

import pytest

from breastlens.models import feature_network
from breastlens.models.feature_network import FeatureNetwork

pytest.importorskip("keras")

AUDIT = ("--image-size", "32", "--folds", "2", "--backbone", "mobilenet:0.25", "--weights", "none", "--quiet")
PASSES = 5
"""Whole images and four occlusions."""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of this test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("BREASTLENS_CACHE", str(folder))
    return folder


@pytest.fixture
def built(monkeypatch):
    """How often a network was built."""
    calls, build = [], feature_network.build_features
    monkeypatch.setattr(
        feature_network, "build_features", lambda *given, **named: calls.append(1) or build(*given, **named)
    )
    return calls


@pytest.fixture
def computed(monkeypatch):
    """Of how many images features were computed."""
    counts, compute = [], FeatureNetwork._compute

    def count(network, batches):
        rows = list(compute(network, batches))
        counts.append(len(rows))
        return rows

    monkeypatch.setattr(FeatureNetwork, "_compute", count)
    return counts


def audit(command, folder, *options):
    done = command("audit", folder, "--manifest", folder / "manifest.csv", *AUDIT, *options, "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    return {key: facts[key] for key in ("whole", "controls", "corrected", "nuisance", "findings", "features")}


def test_a_second_audit_computes_nothing_builds_nothing_and_says_the_same(
    command, phantom_dir, cache, built, computed
):
    first = audit(command, phantom_dir)
    assert (sum(computed), len(built)) == (60 * PASSES, 1)
    second = audit(command, phantom_dir)
    assert (sum(computed), len(built)) == (60 * PASSES, 1)
    assert second == first
    assert audit(command, phantom_dir, "--cache-limit", "0") == first
    assert (sum(computed), len(built)) == (2 * 60 * PASSES, 2)


def test_other_folds_and_a_training_compute_nothing_anew(command, phantom_dir, cache, computed, tmp_path):
    audit(command, phantom_dir)
    computed.clear()
    audit(command, phantom_dir, "--folds", "3")
    manifest = phantom_dir / "manifest.csv"
    options = [option for option in AUDIT if option not in ("--folds", "2")]
    done = command("train", phantom_dir, "--manifest", manifest, *options, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    spoilt = 7 * 12  # validation images, corrupted in seven ways to choose a measure of novelty by
    assert sum(computed) <= spoilt


def test_info_counts_and_clear_removes(command, phantom_dir, cache):
    nothing = "0 rows of features of 0 networks (0.0 MB), compiled networks (0.0 MB)"
    assert command("cache", "info").out == f"{cache}: {nothing}\n"
    audit(command, phantom_dir)
    told = json.loads(command("cache", "info", "--json").out)
    (cache / "execution").mkdir()
    (cache / "execution" / "measured.json").write_text("{}")
    (cache / "compiled").mkdir()
    (cache / "compiled" / "one.compiled").write_bytes(bytes(2_000_000))
    size = sum(path.stat().st_size for path in cache.rglob("*.features"))
    assert told == {
        "folder": str(cache),
        "rows": 60 * PASSES,
        "networks": 1,
        "feature_bytes": size,
        "compiled_bytes": 0,
    }
    kept = f"300 rows of features of 1 network ({size / 1e6:.1f} MB), compiled networks (2.0 MB)"
    assert command("cache", "info").out == f"{cache}: {kept}\n"
    assert command("cache", "clear").out == f"{cache}: removed: {kept}\n"
    assert not [path for path in cache.rglob("*") if path.is_file()]
    assert json.loads(command("cache", "info", "--json").out)["rows"] == 0


def test_clear_says_what_it_could_not_remove(command, phantom_dir, cache, monkeypatch):
    (cache / "features" / "network").mkdir(parents=True)
    for name in ("kept.features", "gone.features"):
        (cache / "features" / "network" / name).write_bytes(bytes(3_000_000))
    unlink = Path.unlink

    def refuse(path, missing_ok=False):
        if path.name == "kept.features":
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    done = command("cache", "clear")
    assert done.code == 2
    assert (
        done.out
        == f"{cache}: removed: 0 rows of features of 0 networks (3.0 MB), compiled networks (0.0 MB)\n"
    )
    assert f"{cache}: 3.0 MB could not be removed" in " ".join(done.err.split())
    assert [path.name for path in cache.rglob("*.features")] == ["kept.features"]
