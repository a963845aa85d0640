"""Several runs judged on the same images: every two of them compared, patient by patient."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pandas as pd

from breastlens.errors import RunDirectoryError
from breastlens.evaluation.paired import Judged, compare_models, judge_non_inferiority
from breastlens.evaluation.significance import holm
from breastlens.report.run_files import RunFiles

_KEY = ["path", "frame"]


def compare_pairs(
    runs: Mapping[str, RunFiles], *, margin: float | None = None, seed: int = 0
) -> dict[str, Any]:
    """Compare every two runs on the images that all of them judged.

    Args:
        runs: At least two, by name.
        margin: By how much a figure may be worse and still not be called inferior; None: not asked.
        seed: Of the bootstrap.

    Returns:
        ``runs``, their names; ``images`` and ``patients`` that they share, patients None where unknown; ``left_out``,
        by run how many more images it judged; ``margin``; ``pairs``, a dictionary each: ``first``, ``second``, what
        `breastlens.evaluation.paired.compare_models` says, ``auc_p_holm`` and ``accuracy_p_holm``, the p-values of AUC
        and of McNemar's test corrected for the number of pairs (None where there is none), and ``not_inferior``, with
        a margin, whether the AUC of ``first`` and of ``second`` is not inferior to the other's.

    Raises:
        RunDirectoryError: The runs share no image, or label one differently.
    """
    tables = {name: _judged(files) for name, files in runs.items()}
    shared = sorted(set.intersection(*(set(table.index) for table in tables.values())))
    if not shared:
        raise RunDirectoryError(
            f"no image was judged by all of these runs, so they cannot be compared: {_say_sizes(tables)}"
        )
    tables = {name: table.loc[shared] for name, table in tables.items()}
    first = next(iter(tables.values()))
    for name, table in tables.items():
        differing = int((table["y_true"] != first["y_true"]).sum())
        if differing:
            raise RunDirectoryError(
                f"{name} and {next(iter(tables))} label {differing} of {len(shared)} shared images differently"
            )
    patients = first["patient_id"].tolist()
    linked = pd.factorize(first["set"])[0]
    judged = {name: Judged(table["y_score"], table["y_pred"]) for name, table in tables.items()}
    pairs = [
        {"first": one, "second": other}
        | compare_models(
            first["y_true"].to_numpy(), judged[one], judged[other], patients, linked=linked, seed=seed
        )
        for one, other in itertools.combinations(judged, 2)
    ]
    _correct(pairs)
    if margin is not None:
        for pair in pairs:
            pair["not_inferior"] = _judge_both(pair["differences"]["auc"], margin)
    return {
        "runs": list(runs),
        "images": len(shared),
        "patients": len(set(patients) - {""}) or None,
        "left_out": {name: len(files.predictions) - len(shared) for name, files in runs.items()},
        "margin": margin,
        "pairs": pairs,
    }


def _judged(files: RunFiles) -> pd.DataFrame:
    """The judged images by path and frame, with the set of copies and frames that each belongs to."""
    predictions = files.predictions.copy()
    if "frame" not in predictions:
        predictions["frame"] = "0"
    records = files.records
    groups = records.get("duplicate_group", pd.Series("", index=records.index))
    group_of = dict(zip(records["path"], groups, strict=True))
    predictions["set"] = [group_of.get(path) or path for path in predictions["path"]]
    return predictions.set_index(_KEY)


def _say_sizes(tables: Mapping[str, pd.DataFrame]) -> str:
    sizes = []
    for name, table in tables.items():
        known = set(table["patient_id"]) - {""}
        sizes.append(f"{name} {len(table)} images" + (f" of {len(known)} patients" if known else ""))
    several = [set(table["patient_id"]) - {""} for table in tables.values()]
    common = len(set.intersection(*several))
    return f"{', '.join(sizes)}; {common} patients in common"


def _correct(pairs: list[dict[str, Any]]) -> None:
    """Add the p-values that Holm's correction over all pairs makes of those of AUC and accuracy."""
    raw = {
        "auc_p_holm": [pair["differences"]["auc"]["p_value"] for pair in pairs],
        "accuracy_p_holm": [(pair["mcnemar"]["accuracy"] or {}).get("p_value") for pair in pairs],
    }
    for name, p_values in raw.items():
        corrected = iter(holm([value for value in p_values if value is not None]))
        for pair, value in zip(pairs, p_values, strict=True):
            pair[name] = None if value is None else next(corrected)


def _judge_both(difference: dict[str, Any], margin: float) -> dict[str, bool | None]:
    turned = difference | {
        "low": None if difference["high"] is None else -difference["high"],
        "high": None if difference["low"] is None else -difference["low"],
    }
    return {
        "first": judge_non_inferiority(difference, margin),
        "second": judge_non_inferiority(turned, margin),
    }
