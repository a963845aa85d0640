"""The command that says how many patients a study needs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from breastlens.cli.options import AsJson
from breastlens.cli.show import print_table

NAMES = {"auc": "AUC", "sensitivity": "sensitivity", "specificity": "specificity"}


def plan(
    auc: Annotated[float, typer.Option(help="The AUC that is expected.", show_default=False)],
    width: Annotated[float, typer.Option(help="How wide an interval may be, end to end.")] = 0.1,
    prevalence: Annotated[float, typer.Option(help="Share of positive patients in the study.")] = 0.5,
    sensitivity: Annotated[
        float | None, typer.Option(help="Also ask for this sensitivity's interval.")
    ] = None,
    specificity: Annotated[
        float | None, typer.Option(help="Also ask for this specificity's interval.")
    ] = None,
    level: Annotated[float, typer.Option(help="Coverage of the intervals.")] = 0.95,
    images_per_patient: Annotated[int, typer.Option(metavar="N", help="Images of each patient.")] = 1,
    intraclass_correlation: Annotated[
        float, typer.Option(metavar="R", help="Of their scores within a class: 0 independent, 1 copies.")
    ] = 0.5,
    scores: Annotated[
        str, typer.Option(help="How scores are distributed: normal, or exponential as Hanley and McNeil.")
    ] = "normal",
    as_json: AsJson = False,
) -> None:
    """Say how many patients must be judged for an interval of some width."""
    import pandas as pd

    from breastlens.evaluation.study_size import FEWEST_PLANNED, plan_study

    found = plan_study(
        auc,
        width,
        prevalence,
        sensitivity=sensitivity,
        specificity=specificity,
        level=level,
        images_per_patient=images_per_patient,
        intraclass_correlation=intraclass_correlation,
        scores=scores,  # type: ignore[arg-type]  # checked there
    )
    if as_json:
        asked = {
            "width": width,
            "prevalence": prevalence,
            "level": level,
            "images_per_patient": images_per_patient,
            "intraclass_correlation": intraclass_correlation,
            "scores": scores,
        }
        print(json.dumps({"asked": asked, "studies": [asdict(each) for each in found]}))
        return
    rows = [
        {
            "figure": NAMES[each.figure],
            "expected": f"{each.expected:g}",
            f"{100 * level:g} % interval": f"{each.low:.3f} to {each.high:.3f}",
            "patients": each.patients,
            "positive": each.positives,
            "negative": each.negatives,
        }
        for each in found
    ]
    print_table(pd.DataFrame(rows))
    most = max(found, key=lambda each: each.patients)
    print(
        f"{most.patients:,} patients must be judged for intervals of at most {width:g}. With --folds all of a cohort "
        "are judged, with a split only those of its test part."
    )
    if min(min(each.positives, each.negatives) for each in found) < FEWEST_PLANNED:
        print(f"With fewer than {FEWEST_PLANNED} patients of a class these formulas are rough.")
