"""The comparison of several runs: its table, its page, and runs that failed."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from breastlens.errors import RunDirectoryError
from breastlens.report.comparison import ComparisonEntry, comparison_lines, write_comparison

RunFactory = Callable[..., Path]


def paired() -> dict[str, Any]:
    """Two runs compared, as `breastlens.runs.pairs.compare_pairs` says it."""
    none = {"value": 0.0, "low": None, "high": None, "p_value": None}
    pair = {
        "first": "=a",
        "second": "b",
        "differences": {
            "auc": {"value": -0.1, "low": -0.3, "high": 0.1, "p_value": 0.2},
            **dict.fromkeys(("accuracy", "sensitivity", "specificity"), none),
        },
        "mcnemar": {"accuracy": {"only_first": 3, "only_second": 4, "p_value": 0.5}}
        | dict.fromkeys(("sensitivity", "specificity")),
        "auc_p_holm": 0.2,
        **dict.fromkeys(("accuracy_p_holm", "sensitivity_p_holm", "specificity_p_holm")),
        "not_inferior": {"first": False, "second": True},
    }
    return {"images": 60, "patients": 40, "left_out": {}, "margin": 0.05, "pairs": [pair]}


def test_table_and_page_hold_every_run_and_every_failure(run_factory: RunFactory, tmp_path: Path) -> None:
    first, second = run_factory("first run#1", seed=5), run_factory("second", seed=6)
    runs = [
        ComparisonEntry("resnet50", first, None),
        ComparisonEntry("vgg16", None, "weights <b>do not fit</b>"),
        ComparisonEntry("densenet121", second, None),
    ]
    table, page = write_comparison(tmp_path, runs)
    assert (table.name, page.name) == ("comparison.csv", "comparison.html")
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["run"] for row in rows] == ["resnet50", "vgg16", "densenet121"]
    assert [row["backbone"] for row in rows] == ["mobilenet:0.75", "", "mobilenet:0.75"]
    test = json.loads((first / "metrics.json").read_text())["test"]
    assert float(rows[0]["auc"]) == test["auc"]
    assert float(rows[0]["auc_high"]) == test["intervals"]["auc"]["high"]
    assert float(rows[0]["sensitivity"]) == test["sensitivity"]
    assert float(rows[0]["seconds"]) == pytest.approx(1.23 + 61.5)
    assert rows[0]["report"] == "first run#1/report.html"
    assert rows[1]["error"] == "weights <b>do not fit</b>"
    assert rows[1]["auc"] == rows[1]["report"] == ""
    html = page.read_text()
    assert 'href="first%20run%231/report.html"' in html
    assert 'href="second/report.html"' in html
    assert "weights &lt;b&gt;do not fit&lt;/b&gt;" in html
    assert f"resnet50 {test['auc']:.3f} (" in html  # the figure's alternative text
    assert html.count("data:image/png;base64,") == 1
    assert "not judged on the same split" not in html
    assert "No negative control was run" in html
    assert "Border control" not in html


def test_border_controls_get_a_column(run_factory: RunFactory, tmp_path: Path) -> None:
    run = run_factory("run")
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["controls"] = {"border": {"auc": 0.77, "low": 0.7, "high": 0.8}}
    (run / "metrics.json").write_text(json.dumps(metrics))
    table, page = write_comparison(tmp_path, [ComparisonEntry("vgg16", run, None)])
    assert ",0.77," in table.read_text()
    assert "Border control AUC" in page.read_text()
    assert "No negative control was run" not in page.read_text()


def test_runs_on_different_splits_are_not_comparable(run_factory: RunFactory, tmp_path: Path) -> None:
    first, second = run_factory("first"), run_factory("second")
    facts = json.loads((second / "run.json").read_text())
    facts["split"]["hash"] = "another"
    (second / "run.json").write_text(json.dumps(facts))
    runs = [ComparisonEntry("a", first, None), ComparisonEntry("b", second, None)]
    page = write_comparison(tmp_path, runs)[1].read_text()
    assert "not judged on the same split: their figures cannot be compared." in page
    written = write_comparison(tmp_path, runs, paired())[1]
    assert comparison_lines(written)[2].startswith("The runs were not judged on the same split")
    page = written.read_text()
    assert (
        "not judged on the same split: only the pairs can be compared, on the images that all of them" in page
    )
    assert "their figures cannot be compared" not in page


def test_a_model_that_was_trained_on_the_images_is_told(run_factory: RunFactory, tmp_path: Path) -> None:
    first, second = run_factory("first", kind="external"), run_factory("second", kind="external")
    facts = json.loads((second / "run.json").read_text())
    facts["findings"] = [
        {"code": "evaluated-on-training-images", "severity": "error", "what": "Some.", "count": 12}
    ]
    (second / "run.json").write_text(json.dumps(facts))
    runs = [
        ComparisonEntry("a", first, None),
        ComparisonEntry("b", second, None),
        ComparisonEntry("c", None, "x"),
    ]
    page = write_comparison(tmp_path, runs)[1]
    said = "The model was trained on 12 of these 180 images: the figures say nothing about other patients."
    assert page.read_text().count("The model was trained on") == 1
    assert f"b: {said}" in page.read_text()
    lines = comparison_lines(page)
    assert lines[1].endswith(f"no border control. {said}")
    assert not any("trained on" in line for line in (lines[0], lines[2]))


def test_pairs_stand_in_a_table_of_their_own(run_factory: RunFactory, tmp_path: Path) -> None:
    runs = [ComparisonEntry(name, run_factory(name.strip("=")), None) for name in ("=a", "b")]
    write_comparison(tmp_path, runs, paired())
    with (tmp_path / "pairs.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row == {
        "first": "'=a", "second": "b", "auc": "-0.1", "auc_low": "-0.3", "auc_high": "0.1", "accuracy": "0.0",
        "accuracy_low": "", "accuracy_high": "", "sensitivity": "0.0", "sensitivity_low": "", "sensitivity_high": "",
        "specificity": "0.0", "specificity_low": "", "specificity_high": "", "accuracy_only_first": "3",
        "accuracy_only_second": "4", "sensitivity_only_first": "", "sensitivity_only_second": "",
        "specificity_only_first": "", "specificity_only_second": "", "auc_p_holm": "0.2", "accuracy_p_holm": "",
        "sensitivity_p_holm": "", "specificity_p_holm": "",
        "not_inferior_first": "False", "not_inferior_second": "True",
    }  # fmt: skip
    with (tmp_path / "comparison.csv").open(newline="") as stream:
        assert [row["run"] for row in csv.DictReader(stream)] == ["'=a", "b"]


def test_a_comparison_of_failures_only_is_still_written(tmp_path: Path) -> None:
    table, page = write_comparison(tmp_path, [ComparisonEntry("vgg16", None, "no disk space")])
    assert "no disk space" in table.read_text()
    assert "no disk space" in page.read_text()
    assert "<img" not in page.read_text()


def test_a_run_without_auc_is_listed(run_factory: RunFactory, tmp_path: Path) -> None:
    run = run_factory("run")
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["test"].update(auc=None, intervals={})
    (run / "metrics.json").write_text(json.dumps(metrics))
    _, page = write_comparison(tmp_path, [ComparisonEntry("vgg16", run, None)])
    assert "AUC of each: vgg16 –." in page.read_text()


def test_a_run_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"nowhere: there is no such run directory"):
        write_comparison(tmp_path, [ComparisonEntry("vgg16", tmp_path / "nowhere", None)])


def test_the_title_counts_what_worked(run_factory: RunFactory, tmp_path: Path) -> None:
    good = [ComparisonEntry("a", run_factory("a"), None), ComparisonEntry("b", run_factory("b"), None)]
    bad = [ComparisonEntry(name, None, "no weights") for name in ("c", "d")]
    assert "<h1>Comparison of 2 runs</h1>" in write_comparison(tmp_path, good)[1].read_text()
    page = write_comparison(tmp_path, [good[0], *bad], noun="backbone")[1].read_text()
    assert "<h1>Comparison of 1 of 3 backbones: 2 failed</h1>" in page
    assert "BreastLens: Comparison of 1 of 3 backbones: 2 failed</title>" in page


def test_names_of_backbones_do_not_break_inside_a_word(run_factory: RunFactory, tmp_path: Path) -> None:
    runs = [
        ComparisonEntry("mobilenetv2", run_factory("run"), None),
        ComparisonEntry("c", None, "no weights"),
    ]
    html = write_comparison(tmp_path, runs)[1].read_text()
    assert html.count('<table class="names">') == html.count("<table") == 2
    assert html.index(".names tbody th { overflow-wrap: normal; }") > html.index(
        "tbody th { overflow-wrap: anywhere"
    )


def test_few_patients_are_told(run_factory: RunFactory, tmp_path: Path) -> None:
    run = run_factory("run")
    entries = [ComparisonEntry("vgg16", run, None)]
    assert "coarse" not in write_comparison(tmp_path, entries)[1].read_text()
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["test"].update(patients=12)
    (run / "metrics.json").write_text(json.dumps(metrics))
    page = write_comparison(tmp_path, entries)[1].read_text()
    assert "Only 12 patients were judged, so every figure here is coarse." in page


def test_the_terminal_gets_a_line_a_backbone(run_factory: RunFactory, tmp_path: Path) -> None:
    plain, sure, empty = run_factory("plain"), run_factory("sure"), run_factory("empty")
    change = {
        plain: {"auc": 0.91234, "intervals": {}},
        sure: {"auc": 0.8, "intervals": {"auc": {"value": 0.8, "low": 0.7, "high": 0.9}}},
        empty: {"auc": None, "intervals": {}},
    }
    for run, figures in change.items():
        metrics = json.loads((run / "metrics.json").read_text())
        metrics["test"].update(figures)
        if run is sure:
            metrics["controls"] = {"border": {"auc": 0.61, "low": 0.5, "high": 0.7}}
        (run / "metrics.json").write_text(json.dumps(metrics))
    runs = [ComparisonEntry(run.name, run, None) for run in change]
    page = write_comparison(tmp_path, [*runs, ComparisonEntry("vgg16", None, "no weights,\nno luck")])[1]
    assert comparison_lines(page) == [
        "plain: AUC 0.912, no interval; no border control",
        "sure: AUC 0.800 (0.700 to 0.900); border control 0.610",
        "empty: no AUC; no border control",
        "vgg16: failed: no weights, no luck",
    ]


def test_a_comparison_without_its_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"it has no comparison\.csv"):
        comparison_lines(tmp_path / "comparison.html")


def test_of_a_repeated_run_the_first_repeat_is_compared_and_that_is_said(
    run_factory: RunFactory, tmp_path: Path
) -> None:
    once, often = run_factory("once"), run_factory("often", seed=6)
    metrics = json.loads((often / "metrics.json").read_text())
    metrics["repeats"] = {"count": 5, "metrics": {"auc": {"mean": {"value": 0.8}}}}
    (often / "metrics.json").write_text(json.dumps(metrics))
    runs = [ComparisonEntry("once", once, None), ComparisonEntry("often", often, None)]
    _, page = write_comparison(tmp_path, runs)
    said = "Of its 5 repeats the first is compared, not the mean"
    first, second, *_ = comparison_lines(page)
    assert said in second
    assert "repeats" not in first
    assert page.read_text().count(f"often: {said}") == 1
    assert "once: Of its" not in page.read_text()
