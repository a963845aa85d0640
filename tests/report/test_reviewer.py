"""What a reviewer asks for: flow, cohort, subgroups, methods, checklists, tables as CSV, and the model card."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from breastlens.errors import RunDirectoryError
from breastlens.evaluation.subgroups import evaluate_strata
from breastlens.report.checklist_items import CLAIM, ITEMS, STARD, TRIPOD
from breastlens.report.cohort_table import cohort_by_class, cohort_by_part, unsummarised_columns
from breastlens.report.flow import flow_drawing, flow_table
from breastlens.report.methods import methods_paragraphs, references
from breastlens.report.page import write_report
from breastlens.report.run_files import read_run_files
from breastlens.report.subgroups import draw_subgroups, subgroup_notes, subgroup_rows

RunFactory = Callable[..., Path]


def change_records(run: Path, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    table = pd.read_csv(run / "records.csv", dtype=str, keep_default_na=False)
    edit(table).to_csv(run / "records.csv", index=False)


def change(run: Path, name: str, edit: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((run / name).read_text())
    edit(content)
    (run / name).write_text(json.dumps(content))


def leave_out(table: pd.DataFrame) -> pd.DataFrame:
    """Two patients of one image each, a copy beside another image of the same patient, and one unreadable."""
    blank = {"split": "", "duplicate_group": ""}
    rows = [
        {"path": "a.png", "category": "sick", "patient_id": "N1", "excluded": "unreadable: truncated"},
        {"path": "b.png", "category": "healthy", "patient_id": "N2", "excluded": "same pixels as sick/c.png"},
        {"path": "c.png", "category": "healthy", "patient_id": "P0000", "excluded": "note: blurred; site: x"},
        {"path": "d.png", "category": "sick", "patient_id": "N1", "excluded": "note: old"},
    ]
    used = table[table["excluded"] == ""].assign(note="", site="")
    return pd.concat([used, pd.DataFrame(rows).assign(**blank)]).fillna("")


def test_the_flow_adds_up_for_images_and_for_patients(run_factory: RunFactory) -> None:
    run = run_factory("run")
    change_records(run, leave_out)
    table = flow_table(read_run_files(run))
    left_out = {row.step: (row.images, row.patients) for row in table.left_out}
    # N1 goes with the second of their images, and P0000 stays.
    assert left_out == {
        "Unreadable": (1, 0),
        "Copy of another image": (1, 1),
        "Filled in under “note”": (2, 1),
    }
    assert [row.step for row in table.parts] == ["Train", "Validation", "Test"]
    for column in range(1, 7):
        numbers = [row[column] for row in table.left_out]
        assert table.found[column] - sum(numbers) == table.used[column]
        assert sum(row[column] for row in table.parts) == table.used[column]
    records = pd.read_csv(run / "records.csv", dtype=str, keep_default_na=False)
    used = records[records["excluded"] == ""]
    assert table.used[1:4] == (
        len(used),
        (used["category"] == "sick").sum(),
        (used["category"] == "healthy").sum(),
    )


def test_patients_that_are_unknown_are_not_counted(run_factory: RunFactory) -> None:
    run = run_factory("run")
    change(run, "run.json", lambda facts: facts["data"].update(patient_source=None))
    assert flow_table(read_run_files(run)).used[4:] == (None, None, None)


@pytest.mark.parametrize("kind", ["holdout", "folds", "external"])
def test_the_diagram_fits_its_sheet_and_ends_in_the_confusion_matrix(
    kind: str, run_factory: RunFactory
) -> None:
    files = read_run_files(run_factory("run", kind=kind, names=("h" * 60, "a long name of a category " * 3)))
    drawing = flow_drawing(files, flow_table(files))
    for box in drawing.boxes:
        assert box.x >= 0
        assert box.x + box.width <= drawing.width + 1e-6
        assert box.bottom <= drawing.height
        assert max(len(line) for line in box.lines) * 7.1 <= box.width
    for one in drawing.boxes:
        for other in drawing.boxes:
            apart = one.bottom <= other.y or other.bottom <= one.y
            beside = one.x + one.width <= other.x or other.x + other.width <= one.x
            assert one is other or apart or beside
    (tn, fp), (fn, tp) = files.block.confusion_matrix
    calls = " ".join(" ".join(box.lines) for box in drawing.boxes[-2:])
    for count in (tn, fp, fn, tp):
        assert f": {count} image" in calls


def with_columns(table: pd.DataFrame) -> pd.DataFrame:
    """An age of each patient, a site, a date of each image, a name, and a column that is blank."""
    number = table["patient_id"].str[1:].astype(int)
    rows = pd.Series(np.arange(len(table)), index=table.index)
    return table.assign(
        age=(30 + number % 40).astype(str),
        site=np.where(number % 3 == 0, "north", "south"),
        acquired=[f"2020-{1 + row % 12:02d}-05" for row in rows],
        name=[f"file {row}" for row in rows],
        blank="",
    ).assign(site=lambda frame: frame["site"].mask(number % 10 == 0, ""))


def test_the_cohort_is_summarised_by_patient_where_a_column_belongs_to_patients(
    run_factory: RunFactory,
) -> None:
    run = run_factory("run")
    change_records(run, with_columns)
    files = read_run_files(run)
    table = cohort_by_class(files)
    rows = {row.name: row for row in table.rows}
    records = pd.read_csv(run / "records.csv", dtype=str, keep_default_na=False)
    used = records[records["excluded"] == ""]
    people = used.drop_duplicates("patient_id")
    ages = people["age"].astype(float)
    assert rows["age"].unit.startswith("patients")
    assert rows["age"].cells[0].value == f"{ages.median():.4g}"
    assert rows["age"].cells[0].interval == f"{ages.quantile(0.25):.4g} to {ages.quantile(0.75):.4g}"
    sick, healthy = (ages[people["category"] == side] for side in ("sick", "healthy"))
    gap = abs(sick.mean() - healthy.mean()) / np.sqrt((sick.var() + healthy.var()) / 2)
    assert rows["age"].difference == f"{gap:.2f}"
    known = people[people["site"] != ""]
    north = (known["site"] == "north").sum()
    assert rows["north"].cells[0].value == f"{north} ({north / len(known):.0%})"
    assert rows["missing"].cells[0].value.startswith(f"{(people['site'] == '').sum()} (")
    assert rows["acquired"].unit.startswith("images")
    assert rows["acquired"].cells[0].value.startswith("2020-0")
    assert rows["Patients"].cells[0].value == str(len(people))
    assert not {"name", "blank"} & set(rows)
    told = unsummarised_columns(files)
    assert told == ["name (every image has a value of its own)", "blank (it is blank everywhere)"]


def test_parts_stand_side_by_side_and_one_part_alone_has_no_such_table(run_factory: RunFactory) -> None:
    table = cohort_by_part(read_run_files(run_factory("a", kind="folds")))
    assert table is not None
    assert sorted(table.groups) == [f"Fold {number}" for number in range(5)]
    assert cohort_by_part(read_run_files(run_factory("b", kind="external"))) is None


def add_subgroups(run: Path) -> list[dict[str, Any]]:
    predictions = pd.read_csv(run / "predictions.csv", dtype=str, keep_default_na=False)
    judged = predictions[predictions["split"] == "test"]
    found = evaluate_strata(
        judged["y_true"].astype(int),
        judged["y_score"].astype(float),
        0.41,
        ["old <b>" if int(each[1:]) % 2 else "young" for each in judged["patient_id"]],
        judged["patient_id"].tolist(),
        draws=100,
    )
    subgroups = [{"column": "age", **found}]
    change(run, "metrics.json", lambda metrics: metrics.update(subgroups=subgroups))
    return subgroups


def test_subgroups_stand_in_a_table_and_a_plot_with_what_many_of_them_mean(run_factory: RunFactory) -> None:
    run = run_factory("run")
    subgroups = add_subgroups(run)
    (run / "figures").mkdir()
    block = json.loads((run / "metrics.json").read_text())["test"]
    draw_subgroups(subgroups, block, run / "figures" / "subgroups.png")
    files = read_run_files(run)
    everyone, old, young = subgroup_rows(files)
    first = subgroups[0]["strata"][0]
    assert (everyone.stratum, everyone.images) == ("Everyone", block["n"])
    assert (old.stratum, young.stratum) == ("old <b>", "young")
    assert old.auc.value == f"{first['auc']['value']:.3f}"
    assert old.auc.interval == f"{first['auc']['low']:.3f} to {first['auc']['high']:.3f}"
    notes = " ".join(subgroup_notes(files))
    assert "2 strata are shown" in notes
    assert "would be 10%" in notes  # 1 - 0.95 squared
    assert "Cochran" in notes
    html = write_report(run).read_text()
    assert "Forest plot of subgroups. " in html
    assert "<b>young" not in html
    assert "old &lt;b&gt;" in html


def test_the_test_of_one_auc_stands_in_a_table_with_what_speaks_against_it(run_factory: RunFactory) -> None:
    run = run_factory("run")
    same_auc = add_subgroups(run)[0]["same_auc"]
    write_report(run)
    (row,) = csv.DictReader((run / "tables" / "subgroup_tests.csv").read_text().splitlines())
    assert (row["column"], row["reason"], row["warning"]) == ("age", same_auc["reason"], same_auc["warning"])
    change(
        run,
        "metrics.json",
        lambda metrics: metrics["subgroups"][0]["same_auc"].update(
            p_value=0.3, left_out=["old"], warning="fewer than 20 patients of a class in young"
        ),
    )
    said = subgroup_notes(read_run_files(run))[-1]
    assert "p 0.300" in said
    assert "Not tested, with fewer than two of a class: old." in said
    assert "Fewer than 20 patients of a class in young: with so few a difference is easily missed." in said


def test_subgroups_that_cannot_be_read_are_one_clear_error(run_factory: RunFactory) -> None:
    run = run_factory("run")
    change(run, "metrics.json", lambda metrics: metrics.update(subgroups=[{"column": 3}]))
    with pytest.raises(RunDirectoryError, match="its subgroups are not what this version reads"):
        write_report(run)


def test_methods_follow_the_recipe(run_factory: RunFactory) -> None:
    probe = " ".join(methods_paragraphs(read_run_files(run_factory("a", kind="folds"))))
    assert "into 5 folds" in probe
    assert (
        "MobileNet (alpha 0.75) with the weights of mobilenet_v1_alpha0.75_224_imagenet_notop.weights.h5 was"
        in probe
    )
    assert "each image was scored once, by a model" in probe
    assert "mean score." in probe
    assert "anew inside the training patients of each fold" in probe
    assert "AdamW" not in probe
    tuned = run_factory("b")
    change(tuned, "run.json", lambda facts: facts["recipe"].update(strategy="finetune", learning_rate=0.002))
    change(tuned, "run.json", lambda facts: facts.update(audit={"done": False}))
    said = " ".join(methods_paragraphs(read_run_files(tuned)))
    assert "the top 2 stages and this head were trained on augmented images for up to 20 epochs" in said
    assert "learning rate 0.002" in said
    assert "The data were not audited before training." in said
    assert "each fold" not in said
    scratch = run_factory("c")
    change(scratch, "run.json", lambda facts: facts["recipe"].update(strategy="scratch"))
    change(scratch, "run.json", lambda facts: facts["backbone"].update(weights="none"))
    assert "with random weights was trained" in methods_paragraphs(read_run_files(scratch))[1]
    assert not any("ImageNet" in source for source in references(read_run_files(scratch)))
    assert any("AdamW" in source or "Loshchilov" in source for source in references(read_run_files(scratch)))


def test_imagenet_is_named_only_where_its_weights_were_asked_for(run_factory: RunFactory) -> None:
    run = run_factory("run")
    assert not any("ImageNet" in source for source in references(read_run_files(run)))
    change(run, "run.json", lambda facts: facts["recipe"].update(weights="imagenet"))
    files = read_run_files(run)
    assert (
        "MobileNet (alpha 0.75) with weights learnt on ImageNet was left as it was"
        in methods_paragraphs(files)[1]
    )
    assert any("ImageNet" in source for source in references(files))


@pytest.mark.parametrize(
    ("judged", "told", "platt"),
    [
        (["temperature"], "temperature (a slope on the log-odds).", False),
        (["isotonic"], "isotonic (a rising line with bends).", False),
        (
            ["platt", "isotonic", "platt"],
            "Platt's (a slope and an intercept on the log-odds) in 2 of 3 folds, isotonic (a rising line with bends) "
            "in 1 of 3 folds.",
            True,
        ),
        ([], "not recorded.", False),
    ],
)
def test_methods_name_the_calibration_that_was_used(
    judged: list[str], told: str, platt: bool, run_factory: RunFactory
) -> None:
    run = run_factory("run")
    if judged:
        found = {"saved": {"method": judged[0]}, "judged": [{"method": name} for name in judged]}
        change(run, "run.json", lambda facts: facts.update(calibration=found))
    files = read_run_files(run)
    assert f"The calibration of scores was {told}" in methods_paragraphs(files)[1]
    assert any(source.startswith("Platt:") for source in references(files)) == platt


def test_methods_and_checklist_name_ensemble_views_sides_and_rule(run_factory: RunFactory) -> None:
    run = run_factory("run", kind="folds")
    recipe = {
        "ensemble": ["mobilenet", "vgg16"],
        "ensemble_weights": "learnt",
        "tta": "flip",
        "pooling": "sides",
    }
    recipe |= {"repeats": 3, "patient_score": "auto"}
    change(run, "run.json", lambda facts: facts["recipe"].update(recipe))
    rules = {"rules": {"max": 60, "mean": 60}}
    change(run, "metrics.json", lambda metrics: metrics["out_of_fold"]["by_patient"].update(rules))
    data, model, evaluation = methods_paragraphs(read_run_files(run))
    assert (
        "scored once in each of 3 repeats, for which the folds were dealt by different seeds, by a model"
        in data
    )
    ensemble = (
        "The score is that of an ensemble: the mean log-odds of 2 such models, one on each network, weighted by what "
        "gave the smallest log loss on inner folds."
    )
    assert ensemble in model
    assert "were left as they were" in model
    assert "shown as it is and mirrored, and the score has the mean log-odds of these views." in model
    assert "left was held against right" in model
    assert (
        "Patients were called by their highest score of 60, mean score of 60, the rule of the largest AUC by patient "
        "where thresholds were chosen."
    ) in evaluation
    write_report(run)
    table = pd.read_csv(run / "checklists.csv", dtype=str, keep_default_na=False)
    row = table[(table["guideline"] == CLAIM) & (table["number"] == "27")].iloc[0]
    assert row["text"] == ensemble


def test_one_network_is_no_ensemble(run_factory: RunFactory) -> None:
    run = run_factory("run")
    write_report(run)
    table = pd.read_csv(run / "checklists.csv", dtype=str, keep_default_na=False)
    assert "None: one network." in table["text"].tolist()


def test_only_methods_that_were_used_are_cited(run_factory: RunFactory) -> None:
    sources = " ".join(references(read_run_files(run_factory("run"))))
    assert "DeLong" in sources
    assert "Howard" in sources
    assert "Wilson" not in sources
    assert "Cochran" not in sources


def test_every_number_of_a_checklist_stands_once() -> None:
    numbers = {
        name: [item.number for item in ITEMS if item.guideline == name] for name in (TRIPOD, CLAIM, STARD)
    }
    assert numbers[CLAIM] == [str(number) for number in range(1, 45)]
    assert len(set(numbers[TRIPOD])) == len(numbers[TRIPOD]) == 52
    assert {number.rstrip("abcdefg") for number in numbers[TRIPOD]} == {
        str(number) for number in range(1, 28)
    }
    assert set(numbers[STARD]) == {""}


def test_checklists_say_only_what_the_run_knows_and_where_it_stands(run_factory: RunFactory) -> None:
    run = run_factory("run")
    html = write_report(run).read_text()
    table = pd.read_csv(run / "checklists.csv", dtype=str, keep_default_na=False)
    rows = {(row.guideline, row.number): row for row in table.itertuples()}
    assert rows[CLAIM, "44"].status == "for the authors"
    assert rows[CLAIM, "44"].text == ""
    assert rows[CLAIM, "33"].status == "for the authors"  # not an external evaluation
    assert rows[CLAIM, "20"].status == "filled"
    auc = json.loads((run / "metrics.json").read_text())["test"]["auc"]
    assert f"AUC {auc:.3f} (" in rows[TRIPOD, "23a"].text
    assert rows[TRIPOD, "23a"].status == "partly filled"  # no subgroups were asked for
    page = (run / "checklists.html").read_text()
    for anchor in {part.split('"')[0] for part in page.split('href="report.html#')[1:]}:
        assert f'id="{anchor}"' in html


def test_tables_hold_the_rows_of_the_page_as_numbers(run_factory: RunFactory) -> None:
    run = run_factory("run")
    add_subgroups(run)
    control = {"auc": 0.85, "low": 0.8, "high": 0.9, "margin": {"value": -0.05, "low": -0.1, "high": 0.02}}
    change(run, "metrics.json", lambda metrics: metrics.update(controls={"border": control}))
    write_report(run)
    metrics = json.loads((run / "metrics.json").read_text())["test"]
    table = pd.read_csv(run / "tables" / "metrics_test.csv").set_index("metric")
    assert table.loc["AUC", "by image"] == pytest.approx(metrics["auc"], abs=5e-4)
    assert table.loc["AUC", "by image low"] == pytest.approx(metrics["intervals"]["auc"]["low"], abs=5e-4)
    assert table.loc["AUC", "by patient"] == pytest.approx(metrics["by_patient"]["auc"], abs=5e-4)
    controls = pd.read_csv(run / "tables" / "controls.csv").set_index("name")
    assert controls.loc["border", "margin low"] == pytest.approx(-0.1)
    assert np.isnan(controls.loc["this model", "margin"])
    assert len(pd.read_csv(run / "tables" / "subgroups.csv")) == 3
    flow = pd.read_csv(run / "tables" / "flow.csv").set_index("step")
    assert flow.loc["Found", "images"] == 183
    stale = run / "tables" / "stale.csv"
    stale.write_text("x\n")
    write_report(run)
    assert not stale.exists()


def test_the_model_card_is_written_into_a_bundle_only(run_factory: RunFactory) -> None:
    run = run_factory("run", names=("healthy|*", "sick<b>"))
    write_report(run)
    assert not (run / "model").exists()
    (run / "model").mkdir()
    (run / "model" / "bundle.json").write_text("{}")
    write_report(run)
    card = (run / "model" / "README.md").read_text()
    test = json.loads((run / "metrics.json").read_text())["test"]
    for heading in (
        "Meant for",
        "Not meant for",
        "Controls",
        "Threshold and calibration",
        "Limits",
        "How to use it",
    ):
        assert f"\n## {heading}\n" in card
    ends = test["intervals"]["auc"]
    assert f"| AUC | {test['auc']:.3f} ({ends['low']:.3f} to {ends['high']:.3f}) |" in card
    assert "No negative control was run." in card
    assert "sick\\<b\\>" in card
    assert "<b>" not in card.replace("\\<b\\>", "")
    assert "healthy\\|\\*" in card
    assert "Research use only." in card
    assert "From a checkout of BreastLens" in card
    assert "pip install -c constraints.txt ." in card
    assert "When it does not answer" not in card  # a run from before it could


def test_the_model_card_says_when_the_model_does_not_answer(run_factory: RunFactory) -> None:
    run = run_factory("run")
    (run / "model").mkdir()
    (run / "model" / "bundle.json").write_text("{}")
    interval = {"value": 0.9, "low": 0.85, "high": 0.95}
    sets = {
        "n": 40,
        "sets": {"negative": 20, "positive": 12, "both": 7, "none": 1},
        "answered": 0.8,
        "right": 0.9375,
    }
    sets |= dict.fromkeys(("coverage", "coverage_negative", "coverage_positive"), interval)
    risk = {"area": 0.02, "area_at_best": 0.01, "area_at_random": 0.1}
    novelty = {"method": "neighbours", "threshold": 1.25, "false_alarms": 0.05, "asked_false_alarms": 0.05}
    told = {
        "abstention": {"coverage": 0.9, "chosen_on": "validation", "images": sets, "risk_coverage": risk},
        "novelty": novelty | {"images": 40, "refused": 6},
    }
    change(run, "metrics.json", lambda metrics: metrics.update(told))
    write_report(run)
    card = (run / "model" / "README.md").read_text()
    section = card.split("## When it does not answer\n")[1].split("\n## ")[0]
    assert "| Coverage | 0.900 (0.850 to 0.950) |" in section
    assert "| Answered | 0.800 (no interval) |" in section
    assert "| Prediction sets | By image (40) |\n| --- | --- |\n" in section
    assert "Refused were 6 of 40 images (15.0%)." in section
