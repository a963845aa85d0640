"""The command that looks at data before anybody believes a score on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from breastlens.cli.options import (
    AsJson,
    CacheLimit,
    DataPath,
    Place,
    Quiet,
    command_line,
    gathers_options,
    open_cache,
    option_name,
)
from breastlens.cli.reading import Source, read_cohort
from breastlens.cli.show import choose_progress, print_audit
from breastlens.config import DEFAULT_CACHE_GB, AuditRecipe, ImageRecipe
from breastlens.runs.settings import checked
from breastlens.work.places import HERE

FOUND = 1
"""Exit code under --strict where there is an error among the findings."""


@gathers_options
def audit(
    data: DataPath,
    *,
    source: Source,
    image: ImageRecipe,
    backbone: Annotated[
        str, typer.Option(help="Network whose features the probes use, as `breastlens backbones` lists them.")
    ] = "mobilenet",
    weights: Annotated[
        str, typer.Option(help="imagenet, none, a weights file or a folder of them.")
    ] = "imagenet",
    folds: Annotated[
        int, typer.Option(help="Folds by patient on which whole images and controls are scored.")
    ] = 5,
    border: Annotated[
        int | None, typer.Option(metavar="PX", help="Width of the border control. [default: 8 of 128]")
    ] = None,
    within: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Score within strata too, such as acquired:year; repeatable."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL", help="Hold this model's scores against the labels, to tell them turned round."
        ),
    ] = None,
    no_controls: Annotated[
        bool,
        typer.Option("--no-controls", help="Look at files and pixels only; train no probe, need no weights."),
    ] = False,
    remedies: Annotated[
        bool,
        typer.Option("--remedies", help="Measure what each other way of preparing the images would bring."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Decides the folds and everything random.")] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Make there findings.json, audit.html and figures.")
    ] = None,
    on: Place = HERE,
    cache_limit: CacheLimit = DEFAULT_CACHE_GB,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if there is an error among the findings.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find what would make a score on these images false, and what a model scores without seeing the breast."""
    from breastlens.models.backbones import get_backbone
    from breastlens.models.weights import resolve_weights
    from breastlens.runs.audit import audit_cohort, refuse_wide_border
    from breastlens.runs.directory import refuse_taken
    from breastlens.runs.reading_apart import reading_apart

    progress = choose_progress(quiet=quiet)
    settings: dict[str, Any] = {
        "backbone": backbone,
        "weights": weights,
        "folds": folds,
        "border_px": border,
        "within": tuple(within or ()),
        "controls": not no_controls,
        "remedies": remedies,
        "seed": seed,
    }
    # Refused here already, because reading thousands of images takes a while.
    recipe = checked(AuditRecipe, settings, _name_option)
    cache = open_cache(cache_limit)
    if recipe.controls:
        resolve_weights(recipe.weights, get_backbone(recipe.backbone))
    if border is not None:
        refuse_wide_border(border, image)
    if out is not None:
        refuse_taken(out, None if source.manifest else data)
    with reading_apart(on, out, progress) as mapper:
        cohort = read_cohort(data, source, image, progress, mapper=mapper)
        done = audit_cohort(
            cohort,
            out=out,
            model=model,
            cache=cache,
            progress=progress,
            command=command_line(),
            mapper=mapper,
            **settings,
        )
    if as_json:
        print(json.dumps(done.facts))
    else:
        print_audit(done.facts, done.findings, done.directory)
    if strict and any(finding.severity == "error" for finding in done.findings):
        raise typer.Exit(FOUND)


def _name_option(field: str) -> str:
    return "--border" if field == "border_px" else option_name(field)
