"""Labels that the images speak against."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.finding import RECORDS_NAMED, Evidence, Finding, say_count
from breastlens.evaluation.inputs import find_units
from breastlens.evaluation.intervals import auc_interval
from breastlens.evaluation.label_noise import fit_label_noise

LEVEL = 0.95

TRUSTED_AUC = 0.75
"""A model below this doubts many labels because it is weak, not because they are wrong."""

MANY_DOUBTFUL = 0.05
"""Share of doubtful labels from which it is asked whether they are more than hard cases."""

NOISE_P_VALUE = 0.05
"""Below it they are: labels without a wrong one would look as exchanged in fewer than 1 of 20 data sets."""

EXPECTED_DRAWS = 50
"""Labellings drawn from the scores; the mean of their shares varies a seventh as much as one of them."""

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


def expect_doubtful_share(y_score: NDArray[np.floating], *, seed: int = 0) -> float | None:
    """The share of labels that would be doubted if all were right and the scores were true probabilities.

    Labels are drawn from the scores and ranked as given ones are. What is doubted then is a hard case, not a mistake.

    Args:
        y_score: Out-of-fold probability of positive, (n,).
        seed: Of the draws.

    Returns:
        The mean over the draws that hold both labels; None where none does.
    """
    scores = np.asarray(y_score, dtype=np.float64)
    generator = np.random.default_rng(seed)
    drawn = (generator.random((EXPECTED_DRAWS, scores.size)) < scores).astype(np.int64)
    shares = [
        rank_doubtful_labels(labels, scores).size / scores.size
        for labels in drawn
        if 0 < labels.sum() < labels.size
    ]
    return float(np.mean(shares)) if shares else None


def find_doubtful_labels(
    used: pd.DataFrame,
    y_score: NDArray[np.floating],
    *,
    seed: int = 0,
    linked: NDArray[np.integer] | None = None,
) -> list[Finding]:
    """Name the records whose label is doubtful.

    A model whose AUC may be that of chance can doubt nothing: with an interval down to 0.5 none is named.

    It is a warning if many labels are doubted, the model is good enough, and they contradict it in the way that
    exchanged labels do and hard cases do not (`fit_label_noise`). How many are doubted cannot decide: scores of a model
    that was trained on wrong labels expect them.

    Args:
        used: The records in use.
        y_score: Out-of-fold probability of positive, (n,).
        seed: Of the labels that are drawn.
        linked: (n,) which images without a patient belong together, as `find_units` takes it.
    """
    labels, patients = used["label"].to_numpy(), used["patient_id"].tolist()
    area = auc_interval(labels, y_score, patients, linked=linked, level=LEVEL)
    if area["low"] is None or area["low"] <= 0.5:
        return []
    doubtful = rank_doubtful_labels(labels, y_score)
    if doubtful.size == 0:
        return []
    share = doubtful.size / len(used)
    expected = expect_doubtful_share(y_score, seed=seed)
    hard = "" if expected is None else f"{expected:.1%} expected from hard cases alone"
    method, grave = f"confident learning, out-of-fold scores; {hard or 'nothing expected'}", False
    if share >= MANY_DOUBTFUL and area["value"] >= TRUSTED_AUC:
        noise = fit_label_noise(labels, y_score, patients, linked=linked, seed=seed)
        grave = noise.p_value < NOISE_P_VALUE
        method += f"; exchanged labels against none, p {noise.p_value:.2g} by {noise.draws} drawn labellings"
    worst = used["path"].iloc[doubtful]
    told = (
        "their pattern is that of wrong labels rather than of hard cases"
        if grave
        else f"about {expected:.1%} would if all were right, as hard cases"
        if expected is not None
        else ""
    )
    return [
        Finding(
            code="doubtful-labels",
            severity="warning" if grave else "info",
            what=f"{say_count(doubtful.size, 'label')} of {len(used)} ({share:.1%}) disagree with what a model says "
            f"that was trained without the image; {told}{'; ' if told else ''}the most doubtful is {worst.iloc[0]}.",
            count=int(doubtful.size),
            records=tuple(worst.head(RECORDS_NAMED)),
            advice="Look these images up: some labels may be wrong, others are hard cases.",
            evidence=Evidence(name="share of labels", value=share, method=method),
        )
    ]


def find_inverted_labels(
    used: pd.DataFrame,
    y_score: NDArray[np.floating],
    *,
    linked: NDArray[np.integer] | None = None,
) -> list[Finding]:
    """Say whether a given model's scores run against the labels of the whole set.

    The rule: the upper end of the AUC's interval over patients lies below 0.5. An AUC of exactly 0 has no such
    interval, since its variance is estimated as 0; it counts as well with at least five patients of each label, where
    guessing would do so in 1 of 252. An image of unknown patient counts as one, linked ones together.

    Args:
        used: The records in use.
        y_score: Probability of positive by a model that was trained on other data, (n,).
        linked: (n,) which images without a patient belong together, as `find_units` takes it.
    """
    labels, patients = used["label"].to_numpy(), used["patient_id"].tolist()
    area = auc_interval(labels, y_score, patients, linked=linked, level=LEVEL)
    if area["high"] is None:
        units = find_units(patients, labels.size, linked).index
        fewest = min(np.unique(units[labels == label]).size for label in (0, 1))
        if fewest < FEWEST_PATIENTS or area["value"] != 0:
            return []
        evidence, said = Evidence(name="AUC", value=0.0), "0.000"
    elif area["high"] >= 0.5:
        return []
    else:
        evidence = Evidence(name="AUC", **area)
        said = f"{area['value']:.3f} ({area['low']:.3f} to {area['high']:.3f})"
    return [
        Finding(
            code="labels-look-inverted",
            severity="error",
            what=f"The given model's AUC on these images is {said}, below 0.5: the labels look turned round.",
            count=len(used),
            advice="Check which category is positive here and in the model's training (--positive).",
            evidence=evidence,
        )
    ]
