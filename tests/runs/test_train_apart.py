"""Trainings in other processes and on a cluster come to what one process does, whatever is lost on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from breastlens.cohort.records import Cohort
from breastlens.machine import usable_cores
from breastlens.runs.train import train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("figures_not_drawn")]

ONE = {"weights": "none", "backbone": "mobilenet:0.25", "audit": False}
SETTINGS = ONE | {"folds": 3, "repeats": 2}
SAME = ("predictions.csv", "records.csv", "repeats.csv", "metrics.json")


@pytest.fixture(scope="module")
def wanted(awkward: Cohort, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run of this process."""
    pytest.importorskip("keras")
    run = train(awkward, out=tmp_path_factory.mktemp("here") / "run", **SETTINGS)
    return {name: (run.directory / name).read_bytes() for name in SAME}


@pytest.mark.parametrize("place", ["processes:2", "ray"])
def test_a_run_is_the_same_wherever_it_is_trained(
    request: pytest.FixtureRequest, awkward: Cohort, wanted: dict[str, bytes], tmp_path: Path, place: str
) -> None:
    if place == "ray":
        request.getfixturevalue("ray_starts")
    run = train(awkward, out=tmp_path / "run", on=place, **SETTINGS)
    assert {name: (run.directory / name).read_bytes() for name in SAME} == wanted
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_only_training_of_a_run_may_be_done_elsewhere_and_network_and_logs_come_back(
    awkward: Cohort, tmp_path: Path
) -> None:
    pytest.importorskip("keras")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    settings = ONE | {"strategy": "scratch", "epochs": 1}
    here = train(awkward, out=tmp_path / "here", **settings)
    there = train(
        awkward, out=tmp_path / "there", on="processes:1", tensorboard=tmp_path / "logs", **settings
    )
    for name in ("predictions.csv", "metrics.json"):
        assert (there.directory / name).read_bytes() == (here.directory / name).read_bytes()
    assert json.loads((there.directory / "run.json").read_text())["kept"] == "scratch"
    history = pd.read_csv(there.directory / "history.csv")
    for part, column in (("train", "loss"), ("validation", "val_loss")):
        logs = EventAccumulator(str(tmp_path / "logs" / "scratch" / part)).Reload()
        (told,) = logs.Tensors("epoch_loss")
        assert make_ndarray(told.tensor_proto) == pytest.approx(history[column][0], rel=1e-6)


@pytest.mark.usefixtures("ray_starts")
def test_a_network_that_is_fine_tuned_on_a_cluster_is_the_one_that_a_process_fine_tunes(
    awkward: Cohort, tmp_path: Path
) -> None:
    """Each worker has one core, as each of as many processes as cores."""
    pytest.importorskip("keras")
    settings = ONE | {"strategy": "finetune", "epochs": 1, "views": 1}
    there = train(awkward, out=tmp_path / "there", on="ray", **settings)
    beside = train(awkward, out=tmp_path / "beside", on=f"processes:{usable_cores()}", **settings)
    for name in ("predictions.csv", "records.csv", "metrics.json"):
        assert (there.directory / name).read_bytes() == (beside.directory / name).read_bytes()
    histories = [
        pd.read_csv(run.directory / "history.csv").drop(columns="seconds") for run in (there, beside)
    ]
    pd.testing.assert_frame_equal(*histories)
    assert "finetune" in set(histories[0]["phase"])
