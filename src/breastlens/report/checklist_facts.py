"""What a run knows that reporting checklists ask for: a text and its place in the report, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from breastlens.report import sections, wording
from breastlens.report.calibration import threshold_sentence
from breastlens.report.certainty import has_interval
from breastlens.report.cohort_table import cohort_by_class
from breastlens.report.flow import FlowTable
from breastlens.report.methods import (
    ensemble_sentence,
    methods_paragraphs,
    preprocessing_sentence,
    split_sentence,
)
from breastlens.report.phrasing import count_text, figure_text, with_interval
from breastlens.report.run_files import RunFiles
from breastlens.report.tables import METRICS, RANDOM_WEIGHTS, extra_columns, interval_note


class Known(NamedTuple):
    """An answer: what the run knows, and the anchor and title of its place in the report."""

    text: str
    anchor: str
    place: str


def known_facts(files: RunFiles, flow: FlowTable) -> dict[str, Known]:
    """Everything that the run can answer; a name is absent where this run knows nothing of it."""
    makers: dict[str, tuple[Callable[[], str], str, str]] = {
        "use": (lambda: wording.RESEARCH_USE, "verdict", "Verdict"),
        "source": (lambda: _source(files), "data", "Data"),
        "dates": (lambda: _dates(files), "t-cohort-by-class", "The cohort by class"),
        "excluded": (lambda: _excluded(flow), "t-flow", "Flow in numbers"),
        "preprocessing": (lambda: preprocessing_sentence(files), "t-settings", "Settings"),
        "audit": (lambda: sections.audit_sentence(files) if files.facts.audit else "", "audit", "Audit"),
        "labels": (lambda: f"As labelled: {files.facts.labels.describe()}.", "t-categories", "Categories"),
        "categories": (lambda: _categories(files), "t-categories", "Categories"),
        "input": (lambda: _input(files), "t-settings", "Settings"),
        "size": (lambda: _sizes(flow), "t-flow", "Flow in numbers"),
        "missing": (lambda: _missing(files), "t-flow", "Flow in numbers"),
        "partition": (lambda: split_sentence(files), "split", "Split"),
        "disjoint": (lambda: sections.disjointness(files), "split", "Split"),
        "training": (lambda: methods_paragraphs(files)[1], "paper", "Methods"),
        "selection": (lambda: _selection(files), "kept", "What was kept"),
        "subgroups": (lambda: _subgroups(files), "subgroups", "Subgroups"),
        "measures": (lambda: ", ".join(title for _, title, _ in METRICS) + ".", "results", "Results"),
        "uncertainty": (lambda: interval_note(files.block), "results", "Results"),
        "predictions": (
            lambda: "The score and the call of every image: predictions.csv.",
            "results",
            "Results",
        ),
        "balance": (lambda: _balance(files), "results", "Results"),
        "threshold": (lambda: threshold_sentence(files), "threshold", "Threshold"),
        "comparison": (lambda: _comparison(files), "t-cohort-by-part", "The cohort by part"),
        "fingerprint": (
            lambda: f"Fingerprint of the data: {files.facts.data.fingerprint}.",
            "repeat",
            "Repeat",
        ),
        "code": (lambda: _code(files), "machine", "Versions"),
        "command": (lambda: "The command that repeats the run is recorded.", "repeat", "How to repeat it"),
        "software": (lambda: _software(files), "machine", "Versions"),
        "flow": (lambda: _flow(flow), "t-flow", "Flow of images and patients"),
        "cohort": (lambda: _cohort(files), "t-cohort-by-class", "The cohort"),
        "counts": (lambda: wording.judged_on(files), "results", "Results"),
        "model": (lambda: _model(files), "t-backbone", "Backbone"),
        "bundle": (lambda: _bundle(files), "kept", "What was kept"),
        "weights": (lambda: _weights(files), "t-backbone", "Backbone"),
        "performance": (lambda: _performance(files), "results", "Results"),
        "crosstable": (lambda: _cross_table(files), "results", "Results"),
        "controls": (lambda: _controls(files), "controls", "Negative controls"),
        "explanation": (lambda: sections.activation_sentence(files.activation), "controls", "Controls"),
        "internal": (lambda: "" if files.part == "external" else _performance(files), "results", "Results"),
        "external": (lambda: _performance(files) if files.part == "external" else "", "results", "Results"),
        "failures": (lambda: _failures(files), "results", "Results"),
        "doubts": (lambda: " ".join(wording.doubts(files)), "verdict", "Verdict"),
        "formats": (lambda: _formats(files), "data", "Data"),
        "ensemble": (lambda: _ensemble(files), "kept", "What was kept"),
    }
    told = {name: Known(make(), anchor, place) for name, (make, anchor, place) in makers.items()}
    return {name: known for name, known in told.items() if known.text}


def _source(files: RunFiles) -> str:
    data = files.facts.data
    through = f" through {data.manifest}" if data.manifest else ""
    return f"{count_text(data.found, 'image')} in {data.root}{through}."


def _dates(files: RunFiles) -> str:
    rows = [row for row in cohort_by_class(files).rows if row.cells[0].interval.count("-") > 2]
    return "; ".join(f"{row.name}: quartiles {row.cells[0].interval}" for row in rows)


def _excluded(flow: FlowTable) -> str:
    told = "; ".join(f"{row.step} ({row.images:,})" for row in flow.left_out)
    return f"Left out: {told}." if told else ""


def _categories(files: RunFiles) -> str:
    used = files.records[files.records["excluded"] == ""]["category"].value_counts()
    return "; ".join(f"{name} {count:,}" for name, count in used.items()) + "."


def _input(files: RunFiles) -> str:
    size = files.facts.image.get("image_size")
    return (
        f"The pixels of one image, {size} × {size} × 3, 8 bits; nothing else is shown to the model."
        if size
        else ""
    )


def _sizes(flow: FlowTable) -> str:
    people = "" if flow.used.patients is None else f" of {count_text(flow.used.patients, 'patient')}"
    return (
        f"{count_text(flow.used.images, 'image')}{people} used. How that number was chosen is not known here."
    )


def _missing(files: RunFiles) -> str:
    unread = int(files.records["excluded"].str.startswith("unreadable").sum())
    return f"{count_text(unread, 'image')} could not be read and were left out; nothing was imputed."


def _selection(files: RunFiles) -> str:
    return f"Kept: {files.facts.kept}." if files.facts.kept else ""


def _subgroups(files: RunFiles) -> str:
    columns = [str(each.get("column")) for each in files.further.get("subgroups", [])]
    return f"Figures with intervals by {', '.join(columns)}." if columns else ""


def _balance(files: RunFiles) -> str:
    block = files.block
    return f"{block.positives:,} positive and {block.negatives:,} negative images were judged."


def _comparison(files: RunFiles) -> str:
    if files.facts.split.kind in ("folds", "external"):
        return ""
    return "The parts side by side, with standardised differences."


def _code(files: RunFiles) -> str:
    version = files.facts.versions.get("breastlens")
    return f"BreastLens {version}, Apache-2.0." if version else ""


def _software(files: RunFiles) -> str:
    return ", ".join(f"{name} {version}" for name, version in files.facts.versions.items())


def _flow(flow: FlowTable) -> str:
    left_out = sum(row.images for row in flow.left_out)
    said = f"{flow.found.images:,} images found, {left_out:,} left out, {flow.used.images:,} used"
    if flow.found.patients is None:
        return f"{said}; patients are unknown."
    return f"{said}; {flow.found.patients:,} patients found, {flow.used.patients:,} used."


def _cohort(files: RunFiles) -> str:
    columns = extra_columns(files)
    return f"By class and by part, with the manifest's columns {', '.join(columns)}." if columns else ""


def _model(files: RunFiles) -> str:
    backbone = files.facts.backbone
    size = f", {backbone.parameters:,} parameters" if backbone.parameters else ""
    return f"{backbone.title or backbone.name}{size}. {backbone.paper}".strip()


def _bundle(files: RunFiles) -> str:
    return "The whole model with its settings: the folder model." if files.facts.kind == "training" else ""


def _weights(files: RunFiles) -> str:
    backbone = files.facts.backbone
    if backbone.weights == RANDOM_WEIGHTS:
        return "Random weights, by the seed."
    return f"{backbone.weights} (SHA-256 {backbone.weights_sha256})." if backbone.weights_sha256 else ""


def _performance(files: RunFiles) -> str:
    block = files.block
    told = [
        f"{title} {with_interval(block.value(name), block.intervals.get(name))}"
        for name, title, _ in METRICS
        if name in ("auc", "sensitivity", "specificity") and block.value(name) is not None
    ]
    certain = has_interval(block.intervals.get("auc"))
    return f"{wording.PART_TITLES[files.part]}: {'; '.join(told)}{'' if certain else '; the AUC has no interval'}."


def _cross_table(files: RunFiles) -> str:
    (tn, fp), (fn, tp) = files.block.confusion_matrix
    return f"True positive {tp:,}, false positive {fp:,}, false negative {fn:,}, true negative {tn:,} images."


def _controls(files: RunFiles) -> str:
    told = "; ".join(f"{name} {figure_text(control.auc)}" for name, control in files.controls.items())
    return f"AUC of models that were denied the breast: {told}." if told else ""


def _failures(files: RunFiles) -> str:
    wrong = int((files.predictions["y_true"] != files.predictions["y_pred"]).sum())
    shown = "; the worst are shown" if "most_wrong" in files.figures else ""
    return f"{count_text(wrong, 'image')} of {len(files.predictions):,} called wrong{shown}."


def _formats(files: RunFiles) -> str:
    used = files.records[files.records["excluded"] == ""]
    kinds = (used["format"] + ", " + used["bits"] + " bit").value_counts()
    return "; ".join(f"{kind}: {count_text(count, 'image')}" for kind, count in kinds.head(6).items()) + "."


def _ensemble(files: RunFiles) -> str:
    return ensemble_sentence(files) or ("None: one network." if files.facts.kept == "probe" else "")
