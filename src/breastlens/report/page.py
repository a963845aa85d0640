"""Writes report.html: one self-contained page made from the files of a run directory and nothing else."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from breastlens.report import captions, control_wording, sections, tables, wording
from breastlens.report.abstention import abstention_section
from breastlens.report.calibration import calibration_context
from breastlens.report.facts import Block
from breastlens.report.flow import exclusion_rows
from breastlens.report.key_figures import key_figures
from breastlens.report.patient_table import MOST_SHOWN, patient_rows, patients_note
from breastlens.report.phrasing import moment_text
from breastlens.report.rendering import write_page
from breastlens.report.resampling import resampling_context
from breastlens.report.reviewer import reviewer_context, write_companions
from breastlens.report.run_files import RunFiles, read_run_files

REPORT_NAME = "report.html"

PATIENT_SOURCES = {
    "manifest": "the manifest",
    "pattern": "the file names",
    "dicom": "the DICOM headers",
}


def write_report(run_dir: Path) -> Path:
    """Write the report of a run beside its files, with checklists, tables as CSV and the bundle's model card.

    Args:
        run_dir: A training's or an evaluation's directory, with at least run.json, metrics.json, records.csv
            and predictions.csv. Absent figures are left out of the page.

    Returns:
        The path of report.html.

    Raises:
        RunDirectoryError: A needed file is missing, damaged or of another format.
    """
    run_dir = Path(run_dir)
    files = read_run_files(run_dir)
    context = _context(files)
    write_companions(run_dir, files, context)
    return write_page(run_dir / REPORT_NAME, "report.html", context)


def _context(files: RunFiles) -> dict[str, Any]:
    facts = files.facts
    patients = patient_rows(files)
    return reviewer_context(files) | {
        "facts": facts,
        "created": moment_text(facts.created),
        "verdict": wording.verdict(files),
        "judged_on": wording.judged_on(files),
        "key_figures": key_figures(files),
        "meaning": wording.meaning(files),
        "calls": wording.calls(files),
        "doubts": wording.doubts(files),
        "research_use": wording.RESEARCH_USE,
        "labels": facts.labels.describe(),
        "patient_source": PATIENT_SOURCES.get(facts.data.patient_source or "", facts.data.patient_source),
        "nameless_images": sections.nameless_images(files),
        "categories": tables.category_rows(files),
        "exclusions": exclusion_rows(files),
        "file_tables": tables.file_tables(files),
        "extra_columns": tables.extra_columns(files),
        "disjointness": sections.disjointness(files),
        "pictures": captions.pictures(files),
        "blocks": [
            _block_context(name, block)
            for name, block in ((files.part, files.block), ("validation", files.validation))
            if block is not None
        ],
        "patients": patients,
        "patients_shown": patients[:MOST_SHOWN],
        "patients_note": patients_note(patients),
        "abstention": abstention_section(files),
        "controls": tables.control_rows(files),
        "shown_the_same": any(control.same_model is not None for control in files.controls.values()),
        "matched": tables.matched_rows(files),
        "beside_the_controls": _beside_the_controls(files),
        "audit": sections.audit_sentence(files),
        "validation_note": sections.validation_sentence(files),
        "backbone": tables.backbone_rows(files),
        "must_be_same": tables.same_rows(files),
        "settings": tables.recipe_rows(facts.recipe) + tables.setting_rows({"image": facts.image}),
        "decisions": calibration_context(files),
        "command": shlex.join(facts.command),
        **resampling_context(files),
        "total_wall_s": sum(phase.wall_s for phase in facts.phases),
    }


def _beside_the_controls(files: RunFiles) -> list[str]:
    """What else was measured of shortcuts, a sentence each."""
    said = [
        control_wording.corrected_sentence(files.corrected),
        sections.activation_sentence(files.activation),
        *map(control_wording.nuisance_sentence, files.nuisance),
    ]
    return [sentence for sentence in said if sentence]


def _block_context(name: str, block: Block) -> dict[str, Any]:
    return {
        "name": name,
        "title": wording.PART_TITLES[name],
        "size": wording.size_of(block),
        "positives": block.positives,
        "negatives": block.negatives,
        "by_patient": block.by_patient,
        "by_patient_reason": block.reasons.get("by_patient", ""),
        "rows": tables.metric_rows(block),
        "intervals": tables.interval_note(block),
    }
