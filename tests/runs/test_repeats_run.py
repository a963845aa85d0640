"""A cross-validation that is repeated: the first is what it was, the others are dealt anew; nothing crosses folds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from breastlens.cohort.records import Cohort
from breastlens.errors import DataError
from breastlens.report.run_files import read_run_files
from breastlens.report.wording import verdict
from breastlens.runs.directory import Run
from breastlens.runs.train import train

SETTINGS: dict[str, Any] = {"folds": 5, "seed": 3, "audit": False}


@pytest.fixture(scope="module")
def repeated(phantoms: Cohort, quick: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    pytest.importorskip("keras")
    out = tmp_path_factory.mktemp("repeated") / "run"
    return train(phantoms, out=out, repeats=3, learning_curve=True, **SETTINGS, **quick)


@pytest.fixture(scope="module")
def rows(repeated: Run) -> pd.DataFrame:
    """repeats.csv with what the records know."""
    table = pd.read_csv(repeated.directory / "repeats.csv", dtype={"split": str})
    assert list(table) == ["path", "repeat", "split", "y_score", "y_pred"]
    known = repeated.records.set_index("path")[["patient_id", "label"]].astype({"label": int})
    return table.join(known, on="path")


@pytest.mark.usefixtures("figures_not_drawn")
def test_the_first_repeat_is_what_a_run_without_repeats_gives(
    repeated: Run, rows: pd.DataFrame, phantoms: Cohort, quick: dict[str, Any], tmp_path: Path
) -> None:
    once = train(phantoms, out=tmp_path / "once", **SETTINGS, **quick)
    assert "repeats" not in once.metrics
    assert not (once.directory / "repeats.csv").exists()
    pd.testing.assert_frame_equal(once.predictions, repeated.predictions)
    for name in ("out_of_fold", "within_folds", "controls"):
        assert once.metrics[name] == repeated.metrics[name]
    first = rows[rows["repeat"] == 1].reset_index()
    assert first["y_score"].tolist() == once.predictions["y_score"].tolist()
    assert first["split"].tolist() == once.predictions["split"].astype(str).tolist()


def test_every_repeat_scores_every_image_once_in_folds_that_share_no_patient(
    repeated: Run, rows: pd.DataFrame
) -> None:
    dealt = set()
    for _, each in rows.groupby("repeat"):
        assert sorted(each["path"]) == sorted(repeated.predictions["path"])
        assert (each.groupby("patient_id")["split"].nunique() == 1).all()
        assert each["split"].nunique() == 5
        assert (each.groupby("split")["label"].nunique() == 2).all()
        dealt.add(tuple(each.sort_values("path")["split"]))
    assert len(dealt) == 3
    told = repeated.facts["split"]["repeats"]
    assert [each["repeat"] for each in told] == [1, 2, 3]
    assert [each["seed"] for each in told] == [3, 4, 5]
    assert len({each["hash"] for each in told}) == 3
    assert told[0]["hash"] == repeated.facts["split"]["hash"]
    for each in told:
        assert each["proof"]["patients_checked"] == rows["patient_id"].nunique()
        assert each["proof"]["patients_shared"] == each["proof"]["duplicates_shared"] == 0


@pytest.mark.usefixtures("figures_not_drawn")
def test_the_second_repeat_is_what_the_next_seed_gives(
    rows: pd.DataFrame,
    phantoms: Cohort,
    quick: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from breastlens.models.feature_network import FeatureNetwork

    built = FeatureNetwork.__init__

    def same_weights(self: FeatureNetwork, *given: Any, seed: int, **named: Any) -> None:
        built(self, *given, seed=3, **named)  # random weights, which ImageNet's would not be

    monkeypatch.setattr(FeatureNetwork, "__init__", same_weights)
    other = train(phantoms, out=tmp_path / "next", **SETTINGS | {"seed": 4}, **quick)
    second = rows[rows["repeat"] == 2]
    assert second["y_score"].tolist() == other.predictions["y_score"].tolist()
    assert second["y_pred"].tolist() == other.predictions["y_pred"].tolist()


def test_means_and_spread_can_be_had_again_from_the_table(repeated: Run, rows: pd.DataFrame) -> None:
    told = repeated.metrics["repeats"]
    assert (told["count"], told["seeds"]) == (3, [3, 4, 5])
    by_repeat = [each for _, each in rows.groupby("repeat")]
    areas = [roc_auc_score(each["label"], each["y_score"]) for each in by_repeat]
    balanced = [balanced_accuracy_score(each["label"], each["y_pred"]) for each in by_repeat]
    for name, values in (("auc", areas), ("balanced_accuracy", balanced)):
        assert told["metrics"][name]["values"] == pytest.approx(values)
        assert told["metrics"][name]["mean"]["value"] == pytest.approx(np.mean(values))
        assert told["metrics"][name]["mean"]["low"] < np.mean(values) < told["metrics"][name]["mean"]["high"]
        assert told["metrics"][name]["standard_deviation"] == pytest.approx(np.std(values, ddof=1))
    assert repeated.metrics["out_of_fold"]["auc"] == pytest.approx(areas[0])


def test_the_report_says_the_mean_and_how_far_repeats_ran(repeated: Run) -> None:
    files = read_run_files(repeated.directory)
    auc = repeated.metrics["repeats"]["metrics"]["auc"]
    spread = f"{auc['smallest']:.3f} to {auc['largest']:.3f}"
    assert f", the mean of 3 repeats that ran from {spread};" in verdict(files)
    page = (repeated.directory / "report.html").read_text()
    assert "by the seeds 3, 4, 5" in page
    assert "No patient, no file and no duplicate stands in two folds in any of them." in page
    assert "Learning curve" in page
    assert {"repeats", "learning_curve"} <= set(files.figures)


def test_the_learning_curve_ends_at_the_auc_of_the_run(repeated: Run) -> None:
    curve = repeated.metrics["learning_curve"]
    assert curve["points"][-1]["auc"]["value"] == repeated.metrics["out_of_fold"]["auc"]
    assert curve["twice"]["patients"] == 2 * curve["points"][-1]["patients"]
    json.dumps(curve, allow_nan=False)


def test_repeats_without_folds_are_refused_before_anything_is_read(
    phantoms: Cohort, quick: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="3 repeats need folds: give their number, too, such as 5"):
        train(phantoms, out=tmp_path / "run", repeats=3, **quick)
    with pytest.raises(DataError, match=r"repeats: .*greater than or equal to 1, received 0"):
        train(phantoms, out=tmp_path / "run", repeats=0, folds=5, **quick)
