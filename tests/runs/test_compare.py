"""Several backbones on one split, of which one fails."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from breastlens.cohort.records import Cohort
from breastlens.config import TrainingRecipe
from breastlens.errors import BreastLensError, DataError
from breastlens.models import feature_network
from breastlens.models.backbones import ALL_COMPARED
from breastlens.progress import Progress
from breastlens.runs.compare import train_all
from breastlens.runs.conduct import Begun, begin
from breastlens.runs.directory import Run
from breastlens.runs.preparation import Prepared
from breastlens.work.processes import Processes
from breastlens.work.run import Failed
from breastlens.work.unit import Unit


class Heard(Progress):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_all_means_the_four_of_the_issue() -> None:
    assert set(ALL_COMPARED) == {"resnet50", "vgg16", "mobilenetv2", "densenet121"}


@pytest.mark.slow
def test_one_that_fails_does_not_lose_the_others(
    awkward: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("keras")
    build = feature_network.build_features

    def build_or_fail(backbone: Any, **options: Any) -> Any:
        if backbone.name == "mobilenet:0.5":
            raise RuntimeError("out of <memory>")
        return build(backbone, **options)

    monkeypatch.setattr(feature_network, "build_features", build_or_fail)
    heard, names = Heard(), ("mobilenet:0.25", "mobilenet:0.5", "mobilenet:0.75")
    with caplog.at_level(logging.ERROR):
        page = train_all(
            awkward,
            out=tmp_path / "all",
            backbones=names,
            weights="none",
            audit=False,
            seed=3,
            progress=heard,
        )
    assert page == tmp_path / "all" / "comparison.html"
    assert sorted(path.name for path in page.parent.iterdir()) == [
        "comparison.csv", "comparison.html", "comparison.json", "mobilenet-0.25", "mobilenet-0.75", "pairs.csv",
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["all"]
    runs = {name: Run.read(page.parent / name.replace(":", "-")) for name in (names[0], names[2])}
    assert len({run.facts["split"]["hash"] for run in runs.values()}) == 1
    table = pd.read_csv(page.parent / "comparison.csv", keep_default_na=False).set_index("run")
    assert list(table.index) == list(names)
    assert table["error"].tolist() == ["", "out of <memory>", ""]
    for name, run in runs.items():
        assert float(table.at[name, "auc"]) == run.metrics["test"]["auc"]
        assert float(table.at[name, "border_auc"]) == run.metrics["controls"]["border"]["auc"]
        assert (page.parent / table.at[name, "report"]).samefile(run.report)
    paired = json.loads((page.parent / "comparison.json").read_text(encoding="utf-8"))
    assert [(pair["first"], pair["second"]) for pair in paired["pairs"]] == [(names[0], names[2])]
    first, second = (run.metrics["test"] for run in runs.values())
    assert paired["images"] == first["n"]
    assert paired["pairs"][0]["differences"]["auc"]["value"] == pytest.approx(first["auc"] - second["auc"])
    written = page.read_text(encoding="utf-8")
    assert "out of &lt;memory&gt;" in written
    assert "mobilenet:0.5 failed: out of <memory>" in heard.lines
    assert "Traceback" in caplog.text, "an error of ours must show where it came from"


def test_all_failing_is_an_error_and_leaves_nothing(
    awkward: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DataError("nothing works")

    monkeypatch.setattr("breastlens.runs.compare.begin", fail)
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(BreastLensError, match="every backbone failed; the first: nothing works"),
    ):
        train_all(awkward, out=tmp_path / "all", weights="none", audit=False)
    assert list(tmp_path.iterdir()) == []
    assert caplog.text == "", "what the user can mend needs no traceback"


def test_a_wrong_setting_is_one_error_not_four(awkward: Cohort, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^folds: "):
        train_all(awkward, out=tmp_path / "all", folds=1)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_stops_all_of_them(
    awkward: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("breastlens.runs.compare.begin", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_all(awkward, out=tmp_path / "all", weights="none", audit=False)
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_goes_on_with_the_network_that_was_not_finished(
    awkward: Cohort, quick: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("keras")
    settings = {name: value for name, value in quick.items() if name != "backbone"} | {"audit": False}
    names, begun = ("mobilenet:0.25", "mobilenet:0.5"), []

    def stop_at_the_second(cohort: Cohort | Prepared, recipe: TrainingRecipe, *rest: Any) -> Begun:
        begun.append(recipe.backbone)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return begin(cohort, recipe, *rest)

    monkeypatch.setattr("breastlens.runs.compare.begin", stop_at_the_second)
    out, heard = tmp_path / "all", Heard()
    with pytest.raises(KeyboardInterrupt):
        train_all(awkward, out=out, backbones=names, progress=heard, **settings)
    assert heard.lines[-1] == "What was finished is kept; go on with: the same call with resume=True"
    assert sum(line.startswith("What was finished") for line in heard.lines) == 1
    assert [path.name for path in tmp_path.iterdir()] == [".all.units"]
    page = train_all(awkward, out=out, backbones=names, resume=True, **settings)
    assert begun == [names[0], names[1], names[1]]
    assert [path.name for path in tmp_path.iterdir()] == ["all"]
    assert pd.read_csv(page.parent / "comparison.csv")["run"].tolist() == list(names)
    assert Run.read(out / "mobilenet-0.25").report.is_file()


@pytest.mark.slow
def test_all_networks_are_trained_at_once_elsewhere_and_come_to_what_they_come_to_here(
    awkward: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures_not_drawn: None
) -> None:
    pytest.importorskip("keras")
    names = ("mobilenet:0.25", "mobilenet:0.5")
    asked: list[int] = []
    do = Processes.do

    def watch(self: Processes, units: Iterable[Unit | None]) -> Iterator[tuple[Unit, Any]]:
        asked.append(0)

        def counted() -> Iterator[Unit | None]:
            for unit in units:
                asked[-1] += 1
                yield unit

        return do(self, counted())

    monkeypatch.setattr(Processes, "do", watch)
    settings: dict[str, Any] = {
        "backbones": names,
        "weights": "none",
        "folds": 2,
        "repeats": 2,
        "audit": False,
    }
    train_all(awkward, out=tmp_path / "here", **settings)
    train_all(awkward, out=tmp_path / "there", on="processes:2", **settings)
    assert asked == [2 * (2 * 2 + 1)]
    for network in ("mobilenet-0.25", "mobilenet-0.5"):
        for name in ("predictions.csv", "metrics.json", "repeats.csv"):
            there = tmp_path / "there" / network / name
            assert there.read_bytes() == (tmp_path / "here" / network / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "there"]


@pytest.mark.slow
def test_elsewhere_too_one_that_fails_does_not_lose_the_others(
    awkward: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures_not_drawn: None
) -> None:
    pytest.importorskip("keras")
    heard, do = Heard(), Processes.do

    def fail_one(self: Processes, units: Iterable[Unit | None]) -> Iterator[tuple[Unit, Any]]:
        for unit, result in do(self, units):
            failed = unit.title == "probe of mobilenet:0.25"
            yield unit, Failed(DataError("the loss became no number")) if failed else result

    monkeypatch.setattr(Processes, "do", fail_one)
    page = train_all(
        awkward,
        out=tmp_path / "all",
        backbones=("mobilenet:0.25", "mobilenet:0.5"),
        weights="none",
        audit=False,
        on="processes:2",
        progress=heard,
    )
    table = pd.read_csv(page.parent / "comparison.csv", keep_default_na=False)
    assert table["error"].tolist() == ["the loss became no number", ""]
    assert "mobilenet:0.25 failed: the loss became no number" in heard.lines
