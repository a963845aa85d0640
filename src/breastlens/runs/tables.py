"""The tables of a run: every image that was found, and the score of every image that was judged."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.cohort.batches import LoadedImages
from breastlens.cohort.reading import COLUMN_ORDER
from breastlens.cohort.records import Cohort


def records_table(cohort: Cohort, used: pd.DataFrame, loaded: LoadedImages) -> pd.DataFrame:
    """Join what is known of each record.

    Args:
        cohort: All records.
        used: The records that were used, with their ``split``.
        loaded: Their images, in the same order.

    Returns:
        A row a record in the cohort's order; a record that was left out has an empty split and window.
    """
    seen = used[["path", "frame", "split"]].assign(
        window_low=loaded.window_low,
        window_high=loaded.window_high,
        crop_box=["" if box is None else " ".join(map(str, box)) for box in loaded.boxes],
    )
    everything = cohort.table.drop(columns=["split"], errors="ignore")
    joined = everything.merge(seen, on=["path", "frame"], how="left", validate="one_to_one")
    known = [name for name in COLUMN_ORDER if name in joined.columns]
    return joined[[*known, *(name for name in joined.columns if name not in known)]]


def predictions_table(
    rows: pd.DataFrame,
    y_score: NDArray[np.float64],
    thresholds: NDArray[np.float64] | float,
    raw_logit: NDArray[np.float64],
) -> pd.DataFrame:
    """Lay out predictions.csv.

    Args:
        rows: The scored records, with ``split``.
        y_score: Their scores, (n,).
        thresholds: The operating point, one for all or one for each.
        raw_logit: Log-odds before calibration, (n,).

    Returns:
        ``path``, ``patient_id``, ``split``, ``y_true``, ``y_score``, ``y_pred``, ``raw_logit``; with
        ``frame`` where files have several.
    """
    table = pd.DataFrame(
        {
            "path": rows["path"].to_numpy(),
            "patient_id": rows["patient_id"].to_numpy(),
            "split": rows["split"].to_numpy(),
            "y_true": rows["label"].to_numpy(),
            "y_score": y_score,
            "y_pred": (y_score >= thresholds).astype(int),
            "raw_logit": raw_logit,
        }
    )
    return table.assign(frame=rows["frame"].to_numpy()) if (rows["frame"] > 0).any() else table
