"""How often prediction sets hold the truth: simulated cohorts, split anew each time, as a Markdown table.

Run as ``python benchmarks/conformal.py [--splits 200] [--coverage 0.9] [--seed 0]``. Scores are normal, those of
positives with a higher mean; images of one patient share half of their variance. Each split draws one cohort, of which
half of the patients decide the limits and the others are judged, by one image each drawn at random and by the mean of
all. Beside it stands what comes of it when all images decide as if each were of another patient.
"""

from __future__ import annotations

import argparse
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

from breastlens.evaluation.conformal import draw_one_each, find_sets, fit_set_limits, holds, score_units

AUCS = (0.8, 0.95)
PATIENTS = (60, 300)
IMAGES = (1, 5)
PREVALENCE = 0.3
SHARED = 0.5
WAYS = ("image", "mean of a patient", "image, all decide")

Labels = NDArray[np.int64]
Scores = NDArray[np.float64]


def draw(
    auc: float, patients: int, images: int, random: np.random.Generator
) -> tuple[Labels, Labels, Scores]:
    """Patient, label and score of every image of one cohort."""
    of_patient = (random.random(patients) < PREVALENCE).astype(np.int64)
    of_patient[:2] = 0, 1
    place = random.permutation(patients)
    units = np.repeat(np.arange(patients), images)
    own = np.sqrt(SHARED) * random.normal(size=patients)[units]
    noise = own + np.sqrt(1 - SHARED) * random.normal(size=units.size)
    labels = of_patient[place][units]
    return units, labels, expit(np.sqrt(2) * norm.ppf(auc) * (labels - 0.5) + noise)


def cover(
    units: Labels, labels: Labels, scores: Scores, coverage: float, seed: int
) -> dict[str, list[float]]:
    """For each way the share of sets that hold the truth, of negatives and of positives."""
    decide = units < (units.max() + 1) // 2
    judged = ~decide
    one = draw_one_each(units[decide], labels[decide], seed)
    shown = draw_one_each(units[judged], labels[judged], seed)
    _, of_patient, means = score_units(units[decide], labels[decide], scores[decide])
    _, truth, asked = score_units(units[judged], labels[judged], scores[judged])
    new, new_labels = scores[judged][shown], labels[judged][shown]
    limits = {
        WAYS[0]: (fit_set_limits(labels[decide][one], scores[decide][one], coverage), new, new_labels),
        WAYS[1]: (fit_set_limits(of_patient, means, coverage), asked, truth),
        WAYS[2]: (fit_set_limits(labels[decide], scores[decide], coverage), new, new_labels),
    }
    told = {}
    for way, (limit, score, label) in limits.items():
        held = holds(find_sets(score, limit), label)
        told[way] = [
            float(held[label == side].mean()) if (label == side).any() else np.nan for side in (0, 1)
        ]
    return told


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--splits", type=int, default=200, help="of each kind")
    parser.add_argument("--coverage", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(
        "| AUC | patients | images each | " + " | ".join(f"{way}: negative | positive" for way in WAYS) + " |"
    )
    print("|---" * (3 + 2 * len(WAYS)) + "|")
    for auc, patients, images in product(AUCS, PATIENTS, IMAGES):
        found = []
        for number in range(arguments.splits):
            random = np.random.default_rng([arguments.seed, number])
            found.append(cover(*draw(auc, patients, images, random), arguments.coverage, number))
        cells = [
            f"{100 * np.nanmean([each[way][side] for each in found]):.1f}" for way in WAYS for side in (0, 1)
        ]
        print(f"| {auc:g} | {patients} | {images} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
