"""records.csv: every image that was found, with its part and the window and crop it was seen through."""

from __future__ import annotations

import pandas as pd

from breastlens.cohort.batches import LoadedImages
from breastlens.cohort.records import Cohort

_FIRST = (
    "path",
    "frame",
    "category",
    "label",
    "patient_id",
    "split",
    "image_size",
    "width",
    "height",
    "format",
    "bits",
    "sha256",
    "pixels_sha256",
    "duplicate_group",
    "excluded",
    "window_low",
    "window_high",
    "crop_box",
)


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
    extras = [name for name in joined.columns if name not in _FIRST]
    return joined[[*_FIRST, *extras]]
