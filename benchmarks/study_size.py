"""Whether a planned study gets the width that it was planned for: simulated studies of the size that `plan` gives.

Run as ``python benchmarks/study_size.py``.

Scores of either class are normal with one spread, images of one patient share half of their variance. The last column
is the size by the formula for exponential scores.
"""

from __future__ import annotations

import argparse
import itertools
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np

from breastlens.evaluation.intervals import auc_interval
from breastlens.evaluation.study_size import StudySize, plan_study
from breastlens.machine import usable_cores
from side_by_side import options, report, say

SHARED = 0.5
HEADER = (
    "AUC",
    "width asked",
    "prevalence",
    "images each",
    "patients",
    "mean width",
    "off by",
    "coverage",
    "exponential",
)


class Asked(NamedTuple):
    """What a study is planned for."""

    auc: float
    width: float
    prevalence: float
    images: int


def main() -> None:
    """Prints one table."""
    arguments = parse()
    every = itertools.product((0.7, 0.85, 0.95), (0.05, 0.1, 0.2), (0.1, 0.4), (1, 5))
    rows, figures = [], []
    with ProcessPoolExecutor(usable_cores()) as pool:
        for asked in itertools.starmap(Asked, every):
            say(str(asked))
            planned = study(asked, "normal")
            tasks = range(arguments.studies)
            ends = np.array(
                list(pool.map(judge, itertools.repeat(asked), itertools.repeat(planned), tasks, chunksize=20))
            )
            ends = ends[~np.isnan(ends).any(axis=1)]
            width = float(np.mean(ends[:, 1] - ends[:, 0]))
            covered = float(np.mean((ends[:, 0] <= asked.auc) & (asked.auc <= ends[:, 1])))
            other = study(asked, "exponential").patients
            figures.append(
                asked._asdict()
                | {"patients": planned.patients, "mean_width": width, "coverage": covered, "other": other}
            )
            rows.append(
                [
                    f"{asked.auc:g}",
                    f"{asked.width:g}",
                    f"{asked.prevalence:g}",
                    str(asked.images),
                    str(planned.patients),
                    f"{width:.4f}",
                    f"{width / asked.width - 1:+.1%}",
                    f"{covered:.1%}",
                    str(other),
                ]
            )
    title = f"Mean width of the interval of the AUC in {arguments.studies} studies of the planned size"
    report(
        "study_size", title, HEADER, rows, arguments.out, left=0, arguments=vars(arguments), figures=figures
    )


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = options(__doc__, repeats=1)
    parser.add_argument("--studies", type=int, default=500, help="of each kind (%(default)s)")
    return parser.parse_args()


def study(asked: Asked, scores: str) -> StudySize:
    """The planned study."""
    (found,) = plan_study(
        asked.auc,
        asked.width,
        asked.prevalence,
        images_per_patient=asked.images,
        intraclass_correlation=SHARED,
        scores=scores,  # type: ignore[arg-type]
    )
    return found


def judge(asked: Asked, planned: StudySize, seed: int) -> tuple[float, float]:
    """The interval that one such study gives; NaN for one without a wrong pair, which has none."""
    from scipy.special import ndtr, ndtri

    generator = np.random.default_rng([seed, planned.patients, asked.images])
    patient = np.repeat(np.arange(planned.patients), asked.images)
    labels = (patient < planned.positives).astype(np.int64)
    own = generator.normal(size=patient.size)
    if asked.images > 1:
        shared = generator.normal(size=planned.patients)[patient]
        own = np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * own
    scores = ndtr(own + np.sqrt(2) * ndtri(asked.auc) * (labels - 0.5))
    found = auc_interval(labels, scores, [f"p{number}" for number in patient])
    return (np.nan, np.nan) if found["low"] is None else (found["low"], found["high"])


if __name__ == "__main__":
    main()
