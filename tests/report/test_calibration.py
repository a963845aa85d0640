"""The section on calibration and operating points: what it says is what metrics.json holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from breastlens.evaluation.thresholds import OperatingPoint
from breastlens.report.calibration import calibration_context, decision_sentence
from breastlens.report.calibration_facts import DecisionCurve
from breastlens.report.calibration_figures import draw_decision_curve, draw_reliability
from breastlens.report.page import write_report
from breastlens.report.run_files import read_run_files
from breastlens.runs.judging import judge

POINTS = (
    OperatingPoint(0.41, "largest balanced accuracy", 0.9, 0.8, low=0.3, high=0.5),
    OperatingPoint(0.2, "sensitivity of at least 0.95", 0.96, 0.6, low=0.1, high=0.25),
)


def write_block(run: Path, *, slope: float = 1.0, prevalence: float | None = None) -> dict[str, Any]:
    """Judge a run's own scores as if they had come from log-odds ``slope`` times as large, and write that."""
    metrics = json.loads((run / "metrics.json").read_text())
    part = "test" if "test" in metrics else "out_of_fold"
    rows = pd.read_csv(run / "predictions.csv", dtype={"patient_id": str}, keep_default_na=False)
    rows = rows[rows["split"] == "test"] if part == "test" else rows
    raw = logit(np.clip(rows["y_score"].to_numpy(), 1e-6, 1 - 1e-6))
    found = judge(
        rows["y_true"].to_numpy(), expit(slope * raw), raw, np.tile([[0.41], [0.2]], len(rows)), [POINTS],
        rows["patient_id"].tolist(), linked=np.arange(len(rows)), prevalence=prevalence, trained_at=0.4,
    )  # fmt: skip
    own = {key: found[key] for key in ("calibration", "operating_points", "decision_curve", "prevalence")}
    metrics[part] |= own
    (run / "metrics.json").write_text(json.dumps(metrics, allow_nan=False))
    facts = json.loads((run / "run.json").read_text())
    facts["operating_point"] |= {"low": 0.3, "high": 0.5}
    facts["calibration"] = {
        "saved": {"method": "isotonic"},
        "judged": [{"method": "platt"}, {"method": "platt"}, {"method": "temperature"}],
    }
    (run / "run.json").write_text(json.dumps(facts))
    return own


def said(context: dict[str, Any]) -> str:
    return " ".join(context["sentences"])


def test_it_says_what_metrics_hold(run_factory: Callable[..., Path]) -> None:
    run = run_factory("usual")
    own = write_block(run, prevalence=0.006)
    context = calibration_context(read_run_files(run))
    after = own["calibration"]["after"]
    rows = {row.title: row for row in context["rows"]}
    for title, name in (("Calibration slope", "slope"), ("Brier score", "brier")):
        assert rows[title].after.value == f"{after[name]['value']:.3f}"
        assert rows[title].after.interval == f"{after[name]['low']:.3f} to {after[name]['high']:.3f}"
    assert rows["– resolution"].before.value == (
        f"{own['calibration']['before']['brier_decomposition']['resolution']:.3f}"
    )
    assert "in 2 of 3 folds, temperature (a slope on the log-odds) in 1 of 3 folds" in said(context)
    assert "The saved model has isotonic" in said(context)
    first, second = context["points"]
    assert (first.in_use, second.in_use) == (True, False)
    assert first.threshold == ("0.41", "0.3 to 0.5", "")
    assert len(first.cells) == len(context["columns"]) == 6
    assert first.cells[4].value == f"{own['operating_points'][0]['ppv_at_prevalence']['value']:.3f}"
    assert "a prevalence of 0.006 instead of 0.400" in context["prevalence"]
    assert "lie between 0.3 and 0.5" in context["threshold"]
    page = write_report(run).read_text()
    assert "Calibration and operating points" in page
    assert page.count("in use</small>") == 1
    assert "PPV at prevalence 0.006" in page


def test_thresholds_of_folds_have_the_range_of_their_intervals(run_factory: Callable[..., Path]) -> None:
    other = (replace(POINTS[0], threshold=0.6, low=0.45, high=0.8), replace(POINTS[1], low=None, high=None))
    missed = (replace(POINTS[0], rule=f"{POINTS[0].rule}, which no threshold reached"), POINTS[1])
    labels, scores = np.arange(40) % 2, np.linspace(0.05, 0.95, 40)
    thresholds = np.array([np.repeat([0.41, 0.6], 20), np.full(40, 0.2)])
    found = judge(
        labels, scores, logit(scores), thresholds, [missed, other], [""] * 40, linked=np.arange(40),
        prevalence=None, trained_at=None,
    )  # fmt: skip
    first, second = found["operating_points"]
    assert first["rule"] == POINTS[0].rule, "one of them reached it"
    assert (first["threshold"], first["threshold_range"]) == (None, [0.41, 0.6])
    assert first["threshold_interval"] == {"value": None, "low": 0.3, "high": 0.8, "level": 0.95}
    assert second["threshold"] == 0.2, "both have chosen the same"
    assert (second["threshold_interval"]["low"], second["threshold_interval"]["high"]) == (None, None)
    run = run_factory("folds", kind="folds")
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["out_of_fold"] |= {"operating_points": found["operating_points"]}
    (run / "metrics.json").write_text(json.dumps(metrics))
    row = calibration_context(read_run_files(run))["points"][0]
    assert (row.threshold.value, row.threshold.interval) == ("", "0.41 to 0.6")
    assert row.threshold.remark == "each fold's own, their intervals from 0.3 to 0.8"


@pytest.mark.parametrize(("slope", "words"), [(3.0, "too extreme, high"), (0.3, "too timid, high")])
def test_bad_scores_are_called_so(run_factory: Callable[..., Path], slope: float, words: str) -> None:
    run = run_factory("bad")
    write_block(run, slope=slope)
    context = calibration_context(read_run_files(run))
    assert words in said(context)
    assert "Here it is more than that." in said(context)
    assert context["prevalence"] == ""
    assert len(context["columns"]) == 4


def test_an_older_run_keeps_its_brier_score_and_threshold(run_factory: Callable[..., Path]) -> None:
    run = run_factory("old")
    context = calibration_context(read_run_files(run))
    assert len(context["sentences"]) == 1
    assert "giving every image the prevalence would score" in said(context)
    assert context["threshold"].startswith("Scores of 0.41 and above")
    assert not context["rows"]
    assert not context["points"]
    assert not context["decision"]
    assert "Calibration and operating points" in write_report(run).read_text()


def curve(net_benefit: list[float], low: list[float] | None) -> DecisionCurve:
    return DecisionCurve(
        threshold=[0.1, 0.2, 0.3, 0.4], net_benefit=net_benefit, low=low, high=low, treat_all=[0.2, 0.1, 0.0, -0.1],
        prevalence=0.3,
    )  # fmt: skip


def test_the_decision_curve_is_read_from_left_to_right() -> None:
    text = decision_sentence(curve([0.25, 0.2, -0.1, 0.05], [0.1, 0.15, -0.2, 0.0]))
    assert text.endswith(
        "at thresholds of 0.1 to 0.2, 0.4; by more than chance, each threshold by itself, at 0.2."
    )
    drawn_together = curve([0.25, 0.2, -0.1, 0.05], [0.1, 0.15, -0.2, 0.01]).model_copy(
        update={"over_treat_all_low": [0.01, -0.01, 0.1, 0.1]}
    )
    assert decision_sentence(drawn_together).endswith("by itself, at 0.1, 0.4.")
    assert decision_sentence(curve([0.1, 0.1, 0.0, -0.1], None)).endswith(
        "At no threshold is the model better than calling everybody or nobody positive."
    )
    assert decision_sentence(None) == ""


def test_the_band_says_whether_the_share_of_positives_varies(run_factory: Callable[..., Path]) -> None:
    told = {}
    for name, prevalence in (("sample", None), ("stated", 0.006)):
        run = run_factory(name)
        write_block(run, prevalence=prevalence)
        told[name] = calibration_context(read_run_files(run))["decision"]
    assert "how many of them are positive varies, too" in told["sample"]
    assert "state their share of positives with --prevalence" in told["sample"]
    assert "other patients of each class, at a prevalence of 0.006" in told["stated"]
    assert "--prevalence" not in told["stated"]


def test_figures_are_drawn_also_without_curve_or_class(tmp_path: Path) -> None:
    from breastlens.evaluation.reliability import assess_calibration

    scores = np.linspace(0.05, 0.95, 20)
    for name, labels in (("apart", scores > 0.5), ("mixed", np.arange(20) % 3 == 0)):
        found = assess_calibration(labels.astype(int), scores, logit(scores), draws=20)
        path = draw_reliability(found, labels, scores, ("$healthy", "sick_"), tmp_path / f"{name}.png")
        assert path.stat().st_size > 10_000
    assert draw_decision_curve(None, tmp_path / "none.png").stat().st_size > 1_000
