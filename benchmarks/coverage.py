"""How often intervals hold the truth: simulated studies of known AUC, sensitivity and accuracy.

Run as ``python benchmarks/coverage.py``.

Scores are normal, those of positives with a higher mean, so that every true figure is known. Images of one patient
share half of their variance. A threshold lies midway between the means. Each study is one draw of patients; a method
covers as often as the truth lies between its ends, among the studies in which it gives an interval.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.evaluation.delong import estimate_aucs
from breastlens.evaluation.inputs import Units, find_units
from breastlens.evaluation.intervals import metric_intervals
from breastlens.evaluation.resampling import Drawn, bootstrap_interval, draw_figures
from breastlens.evaluation.scalars import weighted_auc
from breastlens.machine import usable_cores
from side_by_side import options, report, say

AUCS = (0.7, 0.9, 0.97)
PATIENTS = (60, 300)
IMAGES = (1, 5)
SHARED = 0.5
LEVEL = 0.95
HEADER = ("AUC", "patients", "images each", "figure", "method", "coverage", "mean width", "no interval")

Ends = tuple[float, float] | None


@dataclass(frozen=True)
class Setting:
    """One kind of study."""

    auc: float
    patients: int
    images: int
    prevalence: float
    draws: int

    @property
    def lift(self) -> float:
        """By how much positives score higher, in standard deviations."""
        from scipy.special import ndtri

        return float(np.sqrt(2) * ndtri(self.auc))

    def truth(self, figure: str) -> float:
        """The true value of a figure."""
        from scipy.special import ndtr

        return self.auc if figure == "auc" else float(ndtr(self.lift / 2))


def main() -> None:
    """Prints one table."""
    arguments = parse()
    settings = [
        Setting(*each, arguments.prevalence, arguments.draws)
        for each in itertools.product(AUCS, PATIENTS, IMAGES)
    ]
    rows, figures = [], []
    with ProcessPoolExecutor(usable_cores()) as pool:
        for setting in settings:
            say(f"AUC {setting.auc}, {setting.patients} patients, {setting.images} images each")
            studies = pool.map(judge, itertools.repeat(setting), range(arguments.studies), chunksize=20)
            for told in summarise(setting, list(studies)):
                figures.append(told)
                rows.append(cells(told))
    title = f"Share of {arguments.studies} studies in which the {LEVEL:.0%} interval holds the truth"
    report("coverage", title, HEADER, rows, arguments.out, left=0, arguments=vars(arguments), figures=figures)


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = options(__doc__, repeats=1)
    parser.add_argument("--studies", type=int, default=1000, help="of each kind (%(default)s)")
    parser.add_argument("--draws", type=int, default=2000, help="of the bootstrap (%(default)s)")
    parser.add_argument(
        "--prevalence", type=float, default=0.5, help="share of positive patients (%(default)s)"
    )
    return parser.parse_args()


def judge(setting: Setting, seed: int) -> dict[tuple[str, str], Ends]:
    """The intervals of one study, by figure and method."""
    labels, scores, units, patient_id = draw_study(setting, seed)
    found = dict(auc_methods(labels, scores, units, setting, seed))
    intervals, _ = metric_intervals(
        labels, scores, 0.5, patient_id, seed=seed, draws=setting.draws, level=LEVEL
    )
    for figure in ("auc", "sensitivity", "specificity", "balanced_accuracy"):
        told = intervals.get(figure)
        found[figure, "as reported"] = None if told is None else (told["low"], told["high"])
    return found


def draw_study(
    setting: Setting, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], Units, list[str]]:
    """Labels, scores in [0, 1], units and patients of one study; 0.5 lies midway between the classes."""
    from scipy.special import ndtr

    generator = np.random.default_rng([setting.patients, setting.images, int(1000 * setting.auc), seed])
    positives = round(setting.patients * setting.prevalence)
    patient = np.repeat(np.arange(setting.patients), setting.images)
    labels = (patient < positives).astype(np.int64)
    own = generator.normal(size=patient.size)
    if setting.images > 1:
        shared = generator.normal(size=setting.patients)[patient]
        own = np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * own
    names = [f"p{number:04d}" for number in patient]
    return labels, ndtr(own + setting.lift * (labels - 0.5)), find_units(names, labels.size), names


def auc_methods(
    labels: NDArray[np.int64], scores: NDArray[np.float64], units: Units, setting: Setting, seed: int
) -> Iterator[tuple[tuple[str, str], Ends]]:
    """The AUC's interval by each of the methods that were considered."""
    from scipy.special import ndtri

    estimate = estimate_aucs(labels, scores[np.newaxis], units)
    value, deviation = float(estimate.values[0]), float(np.sqrt(estimate.covariance[0, 0]))
    half = float(ndtri((1 + LEVEL) / 2)) * deviation
    yield ("auc", "DeLong, plain"), None if deviation == 0 else (value - half, value + half)

    area: Callable[[NDArray[np.float64]], dict[str, NDArray[np.float64]]] = lambda weights: {  # noqa: E731
        "auc": weighted_auc(labels, scores, weights)
    }
    drawn = draw_figures(area, labels, units, seed, setting.draws)["auc"]
    for name, each in (
        ("bootstrap, BCa", drawn),
        ("bootstrap, percentile", Drawn(drawn.value, drawn.draws, float("nan"))),
    ):
        told = bootstrap_interval(each, LEVEL, "")
        yield ("auc", name), None if isinstance(told, str) else (told["low"], told["high"])


def summarise(setting: Setting, studies: list[dict[tuple[str, str], Ends]]) -> Iterator[dict[str, Any]]:
    """Coverage and width of each figure and method."""
    for figure, method in studies[0]:
        ends = np.array([study[figure, method] for study in studies if study[figure, method] is not None])
        truth = setting.truth(figure)
        yield {
            "auc": setting.auc,
            "patients": setting.patients,
            "images": setting.images,
            "figure": figure,
            "method": method,
            "coverage": float(np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1]))),
            "width": float(np.mean(ends[:, 1] - ends[:, 0])),
            "without": len(studies) - len(ends),
        }


def cells(told: dict[str, Any]) -> list[str]:
    """One row of the table."""
    return [
        f"{told['auc']:g}",
        str(told["patients"]),
        str(told["images"]),
        told["figure"],
        told["method"],
        f"{told['coverage']:.1%}",
        f"{told['width']:.3f}",
        str(told["without"]),
    ]


if __name__ == "__main__":
    main()
