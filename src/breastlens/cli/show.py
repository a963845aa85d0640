"""What the command line shows: bars on a terminal, plain lines elsewhere, tables, and the verdict of a run."""

from __future__ import annotations

import logging
import shutil
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bars,
)

from breastlens.audit.finding import Finding
from breastlens.progress import Advance, Progress

if TYPE_CHECKING:
    import pandas as pd

    from breastlens.report.audit_files import Remedy

ERRORS = Console(stderr=True, emoji=False)
"""Standard error: progress and problems; standard output is for answers."""

_PLAIN_INTERVAL_S = 15.0
_NO_EDGE = 10_000
_FOLDED = 100
"""Letters a line of running text has at most, also where standard output is no terminal."""


class TerminalProgress(Progress):
    """Bars with time left, drawn on standard error so that standard output stays clean."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, line: str) -> None:
        """Print a line above whatever bar is drawn."""
        self._console.print(line, markup=False, highlight=False)

    @contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[Advance]:
        """Draw one bar; what ``advance`` is told beside the count stands behind it."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
        )
        latest = _Latest(title)
        with Bars(*columns, console=self._console, transient=True) as bars:
            bar = bars.add_task(title, total=total, figures="")

            def advance(done: int, *, total: int | None = None, **figures: float) -> None:
                latest.note(done, figures)
                bars.update(bar, completed=done, figures=latest.figures)
                if total is not None:
                    bars.update(bar, total=total)

            yield advance
        self.say(latest.closing_line())


class PlainProgress(Progress):
    """Lines for logs: one when a piece of work ends, and one now and then while it lasts."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, line: str) -> None:
        """Print a line."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[Advance]:
        """Tell how far the work is, at most every 15 s, and when it has ended."""
        latest = _Latest(title)
        expected, last_told = total, latest.started

        def advance(done: int, *, total: int | None = None, **figures: float) -> None:
            nonlocal expected, last_told
            expected = total or expected
            latest.note(done, figures)
            now = time.perf_counter()
            if expected and 0 < done < expected and now - last_told >= _PLAIN_INTERVAL_S:
                last_told = now
                left = (now - latest.started) / done * (expected - done)
                self.say(f"{title}: {done} of {expected}, about {left:.0f} s left  {latest.figures}".rstrip())

        yield advance
        self.say(latest.closing_line())


class _Latest:
    """How far one piece of work has come."""

    def __init__(self, title: str) -> None:
        self.started = time.perf_counter()
        self.figures = ""
        self._title = title
        self._done = 0

    def note(self, done: int, figures: Mapping[str, float]) -> None:
        self._done = done
        self.figures = "  ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items())

    def closing_line(self) -> str:
        elapsed_s = time.perf_counter() - self.started
        return f"{self._title}: {self._done} done in {elapsed_s:.1f} s  {self.figures}".rstrip()


def choose_progress(*, quiet: bool) -> Progress:
    """Bars on a terminal, lines elsewhere; when quiet nothing, and of what the library logs only errors."""
    if quiet:
        logging.getLogger().setLevel(logging.ERROR)
        return Progress()
    return TerminalProgress(ERRORS) if ERRORS.is_terminal else PlainProgress(ERRORS)


def print_table(table: pd.DataFrame) -> None:
    """Print a table; numbers stand to the right."""
    import pandas as pd
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=SIMPLE_HEAD)
    for name in table:
        numeric = pd.api.types.is_numeric_dtype(table[name])
        shown.add_column(str(name).replace("_", " "), justify="right" if numeric else "left")
    for row in table.itertuples(index=False):
        shown.add_row(*(Text(f"{value:,}" if isinstance(value, int) else str(value)) for value in row))
    console = Console()
    if not console.is_terminal:  # a file has no edge: a row stays one line, and nothing is cut
        console.width = _NO_EDGE
    console.print(shown)


def print_verdict(run_dir: Path) -> None:
    """Print what the report's first lines say, and where it is."""
    from breastlens.report.run_files import read_run_files
    from breastlens.report.wording import RESEARCH_USE, reservations, verdict

    files = read_run_files(run_dir)
    print(verdict(files))
    for line in reservations(files):
        print(f"- {line}")
    print(f"Report: {run_dir / 'report.html'}")
    print(RESEARCH_USE)


def print_audit(facts: Mapping[str, Any], findings: Sequence[Finding], directory: Path | None) -> None:
    """Print the verdict of an audit, what could not be done, findings, remedies as a table, and where the page is.

    Args:
        facts: The content of findings.json.
        findings: In their order.
        directory: That holds the page; None where nothing was written.
    """
    from breastlens.report.audit_files import Remedy
    from breastlens.report.facts import Matched
    from breastlens.report.wording import RESEARCH_USE, matched_sentence

    print(f"{facts['verdict']} {facts['meaning']}".rstrip())
    for note in facts["notes"]:
        print(note)
    for matched in facts.get("matched", ()):
        print(matched_sentence(Matched.model_validate(matched)))
    for finding in findings:
        print_finding(finding)
    if not findings:
        print("Nothing was found about the data that needs saying.")
    if "remedies" in facts:
        _print_remedies([Remedy.model_validate(each) for each in facts["remedies"]])
    if directory is not None:
        print(f"Report: {directory / 'audit.html'}")
    print(RESEARCH_USE)


def print_finding(finding: Finding) -> None:
    """Print how serious it is, its code and how many images it counts, and below that what it is, folded to fit."""
    images = f" ({finding.count:,} {'image' if finding.count == 1 else 'images'})" if finding.count else ""
    print(f"\n{finding.severity} {finding.code}{images}")
    columns = min(shutil.get_terminal_size((_FOLDED, 0)).columns, _FOLDED)
    indent = "  "
    # a path or a code is never broken, so that it can be searched for and copied
    print(
        textwrap.fill(
            finding.what,
            max(columns, 2 * len(indent)),
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def _print_remedies(remedies: Sequence[Remedy]) -> None:
    """Print how to read them, and a row a preparation; intervals stand on the page, for which a line has no room."""
    import pandas as pd

    from breastlens.report.audit_wording import list_controls, remedies_sentence, remedy_rows

    print(remedies_sentence(remedies))
    names = list_controls(remedies)
    rows = []
    for row in remedy_rows(remedies):
        cells = {"whole image": row.whole, **dict(zip(names, row.controls, strict=True))}
        cells["smallest margin"] = row.margin
        if row.matched is not None:
            cells["lowest matched AUC"] = row.matched
        told = {name: f"{cell.value} {cell.remark}".rstrip() for name, cell in cells.items()}
        rows.append({"preparation": row.remedy} | told)
    print_table(pd.DataFrame(rows))
