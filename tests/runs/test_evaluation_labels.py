"""An evaluation holds its labels and its images against those of the training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from breastlens.cohort.reading import scan
from breastlens.cohort.records import Cohort
from breastlens.config import LabelMap
from breastlens.errors import DataError
from breastlens.models.bundle import BundleCard
from breastlens.runs.evaluate import evaluate


@pytest.fixture
def predictor(phantoms: Cohort) -> SimpleNamespace:
    """Scores by mean grey level; what a loaded model looks like to an evaluation."""
    card = BundleCard(
        created="2026-01-01T00:00:00+00:00",
        backbone="mobilenet",
        image=phantoms.image,
        labels=phantoms.labels,
        categories=phantoms.categories,
        threshold=0.4,
        threshold_rule="largest balanced accuracy, chosen on validation",
        data_fingerprint="of other images",
        versions={},
    )

    def score_pixels(pixels: np.ndarray, on_done: object = None) -> np.ndarray:
        return pixels.mean(axis=(1, 2, 3)) / 255

    return SimpleNamespace(bundle=SimpleNamespace(card=card), score_pixels=score_pixels)


def test_turned_labels_are_refused(predictor: SimpleNamespace, phantoms: Cohort, tmp_path: Path) -> None:
    turned = replace(phantoms, labels=LabelMap(positive=("healthy",), negative=("sick",)))
    with pytest.raises(DataError, match="healthy, sick would stand on the other side than in training"):
        evaluate(predictor, turned, out=tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_the_training_images_themselves_are_an_error(
    predictor: SimpleNamespace, phantoms: Cohort, tmp_path: Path
) -> None:
    card = predictor.bundle.card
    predictor.bundle.card = card.model_copy(update={"data_fingerprint": phantoms.fingerprint})
    run = evaluate(predictor, phantoms, out=tmp_path / "run")  # type: ignore[arg-type]
    assert run.facts["findings"][0]["code"] == "evaluated-on-training-images"
    assert run.facts["findings"][0]["severity"] == "error"


def test_one_category_alone_gives_nulls_with_reasons(
    predictor: SimpleNamespace, phantom_dir: Path, tmp_path: Path
) -> None:
    only_sick = tmp_path / "data"
    only_sick.mkdir()
    (only_sick / "sick").symlink_to(phantom_dir / "sick")
    labels = predictor.bundle.card.labels
    cohort = Cohort.from_scan(scan(only_sick), labels=labels)
    block = evaluate(predictor, cohort, out=tmp_path / "run").metrics["external"]  # type: ignore[arg-type]
    assert block["auc"] is None
    assert "negative" in block["reasons"]["auc"]
    assert block["sensitivity"] is not None
    assert (tmp_path / "run" / "report.html").exists()


def test_categories_that_the_model_does_not_know_are_told(phantoms: Cohort, phantom_dir: Path) -> None:
    labels = LabelMap(positive=("malignant",), negative=("benign",))
    with pytest.raises(DataError, match="no image stands under malignant or benign"):
        Cohort.from_scan(scan(phantom_dir), labels=labels)
