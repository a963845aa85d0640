"""Tables as CSV: one file a table of the page, numbers as numbers, nothing that a spreadsheet carries out."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from breastlens.evaluation.subgroups import evaluate_strata
from breastlens.evaluation.thresholds import OperatingPoint
from breastlens.report.page import write_report
from breastlens.report.table_files import write_rows
from breastlens.runs.judging import judge

RunFactory = Callable[..., Path]
AUC = {"value": 0.875, "low": 0.8, "high": 0.95, "level": 0.95, "method": "DeLong"}
NEGATIVE = {"value": -0.5, "low": -1.5, "high": 0.25}
SETS = {
    "n": 1200,
    "sets": {"negative": 1100, "positive": 60, "both": 40, "none": 0},
    "answered": 0.967,
    "right": 0.9,
    "coverage": AUC,
    "coverage_negative": AUC,
    "coverage_positive": {"value": 0.9, "reason": "few"},
}
FURTHER: dict[str, Any] = {
    "controls": {"border": AUC | {"auc": 0.7, "margin": NEGATIVE}},
    "matched": [{"column": "site", "auc": AUC, "images": 30, "images_left_out": 4}],
    "abstention": {
        "coverage": 0.9,
        "chosen_on": "the validation part",
        "images": SETS,
        "patients": SETS,
        "risk_coverage": {"area": 0.02, "area_at_best": 0.01, "area_at_random": 0.1},
    },
    "novelty": {
        "method": "neighbours",
        "threshold": 1.25,
        "false_alarms": 0.05,
        "asked_false_alarms": 0.05,
        "images": 40,
        "refused": 6,
        "corruptions": {"upside down": {"auc": 0.953, "refused": 0.78, "images": 32}},
    },
    "repeats": {
        "count": 2,
        "seeds": [0, 1],
        "metrics": {
            name: {"mean": mean, "values": [-0.1, 0.3], "standard_deviation": 0.2, "smallest": -0.1, "largest": 0.3}
            for name, mean in (("auc", AUC), ("mcc", NEGATIVE))
        },
    },
    "learning_curve": {
        "unit": "patients",
        "points": [
            {"patients": 20, "auc": AUC, "values": [0.81, 0.83]},
            {"patients": 1200, "auc": AUC, "values": [0.875]},
        ],
        "fit": {"a": 0.984, "b": 1.25, "c": 3.0, "band": {name: [] for name in ("patients", "auc", "low", "high")}},
        "twice": {"patients": 2400, "auc": AUC, "gain": NEGATIVE},
    },
}  # fmt: skip


def fill(run: Path) -> Path:
    """Give a run everything that a page has a table for."""
    metrics, facts = (json.loads((run / name).read_text()) for name in ("metrics.json", "run.json"))
    rows = pd.read_csv(run / "predictions.csv", dtype={"patient_id": str}, keep_default_na=False)
    rows = rows[rows["split"] == "test"]
    truth, scores, people = rows["y_true"].to_numpy(), rows["y_score"].to_numpy(), rows["patient_id"].tolist()
    raw = logit(np.clip(scores, 1e-6, 1 - 1e-6))
    point = OperatingPoint(0.41, "largest balanced accuracy", 0.9, 0.8, low=0.3, high=0.5)
    options: dict[str, Any] = {"linked": np.arange(len(rows)), "prevalence": None, "trained_at": 0.4}
    judged = judge(truth, scores, raw, np.full((1, len(rows)), 0.41), ((point,),), people, **options)
    metrics["test"] |= {key: judged[key] for key in ("calibration", "operating_points")}
    strata = ["=1+1" if int(each[1:]) % 2 else "young" for each in people]
    found = evaluate_strata(truth, scores, 0.41, strata, people, draws=100)
    (run / "metrics.json").write_text(
        json.dumps(metrics | FURTHER | {"subgroups": [{"column": "age", **found}]})
    )
    pd.DataFrame(
        {
            "patient_id": ["=1+1"], "split": "test", "images": 2, "refused": 0, "y_true": 1, "y_score": 0.7,
            "y_pred": 1, "decision": "positive", "prediction_set": "positive",
        }
    ).to_csv(run / "patients.csv", index=False)  # fmt: skip
    facts["audit"] = {"done": True, "changes": []}
    (run / "run.json").write_text(json.dumps(facts))
    return run


def read(run: Path, name: str) -> list[dict[str, str]]:
    with (run / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def ids_of(html: str) -> list[str]:
    return re.findall(r'<caption id="t-([^"]+)"', html)


@pytest.mark.parametrize("kind", ["holdout", "folds", "external"])
def test_every_table_of_the_page_has_a_file_of_its_name(kind: str, run_factory: RunFactory) -> None:
    run = run_factory("run", kind=kind)
    html = write_report(fill(run) if kind == "holdout" else run).read_text()
    ids = ids_of(html)
    files = {path.stem for path in (run / "tables").iterdir()}
    assert sorted(each.replace("-", "_") for each in ids) == sorted(
        files - {"subgroup_tests"}
    )  # these are notes there
    if kind == "holdout":
        wanted = {
            "left-out", "calibration", "operating-points", "prediction-sets", "corruptions", "repeats",
            "learning-curve", "backbone", "machine", "must-be-same", "subgroups", "controls", "matched", "patients",
        }  # fmt: skip
        assert wanted <= set(ids)


def test_figures_of_all_tables_are_numbers(run_factory: RunFactory) -> None:
    run = fill(run_factory("run"))
    write_report(run)
    auc, mcc = read(run, "repeats")
    assert [auc[name] for name in ("mean", "mean low", "smallest", "largest")] == [
        "0.875", "0.800", "-0.100", "0.300",
    ]  # fmt: skip
    assert (mcc["mean"], mcc["mean low"]) == ("-0.500", "-1.500")
    few, many = read(run, "learning_curve")
    assert (few["patients"], few["smallest draw"], few["largest draw"]) == ("20", "0.810", "0.830")
    assert (many["patients"], many["smallest draw"], many["auc high"]) == ("1200", "", "0.950")
    sets = {row["metric"]: row for row in read(run, "prediction_sets")}
    assert (sets["Coverage"]["by image low"], sets["Coverage"]["by patient high"]) == ("0.800", "0.950")
    assert sets["Sets of healthy alone"]["by image"] == "1100"
    assert read(run, "corruptions") == [{"name": "upside down", "auc": "0.953", "refused": "0.780"}]
    (point,) = read(run, "operating_points")
    assert (point["rule"], point["threshold"], point["threshold low"]) == (
        "largest balanced accuracy", "0.41", "0.3",
    )  # fmt: skip
    assert float(point["Sensitivity low"]) < float(point["Sensitivity"])
    chance = next(row for row in read(run, "calibration") if row["title"] == "the same by chance alone")
    assert (chance["after low"], float(chance["after high"]) > 0) == ("", True)


def test_thresholds_of_folds_are_a_range_of_two_numbers(run_factory: RunFactory) -> None:
    run = fill(run_factory("run"))
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["test"]["operating_points"][0] |= {"threshold": None, "threshold_range": [0.1, 0.2]}
    (run / "metrics.json").write_text(json.dumps(metrics))
    write_report(run)
    (point,) = read(run, "operating_points")
    told = [point[f"threshold{end}"] for end in ("", " low", " high", " remark")]
    assert told == ["", "0.1", "0.2", "each fold's own, their intervals from 0.3 to 0.5"]


def test_images_and_patients_of_a_subgroup_have_columns_of_their_own(run_factory: RunFactory) -> None:
    run = fill(run_factory("run"))
    html = write_report(run).read_text()
    metrics = json.loads((run / "metrics.json").read_text())
    everyone, stratum, _ = read(run, "subgroups")
    first = metrics["subgroups"][0]["strata"][0]
    assert stratum["positive"] == str(first["positives"])
    assert stratum["positive_patients"] == str(first["positive_patients"])
    assert stratum["negative_patients"] == str(first["negative_patients"])
    assert everyone["positive_patients"] == str(metrics["test"]["by_patient"]["positives"])
    assert f">{first['positives']} of {first['positive_patients']}</td>" in html


def test_unknown_patients_of_a_subgroup_are_blank(run_factory: RunFactory) -> None:
    run = fill(run_factory("run"))
    metrics = json.loads((run / "metrics.json").read_text())
    for each in (metrics["test"], *metrics["subgroups"][0]["strata"]):
        each["patients"] = None
    (run / "metrics.json").write_text(json.dumps(metrics))
    write_report(run)
    for row in read(run, "subgroups"):
        assert row["patients"] == row["positive_patients"] == row["negative_patients"] == ""
        assert int(row["positive"]) > 0


def test_text_that_a_spreadsheet_would_carry_out_is_made_harmless(tmp_path: Path) -> None:
    hostile = ["=1+1", "+cmd", "-cmd", "@SUM(1)", "\tx"]
    numbers = ["-0.25", "+3", -0.25, None]
    write_rows(tmp_path / "a.csv", [{"=name": cell} for cell in [*hostile, *numbers, "a=b", "a\r=b", "–"]])
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as stream:
        title, *cells = [row[0] if row else "" for row in csv.reader(stream)]
    assert title == "'=name"
    assert cells == [*(f"'{cell}" for cell in hostile), "-0.25", "+3", "-0.25", "", "a=b", "a =b", "–"]


def test_categories_columns_and_file_names_are_made_harmless_in_every_table(run_factory: RunFactory) -> None:
    run = fill(run_factory("run", names=("=healthy", "@sick")))
    write_report(run)
    for path in [*(run / "tables").iterdir(), run / "checklists.csv"]:
        with path.open(encoding="utf-8", newline="") as stream:
            cells = [cell for row in csv.reader(stream) for cell in row]
        for cell in cells:
            assert not cell.startswith(("=", "@", "+")), f"{path.name}: {cell}"
    assert "'@sick" in [row["category"] for row in read(run, "categories")]


def test_the_text_of_the_manifest_gets_into_no_table_and_no_checklist(run_factory: RunFactory) -> None:
    run = run_factory("run")
    table = pd.read_csv(run / "records.csv", dtype=str, keep_default_na=False).assign(note="")
    out = table["excluded"] != ""
    table.loc[out, ["excluded", "note"]] = [
        ["note: Jane Doe P0001", "Jane Doe P0001"],
        ["unreadable: truncated", ""],
        ["same pixels as sick/c, d.png", ""],
    ]
    table.to_csv(run / "records.csv", index=False)
    html = write_report(run).read_text()
    reasons = {row["reason"]: row["images"] for row in read(run, "left_out")}
    assert reasons == {
        "filled in under “note”": "1",
        "unreadable: truncated": "1",
        "copy of another image": "1",
    }
    checklists = (run / "checklists.csv").read_text()
    assert "Left out: Unreadable (1); Copy of another image (1); Filled in under “note” (1)." in checklists
    everything = [html, checklists, (run / "checklists.html").read_text()]
    everything += [path.read_text() for path in (run / "tables").iterdir()]
    assert not any("Jane Doe" in text for text in everything)


def test_an_interval_of_all_there_is_says_so_on_the_page_and_keeps_its_ends_as_numbers(
    run_factory: RunFactory,
) -> None:
    run = run_factory("run")
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["test"]["intervals"]["sensitivity"] |= {"low": 0.0, "high": 1.0}
    (run / "metrics.json").write_text(json.dumps(metrics))
    page = write_report(run).read_text()
    assert page.count("<small>0.000 to 1.000: nothing is known</small>") == 1
    (row,) = [each for each in read(run, "metrics_test") if each["metric"] == "Sensitivity"]
    assert (row["by image low"], row["by image high"]) == ("0.000", "1.000")
