"""The command that writes a run's report again, and prints it to PDF."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run or an evaluation directory.", show_default=False)
    ],
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Also print it to report.pdf (needs WeasyPrint).")
    ] = False,
) -> None:
    """Write a run's report, checklists, tables and model card again, from the files in its directory."""
    from breastlens.report.page import write_report
    from breastlens.report.pdf import require_pdf, write_pdf
    from breastlens.runs.directory import explained_write_errors

    if pdf:
        require_pdf()
    with explained_write_errors(run, "copy the run to a place that can be written"):
        page = write_report(run)
        print(f"Report: {page}")
        if pdf:
            print(f"PDF: {write_pdf(page)}")
