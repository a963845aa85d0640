"""The commands about finished runs: list those under a folder, and log some to a tracker."""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from breastlens.cli.options import AsJson
from breastlens.cli.predict import refuse_file
from breastlens.cli.show import ERRORS, print_table
from breastlens.errors import BreastLensError, DataError

if TYPE_CHECKING:
    from breastlens.progress import Progress
    from breastlens.runs.tracking_mlflow import MlflowTracker

NOT_TRACKED = 3
"""Exit code of a training that was kept, but not logged."""


def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder to search, with all below.", show_default=False)
    ],
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="Only runs for which it holds, such as 'auc >= 0.8' or 'data ~ busi'; repeatable.",
        ),
    ] = None,
    sort: Annotated[
        str, typer.Option(metavar="COLUMN", help="Order by it; with a minus, the largest first.")
    ] = "-date",
    table: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write all columns to a CSV file instead.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page to sort and filter instead.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List finished runs with their AUC, the margin over the worst negative control, and the verdict."""
    import pandas as pd

    from breastlens.report.run_list import list_runs, put_in_order, select
    from breastlens.report.run_list_page import terminal_row, write_run_page
    from breastlens.report.table_files import write_rows
    from breastlens.runs.directory import explained_write_errors

    for option, path in (("--csv", table), ("--html", page)):
        refuse_file(option, path)
    found, damaged = list_runs(folder)
    for line in damaged:
        ERRORS.print(f"Skipped: {line}", markup=False, highlight=False, soft_wrap=True)
    lines = put_in_order(select(found, where or ()), sort)
    if table is not None:
        with explained_write_errors(table, "choose another --csv"):
            write_rows(table, [line._asdict() for line in lines])
    if page is not None:
        with explained_write_errors(page, "choose another --html"):
            write_run_page(page, folder, lines, sort)
    if as_json:
        print(json.dumps({"runs": [line._asdict() for line in lines], "skipped": damaged}))
        return
    if table is None and page is None and lines:
        print_table(pd.DataFrame([terminal_row(line) for line in lines]))
    print(f"{len(lines)} of {len(found)} runs" if where else f"{len(lines)} runs")
    for title, path in (("Table", table), ("Page", page)):
        if path is not None:
            print(f"{title}: {path}")


def track(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Run directories, or folders with runs below.", show_default=False
        ),
    ],
    tracker: Annotated[str, typer.Option("--to", metavar="TRACKER", help="mlflow.")] = "mlflow",
) -> None:
    """Log finished runs to MLflow, as train --track does; a run that is there already is left as it is."""
    from breastlens.report.run_list import find_runs

    opened = open_tracker(tracker)
    for place in runs:
        for run in [*find_runs(place)] or [place]:
            logged = opened.log(run)
            print(f"{run}: {'logged to' if logged else 'was already in'} {opened.place}")


def open_tracker(name: str) -> MlflowTracker:
    """Open a tracker by its name, and make sure that it answers.

    Raises:
        DataError: There is no such tracker.
        MissingDependencyError: It is not installed.
        TrackingError: It does not answer.
    """
    from breastlens.runs.tracking_mlflow import MlflowTracker

    if name != "mlflow":
        raise DataError(f"no tracker {name!r}; there is mlflow")
    return MlflowTracker()


def log_trained(tracker: MlflowTracker, place: Path, progress: Progress) -> None:
    """Log what a training has left.

    Args:
        tracker: Where to.
        place: The run, or the folder of a comparison with its runs.
        progress: Where to tell that it was done.

    Raises:
        typer.Exit: Something could not be logged, with exit code `NOT_TRACKED`; what was trained is whole.
    """
    from breastlens.report.run_list import find_runs

    try:
        for run in find_runs(place):
            tracker.log(run)
    except BreastLensError as error:
        ERRORS.print(
            f"Not tracked: {error}. What was trained is whole; log it later: breastlens track {quote(str(place))}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(NOT_TRACKED) from error
    progress.say(f"tracked in {tracker.place}")
