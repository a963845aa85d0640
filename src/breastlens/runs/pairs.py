"""Several runs judged on the same images: every two of them compared, patient by patient."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.cohort.splits import split_groups
from breastlens.errors import RunDirectoryError
from breastlens.evaluation.paired import AT_OPERATING_POINT, Judged, compare_models, judge_non_inferiority
from breastlens.evaluation.significance import holm
from breastlens.report.run_files import RunFiles

_KEY = ["path", "frame"]


def compare_pairs(
    runs: Mapping[str, RunFiles], *, margin: float | None = None, seed: int = 0
) -> dict[str, Any]:
    """Compare every two runs on the images that all of them judged.

    An image's patient is the one that any of the runs knows, and images without one that any run holds for copies or
    frames of one file are drawn together, so the order of the runs decides nothing but the signs.

    Args:
        runs: At least two, by name.
        margin: By how much a figure may be worse and still not be called inferior; None: not asked.
        seed: Of the bootstrap.

    Returns:
        ``runs``, their names; ``images`` and ``patients`` that they share, patients None where unknown; ``left_out``,
        by run how many more images it judged; ``margin``; ``pairs``, a dictionary each: ``first``, ``second``, what
        `breastlens.evaluation.paired.compare_models` says, ``auc_p_holm`` and, of McNemar's tests,
        ``accuracy_p_holm``, ``sensitivity_p_holm`` and ``specificity_p_holm``, their p-values corrected for the number
        of pairs (None where there is none), and ``not_inferior``, with a margin, whether the AUC of ``first`` and of
        ``second`` is not inferior to the other's.

    Raises:
        RunDirectoryError: The runs share no image; or of one that they share, the pixels, the label or the known
            patient differ.
    """
    tables = {name: _judged(files) for name, files in runs.items()}
    shared = sorted(set.intersection(*(set(table.index) for table in tables.values())))
    if not shared:
        raise RunDirectoryError(
            f"no image was judged by all of these runs, so they cannot be compared: {_say_sizes(tables)}"
        )
    tables = {name: table.loc[shared] for name, table in tables.items()}
    _refuse_contradictions(tables, "pixels", "have other pixels under", "names: they are not the same images")
    _refuse_contradictions(tables, "y_true", "label", "images differently")
    _refuse_contradictions(tables, "patient_id", "name different patients for", "images")
    first = next(iter(tables.values()))
    patients = [next(filter(None, names), "") for names in zip(*_column(tables, "patient_id"), strict=True)]
    linked = _link(_column(tables, "set"))
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
    """The judged images by path and frame, with the set of copies and frames and the hash of the pixels of each."""
    predictions, records = files.predictions.copy(), files.records
    if "frame" not in predictions:
        predictions["frame"] = "0"
    empty = pd.Series("", index=records.index)
    group_of = dict(zip(records["path"], records.get("duplicate_group", empty), strict=True))
    predictions["set"] = [group_of.get(path) or path for path in predictions["path"]]
    frames = records.get("frame", pd.Series("0", index=records.index))
    hashes = records.get("pixels_sha256", empty)
    pixels_of = dict(zip(zip(records["path"], frames, strict=True), hashes, strict=True))
    keys = zip(predictions["path"], predictions["frame"], strict=True)
    predictions["pixels"] = [pixels_of.get(key, "") for key in keys]
    return predictions.set_index(_KEY)


def _column(tables: Mapping[str, pd.DataFrame], name: str) -> list[list[str]]:
    return [table[name].tolist() for table in tables.values()]


def _refuse_contradictions(tables: Mapping[str, pd.DataFrame], column: str, verb: str, what: str) -> None:
    """Refuse runs of which two say different things of a shared image; "" says nothing.

    Raises:
        RunDirectoryError: With the names of the two and the counts.
    """
    for (one, left), (other, right) in itertools.combinations(tables.items(), 2):
        known = (left[column] != "") & (right[column] != "")
        differing = int((known & (left[column] != right[column])).sum())
        if differing:
            raise RunDirectoryError(f"{other} and {one} {verb} {differing} of {len(left)} shared {what}")


def _link(sets: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """Numbers images that stand in one set in any of the runs, or through others, (n,)."""
    linked = np.arange(len(sets[0]))
    for own in sets:
        alone = [""] * len(own)
        linked = split_groups(
            pd.DataFrame({"path": own, "patient_id": alone, "pixels_sha256": alone}), linked
        )
    return linked


def _say_sizes(tables: Mapping[str, pd.DataFrame]) -> str:
    sizes = []
    for name, table in tables.items():
        known = set(table["patient_id"]) - {""}
        sizes.append(f"{name} {len(table)} images" + (f" of {len(known)} patients" if known else ""))
    several = [set(table["patient_id"]) - {""} for table in tables.values()]
    common = len(set.intersection(*several))
    return f"{', '.join(sizes)}; {common} patients in common"


def _correct(pairs: list[dict[str, Any]]) -> None:
    """Add the p-values that Holm's correction over all pairs makes of those of the AUC and of each of McNemar's."""
    raw = {"auc": [pair["differences"]["auc"]["p_value"] for pair in pairs]}
    raw |= {
        name: [(pair["mcnemar"][name] or {}).get("p_value") for pair in pairs] for name in AT_OPERATING_POINT
    }
    for name, p_values in raw.items():
        corrected = iter(holm([value for value in p_values if value is not None]))
        for pair, value in zip(pairs, p_values, strict=True):
            pair[f"{name}_p_holm"] = None if value is None else next(corrected)


def _judge_both(difference: dict[str, Any], margin: float) -> dict[str, bool | None]:
    turned = difference | {
        "low": None if difference["high"] is None else -difference["high"],
        "high": None if difference["low"] is None else -difference["low"],
    }
    return {
        "first": judge_non_inferiority(difference, margin),
        "second": judge_non_inferiority(turned, margin),
    }
