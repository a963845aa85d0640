"""An evaluation holds its labels and its images against those of the training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from breastlens.cohort.reading import scan
from breastlens.cohort.records import Cohort
from breastlens.config import LabelMap
from breastlens.errors import DataError
from breastlens.imaging.preprocess import PreparedImage
from breastlens.inference.answer import Answer
from breastlens.models.bundle import BundleCard, shorten_hashes
from breastlens.runs.directory import Run
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

    def answer_each(images: Iterable[PreparedImage]) -> Iterator[tuple[PreparedImage, float, Answer]]:
        for image in images:
            score = float(image.pixels.mean()) / 255
            yield image, score, Answer("positive" if score >= card.threshold else "negative")

    engine = SimpleNamespace(outputs=("score",))  # an older model, without maps
    return SimpleNamespace(bundle=SimpleNamespace(card=card, engine=engine), answer_each=answer_each)


def test_turned_labels_are_refused(predictor: SimpleNamespace, phantoms: Cohort, tmp_path: Path) -> None:
    turned = replace(phantoms, labels=LabelMap(positive=("healthy",), negative=("sick",)))
    with pytest.raises(DataError, match="healthy, sick would stand on the other side than in training"):
        evaluate(predictor, turned, out=tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_images_that_the_model_was_trained_on_are_an_error(
    predictor: SimpleNamespace, phantoms: Cohort, tmp_path: Path
) -> None:
    """Whatever is known of patients, and whether some images are missing or others were added."""
    card, used = predictor.bundle.card, phantoms.included
    assert "evaluated-on-training-images" not in codes(evaluate(predictor, phantoms, out=tmp_path / "none"))
    known = shorten_hashes([*used["pixels_sha256"].iloc[:7], "f" * 64])
    predictor.bundle.card = card.model_copy(update={"learnt_from": known})
    run = evaluate(predictor, phantoms, out=tmp_path / "run")
    first = run.facts["findings"][0]
    assert (first["code"], first["severity"], first["count"]) == ("evaluated-on-training-images", "error", 7)
    assert sorted(first["records"]) == sorted(used["path"].iloc[:7])


def codes(run: Run) -> list[str]:
    return [finding["code"] for finding in run.facts["findings"]]


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
