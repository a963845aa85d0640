"""Which precision the saved model computes in: what was asked for, if it decides like float32 and pays."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.config import AskedPrecision, Precision
from breastlens.evaluation.metrics import auc
from breastlens.models.engine import Arithmetic, Engine
from breastlens.models.quantise import CALIBRATION_IMAGES, can_quantise, quantise
from breastlens.progress import Progress

AUC_LIMIT = 0.003
"""By so much the AUC may differ from that in float32, up or down."""

CHANGED_LIMIT = 0.005
"""Of all decisions at the threshold, so many may change."""

WORTH = 1.1
"""So many times as fast as float32 a precision has to be for ``auto`` to take it."""

COMPARED = 2_000
"""More images than these are not compared; evenly spread ones stand for them."""

TURNS = 5
TURN_S = 0.4
"""Speeds are medians of so many turns, taken in turn, each about as long as this in float32."""

WARM_UP = 16
"""Images that are scored first, to learn how many make a turn."""

UNLEARNT = ("validation", "test")
"""Parts that the model did not learn from."""

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Candidate:
    """A precision, held against float32.

    Attributes:
        precision: Which.
        auc: Of the compared images; None where they have one class only.
        changed: How many decisions at the threshold differ from those in float32.
        images_per_s: As measured, or None where it was not tried.
        accepted: Whether it decides like float32.
        why: What was found, in words.
    """

    precision: Precision
    auc: float | None
    changed: int | None
    images_per_s: float | None
    accepted: bool
    why: str


@dataclass(frozen=True, eq=False)
class Chosen:
    """What the saved model computes with.

    Attributes:
        asked: What was asked for.
        used: What it is.
        graph: The graph to save.
        compared_on: Which images the candidates were compared on, in words; None where there was none.
        images: How many those are.
        candidates: All of them, float32 first.
    """

    asked: AskedPrecision
    used: Precision
    graph: Any
    compared_on: str | None = None
    images: int = 0
    candidates: tuple[Candidate, ...] = ()

    @property
    def arithmetic(self) -> Arithmetic:
        """What the engine that runs the graph is told; integers are in the graph itself."""
        return "bf16" if self.used == "bf16" else "fp32"

    def describe(self) -> dict[str, Any]:
        """What run.json says of it."""
        return {
            "asked": self.asked,
            "used": self.used,
            "compared_on": self.compared_on,
            "images": self.images,
            "limits": {"auc": AUC_LIMIT, "changed": CHANGED_LIMIT, "speed": WORTH},
            "candidates": [asdict(one) for one in self.candidates],
        }

    @property
    def notes(self) -> list[str]:
        """Sentences for the reader: none where float32 was asked for."""
        if self.asked == "fp32":
            return []
        others = [one.why for one in self.candidates if one.precision != "fp32"]
        return [
            f"The saved model computes in {self.used}; asked for was {self.asked}, compared with fp32 on {self.images} "
            f"{self.compared_on}. {' '.join(others)}"
        ]


def choose_precision(
    asked: AskedPrecision,
    graph: Any,
    pixels: Images,
    labels: NDArray[np.int64],
    split: NDArray[np.str_],
    threshold: float,
    progress: Progress,
) -> Chosen:
    """Try the network as asked, and keep that only if it decides like float32.

    The images that decide are those of validation. A model that was trained on all folds has none that it did not learn
    from, so there they are the training images; what is asked is only whether two computations of one model agree.

    Args:
        asked: Which precision; ``auto`` tries all.
        graph: The network, from ``convert``.
        pixels: All images that are used, uint8 (n, s, s, 3).
        labels: 0 or 1, (n,).
        split: The part of each, (n,).
        threshold: At which decisions are made.
        progress: Where to tell how far it is.
    """
    if asked == "fp32":
        return Chosen(asked, "fp32", graph)
    untouched, learnt = np.flatnonzero(split == "validation"), np.flatnonzero(~np.isin(split, UNLEARNT))
    rows = spread(untouched if untouched.size else learnt, COMPARED)
    shown, truth = pixels[rows], labels[rows]
    exact = Engine.from_graph(graph)
    graphs: dict[Precision, Any] = {"fp32": graph}
    engines: dict[Precision, Engine] = {"fp32": exact}
    scores: dict[Precision, NDArray[np.float64]] = {"fp32": _score(exact, shown)}
    impossible: list[Candidate] = []
    tried: tuple[Precision, ...] = ("bf16", "int8") if asked == "auto" else (asked,)
    calibration = pixels[spread(learnt, CALIBRATION_IMAGES)]
    with progress.task("precision", len(tried) + 1) as advance:
        for done, precision in enumerate(tried, start=1):
            try:
                made, engine = _make(precision, graph, calibration)
                scored = _score(engine, shown)
            except _ImpossibleError as error:
                impossible.append(_impossible(precision, str(error)))
            except Exception as error:  # noqa: BLE001  of any kind, and a trained model must not be lost for it
                impossible.append(_impossible(precision, f"OpenVINO failed ({_last_line(error)})"))
            else:
                graphs[precision], engines[precision], scores[precision] = made, engine, scored
            advance(done)
        speeds = measure_speeds(engines, shown)
    held_to = Candidate(
        "fp32", auc(truth, scores["fp32"]), 0, speeds["fp32"], accepted=True, why="The others are held to it."
    )
    compared = [held_to]
    compared += [
        compare(name, truth, scores["fp32"], scores[name], threshold, speeds[name], speeds["fp32"])
        for name in engines
        if name != "fp32"
    ]
    used = pick(asked, compared)
    return Chosen(
        asked,
        used,
        graphs[used],
        compared_on="validation images"
        if untouched.size
        else "training images, since the model learnt from all",
        images=rows.size,
        candidates=(*compared, *impossible),
    )


def compare(
    precision: Precision,
    y_true: NDArray[np.int64],
    exact: NDArray[np.float64],
    scores: NDArray[np.float64],
    threshold: float,
    images_per_s: float,
    exact_images_per_s: float,
) -> Candidate:
    """Hold the scores of a precision against those of float32.

    Args:
        precision: Which.
        y_true: Labels 0 or 1 of the compared images, (n,).
        exact: Their scores in float32, (n,).
        scores: Their scores in this precision, (n,).
        threshold: At which decisions are made.
        images_per_s: Its speed.
        exact_images_per_s: That of float32.
    """
    changed = int(np.sum((scores >= threshold) != (exact >= threshold)))
    before, after = auc(y_true, exact), auc(y_true, scores)
    accepted = (
        before is not None
        and after is not None
        and abs(after - before) <= AUC_LIMIT
        and changed <= CHANGED_LIMIT * y_true.size
    )
    if before is None or after is None:
        found = "the compared images are of one class, so that there is no AUC to hold it to"
    else:
        found = (
            f"AUC {after:.4f} against {before:.4f} in fp32, {changed} of {y_true.size} decisions changed, "
            f"{images_per_s / exact_images_per_s:.1f} times as fast"
        )
    return Candidate(
        precision,
        after,
        changed,
        images_per_s,
        accepted,
        f"{precision} was {'accepted' if accepted else 'refused'}: {found}.",
    )


def pick(asked: AskedPrecision, compared: Sequence[Candidate]) -> Precision:
    """The precision to use: the one that was asked for, for ``auto`` the fastest; float32 where that is no option.

    Args:
        asked: What was asked for.
        compared: What could be tried, float32 first.
    """
    exact, *others = [one for one in compared if one.accepted]
    if asked == "auto":
        others = [one for one in others if _speed(one) >= WORTH * _speed(exact)]
    return max(others, key=_speed, default=exact).precision


def measure_speeds(engines: Mapping[Precision, Engine], images: Images) -> dict[Precision, float]:
    """Images a second of each engine: medians of turns, taken in turn so that other work slows all of them alike."""
    begun = time.perf_counter()
    _score(engines["fp32"], images[:WARM_UP])
    rate = len(images[:WARM_UP]) / (time.perf_counter() - begun)
    shown = images[np.arange(max(WARM_UP, round(rate * TURN_S))) % len(images)]
    seconds: dict[Precision, list[float]] = {name: [] for name in engines}
    for _ in range(TURNS):
        for name, engine in engines.items():
            begun = time.perf_counter()
            _score(engine, shown)
            seconds[name].append(time.perf_counter() - begun)
    return {name: len(shown) / statistics.median(taken) for name, taken in seconds.items()}


def spread(rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """At most so many of the rows, evenly spread over all of them."""
    return rows[np.unique(np.linspace(0, rows.size - 1, min(most, rows.size)).astype(np.intp))]


class _ImpossibleError(Exception):
    """Why a precision is not to be had here."""


def _make(precision: Precision, graph: Any, calibration: Images) -> tuple[Any, Engine]:
    """The graph in a precision, and its engine.

    Raises:
        _ImpossibleError: It is not to be had.
    """
    if precision == "bf16":
        engine = Engine.from_graph(graph, precision="bf16")
        if engine.precision != "bf16":
            raise _ImpossibleError("this processor has no instructions for it")
        return graph, engine
    if not can_quantise():
        raise _ImpossibleError("NNCF is not installed")
    try:
        made = quantise(graph, calibration)
    except Exception as error:
        raise _ImpossibleError(f"NNCF failed ({_last_line(error)})") from error
    return made, Engine.from_graph(made)


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _score(engine: Engine, images: Images) -> NDArray[np.float64]:
    return np.asarray(engine.run(images)["score"], dtype=np.float64).reshape(len(images))


def _impossible(precision: Precision, reason: str) -> Candidate:
    return Candidate(precision, None, None, None, accepted=False, why=f"{precision} was not tried: {reason}.")


def _speed(one: Candidate) -> float:
    return one.images_per_s or 0.0
