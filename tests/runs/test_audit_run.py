"""A whole audit of simulated patients: what was planted is told, what was not is not, and the files say the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from breastlens.cohort.batches import load_images
from breastlens.cohort.records import Cohort
from breastlens.config import AuditRecipe, ImageRecipe
from breastlens.errors import DataError, MissingDependencyError, RunDirectoryError, WeightsError
from breastlens.imaging.acquisition_traps import Border, CameraNoise, Era, Format, Marker
from breastlens.imaging.phantom import PhantomSettings, write_cohort
from breastlens.imaging.preprocess import PreparedImage
from breastlens.imaging.traps import AnyTrap
from breastlens.models.backbones import get_backbone
from breastlens.models.feature_cache import FeatureCache
from breastlens.models.feature_network import FeatureNetwork
from breastlens.models.weights import resolve_weights
from breastlens.runs import audit as audits
from breastlens.runs.audit import Audit, audit_cohort
from breastlens.runs.probes import choose_features, texture_instead

FOLDS = 3


@pytest.fixture(scope="module", autouse=True)
def no_weights() -> Iterator[None]:
    """ImageNet weights are out of reach, so that the probes use texture."""

    def refuse(*_: object, **__: object) -> None:
        raise WeightsError("the network is unreachable")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("breastlens.models.feature_network.resolve_weights", refuse)
        yield


@pytest.fixture(scope="module")
def small(phantom_dir: Path) -> Cohort:
    """Thirty simulated patients with an image of 32 px each."""
    cohort = Cohort.read(phantom_dir, manifest=phantom_dir / "manifest.csv", image=ImageRecipe(image_size=32))
    return replace(cohort, table=cohort.table.drop_duplicates("patient_id").reset_index(drop=True))


@pytest.fixture(scope="module")
def small_facts(small: Cohort, no_weights: None) -> dict[str, Any]:
    """What an audit of them says, with seed 0; to be read only."""
    return audit_cohort(small, folds=2).facts


@pytest.fixture
def audited(tmp_path: Path, remembered_phantoms: None) -> Callable[..., Audit]:
    """Audits sixty simulated patients with one image each, with traps."""

    def run(*traps: AnyTrap) -> Audit:
        folder = tmp_path / "images"
        write_cohort(folder, PhantomSettings(patients=60, images_per_patient=1, seed=5, traps=traps))
        cohort = Cohort.read(folder, manifest=folder / "manifest.csv", image=ImageRecipe(image_size=64))
        return audit_cohort(cohort, folds=FOLDS)

    return run


def codes(done: Audit) -> set[str]:
    return {finding.code for finding in done.findings}


@pytest.mark.slow
def test_a_clean_cohort_has_no_shortcut(audited: Callable[..., Audit]) -> None:
    done = audited()
    assert {code for code in codes(done) if code != "doubtful-labels"} <= {"breast-not-shown"}
    assert set(done.facts["controls"]) == {
        *("border", "background", "noise", "shuffled", "intensity", "labels")
    }  # no control of the file, since nothing about the files differs
    assert done.facts["whole"]["low"] > 0.5
    assert done.facts["matched"] == done.facts["nuisance"] == []


@pytest.mark.slow
@pytest.mark.usefixtures("marks_not_sought")
@pytest.mark.parametrize(
    ("trap", "expected", "unexpected"),
    [
        (Border(sick_share=1, healthy_share=0), "shortcut-border", "shortcut-noise"),
        (Marker(sick_share=1, healthy_share=0), "shortcut-border", "shortcut-intensity"),
        (CameraNoise(sick_share=1, healthy_share=0), "shortcut-noise", "shortcut-intensity"),
        (Format(), "shortcut-file", "shortcut-intensity"),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "name", None),
)
def test_a_trap_is_told_by_its_control_and_not_by_another(
    audited: Callable[..., Audit], trap: AnyTrap, expected: str, unexpected: str
) -> None:
    done = audited(trap)
    told, errors = codes(done), {each.code for each in done.findings if each.severity == "error"}
    assert expected in told
    # no network is shown the file; that so few patients show no margin over chance is a warning
    assert ("breast-not-shown" in errors) is (expected != "shortcut-file")
    assert unexpected not in told


@pytest.mark.slow
@pytest.mark.usefixtures("marks_not_sought")
def test_years_are_told_and_the_score_is_made_within_them(audited: Callable[..., Audit]) -> None:
    done = audited(Era())
    assert {"column-tells-label", "shortcut-file", "shortcut-intensity"} <= codes(done)
    (matched,) = done.facts["matched"]
    assert matched["column"].startswith("acquired")
    assert 0 < matched["images"] <= 60
    (nuisance,) = done.facts["nuisance"]
    assert nuisance["column"] == "acquired"
    assert 0 <= nuisance["auc"]["low"] <= nuisance["auc"]["value"] <= nuisance["auc"]["high"] <= 1


def test_facts_and_files_say_the_same(small: Cohort, tmp_path: Path) -> None:
    done = audit_cohort(small, out=tmp_path / "a", folds=2, command=("breastlens", "audit", "x"), seed=3)
    facts = json.loads((tmp_path / "a" / "findings.json").read_text())
    assert facts == json.loads(json.dumps(done.facts, allow_nan=False))
    assert done.directory == tmp_path / "a"
    assert facts["command"] == ["breastlens", "audit", "x"]
    assert facts["recipe"] == AuditRecipe(folds=2, seed=3).model_dump(mode="json")
    assert [each["code"] for each in facts["findings"]] == [each.code for each in done.findings]
    ranks = [("error", "warning", "info").index(each.severity) for each in done.findings]
    assert ranks == sorted(ranks)
    rows = pd.read_csv(tmp_path / "a" / "records.csv", dtype=str, keep_default_na=False)
    assert len(rows) == facts["data"]["found"]
    assert facts["verdict"] in (tmp_path / "a" / "audit.html").read_text()
    assert {"controls.png", "occlusions.png"} <= {
        path.name for path in (tmp_path / "a" / "figures").iterdir()
    }
    assert str(tmp_path) not in json.dumps(facts)


def test_margins_are_the_difference_and_the_corrected_auc_follows(small_facts: dict[str, Any]) -> None:
    facts = small_facts
    for name, control in facts["controls"].items():
        if name == "labels":
            assert "margin" not in control
        else:
            assert control["margin"]["value"] == pytest.approx(facts["whole"]["auc"] - control["auc"])
    assert facts["corrected"]["value"] == pytest.approx(
        facts["controls"]["shuffled"]["margin"]["value"] + 0.5
    )


def test_the_same_seed_gives_the_same_audit_and_writes_nothing(small: Cohort, tmp_path: Path) -> None:
    before = sorted(small.root.rglob("*"))
    first, second = (audit_cohort(small, folds=2, seed=1) for _ in range(2))
    kept = ("findings", "whole", "controls", "corrected", "properties", "verdict")
    assert [first.facts[name] for name in kept] == [second.facts[name] for name in kept]
    assert first.directory is None
    assert sorted(small.root.rglob("*")) == before


def test_too_few_patients_for_the_folds_leave_a_note_and_no_score(small: Cohort, tmp_path: Path) -> None:
    done = audit_cohort(small, out=tmp_path / "a", folds=40)
    assert "whole" not in done.facts
    (note,) = done.facts["notes"]
    assert note.startswith("No probe could be trained: 40 folds need 40 patients of each label; ")
    assert "No model was trained, so shortcuts were not looked for" in done.facts["verdict"]
    page = (tmp_path / "a" / "audit.html").read_text()
    assert "No probe could be trained" in page


def test_unreachable_weights_are_replaced_by_texture_and_told(small_facts: dict[str, Any]) -> None:
    facts = small_facts["features"]
    assert facts["name"] == "oriented gradients and local binary patterns"
    assert facts["note"].endswith("which see less than a network: the network is unreachable.")


def test_the_note_on_texture_has_no_more_of_a_failed_download_than_what_to_do() -> None:
    error = WeightsError(
        "cannot be downloaded (URL fetch failure on https://...)", brief="cannot be downloaded"
    )
    note = texture_instead(error).facts["note"]
    assert note.endswith(": cannot be downloaded.")
    missing = texture_instead(MissingDependencyError("TensorFlow", "train", "a network")).facts["note"]
    assert "pip install 'breastlens[train]'" in missing


def test_texture_replaces_all_features_where_only_some_were_kept_and_the_weights_are_unreachable(
    small: Cohort, small_facts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training has left the features of whole images in the cache, and none of the controls that an audit makes."""
    monkeypatch.setattr("breastlens.models.feature_network.resolve_weights", resolve_weights)

    def refuse(*_: object, **__: object) -> None:
        raise WeightsError("the network is unreachable")

    monkeypatch.setattr("breastlens.models.feature_network.build_features", refuse)
    cache, recipe = FeatureCache(tmp_path), AuditRecipe()
    network = FeatureNetwork(
        get_backbone(recipe.backbone), image_size=32, weights="imagenet", seed=recipe.seed, cache=cache
    )
    pixels = load_images(small, small.included).pixels
    cache.features(
        network.identity, [pixels], lambda batches: np.concatenate([b[:, 0, :, 0] for b in batches])
    )
    facts = audit_cohort(small, folds=2, cache=cache).facts
    assert facts["features"] == small_facts["features"]
    assert facts["controls"] == small_facts["controls"]
    assert facts["whole"] == small_facts["whole"]


def test_weights_that_were_named_are_never_replaced() -> None:
    with pytest.raises(WeightsError, match="unreachable"):
        choose_features(AuditRecipe(weights="mine.h5"), 32, FeatureCache())
    with pytest.raises(DataError, match="no backbone is called 'nonet'"):
        choose_features(AuditRecipe(backbone="nonet"), 32, FeatureCache())


@pytest.mark.parametrize("weights", ["none", "imagenet"])
def test_features_are_a_row_an_image(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if weights == "none":
        pytest.importorskip("keras")
        monkeypatch.setattr("breastlens.models.feature_network.resolve_weights", resolve_weights)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    features = choose_features(AuditRecipe(backbone="mobilenet:0.25", weights=weights), 32, FeatureCache())
    whole = features.run([pixels])
    assert whole.shape[0] == 5
    np.testing.assert_allclose(features.run([pixels[:2], pixels[2:]]), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("width", [16, 100])
def test_a_border_of_the_whole_image_is_refused(small: Cohort, width: int) -> None:
    with pytest.raises(DataError, match=r"all of an image of 32 px; expected at most 15"):
        audit_cohort(small, border_px=width)


def test_settings_and_columns_are_refused_before_images_are_read(
    small: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("images were read")

    monkeypatch.setattr(audits, "inspect_cohort", never)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"within": ("nosuch",)}, "no column 'nosuch'"),
        ({"folds": 1}, "folds"),
        ({"backbones": "vgg16"}, "backbones"),
    ]
    for settings, said in wrong:
        with pytest.raises(DataError, match=said):
            audit_cohort(small, **settings)


def test_a_directory_that_exists_is_left_alone(small: Cohort, tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    with pytest.raises(RunDirectoryError):
        audit_cohort(small, out=tmp_path, folds=2)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_an_audit_that_fails_leaves_no_directory(
    small: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DataError("broken on the way")

    monkeypatch.setattr(audits, "write_audit_page", fail)
    with pytest.raises(DataError, match="broken on the way"):
        audit_cohort(small, out=tmp_path / "a", folds=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("turned", [True, False])
def test_a_given_model_is_asked_with_images_as_it_knows_them(small: Cohort, turned: bool) -> None:
    labels = small.included["label"].to_numpy()
    seen = []

    def score_each(images: Iterable[PreparedImage]) -> Iterator[tuple[PreparedImage, float]]:
        truth = 0.2 + 0.6 * labels + np.random.default_rng(0).uniform(-0.35, 0.35, labels.size)
        for image, score in zip(images, np.clip(1 - truth if turned else truth, 0, 1), strict=True):
            seen.append(image.pixels.shape)
            yield image, float(score)

    card = SimpleNamespace(image=ImageRecipe(image_size=48))
    model: Any = SimpleNamespace(bundle=SimpleNamespace(card=card), score_each=score_each)
    done = audit_cohort(small, folds=40, model=model)  # more folds than patients: nothing else is trained
    assert seen == [(48, 48, 3)] * 30
    assert ("labels-look-inverted" in codes(done)) is turned
    assert "1 serious finding" in done.facts["verdict"] or not turned
