"""What a training leaves: complete, free of leakage, and every figure to be had again from its own tables."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from breastlens.cohort.records import Cohort
from breastlens.runs.directory import Run
from breastlens.runs.outcome import HISTORY_COLUMNS
from breastlens.runs.train import train

RECORD_COLUMNS = [
    "path", "frame", "category", "label", "patient_id", "split", "image_size", "width", "height", "format", "bits",
    "sha256", "pixels_sha256", "duplicate_group", "excluded", "window_low", "window_high", "crop_box",
]  # fmt: skip
PREDICTION_COLUMNS = [
    "path", "patient_id", "split", "y_true", "y_score", "y_pred", "raw_logit", "decision", "prediction_set", "distance",
    "novel",
]  # fmt: skip
FILES = {
    "run.json",
    "records.csv",
    "history.csv",
    "predictions.csv",
    "patients.csv",
    "metrics.json",
    "report.html",
    *(
        f"figures/{name}.png"
        for name in (
            *("confusion_matrix", "roc", "precision_recall", "scores", "history", "most_wrong"),
            *("reliability", "decision_curve", "risk_coverage", "distances"),
        )
    ),
    *(f"model/{name}" for name in ("bundle.json", "model.keras", "model.xml", "model.bin", "reference.npz")),
}
RUN_KEYS = {
    "format", "kind", "status", "command", "created", "recipe", "image", "labels", "backbone", "data", "findings",
    "split", "audit", "operating_point", "calibration", "patient_score", "kept", "execution", "precision", "notes",
    "versions", "machine", "phases",
}  # fmt: skip
BLOCK_KEYS = {
    "n", "patients", "positives", "negatives", "threshold", "accuracy", "balanced_accuracy", "auc",
    "average_precision", "sensitivity", "specificity", "ppv", "npv", "f1", "mcc", "brier", "confusion_matrix", "roc",
    "precision_recall", "reasons", "intervals", "by_patient", "calibration", "operating_points", "decision_curve",
    "prevalence",
}  # fmt: skip


@pytest.fixture(scope="module")
def folds_run(with_split: Cohort, quick: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(with_split, out=tmp_path_factory.mktemp("folds") / "run", folds=3, **quick)


@pytest.fixture(scope="module")
def with_split(awkward: Cohort) -> Cohort:
    """The cohort with parts of the user's own in the manifest: every third patient, in the user's spelling."""
    table = awkward.table.set_index("path")
    same = table["pixels_sha256"] == table.at["sick/copy.png", "pixels_sha256"]
    person = table["patient_id"].mask(same, table.loc[same, "patient_id"].min())
    number = person.str[1:].astype(int).to_numpy()
    parts = np.array(["Training", "val", "test", "train"])[number % 4]
    return dataclasses.replace(awkward, table=awkward.table.assign(split=parts))


@pytest.fixture(scope="module")
def manifest_run(with_split: Cohort, quick: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(with_split, out=tmp_path_factory.mktemp("manifest") / "run", **quick)


@pytest.fixture(params=["holdout", "folds", "manifest"])
def run(request: pytest.FixtureRequest) -> Run:
    return request.getfixturevalue(f"{request.param}_run")


def judged_blocks(run: Run) -> dict[str, tuple[dict[str, Any], pd.DataFrame]]:
    """Each block of metrics.json with the predictions that it is about."""
    rows = run.predictions
    parts = {name: rows[rows["split"] == name] for name in ("test", "validation")}
    parts["out_of_fold"] = rows
    return {name: (block, parts[name]) for name, block in run.metrics.items() if name in parts}


def strictly(path: Path) -> Any:
    """JSON as any other program would read it: NaN and Infinity are errors."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_bytes().decode("utf-8"), parse_constant=refuse)


def test_the_directory_holds_what_the_design_names_and_nothing_else(run: Run) -> None:
    found = {
        path.relative_to(run.directory).as_posix() for path in run.directory.rglob("*") if path.is_file()
    }
    companions = {name for name in found if name.startswith(("tables/", "checklists."))}
    assert {"tables/controls.csv", "tables/flow.csv", "checklists.html", "checklists.csv"} <= companions
    assert found - companions == FILES | {"model/README.md", "model/figures.json"}
    assert [path.name for path in run.directory.parent.iterdir()] == ["run"]
    for name in FILES:
        if name.endswith(".png"):
            picture = cv2.imread(str(run.directory / name))
            assert picture is not None
            assert picture.std() > 1, f"{name} is blank"


def test_tables_have_the_columns_of_the_design(run: Run) -> None:
    tables = {
        name: pd.read_csv(run.directory / f"{name}.csv") for name in ("records", "predictions", "history")
    }
    assert list(tables["records"]) == [*RECORD_COLUMNS, "note", "visit"]
    assert list(tables["predictions"]) == PREDICTION_COLUMNS
    assert set(tables["history"]) == set(HISTORY_COLUMNS) == {
        "epoch", "phase", "fold", "member", "strength", "loss", "auc", "val_loss", "val_auc", "learning_rate",
        "seconds",
    }  # fmt: skip
    assert set(tables["history"]["phase"]) == {"probe"}


def test_json_is_strict_and_has_the_keys_of_the_design(run: Run) -> None:
    facts, metrics = (strictly(run.directory / name) for name in ("run.json", "metrics.json"))
    assert set(facts) == RUN_KEYS
    assert facts["status"] == "complete"
    folds = facts["recipe"]["folds"] is not None
    expected = {"out_of_fold"} if folds else {"test", "validation"}
    beside = {
        "controls",
        "matched",
        "corrected",
        "nuisance",
        "activation",
        "abstention",
        "novelty",
        *({"within_folds"} if folds else ()),
    }
    assert set(metrics) == expected | beside
    for name in expected:
        assert set(metrics[name]) == BLOCK_KEYS
    strictly(run.model / "bundle.json")


def test_no_path_of_this_machine_is_in_the_tables(run: Run) -> None:
    for name in ("records.csv", "predictions.csv", "metrics.json", "model/bundle.json"):
        assert str(run.directory.parent.parent) not in (run.directory / name).read_text()
    assert run.facts["data"]["root"] == "images"


def test_records_name_every_file_and_why_some_are_left_out(run: Run, awkward_dir: Path) -> None:
    records = run.records.set_index("path")
    on_disk = {path.relative_to(awkward_dir).as_posix() for path in awkward_dir.rglob("*.png")}
    assert set(records.index) == on_disk
    left_out = records[records["excluded"] != ""]
    assert len(left_out) == 5
    copied = records["pixels_sha256"] == records.at["sick/copy.png", "pixels_sha256"]
    (copy,) = left_out.index[copied[left_out.index]]
    (original,) = records.index[copied & (records["excluded"] == "")]
    assert left_out.loc[copy, "excluded"] == f"same pixels as {original}"
    assert left_out.loc["sick/broken.png", "excluded"].startswith("unreadable: ")
    assert "same pixels under healthy and sick" in left_out.loc["sick/contradiction.png", "excluded"]
    assert (left_out["excluded"] == "note: blurred").sum() == 1
    assert (left_out["split"] == "").all()
    assert left_out["window_low"].isna().all()
    broken = records.loc["sick/broken.png"]
    assert broken[["width", "height", "bits"]].isna().all()
    assert broken["sha256"] == broken["pixels_sha256"] == ""
    assert (records["visit"] == "007").all()
    used = records[records["excluded"] == ""]
    assert (used["image_size"] == "64x64").all()
    assert used[["window_low", "window_high", "width"]].notna().all().all()
    assert run.facts["data"]["found"] == len(records)
    assert run.facts["data"]["excluded"] == 5
    assert run.facts["data"]["used"] == len(used)


def test_records_say_what_is_in_the_files(run: Run, awkward_dir: Path) -> None:
    for row in run.records.query("excluded == ''").sample(5, random_state=0).itertuples():
        data = (awkward_dir / row.path).read_bytes()
        height, width = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).shape[:2]
        assert (row.width, row.height, row.format, row.bits) == (width, height, "PNG", 8)
        assert row.sha256 == hashlib.sha256(data).hexdigest()
        assert row.label == (row.category == "sick")


def test_no_patient_and_no_copy_stands_in_two_parts(run: Run, awkward_dir: Path) -> None:
    """From records.csv and the files alone, by other code than the split's own."""
    used = pd.read_csv(run.directory / "records.csv", dtype=str, keep_default_na=False).query(
        "excluded == ''"
    )
    patients: dict[str, set[str]] = {}
    pictures: dict[bytes, set[str]] = {}
    for row in used.itertuples():
        patients.setdefault(row.patient_id, set()).add(row.split)
        pixels = cv2.imread(str(awkward_dir / row.path), cv2.IMREAD_UNCHANGED)
        pictures.setdefault(pixels.tobytes(), set()).add(row.split)
    assert len(pictures) == len(used), "the copy under another patient is in use"
    assert max(map(len, patients.values())) == 1
    assert max(map(len, pictures.values())) == 1
    copied = run.records[run.records["duplicate_group"].ne("") & run.records["label"].eq(1)]
    whose = set(copied["patient_id"]) & set(patients)
    assert len({part for patient in whose for part in patients[patient]}) == 1, (
        "who shares a picture is parted"
    )
    proof = run.facts["split"]["proof"]
    assert proof["patients_checked"] == len(patients)
    assert proof["patients_shared"] == proof["duplicates_shared"] == 0
    assert proof["duplicate_groups_checked"] == 0  # the copy was left out


def test_described_parts_are_those_of_the_records(run: Run) -> None:
    used = run.records.query("excluded == ''")
    for part in run.facts["split"]["parts"]:
        rows = used[used["split"] == part["name"]]
        assert part["images"] == len(rows)
        assert part["patients"] == rows["patient_id"].nunique()
        assert (part["positive"], part["negative"]) == (rows["label"].sum(), (rows["label"] == 0).sum())
    assert sum(part["images"] for part in run.facts["split"]["parts"]) == len(used)
    lines = sorted(f"{row.path}\x1f{row.frame}\x1f{row.split}" for row in used.itertuples())
    assert run.facts["split"]["hash"] == hashlib.sha256("\x1e".join(lines).encode()).hexdigest()


def test_predictions_hold_each_held_out_record_once(run: Run) -> None:
    used = run.records.query("excluded == ''").set_index("path")
    held_out = used[used["split"] != "train"]
    predictions = run.predictions.set_index("path")
    assert sorted(predictions.index) == sorted(held_out.index)
    for column, of_record in (("split", "split"), ("patient_id", "patient_id"), ("y_true", "label")):
        assert (predictions[column] == held_out.loc[predictions.index, of_record]).all()
    if run.facts["recipe"]["folds"]:
        assert set(predictions["split"]) == {"0", "1", "2"}
        assert len(predictions) == len(used)
    else:
        assert set(predictions["split"]) == {"validation", "test"}
    assert predictions["y_score"].between(0, 1).all()


def test_every_figure_is_scikit_learns(run: Run) -> None:
    for block, rows in judged_blocks(run).values():
        check_figures(block, *(rows[name].to_numpy(dtype=float) for name in ("y_true", "y_score", "y_pred")))


def test_figures_by_patient_are_those_of_mean_scores(run: Run) -> None:
    for block, rows in judged_blocks(run).values():
        people = rows.astype({"y_true": float}).groupby("patient_id")[["y_true", "y_score"]].mean()
        by_patient = block["by_patient"]
        assert by_patient["n"] == len(people) == block["patients"]
        assert by_patient["auc"] == pytest.approx(
            reference.roc_auc_score(people["y_true"], people["y_score"]), abs=1e-12
        )


def check_figures(block: dict[str, Any], y_true: np.ndarray, y_score: np.ndarray, y_pred: np.ndarray) -> None:
    matrix = reference.confusion_matrix(y_true, y_pred, labels=(0, 1))
    assert block["confusion_matrix"] == matrix.tolist()
    assert (block["n"], block["positives"], block["negatives"]) == (
        len(y_true),
        y_true.sum(),
        (1 - y_true).sum(),
    )
    tn, fp, fn, tp = matrix.ravel()
    expected = {
        "accuracy": reference.accuracy_score(y_true, y_pred),
        "balanced_accuracy": reference.balanced_accuracy_score(y_true, y_pred),
        "auc": reference.roc_auc_score(y_true, y_score),
        "average_precision": reference.average_precision_score(y_true, y_score),
        "sensitivity": reference.recall_score(y_true, y_pred),
        "specificity": reference.recall_score(y_true, y_pred, pos_label=0),
        "ppv": tp / (tp + fp) if tp + fp else None,
        "npv": tn / (tn + fn) if tn + fn else None,
        "f1": reference.f1_score(y_true, y_pred),
        "mcc": reference.matthews_corrcoef(y_true, y_pred),
        "brier": reference.brier_score_loss(y_true, y_score),
    }
    for name, value in expected.items():
        if value is None:
            assert block[name] is None
            assert name in block["reasons"]
        else:
            assert block[name] == pytest.approx(value, abs=1e-12), name
    fpr, tpr, thresholds = reference.roc_curve(y_true, y_score)
    np.testing.assert_allclose(block["roc"]["fpr"], fpr, atol=1e-12)
    np.testing.assert_allclose(block["roc"]["tpr"], tpr, atol=1e-12)
    assert block["roc"]["thresholds"][0] is None
    np.testing.assert_allclose(block["roc"]["thresholds"][1:], thresholds[1:], atol=1e-12)
    interval = block["intervals"]["auc"]
    assert interval["low"] <= interval["value"] <= interval["high"]
    assert interval["value"] == block["auc"]


def test_calls_follow_the_threshold_that_applies(run: Run) -> None:
    """One threshold, or in cross-validation one a fold: then every call of a fold is on its side of one cut."""
    predictions = run.predictions
    if run.facts["recipe"]["folds"] is None:
        threshold = run.facts["operating_point"]["threshold"]
        assert (predictions["y_pred"] == (predictions["y_score"] >= threshold)).all()
        assert run.metrics["test"]["threshold"] == run.metrics["validation"]["threshold"] == threshold
        assert run.facts["operating_point"]["chosen_on"] == "validation"
    else:
        for _, rows in predictions.groupby("split"):
            called = rows.groupby("y_pred")["y_score"]
            if rows["y_pred"].nunique() == 2:
                assert called.max()[0] < called.min()[1]
        assert run.facts["operating_point"]["chosen_on"] == "inner folds"
    assert strictly(run.model / "bundle.json")["threshold"] == run.facts["operating_point"]["threshold"]


def test_raw_log_odds_calibrated_as_the_bundle_says_are_the_scores(holdout_run: Run) -> None:
    card = strictly(holdout_run.model / "bundle.json")
    calibration, rows = card["calibration"], holdout_run.predictions
    assert calibration["method"] == holdout_run.facts["calibration"]["saved"]["method"] == "platt"
    log_odds = calibration["slope"] * rows["raw_logit"] + calibration["intercept"]
    np.testing.assert_allclose(rows["y_score"], 1 / (1 + np.exp(-log_odds)), atol=1e-9)
    learnt = holdout_run.records.query("split == 'train'")
    assert card["training_prevalence"] == pytest.approx(learnt["label"].astype(float).mean())


def test_calibration_is_judged_on_every_part_and_other_points_beside_the_one_in_use(run: Run) -> None:
    for block, rows in judged_blocks(run).values():
        before, after = (block["calibration"][when] for when in ("before", "after"))
        y_true, y_score = (rows[name].to_numpy(dtype=float) for name in ("y_true", "y_score"))
        assert after["brier"]["value"] == pytest.approx(reference.brier_score_loss(y_true, y_score))
        assert after["mean_score"] == pytest.approx(y_score.mean())
        raw = 1 / (1 + np.exp(-rows["raw_logit"].to_numpy(dtype=float)))
        assert before["brier"]["value"] == pytest.approx(reference.brier_score_loss(y_true, raw))
        points = block["operating_points"]
        assert [point["in_use"] for point in points] == [True, False, False]
        assert points[0]["sensitivity"]["value"] == block["sensitivity"]
        assert points[0]["threshold"] == block["threshold"]
        assert points[1]["rule"] == "sensitivity of at least 0.95"
        assert points[1]["threshold_range"][0] <= points[2]["threshold_range"][1]
    listed = strictly(run.model / "bundle.json")["operating_points"]
    assert [point["rule"] for point in listed] == [point["rule"] for point in points]
    assert listed[0]["low"] <= listed[0]["threshold"] <= listed[0]["high"]


def test_the_threshold_is_the_best_on_validation(holdout_run: Run) -> None:
    rows = holdout_run.predictions.query("split == 'validation'")
    reached = [
        reference.balanced_accuracy_score(rows["y_true"].astype(int), rows["y_score"] >= cut)
        for cut in [0.0, *rows["y_score"], 1.1]
    ]
    assert holdout_run.metrics["validation"]["balanced_accuracy"] == pytest.approx(max(reached), abs=1e-12)


def test_the_manifests_split_is_kept(manifest_run: Run, with_split: Cohort) -> None:
    assert manifest_run.facts["split"]["kind"] == "manifest"
    asked = with_split.table.set_index("path")["split"]
    spelled = {"Training": "train", "train": "train", "val": "validation", "test": "test"}
    used = manifest_run.records.query("excluded == ''").set_index("path")["split"]
    assert (used == asked.map(spelled).loc[used.index]).all()


def test_folds_are_dealt_anew_and_it_is_said(folds_run: Run) -> None:
    assert folds_run.facts["split"]["kind"] == "folds"
    first, last = folds_run.facts["notes"]
    assert first == "The manifest's split column was not used, since folds were asked for."
    assert last.startswith("The model that was saved is trained on ")


@pytest.mark.usefixtures("figures_not_drawn")
def test_shares_that_the_manifest_overrules_are_told(
    with_split: Cohort, quick: dict[str, Any], tmp_path: Path, manifest_run: Run
) -> None:
    run = train(with_split, out=tmp_path / "run", **quick, split=(0.7, 0.15, 0.15))
    assert run.facts["notes"][0] == (
        "The shares of the split were not used, since the manifest has a split column."
    )
    assert manifest_run.facts["notes"] == [], "and nothing is said where nobody asked"


@pytest.mark.usefixtures("figures_not_drawn")
def test_nothing_is_learnt_or_chosen_from_the_test_part(
    manifest_run: Run, with_split: Cohort, quick: dict[str, Any], tmp_path: Path
) -> None:
    """The same images with the labels of the test part turned round: same model, same threshold, same scores."""
    table = with_split.table.copy()
    turned = table["split"] == "test"
    table.loc[turned, "label"] = 1 - table.loc[turned, "label"]
    other = train(dataclasses.replace(with_split, table=table), out=tmp_path / "run", **quick)
    assert other.facts["operating_point"] == manifest_run.facts["operating_point"]
    pd.testing.assert_series_equal(other.predictions["y_score"], manifest_run.predictions["y_score"])
    assert other.metrics["validation"] == manifest_run.metrics["validation"]
    assert other.metrics["test"]["auc"] == pytest.approx(1 - manifest_run.metrics["test"]["auc"], abs=1e-12)


@pytest.mark.parametrize("name", ["holdout", "folds"])
def test_the_negative_control_can_be_had_again(
    name: str, request: pytest.FixtureRequest, awkward_dir: Path
) -> None:
    """From the files: the same backbone on images of which only the border is left, judged on the same images."""
    from breastlens.models.backbones import get_backbone
    from breastlens.models.classifier import build_features
    from breastlens.models.engine import Engine
    from breastlens.training.probe import fit_probe

    run: Run = request.getfixturevalue(f"{name}_run")
    used = run.records.query("excluded == ''").reset_index(drop=True)
    images = np.zeros((len(used), 64, 64, 3), np.uint8)
    for ring, path in zip(images, used["path"], strict=True):
        grey = cv2.imread(str(awkward_dir / path), cv2.IMREAD_GRAYSCALE)
        small = cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA)
        inside = np.zeros((64, 64), bool)
        inside[4:-4, 4:-4] = True
        ring[~inside] = small[~inside, None]
    model = build_features(get_backbone("mobilenet:0.25"), image_size=64, weights="none", seed=0)
    features = Engine.from_keras(model).run(images)["features"]
    labels = used["label"].to_numpy(dtype=int)
    same_patient = used["patient_id"].replace(
        "X2", used.loc[used["duplicate_group"] != "", "patient_id"].min()
    )
    groups = pd.factorize(same_patient)[0]
    scores = np.full(len(used), np.nan)
    parts = [("train", ["validation", "test"])] if name == "holdout" else [(None, [fold]) for fold in "012"]
    for trained, held_out in parts:
        outside = used["split"].isin(held_out).to_numpy()
        inside = (used["split"] == trained).to_numpy() if trained else ~outside
        scores[outside] = fit_probe(features[inside], labels[inside], groups[inside], seed=0).scores(
            features[outside]
        )
    judged = (used["split"] == "test").to_numpy() if name == "holdout" else np.ones(len(used), bool)
    control = run.metrics["controls"]["border"]
    assert control["auc"] == pytest.approx(reference.roc_auc_score(labels[judged], scores[judged]), abs=1e-9)
    main = run.metrics["test" if name == "holdout" else "out_of_fold"]
    assert control["margin"]["value"] == pytest.approx(main["auc"] - control["auc"], abs=1e-12)
    assert control["low"] <= control["auc"] <= control["high"]
    assert "4 pixels" in control["what"]


def test_the_history_tells_each_strength_and_each_fold(holdout_run: Run, folds_run: Run) -> None:
    alone = pd.read_csv(holdout_run.directory / "history.csv")
    assert alone["fold"].isna().all()
    assert alone["strength"].is_monotonic_increasing
    assert alone["val_auc"].between(0, 1).all()
    folds = pd.read_csv(folds_run.directory / "history.csv", dtype={"fold": str})
    assert list(dict.fromkeys(folds["fold"])) == ["0", "1", "2", "everyone"]
    assert set(folds.groupby("fold").size()) == {len(alone)}


def test_the_report_stands_alone_and_tells_the_figures(run: Run) -> None:
    page = run.report.read_text(encoding="utf-8")
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert 'src="http' not in page
    main = run.metrics.get("test") or run.metrics["out_of_fold"]
    assert f"{main['auc']:.3f}" in page
    assert f"{run.metrics['controls']['border']['auc']:.3f}" in page


def test_run_json_tells_how_to_repeat_it(holdout_run: Run, awkward: Cohort) -> None:
    facts = holdout_run.facts
    assert facts["command"] == ["breastlens", "train"]
    assert facts["recipe"]["backbone"] == "mobilenet:0.25"
    assert facts["recipe"]["seed"] == 0
    assert facts["data"]["fingerprint"] == awkward.without_copies().fingerprint
    assert facts["data"]["patient_source"] == "manifest"
    assert facts["backbone"]["parameters"] == 218_544
    assert {"python", "numpy", "openvino", "keras"} <= set(facts["versions"])
    assert {phase["name"] for phase in facts["phases"]} >= {"look at the data", "train", "evaluate"}
    assert all(math.isfinite(phase["wall_s"]) and phase["wall_s"] >= 0 for phase in facts["phases"])
    codes = {finding["code"] for finding in facts["findings"]}
    assert {"unreadable-files", "duplicates-across-patients", "duplicates-across-labels"} <= codes


def test_another_seed_is_another_split(holdout_run: Run, awkward: Cohort) -> None:
    from breastlens.audit.inspection import inspect_cohort
    from breastlens.cohort.splits import split_holdout

    seen = inspect_cohort(awkward.without_copies())
    used, groups = seen.used, seen.groups
    again, other = (split_holdout(used["label"], groups, seed=seed) for seed in (0, 1))
    parts = holdout_run.records.query("excluded == ''")["split"].to_numpy()
    np.testing.assert_array_equal(parts, again)
    assert (parts != other).any()


@pytest.fixture
def train_again(awkward: Cohort, quick: dict[str, Any], tmp_path: Path) -> Callable[..., Run]:
    def call(**changes: Any) -> Run:
        return train(awkward, out=tmp_path / "again", **quick | changes)

    return call


@pytest.mark.usefixtures("figures_not_drawn")
def test_another_seed_is_another_run_and_a_target_sensitivity_is_kept(
    holdout_run: Run, train_again: Callable[..., Run]
) -> None:
    other = train_again(seed=1, target_sensitivity=0.95, prevalence=0.01, split=(0.4, 0.4, 0.2))
    assert other.facts["split"]["hash"] != holdout_run.facts["split"]["hash"]
    assert other.metrics["validation"]["sensitivity"] >= 0.95
    assert other.facts["operating_point"]["rule"] == "sensitivity of at least 0.95"
    point, block = other.metrics["test"]["operating_points"][0], other.metrics["test"]
    found, alarms = block["sensitivity"] * 0.01, (1 - block["specificity"]) * 0.99
    assert point["in_use"]
    assert point["ppv_at_prevalence"]["value"] == pytest.approx(found / (found + alarms))
    assert point["ppv"]["value"] == block["ppv"], "at the images' own prevalence"
    assert block["decision_curve"]["prevalence"] == 0.01
    images = {part["name"]: part["images"] for part in other.facts["split"]["parts"]}
    assert images["train"] < 1.5 * images["validation"]
