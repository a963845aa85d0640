"""Negative controls: the score of a model that was denied the breast, on the same patients and parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.audit.judgement import describe_control, describe_scores
from breastlens.config import ImageRecipe
from breastlens.imaging.occlusions import (
    intensity_statistics,
    keep_background,
    keep_border,
    noise_residual,
    shuffle_pixels,
)
from breastlens.machine import usable_cores
from breastlens.training.probe import Probe, fit_probe

Images = NDArray[np.uint8]
Rows = NDArray[np.integer]
Parts = Sequence[tuple[Rows, Rows]]
FitProbe = Callable[..., Probe]
"""``fit_probe``, or what fits several probes to such features and takes the same."""

INTENSITY = "Statistics of the grey values were given, and no positions"
FILE = "What is known of the files was given (format, size, dates and the like), and no pixel"
LABELS = "Labels were dealt anew among patients"

FEWEST_DEALT = 10
"""Groups of either label; among fewer, chance alone is above the limit too often."""

CHUNK = 256
"""Images that are changed at once."""


@dataclass(frozen=True)
class Occlusion:
    """One way of taking the breast out of an image.

    Attributes:
        name: As it stands in metrics.json and in the codes of findings.
        what: One sentence: what the control saw.
        hide: From squares uint8 (n, s, s, 3) and a seed to squares of the same shape.
    """

    name: str
    what: str
    hide: Callable[[Images, int], Images]


@dataclass(frozen=True, eq=False)
class Shown:
    """What one control is given of each image.

    Attributes:
        name: As it stands in metrics.json and in the codes of findings.
        what: One sentence: what the control saw.
        inputs: Features or statistics, (n, d).
        fit: What is trained on them.
    """

    name: str
    what: str
    inputs: NDArray[np.floating]
    fit: FitProbe = fit_probe


@dataclass(frozen=True, eq=False)
class Judged:
    """How the real model was trained and judged: a control is held to the same.

    Attributes:
        labels: 0 or 1 of all images, (n,).
        groups: What stays together, (n,).
        parts: Pairs of training rows and held-out rows.
        rows: The rows that are judged, (m,).
        y_score: The real model's scores of these, (m,).
        patient_id: Their patients, "" where unknown, (m,).
        seed: Of the probes and of everything random.
    """

    labels: NDArray[np.integer]
    groups: NDArray[np.integer]
    parts: Parts
    rows: NDArray[np.integer]
    y_score: NDArray[np.float64]
    patient_id: list[str]
    seed: int

    def describe(
        self, what: str, scores: NDArray[np.floating], y_true: NDArray[np.integer] | None = None
    ) -> dict[str, Any]:
        """What ``describe_scores`` says of scores of the judged rows.

        Args:
            what: One sentence: what they were made from.
            scores: (m,).
            y_true: Other labels than the given ones, (m,).
        """
        labels = self.labels[self.rows] if y_true is None else y_true
        return describe_scores(what, labels, scores, self.patient_id, linked=self.groups[self.rows])


def occlusions(image: ImageRecipe, border_px: int | None = None) -> tuple[Occlusion, ...]:
    """The occlusions of images that are prepared in this way.

    Args:
        image: Side, and whether the border is hidden already: the ring is then what lies just inside.
        border_px: Width of the border ring; None for 8 of 128.
    """
    width, inset = border_px or image.border_px, image.hidden_border_px
    where = f" that begins {inset} pixels from the edge" if inset else ""
    return (
        Occlusion(
            "border",
            f"Only a border of {width} pixels{where} was shown, the rest was black",
            lambda pixels, seed: keep_border(pixels, width, inset),
        ),
        Occlusion(
            "background",
            "The body was blacked out, only what lies around it was shown",
            lambda pixels, seed: keep_background(pixels),
        ),
        Occlusion(
            "noise",
            "Only the noise was shown, in small blocks in random order",
            noise_residual,
        ),
        Occlusion("shuffled", "All pixels were shown in random order", shuffle_pixels),
    )


def hidden(pixels: Images, occlusion: Occlusion, seed: int) -> Iterator[Images]:
    """The occluded images, some at a time, in order; each is changed alike whichever others it comes with.

    Args:
        pixels: uint8 (n, s, s, 3).
        occlusion: What to take away.
        seed: For what is random.
    """
    for start in range(0, len(pixels), CHUNK):
        yield occlusion.hide(pixels[start : start + CHUNK], seed)


def score_control(
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    parts: Parts,
    *,
    seed: int,
    fit: FitProbe = fit_probe,
) -> NDArray[np.float64]:
    """Train the control's probe on each part's training rows and score the rows held out, as for the real model.

    Args:
        features: Of what the control is shown, (n, d).
        labels: 0 or 1, (n,).
        groups: What stays together, (n,).
        parts: Pairs of training rows and held-out rows.
        seed: As for the real model.
        fit: What is trained.

    Returns:
        Calibrated probability of positive, (n,); NaN for rows in no held-out part.
    """
    from threadpoolctl import threadpool_limits

    def score(part: tuple[Rows, Rows]) -> NDArray[np.float64]:
        train, held_out = part
        probe = fit(features[train], labels[train], groups[train], seed=seed)
        return probe.scores(features[held_out])

    scores = np.full(labels.size, np.nan)
    # One thread a part, and one for its linear algebra: set here once, since it holds for the whole process.
    with (
        threadpool_limits(limits=1, user_api="blas"),
        ThreadPoolExecutor(min(len(parts), usable_cores())) as pool,
    ):
        for (_, held_out), each in zip(parts, pool.map(score, parts), strict=True):
            scores[held_out] = each
    return scores


def shuffle_labels(
    labels: NDArray[np.integer], groups: NDArray[np.integer], parts: Parts, seed: int
) -> NDArray[np.int64]:
    """Deal the labels anew among patients, within each part: what is left is chance, unless the evaluation leaks.

    Within each part, because parts hold as many of either label as the whole: dealt over all of them, a part that got
    more positives by chance would have fewer in its training part, and scores would fall below chance.

    Args:
        labels: 0 or 1, (n,).
        groups: What stays together, (n,). The images of a group that have one label are dealt one label together,
            even where the parts tear the group.
        parts: Pairs of training rows and held-out rows.
        seed: Decides the deal.

    Returns:
        int64 (n,); each part has blocks of either label as before.
    """
    part = np.zeros(labels.size, dtype=np.int64)
    for number, (_, held_out) in enumerate(parts, start=1):
        part[held_out] = number
    _, block = np.unique(2 * np.asarray(groups, dtype=np.int64) + labels, return_inverse=True)
    _, first = np.unique(block, return_index=True)
    dealt = labels[first].astype(np.int64)
    generator = np.random.default_rng([seed, 0x5A])
    for number in range(len(parts) + 1):
        inside = np.flatnonzero(part[first] == number)
        dealt[inside] = generator.permutation(dealt[inside])
    return np.asarray(dealt[block], dtype=np.int64)


def show_intensity(pixels: Images) -> Shown:
    """A dozen statistics of the grey values, without positions."""
    return Shown("intensity", INTENSITY, intensity_statistics(pixels))


def run_controls(shown: Iterable[Shown], judged: Judged) -> Iterator[tuple[str, dict[str, Any]]]:
    """Train each control on the real model's parts, always as a probe, and hold it against that model.

    Args:
        shown: What each control is given; taken one at a time, so that it may be made on the way.
        judged: The real model.

    Yields:
        Name, and what ``describe_control`` says.
    """
    labels = judged.labels[judged.rows]
    for each in shown:
        scores = score_control(
            each.inputs, judged.labels, judged.groups, judged.parts, seed=judged.seed, fit=each.fit
        )
        found = describe_control(
            each.what,
            labels,
            judged.y_score,
            scores[judged.rows],
            judged.patient_id,
            linked=judged.groups[judged.rows],
        )
        yield each.name, found


def run_label_control(
    features: NDArray[np.floating], judged: Judged, fit: FitProbe = fit_probe
) -> dict[str, Any]:
    """Train on whole images with labels dealt anew among patients: above chance only if the evaluation itself leaks.

    It would show patients torn between parts, or a step that saw the labels of held-out images. Who is one patient it
    takes from ``groups``: a patient under two ids is dealt two labels, and is not seen.

    Args:
        features: Of whole images, (n, d).
        judged: The real model.
        fit: What is trained.

    Returns:
        What ``describe_scores`` says; no AUC where either label has fewer than ten groups, among which dealing proves
        nothing.
    """
    judged_groups = judged.groups[judged.rows]
    fewest = min(np.unique(judged_groups[judged.labels[judged.rows] == label]).size for label in (0, 1))
    if fewest < FEWEST_DEALT:
        return {"what": LABELS} | dict.fromkeys(("auc", "low", "high", "level", "method"))
    dealt = shuffle_labels(judged.labels, judged.groups, judged.parts, judged.seed)
    scores = score_control(features, dealt, judged.groups, judged.parts, seed=judged.seed, fit=fit)
    return judged.describe(LABELS, scores[judged.rows], dealt[judged.rows])
