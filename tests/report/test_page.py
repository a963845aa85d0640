"""The report page: what it says, that it is one closed and accessible file, and that user text is escaped."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from breastlens.audit.judgement import describe_control
from breastlens.errors import RunDirectoryError
from breastlens.evaluation.metrics import evaluate_scores
from breastlens.report import figures, most_wrong
from breastlens.report.page import write_report

HOSTILE = '<script>alert("x")</script>'
RunFactory = Callable[..., Path]


class Page(HTMLParser):
    """The elements of a page, its text, and the text of each kind of element."""

    VOID = frozenset({"meta", "img", "br", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self._open):
            self.texts[tag][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(self.texts["body"][0].split())


def change(run: Path, name: str, edit: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((run / name).read_text())
    edit(content)
    (run / name).write_text(json.dumps(content))


def draw_figures(run: Path) -> None:
    folder = run / "figures"
    folder.mkdir()
    figures.draw_confusion_matrix([[5, 1], [2, 7]], ("healthy", "sick"), folder / "confusion_matrix.png")
    for name in ("roc", "precision_recall", "scores", "history", "most_wrong"):
        (folder / f"{name}.png").write_bytes((folder / "confusion_matrix.png").read_bytes())


def write(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


def verdict_of(page: Page) -> str:
    return next(text for text in page.texts["p"] if "AUC" in text)


def judged_on(page: Page) -> str:
    return next(text for text in page.texts["p"] if text.startswith("Judged on"))


def row_of(page: Page, start: str) -> str:
    """The first row of a table that begins so, its cells without spaces between them."""
    return next(row for text in page.texts["tr"] if (row := " ".join(text.split())).startswith(start))


def test_verdict_of_a_holdout_gives_auc_interval_patients_and_images(run_factory: RunFactory) -> None:
    run = run_factory("run")
    test = json.loads((run / "metrics.json").read_text())["test"]
    low, high = test["intervals"]["auc"]["low"], test["intervals"]["auc"]["high"]
    page = write(run)
    assert verdict_of(page) == (
        f"AUC {test['auc']:.2f} ({low:.2f} to {high:.2f}); what a model reaches without the breast is not known."
    )
    assert judged_on(page) == (
        f"Judged on {test['n']} images of {test['patients']} patients that were kept out of training and tuning: "
        "sick against healthy. Ranges are 95% intervals over patients."
    )
    (tn, fp), (fn, tp) = test["confusion_matrix"]
    assert f"called {tp} of {tp + fn} sick images positive" in page.text
    assert f"{tn} of {tn + fp} healthy images negative" in page.text


def test_verdict_of_folds_and_of_another_data_set(run_factory: RunFactory) -> None:
    assert "that were each scored by a model trained without its patient: sick" in judged_on(
        write(run_factory("a", kind="folds"))
    )
    external = write(run_factory("b", kind="external"))
    assert judged_on(external).startswith(
        "Judged on 180 images of 120 patients that were given for evaluation: sick"
    )
    assert "another data set" not in external.text
    assert "What the audit changed" not in external.texts["h2"]
    assert "Evaluation: 180 images of 120 patients" in external.text
    assert "scored by a finished model; nothing was divided" in external.text


def test_without_controls_the_page_warns_of_a_shortcut(run_factory: RunFactory) -> None:
    assert "No negative control was run" in write(run_factory("run")).text


@pytest.mark.parametrize(("low", "reaches"), [(-0.01, True), (0.0, True), (0.02, False)])
def test_controls_are_set_against_the_verdict(low: float, reaches: bool, run_factory: RunFactory) -> None:
    run = run_factory("run")
    margin = {"value": 0.05, "low": low, "high": 0.1}
    control = {"auc": 0.85, "low": 0.8, "high": 0.9, "margin": margin, "what": "Only the border was shown"}
    change(run, "metrics.json", lambda metrics: metrics.update(controls={"border": control}))
    page = write(run)
    assert "No negative control was run" not in page.text
    assert "; a model that sees only the border reaches 0.85 (0.80 to 0.90)." in verdict_of(page)
    ends = f"{low:.3f} to 0.100".replace("-", "−")
    row = row_of(page, "border")
    assert row.startswith(f"borderOnly the border was shown0.8500.800 to 0.9000.050{ends}")
    assert row.endswith("reaches 0") is reaches
    assert ("cannot show that the model sees the breast" in page.text) is reaches
    assert (
        "need not come from the breast. The control tells the two apart, too." in page.text
    ) is not reaches
    assert "Negative controls" in page.texts["h2"]


def judge(
    run: Path, y_true: list[int], model: list[float], control: list[float], patients: list[str] | None
) -> Page:
    """Write the report of a run whose test part is these images, with blocks and a control as trainings leave them."""
    blank = [""] * len(y_true)
    truth, scores = np.array(y_true), np.array(model)
    block = evaluate_scores(truth, scores, 0.5, patients or blank)
    border = describe_control(
        "Only the border was shown.", truth, scores, np.array(control), patients or blank
    )
    (run / "metrics.json").write_text(json.dumps({"test": block, "controls": {"border": border}}))
    table = {
        "path": [f"{number}.png" for number in range(len(y_true))],
        "patient_id": patients or blank,
        "split": "test",
        "y_true": y_true,
        "y_score": model,
        "y_pred": (scores >= 0.5).astype(int),
    }
    pd.DataFrame(table).to_csv(run / "predictions.csv", index=False)
    return write(run)


def people(count: int) -> list[str]:
    return [f"P{number:03d}" for number in range(count)]


def test_nothing_is_concluded_from_two_patients(run_factory: RunFactory) -> None:
    run = run_factory("run")
    truth = [0, 0, 0, 0, 1, 1, 1, 1]
    model = [0.1, 0.2, 0.3, 0.8, 0.4, 0.7, 0.9, 0.6]
    control = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.35]
    page = judge(run, truth, model, control, ["A"] * 4 + ["B"] * 4)
    assert (
        verdict_of(page)
        == "AUC 0.81 (no interval); a model that sees only the border reaches 0.94 (no interval)."
    )
    remark = "no interval: may be chance"
    assert row_of(page, "border").endswith(f"shown.0.938{remark}−0.125{remark}")
    assert (
        "The AUC has no interval: one class has a single patient, and at least two are needed. This may be chance."
        in page.text
    )
    assert "Only 2 patients were judged, so every figure here is coarse." in page.text
    assert "Part of this AUC" not in page.text
    assert "sees the breast" not in page.text
    row = next(text for text in page.texts["tr"] if text.startswith("AUC"))
    assert "no interval: one class has a single patient, and at least two are needed" in row


def test_nothing_is_concluded_from_four_images_that_all_draws_find_perfect(run_factory: RunFactory) -> None:
    scores = [0.1, 0.2, 0.8, 0.9]
    page = judge(run_factory("run"), [0, 0, 1, 1], scores, scores, None)
    text = page.text
    remark = "no interval: may be chance"
    assert row_of(page, "border").endswith(f"shown.1.000{remark}0.000{remark}")
    assert "The AUC has no interval: nearly every draw of images gave the same. This may be chance." in text
    assert "Only 4 images were judged, so every figure here is coarse." in text
    assert "Part of this AUC" not in text
    assert "sees the breast" not in text


def test_a_perfect_control_of_many_patients_is_judged_although_it_has_no_interval(
    run_factory: RunFactory,
) -> None:
    truth = [0] * 20 + [1] * 20
    perfect = [0.1] * 20 + [0.9] * 20
    page = judge(run_factory("run"), truth, perfect, perfect, people(40))
    text = page.text
    assert "These data cannot show that the model sees the breast. That control may do as well." in text
    assert row_of(page, "border").endswith("shown.1.0000.000not above it")
    assert "nearly every draw of patients gave the same. How far it may be off is not known." in text
    assert "may be chance" not in text
    assert "coarse" not in text
    row = next(row for row in page.texts["tr"] if row.startswith("AUCchance"))
    assert row.endswith("no interval: nearly every draw of patients gave the same")


def test_a_control_at_chance_in_every_draw_says_nothing_against_a_perfect_model(
    run_factory: RunFactory,
) -> None:
    truth = [0] * 20 + [1] * 20
    page = judge(run_factory("run"), truth, [0.1] * 20 + [0.9] * 20, [0.5] * 40, people(40))
    assert row_of(page, "border").endswith("shown.0.5000.500")
    assert "No control explains the score." in page.text


@pytest.mark.parametrize(("count", "told"), [(19, True), (20, False)])
def test_few_patients_are_a_reservation(count: int, told: bool, run_factory: RunFactory) -> None:
    truth = [number % 2 for number in range(count)]
    scores = np.random.default_rng(2).random(count).tolist()
    assert (
        f"Only {count} patients were judged"
        in judge(run_factory("a"), truth, scores, scores, people(count)).text
    ) is told
    # Images without a patient are units of their own; one of them here.
    named = [*people(count)[:-1], ""]
    text = judge(run_factory("b"), truth, scores, scores, named).text
    assert (f"Only {count - 1} patients and 1 image without a patient were judged" in text) is told


def test_an_auc_at_chance_without_an_interval_is_said(run_factory: RunFactory) -> None:
    run = run_factory("run")
    change(run, "metrics.json", lambda metrics: metrics["test"].update(auc=0.5, intervals={}))
    assert (
        "The AUC is not above 0.5: on these data the model may be no better than guessing" in write(run).text
    )


@pytest.mark.parametrize(
    ("kept", "strategy", "said"),
    [
        (
            "probe",
            "probe",
            "The threshold was chosen here, so the figures that depend on it are too good. The probe",
        ),
        (
            "probe",
            "finetune",
            "The threshold and whether to keep the fine-tuned network were chosen here, so these",
        ),
        (
            "scratch",
            "scratch",
            "The number of epochs, the calibration and the threshold were chosen here, so these",
        ),
        (
            "finetune",
            "finetune",
            "The number of epochs, the calibration, the threshold and whether to keep the fine-tuned network were",
        ),
    ],
)
def test_what_was_chosen_on_the_validation_part_is_said(
    kept: str, strategy: str, said: str, run_factory: RunFactory
) -> None:
    run = run_factory("run")
    change(run, "run.json", lambda facts: facts.update(kept=kept, recipe={"strategy": strategy}))
    text = write(run).text
    assert said in text
    inner = "its strength and its calibration come from inner folds of the training patients."
    assert (inner in text) is (kept == "probe")


def test_unknown_patients_of_an_evaluation_are_no_leak(run_factory: RunFactory) -> None:
    run = run_factory("run", kind="external")
    change(run, "run.json", lambda facts: facts["data"].update(images_without_patient=3))
    text = write(run).text
    assert "or of a patient that is named, so the intervals, which take each as a patient of its own" in text
    assert "leakage" not in text
    change(run, "run.json", lambda facts: facts["data"].update(patient_source=None))
    text = write(run).text
    assert "Patients are unknown, so the intervals, drawn over images, may be too narrow." in text
    assert "both sides of the split" not in text
    assert "leakage" not in text


def test_images_of_the_training_among_those_of_an_evaluation_are_counted(run_factory: RunFactory) -> None:
    run = run_factory("run", kind="external")
    finding = {"code": "evaluated-on-training-images", "severity": "error", "what": "Some.", "count": 12}
    change(run, "run.json", lambda facts: facts.update(findings=[finding]))
    page = write(run)
    assert "that were given for evaluation, 12 of which the model was trained on: sick" in judged_on(page)
    assert "The model was trained on 12 of these 180 images" in page.text
    change(run, "run.json", lambda facts: facts["findings"][0].update(count=180))
    page = write(run)
    assert "Judged on 180 images of 120 patients of the training data: sick" in judged_on(page)
    assert "The model was trained on these very images" in page.text


def test_random_weights_have_no_licence(run_factory: RunFactory) -> None:
    run = run_factory("run")
    assert "LicenceApache-2.0" in write(run).text.replace(" ", "")
    change(run, "run.json", lambda facts: facts["backbone"].update(weights="none", weights_sha256=None))
    page = write(run)
    assert "random weights" in page.texts["td"]
    assert "random, by the seed" in page.texts["td"]
    assert "Apache" not in page.text
    assert not any("SHA-256" in text for text in page.texts["th"])


def test_the_licence_of_a_bundles_first_weights_is_conditional(run_factory: RunFactory) -> None:
    run = run_factory("run", kind="external")
    assert "Apache-2.0, if the model began with ImageNet weights" in write(run).text


@pytest.mark.parametrize(("count", "told"), [(1, "1 image has"), (7, "7 images have")])
def test_images_without_a_patient_are_a_reservation_and_no_claim(
    count: int, told: str, run_factory: RunFactory
) -> None:
    run = run_factory("run", kind="folds")
    change(run, "run.json", lambda facts: facts["data"].update(images_without_patient=count))
    page = write(run)
    assert "each scored by a model trained without it: sick" in judged_on(page)
    assert f"{told} no patient id, of 180 in all." in page.text
    assert "leakage between them cannot be excluded" in page.text
    assert f"none stands in two parts; {told} no patient id and could not be checked" in page.text


def test_a_run_that_does_not_say_how_many_patients_are_unknown_makes_no_claim(
    run_factory: RunFactory,
) -> None:
    run = run_factory("run", kind="folds")
    change(run, "run.json", lambda facts: facts["data"].pop("images_without_patient"))
    assert "trained without it: sick" in judged_on(write(run))


def test_files_of_several_frames_are_proved_disjoint(run_factory: RunFactory) -> None:
    run = run_factory("run")
    change(run, "run.json", lambda facts: facts["split"]["proof"].update(files_checked=2))
    assert "2 files with several frames checked: none stands in two parts" in write(run).text
    change(run, "run.json", lambda facts: facts["split"]["proof"].update(files_shared=1))
    text = write(run).text
    assert "figures are too good" in text
    assert "1 of 2 files with several frames stand in two parts" in text


def test_unknown_patients_are_a_reservation(run_factory: RunFactory) -> None:
    run = run_factory("run", kind="folds")
    change(run, "run.json", lambda facts: facts["data"].update(patient_source=None, patients=0))
    change(run, "metrics.json", lambda metrics: metrics["out_of_fold"].update(patients=None, by_patient=None))
    page = write(run)
    assert "leakage between them cannot be excluded" in page.text
    said = "Judged on 180 images (patients unknown) that were each scored by a model trained without it"
    assert judged_on(page).startswith(said)
    assert judged_on(page).endswith("Ranges are 95% intervals over images.")
    assert "could not be checked" in page.text
    assert "By patient" not in page.text


def test_known_patients_are_proved_disjoint(run_factory: RunFactory) -> None:
    text = write(run_factory("run")).text
    assert "120 patients checked: none stands in two parts; 1 group of identical images checked" in text
    assert "leakage" not in text


def test_shared_patients_are_called_out_in_the_verdict(run_factory: RunFactory) -> None:
    run = run_factory("run")
    change(run, "run.json", lambda facts: facts["split"]["proof"].update(patients_shared=2))
    assert "figures are too good: 2 of 120 patients stand in two parts" in write(run).text


def test_an_interval_that_reaches_chance_is_said(run_factory: RunFactory) -> None:
    run = run_factory("run")
    change(run, "metrics.json", lambda metrics: metrics["test"]["intervals"]["auc"].update(low=0.49))
    assert "may be no better than guessing" in write(run).text


def test_a_missing_class_gives_the_reason_instead_of_figures(run_factory: RunFactory) -> None:
    run = run_factory("run")
    reason = "no positive image in this part"

    def empty(metrics: dict[str, Any]) -> None:
        block = metrics["test"]
        absent = ["auc", "average_precision", "sensitivity", "roc", "precision_recall"]
        block.update(
            dict.fromkeys(absent), reasons=dict.fromkeys(absent, reason), intervals={}, by_patient=None
        )
        block.update(positives=0, negatives=block["n"], confusion_matrix=[[block["n"], 0], [0, 0]])

    change(run, "metrics.json", empty)
    predictions = pd.read_csv(run / "predictions.csv")
    predictions.loc[predictions["split"] == "test", "y_true"] = 0
    predictions.to_csv(run / "predictions.csv", index=False)
    draw_figures(run)
    page = write(run)
    assert verdict_of(page) == f"No AUC can be given: {reason}."
    assert page.texts.get("dl") is None
    assert page.texts["td"].count(f"–{reason}") == 3
    assert any(f"No ROC curve: {reason}" in (image["alt"] or "") for image in page.all("img"))
    assert "No interval could be given" in page.text


def test_thresholds_of_model_and_figures_are_told_apart(run_factory: RunFactory) -> None:
    run = run_factory("run", kind="folds")
    draw_figures(run)
    text = write(run).text
    assert "Scores of 0.41 and above are called positive by the saved model." in text
    assert "The rule was: largest balanced accuracy, chosen on validation." in text
    assert "The figures on this page were made at" not in text
    change(run, "metrics.json", lambda metrics: metrics["out_of_fold"].update(threshold=None))
    page = write(run)
    assert "The figures on this page were made at each fold's own threshold." in page.text
    assert "At each fold's own threshold it called" in page.text
    assert not any("0.41" in str(image["alt"]) for image in page.all("img"))


def test_data_are_counted_by_category_with_reasons_findings_and_formats(run_factory: RunFactory) -> None:
    run = run_factory("run")
    page = write(run)
    records = pd.read_csv(run / "records.csv", keep_default_na=False)
    used = records[(records["category"] == "sick") & (records["excluded"] == "")]
    rows = [" ".join(text.split()) for text in page.texts["tr"]]
    assert any(row.startswith("sickpositive" + str(len(used))) for row in rows)
    assert any(row.startswith("same pixels under both categories2twice/a.png, twice/b.png") for row in rows)
    assert any(row.startswith("error2 images have the same pixels") for row in rows)
    jpeg = records[(records["format"] == "JPEG") & (records["excluded"] == "")]["category"].value_counts()
    assert (records[records["excluded"] != ""]["format"] != "").any()  # left out, and therefore not counted
    assert any(
        text.startswith("Format of the images that were used, by category.") for text in page.texts["caption"]
    )
    assert f"JPEG, 8 bit{jpeg.get('healthy', 0)}{jpeg.get('sick', 0)}" in rows


def test_metrics_stand_by_image_and_by_patient_with_intervals(run_factory: RunFactory) -> None:
    run = run_factory("run")
    test = json.loads((run / "metrics.json").read_text())["test"]
    row = next(text for text in write(run).texts["tr"] if text.startswith("Sensitivity"))
    for block in (test, test["by_patient"]):
        interval = block["intervals"]["sensitivity"]
        assert f"{block['sensitivity']:.3f}{interval['low']:.3f} to {interval['high']:.3f}" in row


def test_the_command_can_be_pasted_into_a_shell(run_factory: RunFactory) -> None:
    run = run_factory("run")
    command = ["breastlens", "train", "my data; rm -rf $HOME", "--positive", "it's"]
    change(run, "run.json", lambda facts: facts.update(command=command))
    assert shlex.split(write(run).texts["pre"][0]) == command


def test_all_user_text_is_escaped(run_factory: RunFactory) -> None:
    run = run_factory("run", names=(f"healthy{HOSTILE}", f"sick{HOSTILE}"))
    draw_figures(run)
    for name in ("records.csv", "predictions.csv"):
        table = pd.read_csv(run / name, dtype=str, keep_default_na=False)
        table["path"] = HOSTILE + table["path"]
        table["patient_id"] = HOSTILE + table["patient_id"]
        if name == "records.csv":
            table[f"age{HOSTILE}"] = HOSTILE
            table.loc[table["excluded"] != "", "excluded"] = HOSTILE
            table["format"] = HOSTILE
        table.to_csv(run / name, index=False)

    def poison(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: poison(item) for key, item in value.items()}
        if isinstance(value, list):
            return [poison(item) for item in value]
        return value + HOSTILE if isinstance(value, str) else value

    facts = json.loads((run / "run.json").read_text())
    fixed = {key: facts[key] for key in ("kind", "labels", "split")}
    severities = [finding["severity"] for finding in facts["findings"]]
    facts = poison(facts) | fixed
    for finding, severity in zip(facts["findings"], severities, strict=True):
        finding["severity"] = severity
    (run / "run.json").write_text(json.dumps(facts))
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["test"]["reasons"]["ppv interval"] = HOSTILE
    metrics["controls"] = {HOSTILE: {"auc": 0.8, "low": 0.7, "high": 0.9, "what": HOSTILE}}
    (run / "metrics.json").write_text(json.dumps(metrics))

    html = write_report(run).read_text(encoding="utf-8")
    page = Page(html)
    assert html.count("<script") == 1  # the page's own
    assert 'alert("' not in html.replace("&#34;", "")
    assert page.text.count(HOSTILE) > 30
    assert f"age{HOSTILE}" in page.text
    assert any(HOSTILE in (image["alt"] or "") for image in page.all("img"))


@pytest.mark.parametrize("kind", ["holdout", "folds", "external"])
def test_the_page_is_one_closed_accessible_file(kind: str, run_factory: RunFactory) -> None:
    run = run_factory("run", kind=kind)
    draw_figures(run)
    page = write(run)
    names = {tag for tag, _ in page.elements}
    assert len(page.all("script")) == 1
    assert page.all("script")[0] == {}  # nothing is fetched for it
    assert not names & {"link", "iframe", "object", "embed", "video", "audio", "form"}
    html = (run / "report.html").read_text()
    assert "@import" not in html
    assert html.count("url(") == html.count("url(#"), "an arrow of the flow lies in the page itself"
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in page.all("img"))
    assert len(page.all("img")) == 6
    assert all(
        len(image["alt"] or "") > 30 and image["width"] and image["height"] for image in page.all("img")
    )
    assert page.all("html")[0]["lang"] == "en"
    assert page.texts["title"][0].startswith("BreastLens report")
    levels = [int(tag[1]) for tag, _ in page.elements if tag in {"h1", "h2", "h3", "h4"}]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert len(page.texts["caption"]) == len(page.all("table"))
    assert all(text.strip() for text in page.texts["caption"])
    assert all(cell.get("scope") in {"row", "col"} for cell in page.all("th"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = [
        attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes
    ]
    assert set(labelled) <= set(ids)
    assert page.text.count("Research use only") == 2


@pytest.mark.parametrize("kind", ["holdout", "folds", "external"])
def test_the_contents_lead_to_every_section(kind: str, run_factory: RunFactory) -> None:
    run = run_factory("run", kind=kind)
    controls = {"border": {"auc": 0.7, "low": 0.6, "high": 0.8}}
    curve = {"points": [], "reason": "too few"}
    repeats = {"count": 2, "metrics": {"auc": {"mean": {"value": 0.9}}}}
    if kind == "folds":
        change(
            run,
            "metrics.json",
            lambda metrics: metrics.update(controls=controls, learning_curve=curve, repeats=repeats),
        )
    page = write(run)
    links = [a["href"].removeprefix("#") for a in page.all("a") if (a["href"] or "").startswith("#")]  # type: ignore[union-attr]
    titles = dict(zip((h2["id"] for h2 in page.all("h2")), page.texts["h2"], strict=True))
    titles.pop("verdict")
    assert links == list(titles)
    assert [text for text in page.texts["a"] if text in titles.values()] == list(titles.values())
    assert ("Repeats" in titles.values()) == (kind == "folds")


def test_the_law_of_the_learning_curve_has_a_raised_exponent(run_factory: RunFactory) -> None:
    run = run_factory("run")
    figure = {"value": 0.9, "low": 0.8, "high": 0.95}
    points = [{"patients": 20, "auc": figure, "values": [0.9]}]
    band = {name: [] for name in ("patients", "auc", "low", "high")}
    curve = {
        "points": points,
        "fit": {"a": 0.9841, "b": 1.25, "c": 3.0, "band": band},
        "twice": {"patients": 40, "auc": figure, "gain": figure},
    }
    change(run, "metrics.json", lambda metrics: metrics.update(learning_curve=curve))
    page = write(run)
    assert "of training patients: AUC = 0.984 − 1.25 · n−3.00." in page.text
    assert page.texts["sup"] == ["−3.00"]
    assert "The curve puts the AUC with twice as many (40 patients) at 0.900" in page.text
    assert "n^" not in page.text


def test_alternative_texts_carry_the_numbers(run_factory: RunFactory) -> None:
    run = run_factory("run")
    draw_figures(run)
    test = json.loads((run / "metrics.json").read_text())["test"]
    (tn, fp), (fn, tp) = test["confusion_matrix"]
    matrix, roc, curve, scores, history, wrong = [str(image["alt"]) for image in write(run).all("img")]
    assert f"Of {tn + fp} healthy images {tn} were called negative and {fp} positive" in matrix
    assert f"of {fn + tp} sick images {fn} were called negative and {tp} positive" in matrix
    assert f"AUC of {test['auc']:.3f}" in roc
    assert f"average precision of {test['average_precision']:.3f}" in curve
    predictions = pd.read_csv(run / "predictions.csv").query("split == 'test'")
    median = predictions.query("y_true == 1")["y_score"].median()
    assert f"sick images have a median score of {median:.3f}" in scores
    best = pd.read_csv(run / "history.csv").sort_values("val_auc").iloc[-1]  # one fold: its own mean
    assert f"{best['val_auc']:.3f} at C {best['strength']:g}" in history
    worst = most_wrong.most_wrong_rows(predictions).iloc[0]
    assert f"the worst first: {worst['path']}" in wrong


def test_figures_of_another_part_do_not_enter_the_texts(run_factory: RunFactory) -> None:
    run = run_factory("run")
    predictions = pd.read_csv(run / "predictions.csv")
    predictions.loc[predictions["split"] == "validation", ["y_true", "y_score", "y_pred"]] = [1, 0.0, 0]
    predictions.to_csv(run / "predictions.csv", index=False)
    draw_figures(run)
    wrong = str(write(run).all("img")[-1]["alt"])
    assert "scored 0.000" not in wrong


def test_absent_figures_and_history_are_left_out(run_factory: RunFactory) -> None:
    run = run_factory("run")
    (run / "history.csv").unlink()
    assert write(run).all("img") == []


def test_a_file_name_that_is_no_text_is_written_escaped(run_factory: RunFactory) -> None:
    run = run_factory("run")
    change(run, "run.json", lambda facts: facts.update(command=["breastlens", "train", "bad\udc80name"]))
    assert "bad\\udc80name" in write(run).text


@pytest.mark.parametrize("name", ["run.json", "metrics.json", "records.csv", "predictions.csv"])
def test_a_missing_file_is_named(name: str, run_factory: RunFactory) -> None:
    run = run_factory("run")
    (run / name).unlink()
    with pytest.raises(RunDirectoryError, match=f"is not a complete run directory: it has no {name}"):
        write_report(run)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("records.csv", b"", "records.csv is damaged"),
        ("history.csv", b"", "history.csv is damaged"),
        (
            "predictions.csv",
            b"path,patient_id,split,y_true,y_score,y_pred\na,b,test,1,much,1\n",
            "predictions.csv is dam",
        ),
        ("records.csv", b"\xff\xfe\x00", "records.csv is damaged"),
        ("figures/roc.png", b"\x89PNG", "a picture in the folder figures is damaged"),
    ],
)
def test_damaged_tables_and_pictures_are_named(
    run_factory: RunFactory, name: str, content: bytes, told: str
) -> None:
    run = run_factory("damaged")
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_bytes(content)
    with pytest.raises(RunDirectoryError, match=told):
        write_report(run)


def test_a_file_is_no_run_directory(run_factory: RunFactory) -> None:
    with pytest.raises(
        RunDirectoryError, match=r"report\.html is not a complete run directory: it has no run\.json"
    ):
        write_report(write_report(run_factory("whole")))


def test_damaged_and_foreign_files_are_named(run_factory: RunFactory) -> None:
    run = run_factory("run")
    change(run, "run.json", lambda facts: facts.update(format=2))
    with pytest.raises(RunDirectoryError, match=r"run\.json is not what this version reads: format"):
        write_report(run)
    (run / "run.json").write_text("{")
    with pytest.raises(RunDirectoryError, match=r"run\.json is damaged"):
        write_report(run)
    run = run_factory("other")
    (run / "metrics.json").write_text("{}")
    with pytest.raises(RunDirectoryError, match="expected one of test, out_of_fold, external"):
        write_report(run)
    run = run_factory("third")
    pd.read_csv(run / "records.csv").drop(columns="format").to_csv(run / "records.csv", index=False)
    with pytest.raises(RunDirectoryError, match="lacks the column format"):
        write_report(run)


@pytest.mark.parametrize(
    ("asked", "used", "said"),
    [
        ("fp32", "fp32", "32-bit floating point"),
        ("int8", "int8", "8-bit integers"),
        ("bf16", "fp32", "32-bit floating point; asked for was bf16, see the notes"),
    ],
)
def test_what_the_saved_model_computes_in_is_told(
    asked: str, used: str, said: str, run_factory: RunFactory
) -> None:
    run = run_factory("run")
    change(run, "run.json", lambda facts: facts.update(precision={"asked": asked, "used": used}))
    assert row_of(write(run), "The saved model computes in") == f"The saved model computes in{said}"


def test_an_evaluation_tells_what_its_model_computes_in(run_factory: RunFactory) -> None:
    run = run_factory("run")
    change(run, "run.json", lambda facts: facts.pop("precision", None))
    assert row_of(write(run), "The saved model computes in").endswith("not recorded")
    change(run, "run.json", lambda facts: facts.update(model={"precision": "bf16"}))
    assert row_of(write(run), "The saved model computes in").endswith("16-bit floating point (bfloat16)")


@pytest.mark.parametrize(
    ("strategy", "stages", "gone", "kept"),
    [
        ("probe", 2, ("epochs", "augmentation", "learning_rate"), ("folds", "weights")),
        ("finetune", 2, (), ("epochs", "augmentation.rotation_range", "views", "weights")),
        ("finetune", "all", ("views",), ("epochs", "trainable_stages")),
        ("scratch", 2, ("trainable_stages", "views", "weights"), ("epochs", "augmentation.rotation_range")),
    ],
)
def test_settings_without_effect_are_named_and_not_shown_as_settings(
    run_factory: RunFactory, strategy: str, stages: object, gone: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    run = run_factory("run")
    facts = json.loads((run / "run.json").read_text())
    facts["recipe"] |= {"strategy": strategy, "trainable_stages": stages}
    (run / "run.json").write_text(json.dumps(facts))
    write_report(run)
    table = pd.read_csv(run / "tables" / "settings.csv", keep_default_na=False)
    rows = dict(zip(table["name"], table["value"], strict=True))
    assert set(kept) <= set(rows)
    assert not any(name.split(".")[0] in gone for name in rows)
    told = rows.get("without effect", "").split(".")[0].split(", ")
    assert set(gone) <= set(told)
    assert not {name.split(".")[0] for name in kept} & set(told)
    assert "image.image_size" in rows
