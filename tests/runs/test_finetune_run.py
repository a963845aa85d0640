"""A fine-tuning from beginning to end, twice with the same seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from breastlens.cohort.records import Cohort
from breastlens.inference.predictor import load
from breastlens.runs.directory import Run
from breastlens.runs.train import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(awkward: Cohort, quick: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    pytest.importorskip("keras")
    folder = tmp_path_factory.mktemp("finetune")
    settings = {"strategy": "finetune", "epochs": 2, "learning_rate": 3e-3, "seed": 1, "trainable_stages": 1}
    return [train(awkward, out=folder / name, **quick, **settings) for name in ("one", "two")]


def test_the_same_seed_gives_the_same_bytes(runs: list[Run]) -> None:
    for name in ("predictions.csv", "records.csv", "metrics.json"):
        first, second = ((run.directory / name).read_bytes() for run in runs)
        assert first == second, name
    histories = [pd.read_csv(run.directory / "history.csv").drop(columns="seconds") for run in runs]
    pd.testing.assert_frame_equal(*histories, check_exact=True)


def test_the_second_run_trains_as_the_first_one_was_measured(runs: list[Run]) -> None:
    first, second = (run.facts["execution"] for run in runs)
    assert first == second
    assert first["precision"] in first["measured"]
    assert all(seconds > 0 for timed in first["measured"].values() for seconds in timed.values())


def test_the_history_has_the_probe_and_each_epoch(runs: list[Run]) -> None:
    history = pd.read_csv(runs[0].directory / "history.csv")
    epochs = history[history["phase"] == "finetune"]
    assert epochs["epoch"].tolist() == [0, 1]
    assert epochs[["loss", "auc", "val_loss", "val_auc", "learning_rate", "seconds"]].notna().all(axis=None)
    assert set(history["phase"]) == {"probe", "finetune"}


def test_what_was_kept_is_said_and_is_what_the_figures_are_of(runs: list[Run]) -> None:
    run = runs[0]
    history = pd.read_csv(run.directory / "history.csv")
    best = history.loc[history["phase"] == "finetune", "val_auc"].max()
    rows = run.predictions.query("split == 'validation'")
    reached = roc_auc_score(rows["y_true"].astype(int), rows["y_score"])
    (note,) = run.facts["notes"]
    if run.facts["kept"] == "finetune":
        assert note.startswith("The fine-tuned network, averaged with")
        assert reached == pytest.approx(best, abs=1e-6)
    else:
        assert note.startswith("Fine-tuning was no better than the probe, which was kept")
        assert reached >= best - 1e-9
    assert f"{reached:.3f}" in note
    assert note[:-1] in run.report.read_text(encoding="utf-8")


def test_the_bundle_scores_as_the_run_did(runs: list[Run], awkward_dir: Path) -> None:
    rows = runs[0].predictions
    found = load(runs[0].directory).predict_files([awkward_dir / path for path in rows["path"]])
    np.testing.assert_allclose([one.y_score for one in found], rows["y_score"], rtol=0, atol=1e-5)
