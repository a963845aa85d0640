"""Commands about data: describe, phantom, backbones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from breastlens.cli.options import (
    AsJson,
    DataPath,
    EveryFrame,
    ExcludeWhen,
    ImageSize,
    ManifestPath,
    PatientPattern,
    Quiet,
    option_name,
    read_image_recipe,
)
from breastlens.cli.show import choose_progress, print_table
from breastlens.errors import DataError
from breastlens.runs.settings import checked


def describe(
    data: DataPath,
    manifest: ManifestPath = None,
    patient_pattern: PatientPattern = None,
    exclude_when: ExcludeWhen = None,
    every_frame: EveryFrame = False,
    image_size: ImageSize = 128,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Read every image once and tell what is there."""
    from breastlens.cohort.description import count_reasons, describe_json_lines, summarise
    from breastlens.cohort.reading import scan

    progress = choose_progress(quiet=quiet)
    with progress.task("read files") as advance:
        found = scan(
            data,
            manifest=manifest,
            patient_pattern=patient_pattern,
            image=read_image_recipe(image_size=image_size),
            exclude_when=exclude_when or (),
            every_frame=every_frame,
            on_progress=lambda done, total: advance(done, total=total),
        )
    if as_json:
        for line in describe_json_lines(found):
            print(line)
        return
    print_table(summarise(found))
    reasons = count_reasons(found)
    if len(reasons):
        print_table(reasons)
    if found.patient_source is None:
        print("No patient ids: leakage between images of one patient cannot be excluded.")


def backbones(as_json: AsJson = False) -> None:
    """List the networks with parameters, GFLOPs at 128x128 and the licence of their ImageNet weights."""
    from dataclasses import asdict

    import pandas as pd

    from breastlens.models.backbones import PUBLISHED_ALPHAS, list_backbones
    from breastlens.models.costs import COSTS_AT_128

    rows = [asdict(backbone) | asdict(COSTS_AT_128[backbone.name]) for backbone in list_backbones()]
    if as_json:
        print(json.dumps(rows))
        return
    shown = {"name": "name", "parameters": "parameters", "gflops": "GFLOPs", "weights_licence": "licence"}
    print_table(pd.DataFrame(rows)[list(shown)].rename(columns=shown))
    for family, alphas in PUBLISHED_ALPHAS.items():
        print(f"{family}:ALPHA comes in widths {', '.join(f'{alpha:g}' for alpha in alphas)}")


def phantom(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="New folder for the images.", show_default=False)
    ],
    patients: Annotated[int, typer.Option(help="How many patients.")] = 60,
    images_per_patient: Annotated[int, typer.Option(help="Images of each, in other poses.")] = 2,
    positive_fraction: Annotated[float, typer.Option(help="Share of patients with a tumour.")] = 0.5,
    seed: Annotated[int, typer.Option(help="The same seed gives the same cohort.")] = 0,
    file_format: Annotated[str, typer.Option("--format", help="png or matrix (deg C as text).")] = "png",
    trap: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A flaw to plant, such as marker; repeatable. truth.json tells where it is.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Simulate frontal thermograms from a bioheat model, with a manifest."""
    from breastlens.imaging.phantom import TRUTH_NAME, PhantomSettings, write_cohort

    settings = checked(
        PhantomSettings,
        {
            "patients": patients,
            "images_per_patient": images_per_patient,
            "positive_fraction": positive_fraction,
            "seed": seed,
            "file_format": file_format,
            "traps": [{"name": _known_trap(name)} for name in trap or ()],
        },
        option_name,
    )
    print(f"Manifest: {write_cohort(out, settings)}")
    if settings.traps:
        print(f"Truth: {out / TRUTH_NAME}")


def _known_trap(name: str) -> str:
    """Gives a trap's name back.

    Raises:
        DataError: There is no such trap.
    """
    from breastlens.cohort.spelling import find_similar
    from breastlens.imaging.traps import TRAP_NAMES

    if name not in TRAP_NAMES:
        meant = find_similar(name, TRAP_NAMES)
        hint = f"; did you mean --trap {meant}?" if meant else ""
        raise DataError(f"no trap {name!r} for --trap; the traps are {', '.join(TRAP_NAMES)}{hint}")
    return name
