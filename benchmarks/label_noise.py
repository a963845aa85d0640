"""How often labels are said to be exchanged that are right, and how often exchanged ones, as a Markdown table.

Run as ``python benchmarks/label_noise.py [--sets 40] [--images 300] [--seed 3]``. Scores of both classes are normal
with one spread, and are given as the true probability: what a perfectly calibrated model would say. Labels are right,
or a tenth of them, drawn at random, is exchanged after the scores were made.
"""

from __future__ import annotations

import argparse
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm

from breastlens.audit.labels import find_doubtful_labels

AUCS = (0.80, 0.85, 0.90, 0.95)
PREVALENCES = (0.5, 0.25)
EXCHANGED = (0.0, 0.1)


def draw(
    auc: float, prevalence: float, images: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels and true probabilities of one set of images, of a patient each."""
    distance = float(np.sqrt(2) * norm.ppf(auc))
    labels = (generator.random(images) < prevalence).astype(np.int64)
    shown = generator.normal(size=images) + distance * labels
    return labels, expit(distance * shown - distance**2 / 2 + logit(prevalence))


def warns(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> bool:
    """Whether an audit would warn of these labels."""
    names = [str(row) for row in range(labels.size)]
    used = pd.DataFrame({"label": labels, "patient_id": names, "path": names})
    return any(finding.severity == "warning" for finding in find_doubtful_labels(used, scores))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sets", type=int, default=40, help="of each kind")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--seed", type=int, default=3)
    arguments = parser.parse_args()
    print("| AUC of right labels | positives | labels right | a tenth exchanged |")
    print("|---|---|---|---|")
    for auc, prevalence in product(AUCS, PREVALENCES):
        warned = dict.fromkeys(EXCHANGED, 0)
        for number in range(arguments.sets):
            generator = np.random.default_rng([arguments.seed, number])
            labels, scores = draw(auc, prevalence, arguments.images, generator)
            drawn = generator.random(labels.size)
            for share in EXCHANGED:
                warned[share] += warns(np.where(drawn < share, 1 - labels, labels), scores)
        told = " | ".join(f"{warned[share]} of {arguments.sets}" for share in EXCHANGED)
        print(f"| {auc:.2f} | {prevalence:.0%} | {told} |", flush=True)


if __name__ == "__main__":
    main()
