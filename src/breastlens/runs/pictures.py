"""Which figures a run gets, and from which of its data each is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.config import LabelMap
from breastlens.inference.activation_map import square_maps
from breastlens.models.engine import Engine
from breastlens.report import abstention_figures, figures, learning_curve, repeats
from breastlens.report.calibration_figures import draw_decision_curve, draw_reliability
from breastlens.report.most_wrong import draw_most_wrong, most_wrong_rows
from breastlens.report.resampling_figures import draw_learning_curve, draw_repeats
from breastlens.report.run_files import MAIN_BLOCKS
from breastlens.report.subgroups import FIGURE, draw_subgroups

_ANSWERS = {"refer": ", referred", "refused": ", refused"}
"""What stands behind the score of an image to which the model would not have given an answer."""


def draw_figures(
    directory: Path,
    labels: LabelMap,
    metrics: Mapping[str, Any],
    predictions: pd.DataFrame,
    history: pd.DataFrame | None,
    pixels_of: Callable[[pd.DataFrame], NDArray[np.uint8]],
    engine: Engine,
) -> None:
    """Draw all figures of a run into its ``figures`` folder.

    Args:
        directory: The run directory.
        labels: Names of the two sides.
        metrics: The content of metrics.json.
        predictions: The content of predictions.csv.
        history: The content of history.csv; None for an evaluation, which has no such figure.
        pixels_of: Gives the images of some rows of ``predictions`` as the network saw them, uint8 (k, s, s, 3).
        engine: Of the saved model, for maps of what influenced it.
    """
    folder = directory / "figures"
    folder.mkdir()
    names = (labels.negative_name, labels.positive_name)
    part = next(name for name in MAIN_BLOCKS if name in metrics)
    block = metrics[part]
    judged = predictions[predictions["split"] == "test"] if part == "test" else predictions
    figures.draw_confusion_matrix(block["confusion_matrix"], names, folder / "confusion_matrix.png")
    figures.draw_roc(block, folder / "roc.png")
    figures.draw_precision_recall(block, folder / "precision_recall.png")
    figures.draw_scores(
        judged["y_true"].to_numpy(),
        judged["y_score"].to_numpy(),
        block["threshold"],
        names,
        folder / "scores.png",
    )
    if "novelty" in metrics:
        abstention_figures.draw_risk_coverage(
            metrics["abstention"]["risk_coverage"], folder / "risk_coverage.png"
        )
        abstention_figures.draw_distances(
            judged["distance"],
            judged["y_true"],
            metrics["novelty"]["threshold"],
            names,
            folder / "distances.png",
        )
    draw_reliability(
        block["calibration"],
        judged["y_true"].to_numpy(),
        judged["y_score"].to_numpy(),
        names,
        folder / "reliability.png",
    )
    draw_decision_curve(block["decision_curve"], folder / "decision_curve.png")
    if history is not None:
        figures.draw_history(history, folder / "history.png")
    if repeats.KEY in metrics:
        found = repeats.Repeats.model_validate(metrics[repeats.KEY])
        draw_repeats(found, folder / f"{repeats.KEY}.png")
    curve = learning_curve.LearningCurve.model_validate(metrics.get(learning_curve.KEY, {}))
    if curve.points:
        draw_learning_curve(curve, folder / f"{learning_curve.KEY}.png")
    if metrics.get("subgroups"):
        draw_subgroups(metrics["subgroups"], block, folder / f"{FIGURE}.png")
    wrong = most_wrong_rows(judged)
    decisions = wrong.get("decision", pd.Series("", index=wrong.index)).map(
        lambda each: _ANSWERS.get(each, "")
    )
    titles = [
        f"{path}\n{names[truth]}, score {score:.3f}{answer}"
        for path, truth, score, answer in zip(
            wrong["path"], wrong["y_true"], wrong["y_score"], decisions, strict=True
        )
    ]
    pixels = pixels_of(wrong)
    draw_most_wrong(
        pixels, titles, folder / "most_wrong.png", maps=square_maps(engine, pixels), positive=names[1]
    )
