"""What a reviewer asks for beside the figures: flow, cohort and subgroups, gathered for the page."""

from __future__ import annotations

from typing import Any

from breastlens.report.cohort_table import cohort_by_class, cohort_by_part, unsummarised_columns
from breastlens.report.flow import flow_drawing, flow_table
from breastlens.report.run_files import RunFiles
from breastlens.report.subgroups import picture_subgroups, subgroup_notes, subgroup_rows
from breastlens.report.wording import PART_TITLES


def reviewer_context(files: RunFiles) -> dict[str, Any]:
    """The variables of the templates flow, cohort and subgroups."""
    flow = flow_table(files)
    return {
        "flow": flow,
        "flow_drawing": flow_drawing(files, flow),
        "patient_rule": files.block.by_patient and files.block.by_patient.patient_rule,
        "judged_title": PART_TITLES[files.part].lower(),
        "cohort_by_class": cohort_by_class(files),
        "cohort_by_part": cohort_by_part(files),
        "unsummarised": unsummarised_columns(files),
        "subgroups": subgroup_rows(files),
        "subgroups_picture": picture_subgroups(files),
        "subgroup_notes": subgroup_notes(files),
    }
