"""A finished training in a real MLflow store on this machine: what is there afterwards, and what must not be."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from breastlens.cli.runs import log_trained
from breastlens.cohort.records import Cohort
from breastlens.errors import DataError, MissingDependencyError, TrackingError
from breastlens.models import feature_network
from breastlens.progress import Progress
from breastlens.runs import tracking_mlflow
from breastlens.runs.compare import train_all
from breastlens.runs.directory import Run
from breastlens.runs.tracking import describe_for_tracker
from breastlens.runs.tracking_mlflow import EXPERIMENT, MlflowTracker

# MLflow and what it brings warn of one another.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to be in, with no store named; what opening one sets in the environment is set back."""
    pytest.importorskip("mlflow")
    before = dict(os.environ)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "place").mkdir()
    monkeypatch.chdir(tmp_path / "place")
    yield tmp_path / "place"
    for name in set(os.environ) - set(before):
        del os.environ[name]


def test_a_run_in_the_local_store(place: Path, holdout_run: Run) -> None:
    tracker = MlflowTracker()
    assert tracker.log(holdout_run.directory) is True
    assert tracker.log(holdout_run.directory) is False
    assert (place / "mlflow.db").is_file()

    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{place / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    test, controls = holdout_run.metrics["test"], holdout_run.metrics["controls"]
    assert run.info.status == "FINISHED"
    assert run.data.metrics["auc"] == test["auc"]
    assert run.data.metrics["test/sensitivity"] == test["sensitivity"]
    for end in ("low", "high"):
        found, wanted = run.data.metrics.get(f"auc_{end}"), test["intervals"]["auc"][end]
        assert found == wanted
    assert run.data.metrics["controls/border/auc"] == controls["border"]["auc"]
    assert run.data.params["recipe.backbone"] == "mobilenet:0.25"
    assert run.data.params["data.fingerprint"] == holdout_run.facts["data"]["fingerprint"]
    assert run.data.tags["use"] == "research use only"
    assert "comparison" not in run.data.tags
    assert "Research use only" in run.data.tags["mlflow.note.content"]
    kept = {found.path for found in client.list_artifacts(run.info.run_id)}
    assert kept == {"report.html", "figures", "model"}
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == os.environ["DO_NOT_TRACK"] == "true"


def test_each_network_of_a_comparison_is_a_run_that_keeps_its_page(
    place: Path, awkward: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("keras")
    build = feature_network.build_features

    def build_or_fail(backbone: Any, **options: Any) -> Any:
        if backbone.name == "mobilenet:0.75":
            raise DataError("too large")
        return build(backbone, **options)

    monkeypatch.setattr(feature_network, "build_features", build_or_fail)
    names = ("mobilenet:0.25", "mobilenet:0.5", "mobilenet:0.75")
    page = train_all(awkward, out=place / "both", backbones=names, weights="none")
    tracker = MlflowTracker()
    log_trained(tracker, page.parent, Progress())
    runs = tracker._client.search_runs([tracker._experiment_id])
    assert sorted(run.data.params["recipe.backbone"] for run in runs) == ["mobilenet:0.25", "mobilenet:0.5"]
    for run in runs:
        told = Run.read(page.parent / run.info.run_name)
        assert run.info.status == "FINISHED"
        assert run.data.tags["comparison"] == "both"
        assert run.data.params["data.fingerprint"] == told.facts["data"]["fingerprint"]
        assert run.data.metrics["auc_low"] == told.metrics["test"]["intervals"]["auc"]["low"]
        for name, control in told.metrics["controls"].items():
            assert run.data.metrics.get(f"controls/{name}/auc") == control["auc"]
        margin = told.metrics["controls"]["border"]["margin"]
        assert run.data.metrics["controls/border/margin_low"] == margin["low"]
        kept = tracker._client.download_artifacts(run.info.run_id, "", str(place))
        assert {path.name for path in Path(kept).iterdir()} >= {"figures", "model", "report.html"}
        assert (Path(kept) / "comparison.html").read_bytes() == page.read_bytes()
        assert (Path(kept) / "report.html").read_bytes() == told.report.read_bytes()
        assert any((Path(kept) / "figures").iterdir())
        assert (Path(kept) / "model" / "bundle.json").is_file()


def test_no_patient_and_no_image_is_named(holdout_run: Run) -> None:
    told = describe_for_tracker(holdout_run.directory)
    text = json.dumps([told.params, told.tags, told.metrics, told.note])
    records = holdout_run.records
    names = {*records["patient_id"], *records["path"], *(Path(path).stem for path in records["path"])} - {""}
    assert not {name for name in names if re.search(rf"\b{re.escape(name)}\b", text)}
    assert str(holdout_run.directory.parent) not in text
    assert {path.name for path in told.files} == {"report.html", "figures", "model"}


def test_a_store_that_was_named(place: Path, holdout_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place / 'other.db'}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "thermograms")
    assert MlflowTracker().place.endswith("other.db, experiment thermograms")
    assert (place / "other.db").is_file()
    assert not (place / "mlflow.db").exists()


def test_a_store_that_does_not_answer_is_told_in_a_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somebody:secret@127.0.0.1:9")
    with pytest.raises(TrackingError, match=r"the MLflow store http://127\.0\.0\.1:9 cannot be used") as told:
        MlflowTracker()
    assert "secret" not in str(told.value)
    assert "\n" not in str(told.value)


def test_a_store_that_goes_away_after_it_was_opened_is_told_in_a_line_and_no_traceback(
    place: Path, holdout_run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    tracker = MlflowTracker()
    (place / "mlflow.db").rename(place / "gone.db")
    with pytest.raises(
        TrackingError, match=r"mlflow\.db cannot be used: attempt to write a readonly database$"
    ):
        tracker.log(holdout_run.directory)
    assert "Traceback" not in capfd.readouterr().err


def test_what_could_not_be_logged_whole_is_marked_and_can_be_logged_again(
    place: Path, holdout_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = MlflowTracker()
    with monkeypatch.context() as patch:

        def fail(*_: object) -> None:
            raise OSError("disk full")

        patch.setattr(tracker._client, "log_artifacts", fail)
        with pytest.raises(TrackingError, match="disk full"):
            tracker.log(holdout_run.directory)
    assert tracker.log(holdout_run.directory) is True
    runs = tracker._client.search_runs([tracker._experiment_id])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED"]


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking_mlflow.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'breastlens\[track\]'"):
        MlflowTracker()


def test_a_run_without_its_report_is_not_logged(holdout_run: Run, tmp_path: Path) -> None:
    from breastlens.errors import RunDirectoryError

    bare = tmp_path / "bare"
    shutil.copytree(holdout_run.directory, bare)
    (bare / "report.html").unlink()
    with pytest.raises(RunDirectoryError, match=r"has no report\.html: breastlens report"):
        describe_for_tracker(bare)
