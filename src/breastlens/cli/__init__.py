"""The command line: reads options, calls the library, prints.

Exit codes: 0 done, 1 findings under ``audit --strict``, 2 wrong input, 3 trained but not
tracked, 130 interrupted.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from typing import Annotated

import typer

from breastlens import __version__
from breastlens.cli import audit, cache, data, export, judge, plan, predict, report, runs, serve, train
from breastlens.cli.interrupt import INTERRUPTED as INTERRUPTED
from breastlens.cli.show import ERRORS
from breastlens.errors import BreastLensError

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})

app = typer.Typer(
    name="breastlens",
    help="Honest training and evaluation of breast-image classifiers. For research use only.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    train.demo,
    data.phantom,
    data.describe,
    audit.audit,
    train.train,
    judge.evaluate,
    judge.compare,
    predict.predict,
    export.export,
    serve.serve,
    plan.plan,
    report.report,
    runs.runs,
    runs.track,
    data.backbones,
):
    app.command()(command)
app.add_typer(cache.cache)


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what the library does.")] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    if version:
        print(f"breastlens {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


def main() -> None:
    """Run the command; what the user can mend is told in one line, with exit code 2."""
    try:
        app(prog_name="breastlens")
    except SystemExit as ending:
        if ending.code == INTERRUPTED:
            ERRORS.print("Interrupted: what was not finished is not kept.")
        raise
    except BreastLensError as error:
        _end_with(" ".join("; ".join([str(error), *getattr(error, "__notes__", ())]).split()))
    except OSError as error:  # of standard output; whatever else is written has its own message
        if error.filename is not None:
            _end_with(f"{error.filename}: {error.strerror}")
        if error.errno not in _NO_ROOM:
            raise
        # What could not be written must not be tried again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _end_with(f"the answer cannot be written: {os.strerror(error.errno or 0)}")


def _end_with(line: str) -> None:
    ERRORS.print(f"Error: {line}", markup=False, highlight=False, soft_wrap=True)
    sys.exit(2)
