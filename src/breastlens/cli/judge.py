"""The commands that judge models: evaluate one on other images, compare several."""

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
    ManifestPath,
    ModelNegative,
    ModelPath,
    ModelPositive,
    PatientPattern,
    Prevalence,
    Quiet,
    Subgroups,
    command_line,
    read_source,
)
from breastlens.cli.reading import read_cohort
from breastlens.cli.show import choose_progress, print_verdict


def evaluate(
    model: ModelPath,
    data: DataPath,
    manifest: ManifestPath = None,
    patient_pattern: PatientPattern = None,
    positive: ModelPositive = None,
    negative: ModelNegative = None,
    exclude_when: ExcludeWhen = None,
    every_frame: EveryFrame = False,
    subgroups: Subgroups = None,
    prevalence: Prevalence = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Run directory to make.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate a saved model on other labelled images, at its stored threshold."""
    from breastlens.inference.predictor import load, require_training_prevalence
    from breastlens.runs.directory import refuse_taken
    from breastlens.runs.evaluate import evaluate as evaluate_run

    progress = choose_progress(quiet=quiet)
    if out is not None:
        refuse_taken(out, None if manifest else data)
    predictor = load(model)
    card = predictor.bundle.card
    if prevalence is not None:
        require_training_prevalence(card, prevalence)
    source = read_source(
        manifest, patient_pattern, positive or [*card.labels.positive], negative, exclude_when, every_frame
    )
    labels = None if positive or negative else card.labels
    cohort = read_cohort(data, source, card.image, progress, labels=labels)
    run = evaluate_run(
        predictor,
        cohort,
        out=out,
        subgroups=tuple(subgroups or ()),
        progress=progress,
        prevalence=prevalence,
        command=command_line(),
    )
    if as_json:
        print(json.dumps({"run": str(run.directory), "metrics": run.metrics}))
    else:
        print_verdict(run.directory)


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories.", show_default=False)
    ],
    margin: Annotated[
        float | None,
        typer.Option(help="Also ask whether an AUC is not worse than another's by more than this."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides the bootstrap.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Directory to make.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare runs, every two of them, on the patients that all of them judged."""
    from breastlens.report.comparison import JSON_NAME, comparison_lines
    from breastlens.runs.compare import compare_runs

    page = compare_runs(runs, out=out, margin=margin, seed=seed)
    if as_json:
        print(page.with_name(JSON_NAME).read_text(encoding="utf-8"), end="")
    else:
        print("\n".join([*comparison_lines(page), f"Comparison: {page}"]))
