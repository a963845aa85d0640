"""What a reviewer asks for beside the figures: for the page, and the files that stand beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from breastlens.report.checklists import NAME, checklists, summary
from breastlens.report.cohort_table import cohort_by_class, cohort_by_part, unsummarised_columns
from breastlens.report.explorer import explorer_context
from breastlens.report.flow import flow_drawing, flow_table
from breastlens.report.methods import methods_paragraphs, references
from breastlens.report.model_card import write_model_card
from breastlens.report.rendering import write_page
from breastlens.report.run_files import RunFiles
from breastlens.report.subgroups import picture_subgroups, subgroup_notes, subgroup_rows, subgroup_tests
from breastlens.report.table_files import write_rows, write_tables
from breastlens.report.wording import PART_TITLES


def reviewer_context(files: RunFiles) -> dict[str, Any]:
    """The variables of the templates flow, cohort, subgroups, explorer and paper."""
    flow = flow_table(files)
    found = checklists(files, flow)
    return explorer_context(files) | {
        "flow": flow,
        "flow_drawing": flow_drawing(files, flow),
        "patient_rule": files.block.by_patient and files.block.by_patient.patient_rule,
        "judged_title": PART_TITLES[files.part].lower(),
        "cohort_by_class": cohort_by_class(files),
        "cohort_by_part": cohort_by_part(files),
        "unsummarised": unsummarised_columns(files),
        "subgroups": subgroup_rows(files),
        "subgroups_picture": picture_subgroups(files),
        "subgroup_tests": subgroup_tests(files),
        "subgroup_notes": subgroup_notes(files),
        "methods": methods_paragraphs(files),
        "method_sources": references(files),
        "checklists": found,
        "checklist_summary": summary(found),
    }


def write_companions(run_dir: Path, files: RunFiles, context: Mapping[str, Any]) -> None:
    """Write what stands beside the report: checklists, tables as CSV, and the model card of a training's bundle.

    Args:
        run_dir: The run directory.
        files: Its files.
        context: The variables of the page.
    """
    facts = files.facts
    write_page(
        run_dir / NAME,
        NAME,
        {
            "title": f"{facts.data.root}, {facts.backbone.title or facts.backbone.name}",
            "created": context["created"],
            "summary": context["checklist_summary"],
            "checklists": context["checklists"],
            "research_use": context["research_use"],
        },
    )
    write_rows(
        run_dir / "checklists.csv",
        [
            row._asdict() | {"places": "; ".join(place for _, place in row.places)}
            for checklist in context["checklists"]
            for row in checklist.rows
        ],
    )
    write_tables(run_dir, context)
    write_model_card(run_dir, files)
