"""The model card: README.md in the bundle for people, figures.json for programs that have it without the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from breastlens.models.bundle import FIGURES
from breastlens.report import sections, wording
from breastlens.report.abstention import abstention_section
from breastlens.report.calibration import calibration_sentences, threshold_sentence
from breastlens.report.calibration_facts import decisions_of
from breastlens.report.facts import Block
from breastlens.report.key_figures import key_figures
from breastlens.report.meaning import meaning
from breastlens.report.methods import methods_paragraphs, references
from breastlens.report.phrasing import moment_text, with_interval
from breastlens.report.run_files import RunFiles
from breastlens.report.tables import METRICS, interval_note, precision_text, setting_rows, weights_rows

NAME = "README.md"
_MODEL = "model"
_SPECIAL = str.maketrans({each: f"\\{each}" for each in "\\`*_[]<>|#"})


def write_model_card(run_dir: Path, files: RunFiles) -> Path | None:
    """Write the model card beside the model's files; nothing where the run has no bundle.

    It is not among the files whose hashes bundle.json keeps: it may be edited, and the model stays whole.

    Args:
        run_dir: The run directory.
        files: Its files.
    """
    folder = run_dir / _MODEL
    if not (folder / "bundle.json").is_file():
        return None
    path = folder / NAME
    text = "\n".join(_card(files)) + "\n"
    path.write_bytes(text.encode("utf-8", "backslashreplace"))
    figures = json.dumps(describe_figures(files), indent=2, allow_nan=False)
    (folder / FIGURES).write_text(figures + "\n", encoding="utf-8")
    return path


def describe_figures(files: RunFiles) -> dict[str, Any]:
    """How well a model does, with its controls, in plain JSON; sentences as on the report's first screen.

    Returns:
        ``title``, ``verdict`` and ``meaning`` (sentences), ``judged_on``, ``key_figures`` (label, figure, interval,
        meaning, tone), ``metrics`` (by name: value, low, high, level, method), ``controls`` (by name: what was shown,
        auc, low, high, margin) and ``doubts`` (sentences).
    """
    block, labels = files.block, files.facts.labels
    known = {name: interval.model_dump() for name, interval in block.intervals.items()}
    return {
        "format": 1,
        "title": f"{files.facts.backbone.title or files.facts.backbone.name}: {labels.positive_name} against "
        f"{labels.negative_name}",
        "verdict": wording.verdict(files),
        "meaning": meaning(files),
        "judged_on": wording.judged_on(files),
        "part": files.part,
        "images": block.n,
        "patients": block.patients,
        "key_figures": [figure._asdict() for figure in key_figures(files)],
        "metrics": {
            name: {"title": title} | known.get(name, {"value": block.value(name)})
            for name, title, _ in METRICS
        },
        "controls": {name: control.model_dump() for name, control in files.controls.items()},
        "doubts": list(wording.doubts(files)),
    }


def _card(files: RunFiles) -> list[str]:
    facts = files.facts
    labels = facts.labels
    network = facts.backbone.title or facts.backbone.name
    size = facts.image.get("image_size", 128)
    data, model, evaluation = methods_paragraphs(files)
    return [
        f"# {_text(facts.data.root)}: {_text(labels.positive_name)} against {_text(labels.negative_name)}, {network}",
        "",
        f"**{wording.RESEARCH_USE}**",
        "",
        f"Made by BreastLens {facts.versions.get('breastlens', '')} on {moment_text(facts.created)}. This card was "
        "written from the files of the training run. It is not among the files that bundle.json vouches for.",
        *_section(
            "What it is",
            f"A classifier of single breast images. In: one image, brought to {size} × {size} pixels. Out: a score "
            f"from 0 to 1, the calibrated probability of {_text(labels.positive_name)}. {_text(labels.describe())}.",
            f"It computes in {precision_text(files)}.",
            *(f"- {name}: {_text(value)}" for name, value in weights_rows(files)),
        ),
        *_section(
            "Meant for",
            "Research on images like those it was trained on: the same kind of device, view and population, read by "
            "people who know its figures and its controls below.",
        ),
        *_section(
            "Not meant for",
            "- diagnosis, screening, or any decision about anyone's care;",
            "- other modalities, views or devices than those of its training data, unless tested there first;",
            "- images without a breast, or of poor quality: it gives a score for them, too;",
            "- a population with another share of positives, without new predictive values and calibration.",
        ),
        *_section("Data", _text(data), _text(sections.disjointness(files))),
        *_section("Training", _text(model)),
        *_section(
            "How well it does",
            _text(wording.verdict(files)),
            _text(wording.judged_on(files)),
            *_metric_table(files.block),
            _text(interval_note(files.block)),
            _text(evaluation),
        ),
        *_section("Controls", *(_controls(files) or ["No negative control was run."])),
        *_section(
            "Threshold and calibration",
            _text(threshold_sentence(files)),
            *(_text(said) for said in calibration_sentences(files, decisions_of(files.block))),
        ),
        *_when_silent(files),
        *_section(
            "Limits", *([f"- {_text(doubt)}" for doubt in wording.doubts(files)] or ["None were found here."])
        ),
        *_section(
            "How to use it",
            "From a checkout of BreastLens, in a virtual environment:",
            "```\npip install -c constraints.txt .\nbreastlens predict MODEL IMAGE...\n```",
            "MODEL is this folder. `breastlens evaluate MODEL DATA` judges it on other labelled images.",
        ),
        *_section("Sources", *(f"- {_text(source)}" for source in references(files))),
        *_section("Settings", *(f"- {name}: {_text(value)}" for name, value in setting_rows(facts.image))),
        "",
        f"Fingerprint of the training data: `{facts.data.fingerprint}`",
    ]


def _when_silent(files: RunFiles) -> list[str]:
    """When the model does not answer; nothing for runs from before it could."""
    found = abstention_section(files)
    if found is None:
        return []
    head = ["Prediction sets", *found.levels]
    rows = [
        _line(
            [
                _text(row.title),
                *(cell.value + (f" ({cell.interval})" if cell.interval else "") for cell in row.cells),
            ]
        )
        for row in found.rows
    ]
    return _section(
        "When it does not answer",
        _text(found.sets_intro),
        _line(head),
        _line(["---"] * len(head)),
        *rows,
        _text(found.guarantee),
        _text(f"{found.novelty} {found.refused}"),
    )


def _section(title: str, *paragraphs: str) -> list[str]:
    """A heading and its paragraphs; lines of a list or a table follow one another without a gap."""
    lines = ["", f"## {title}"]
    joined = ("- ", "| ")
    for number, paragraph in enumerate(paragraphs):
        before = paragraphs[number - 1] if number else ""
        if not (paragraph.startswith(joined) and before.startswith(joined)):
            lines.append("")
        lines.append(paragraph)
    return lines


def _metric_table(block: Block) -> list[str]:
    people = block.by_patient
    head = ["Metric", "By image", *(["By patient"] if people else [])]
    lines = [_line(head), _line(["---"] * len(head))]
    for name, title, _ in METRICS:
        levels = [block, *([people] if people else [])]
        cells = [with_interval(level.value(name), level.intervals.get(name)) for level in levels]
        lines.append(_line([title, *cells]))
    return lines


def _controls(files: RunFiles) -> list[str]:
    if not files.controls:
        return []
    rows = [
        _line([_text(name), with_interval(control.auc, control), _margin(control.margin)])
        for name, control in files.controls.items()
    ]
    said = (
        "AUC of models that were denied the breast, on the same images, and how far this model is above each."
    )
    return [said, _line(["Control", "AUC", "Margin"]), _line(["---"] * 3), *rows]


def _margin(margin: object) -> str:
    return with_interval(getattr(margin, "value", None), margin)  # type: ignore[arg-type]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(text: str) -> str:
    """Text of the user's, in which nothing is taken for Markdown or HTML, on one line."""
    return " ".join(text.split()).translate(_SPECIAL)
