"""Whether an exported file gives the scores of the bundle, by its own runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from breastlens.errors import ExportError
from breastlens.export.convert import Batch
from breastlens.export.formats import Format
from breastlens.export.images import CheckImages
from breastlens.export.runtimes import Opened, Scores
from breastlens.models.bundle import Bundle
from breastlens.models.engine import Engine

LIMIT = 1e-4
"""An exported file of which a score differs by more is refused."""


@dataclass(frozen=True)
class Check:
    """How the scores of an exported file compare.

    Attributes:
        images: What was scored.
        reference: What the scores were held to, in words.
        difference: The largest from that.
        in_use: The largest from what the bundle itself answers, which in bf16 and int8 is less exact.
        changed: Decisions at the bundle's threshold that differ from its own.
    """

    images: CheckImages
    reference: str
    difference: float
    in_use: float
    changed: int


def run_exported(chosen: Format, folder: Path, shown: CheckImages, batch: Batch) -> tuple[Opened, Scores]:
    """Open an exported file in its runtime and score images with it.

    Raises:
        ExportError: The runtime cannot.
    """
    try:
        opened = chosen.open(folder)
        return opened, opened.score(shown.pixels, batch)
    except Exception as error:
        raise ExportError(
            f"{chosen.title} cannot run what was exported to {chosen.name}: {last_line(error)}"
        ) from error


def compare(bundle: Bundle, chosen: Format, source: Any, shown: CheckImages, scores: Scores) -> Check:
    """Hold scores to those of the bundle, or where it computes with less than 32 bits to the same network in 32.

    Args:
        bundle: What was exported.
        chosen: To which format.
        source: What the exported file was made of: the Keras network, or the OpenVINO graph.
        shown: The images.
        scores: What the exported file's runtime makes of them, (n,).
    """
    own = _score(bundle.engine, shown)
    reference, exact = "the bundle", own
    if bundle.card.precision == "bf16":
        reference = "the bundle's network computed in 32 bits"
        exact = _score(Engine.load(bundle.graph_path), shown)
    elif bundle.card.precision == "int8" and chosen.from_keras:
        reference = "the network in 32 bits that the bundle's int8 was made of"
        exact = _score(Engine.from_keras(source), shown)
    threshold = bundle.card.threshold
    return Check(
        shown,
        reference,
        float(np.max(np.abs(scores - exact))),
        float(np.max(np.abs(scores - own))),
        int(np.sum((scores >= threshold) != (own >= threshold))),
    )


def _score(engine: Engine, shown: CheckImages) -> Scores:
    return np.asarray(engine.run(shown.pixels)["score"], dtype=np.float64)[:, 0]


def require_equal(check: Check, chosen: Format) -> None:
    """Refuse an exported file that is not the bundle's model.

    Raises:
        ExportError: A score differs by more than ``LIMIT``.
    """
    if not check.difference <= LIMIT:  # also where it is no number
        raise ExportError(
            f"refused: in {chosen.title} a score differs by {check.difference:.2g} from {check.reference}, more than "
            f"{LIMIT:g}, on {len(check.images.pixels)} images ({check.images.source}); nothing was kept"
        )


def last_line(error: Exception) -> str:
    """The end of what a library complains about, where the cause stands."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
