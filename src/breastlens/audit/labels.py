"""Labels that the images speak against."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.finding import Evidence, Finding, name_records, say_count
from breastlens.evaluation.intervals import bootstrap_intervals
from breastlens.evaluation.metrics import auc

LEVEL = 0.95

TRUSTED_AUC = 0.75
"""A model below this doubts many labels because it is weak, not because they are wrong."""

MANY_DOUBTFUL = 0.1
"""Share of doubtful labels that is a warning. On simulated cohorts it was 1 to 6 % with right labels, 16 to 19 % with
a tenth of the patients labelled wrongly."""

FEWEST_PATIENTS = 5
"""Of each label, for an AUC of exactly 0 to mean something."""


def rank_doubtful_labels(labels: NDArray[np.integer], y_score: NDArray[np.floating]) -> NDArray[np.int64]:
    """Rows whose label disagrees with what a model says that has not seen them, the most doubtful first.

    Confident learning (Northcutt, Jiang and Chuang, Journal of Artificial Intelligence Research 70, 2021), as cleanlab
    does it: the number of wrong labels is estimated from the scores, and the least believable are named.

    Args:
        labels: 0 or 1, (n,), both present.
        y_score: Out-of-fold probability of positive, (n,).

    Returns:
        Row numbers, ranked by the probability of the given label, lowest first; may be empty.
    """
    from cleanlab.filter import find_label_issues

    scores = np.asarray(y_score, dtype=np.float64)
    ranked = find_label_issues(
        np.asarray(labels),
        np.column_stack([1 - scores, scores]),
        return_indices_ranked_by="self_confidence",
        min_examples_per_class=0,  # a rare label is told as a finding of its own, not as a warning
        n_jobs=1,
    )
    return np.asarray(ranked, dtype=np.int64)


def find_doubtful_labels(
    used: pd.DataFrame, y_score: NDArray[np.floating], *, seed: int = 0
) -> list[Finding]:
    """Name the records whose label is doubtful.

    A model whose AUC may be that of chance can doubt nothing: with an interval down to 0.5 none is named.

    Args:
        used: The records in use.
        y_score: Out-of-fold probability of positive, (n,).
        seed: Of the bootstrap.
    """
    labels = used["label"].to_numpy()
    intervals, _ = bootstrap_intervals(
        labels, y_score, 0.5, used["patient_id"].tolist(), seed=seed, level=LEVEL
    )
    area = intervals.get("auc")
    if area is None or area["low"] <= 0.5:
        return []
    doubtful = rank_doubtful_labels(labels, y_score)
    if doubtful.size == 0:
        return []
    share = doubtful.size / len(used)
    worst = used["path"].iloc[doubtful]
    return [
        Finding(
            code="doubtful-labels",
            severity="warning" if share >= MANY_DOUBTFUL and area["value"] >= TRUSTED_AUC else "info",
            what=f"{say_count(doubtful.size, 'label')} of {len(used)} ({share:.1%}) disagree with what a model says "
            f"that was trained without the image; the most doubtful is {worst.iloc[0]}.",
            count=int(doubtful.size),
            records=tuple(worst.head(len(name_records(worst)))),
            advice="Look these images up: some labels may be wrong, others are hard cases.",
            evidence=Evidence(
                name="share of labels", value=share, method="confident learning, out-of-fold scores"
            ),
        )
    ]


def find_inverted_labels(
    used: pd.DataFrame, y_score: NDArray[np.floating], *, seed: int = 0
) -> list[Finding]:
    """Say whether a given model's scores run against the labels of the whole set.

    The rule: the upper end of the patient-bootstrap interval of the AUC lies below 0.5. An AUC of exactly 0 has no such
    interval, since every draw gives the same; it counts as well with at least five patients of each label, where
    guessing would do so in 1 of 252.

    Args:
        used: The records in use.
        y_score: Probability of positive by a model that was trained on other data, (n,).
        seed: Of the bootstrap.
    """
    intervals, _ = bootstrap_intervals(
        used["label"].to_numpy(), y_score, 0.5, used["patient_id"].tolist(), seed=seed, level=LEVEL
    )
    area = intervals.get("auc")
    if area is None:
        fewest = min(used.loc[used["label"] == label, "patient_id"].nunique() for label in (0, 1))
        if fewest < FEWEST_PATIENTS or auc(used["label"].to_numpy(), y_score) != 0:
            return []
        area, said = {"value": 0.0}, "0.000"
    elif area["high"] >= 0.5:
        return []
    else:
        said = f"{area['value']:.3f} ({area['low']:.3f} to {area['high']:.3f})"
    return [
        Finding(
            code="labels-look-inverted",
            severity="error",
            what=f"The given model's AUC on these images is {said}, below 0.5: the labels look turned round.",
            count=len(used),
            advice="Check which category is positive here and in the model's training (--positive).",
            evidence=Evidence(name="AUC", **area),
        )
    ]
