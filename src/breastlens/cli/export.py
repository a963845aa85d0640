"""The command that hands a model to other runtimes: export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from breastlens.cli.options import AsJson, ModelPath, Quiet
from breastlens.cli.show import choose_progress
from breastlens.errors import DataError


def export(
    model: ModelPath,
    file_format: Annotated[
        str, typer.Option("--format", help="onnx, openvino, litert or savedmodel.", show_default=False)
    ],
    batch: Annotated[
        str, typer.Option(metavar="free|N", help="Images a call takes: any number, or always N.")
    ] = "free",
    images: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="Image or folder to check the exported file on; repeatable. [default: those of the run]",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Directory to make.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a saved model for another runtime, once that gives the same scores."""
    from breastlens.export.model import export_model
    from breastlens.report.wording import RESEARCH_USE

    made = export_model(
        model,
        file_format,
        out=out,
        batch=_read_batch(batch),
        images=images or (),
        progress=choose_progress(quiet=quiet),
    )
    if as_json:
        print(json.dumps({"export": str(made.directory), "facts": made.facts}))
        return
    facts, check = made.facts, made.facts["check"]
    print(
        f"{facts['runtime']} gives the scores of {check['held_to']}: the largest difference is "
        f"{check['largest_difference']:.1g} on {check['images']} images ({check['source']})."
    )
    own = facts["bundle"]["precision"]
    if own != facts["precision"]:
        print(
            f"The bundle itself answers in {own}, this in {facts['precision']}: scores differ by up to "
            f"{check['largest_difference_from_bundle_in_use']:.1g}, and {check['decisions_changed']} of "
            f"{check['images']} decisions."
        )
    print(f"Not exported: {', '.join(facts['not_exported'])}.")
    print(f"Export: {made.directory}")
    print(RESEARCH_USE)


def _read_batch(text: str) -> int | None:
    """A number of images, or None for any.

    Raises:
        DataError: It is neither.
    """
    if text == "free":
        return None
    if not text.isascii() or not text.isdigit():
        raise DataError(f"--batch takes free or a number of images, 1 or more, received {text!r}")
    return int(text)
