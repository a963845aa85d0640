"""One training on given patients: the probe, and from it, where asked for, a fine-tuned network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.cohort.splits import split_folds
from breastlens.config import Strategy, TrainingRecipe
from breastlens.errors import SplitError
from breastlens.evaluation.by_patient import PatientPoint, choose_patient_point
from breastlens.evaluation.calibration import Calibration
from breastlens.evaluation.metrics import auc
from breastlens.evaluation.thresholds import OperatingPoint, Rule, choose_operating_points
from breastlens.models.backbones import Backbone
from breastlens.models.classifier import build_classifier
from breastlens.models.cut import FrozenPart
from breastlens.models.engine import Engine
from breastlens.models.head import bend_head
from breastlens.progress import Progress
from breastlens.training.ensemble import Ensemble, fit_members
from breastlens.training.finetune import LEAST_SPREAD, train_again, train_network
from breastlens.training.precision import Choice
from breastlens.training.probe import Probe, fit_probe, sigmoid
from breastlens.training.views import Shown, show_images

Rows = NDArray[np.integer]
Images = NDArray[np.uint8]

_AT_ONCE = 256

CARVED_FOLDS = 5
"""Cross-validation has no validation part: fine-tuning sets aside this fraction (1 in 5) of its training patients."""


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """All images of a cohort as training sees them.

    Attributes:
        pixels: uint8 (n, s, s, 3) RGB.
        features: float32 (n, d) of the frozen backbone, or None for training from scratch.
        labels: 0 or 1, (n,).
        groups: What must stay together, (n,).
        widths: How many of the features are each member's of an ensemble; empty for one network.
    """

    pixels: NDArray[np.uint8]
    features: NDArray[np.float32] | None
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    widths: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Fit:
    """A trained model and how its choices were made.

    Attributes:
        kept: Which model this is in the end.
        operating_points: Thresholds, chosen without any image that is held out; the first is the one in use.
        calibration: From the model's raw log-odds to calibrated ones, fitted without any image that is held out.
        chosen_on: Where: ``validation``, ``inner folds`` or ``validation patients inside the training folds``.
        history: Rows of history.csv.
        notes: Sentences for the reader.
        probe: The probe, where that was kept.
        network: The trained classifier (a ``keras.Model``), where that was kept.
        patient_point: How patients with several images are scored and called; None: by means.
        choice: In which precision it was trained and why; None where nothing was trained with Keras.
    """

    kept: Strategy
    operating_points: tuple[OperatingPoint, ...]
    calibration: Calibration
    chosen_on: str
    history: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    probe: Probe | None = None
    network: Any = None
    choice: Choice | None = None
    patient_point: PatientPoint | None = None

    @property
    def operating_point(self) -> OperatingPoint:
        """The threshold in use."""
        return self.operating_points[0]

    def scores(self, images: TrainingImages, rows: Rows) -> NDArray[np.float64]:
        """Calibrated probability of positive for some of the images, (len(rows),)."""
        features = None if images.features is None else images.features[rows]
        return self.score(features, (images.pixels[part] for part in in_parts(rows)))

    def raw_logits(
        self, images: TrainingImages, rows: Rows, y_score: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Log-odds before calibration: a probe's own; of a network those behind its scores, as far as 32 bits tell.

        Args:
            images: All images.
            rows: Some of them.
            y_score: Their scores, (len(rows),).
        """
        if self.probe is not None and images.features is not None:
            return self.probe.raw_logits(images.features[rows])
        return self.calibration.raw_logits(y_score)

    def score(
        self, features: NDArray[np.float32] | None, pixels: Images | Iterable[Images]
    ) -> NDArray[np.float64]:
        """Calibrated probability of positive, from whichever of the two the model takes.

        Args:
            features: Of the frozen backbone, (n, d); a probe scores these.
            pixels: The same images, uint8 (n, s, s, 3) or batches of them; a network scores these, a probe reads none.
        """
        if self.probe is not None and features is not None:
            return self.probe.scores(features)
        return score_with(self._engine, pixels)

    @cached_property
    def _engine(self) -> Engine:
        return Engine.from_keras(self.network)

    def to_network(self, features_model: Any) -> Any:
        """The classifier as one Keras network; for a probe, its head on the given frozen features model."""
        if self.probe is not None:
            return bend_head(build_classifier(features_model, self.probe.head), self.probe.calibration)
        return self.network


def in_parts(rows: Rows) -> Iterator[Rows]:
    """Rows in parts, so that no more than some of the images are copied at once."""
    return (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))


def fit_model(
    images: TrainingImages,
    train: Rows,
    validation: Rows | None,
    *,
    backbone: Backbone,
    build_features_model: Callable[[], Any],
    frozen_part: Callable[[str], FrozenPart] | None,
    recipe: TrainingRecipe,
    progress: Progress,
    title: str,
    tensorboard: str | None = None,
    choice: Choice | None = None,
) -> Fit:
    """Train on some rows; every choice is made on these rows and the validation rows alone.

    Args:
        images: All images.
        train: Rows to learn from.
        validation: Rows to choose on. None: the probe chooses on inner folds of ``train``; a network sets a fifth
            of the training patients aside to choose on, and is then trained again on all of them.
        backbone: Which network.
        build_features_model: Makes a fresh features model with the starting weights, for training to change.
        frozen_part: Gives the same network up to a stage, where what lies below the trained stages may be computed
            once; None: all layers run at every step.
        recipe: Strategy, epochs and the like.
        progress: Where to tell how far it is.
        title: What to call this training there.
        tensorboard: Folder for TensorBoard's logs, if wanted.
        choice: In which precision, where an earlier training of the same run has chosen it; None: as the recipe says.

    Raises:
        SplitError: The training rows hold one class only, or too few patients to set a validation part aside.
        DataError: The training diverged.
    """
    if recipe.strategy == "probe":
        return _fit_probe_alone(images, train, validation, recipe)
    learn, check = (train, validation) if validation is not None else _carve(images, train, recipe.seed)
    with show_images(
        images.pixels,
        frozen_part,
        backbone,
        train,
        check,
        recipe=recipe,
        progress=progress,
        title=f"{title}, frozen layers",
    ) as (shown, said):
        fit = _fit_network(
            images,
            shown,
            train,
            learn,
            check,
            backbone=backbone,
            build_features_model=build_features_model,
            recipe=recipe,
            progress=progress,
            title=title,
            tensorboard=tensorboard,
            choice=choice,
        )
    return replace(fit, notes=[*fit.notes, *said])


def _fit_network(
    images: TrainingImages,
    shown: Shown,
    train: Rows,
    learn: Rows,
    check: Rows,
    *,
    backbone: Backbone,
    build_features_model: Callable[[], Any],
    recipe: TrainingRecipe,
    progress: Progress,
    title: str,
    tensorboard: str | None,
    choice: Choice | None,
) -> Fit:
    """Train on ``learn`` and choose on ``check``; where that is part of ``train``, train again on all of it."""
    carved = np.isin(check, train).any()

    def starting_probe(rows: Rows) -> Probe | None:
        if recipe.strategy == "scratch" or images.features is None:
            return None
        return fit_probe(images.features[rows], images.labels[rows], images.groups[rows], seed=recipe.seed)

    probe = starting_probe(learn)
    trained = train_network(
        build_features_model,
        backbone,
        probe,
        shown,
        images.labels,
        learn,
        check,
        groups=images.groups,
        recipe=recipe,
        progress=progress,
        title=title,
        tensorboard=tensorboard,
        choice=choice,
    )
    labels = images.labels[check]
    scores = score_with(trained.network, (images.pixels[part] for part in in_parts(check)))
    history, notes = trained.history, []
    if probe is not None and images.features is not None:
        history = [*probe_history(probe), *history]
        better, verdict = _compare(labels, probe.scores(images.features[check]), scores)
        if not better:
            kept = _fit_probe_alone(images, train, None if carved else check, recipe)
            notes = [f"Fine-tuning was no better than the probe, which was kept ({verdict})."]
            return replace(kept, history=history, notes=notes, choice=trained.choice)
        notes.append(
            f"The fine-tuned network, averaged with the probe it started from, was kept ({verdict})."
        )
    points = _choose_points(labels, scores, images.groups[check], recipe)
    if np.std(scores) < LEAST_SPREAD / 4:  # the slope of a probability against its log-odds is at most 1/4
        notes.append(
            "The network has learnt next to nothing: its scores hardly differ from image to image "
            f"({scores.min():.4f} to {scores.max():.4f} on validation). Train for more epochs, or use --strategy probe."
        )
    if carved:
        trained = train_again(
            build_features_model,
            backbone,
            starting_probe(train),
            shown,
            images.labels,
            train,
            trained,
            recipe=recipe,
            progress=progress,
            title=f"{title}, on all",
        )
        history = [*history, *trained.history]
        notes.append(
            f"{check.size} of {train.size} images, of patients of their own, were set aside to choose the number of "
            f"epochs ({trained.epochs}), the calibration and the threshold; then the network was trained again, so "
            "long, on all of them."
        )
    chosen_on = "validation patients inside the training folds" if carved else "validation"
    return Fit(
        recipe.strategy,
        points,
        trained.calibration,
        chosen_on,
        history,
        notes,
        network=trained.network,
        choice=trained.choice,
        patient_point=_choose_patient_point(images, check, scores, recipe),
    )


def _compare(
    labels: NDArray[np.int64], before: NDArray[np.float64], after: NDArray[np.float64]
) -> tuple[bool, str]:
    """Whether fine-tuning raised the validation AUC above the probe's, and both figures in words."""
    auc_before, auc_after = auc(labels, before), auc(labels, after)
    if auc_before is None or auc_after is None:
        return True, "the validation part has one class only, so the two could not be compared"
    verdict = f"validation AUC {auc_before:.3f} for the probe, {auc_after:.3f} after fine-tuning"
    return auc_after > auc_before, verdict


def score_with(network: Any, pixels: Images | Iterable[Images]) -> NDArray[np.float64]:
    """Score images with a Keras classifier, through the same engine that later uses it.

    Args:
        network: The classifier, or the engine that was made of it.
        pixels: uint8 (n, s, s, 3), or batches of them.

    Returns:
        Probability of positive, (n,).
    """
    engine = network if isinstance(network, Engine) else Engine.from_keras(network)
    scores = engine.run(pixels)["score"]
    return np.asarray(scores, dtype=np.float64).reshape(len(scores))


def probe_history(probe: Probe) -> list[dict[str, Any]]:
    """A row a strength that was tried, for each member where there are several."""
    if isinstance(probe, Ensemble):
        return [
            row | {"member": number}
            for number, member in enumerate(probe.members)
            for row in probe_history(member)
        ]
    return [
        {
            "epoch": index,
            "phase": "probe",
            "strength": trial.strength,
            "val_loss": trial.log_loss,
            "val_auc": trial.auc,
        }
        for index, trial in enumerate(probe.trials)
    ]


def _fit_probe_alone(
    images: TrainingImages, train: Rows, validation: Rows | None, recipe: TrainingRecipe
) -> Fit:
    if images.features is None:
        raise ValueError("a probe needs features")
    labels = images.labels
    probe = fit_members(
        images.features[train],
        labels[train],
        images.groups[train],
        seed=recipe.seed,
        widths=images.widths,
        weights=recipe.ensemble_weights,
    )
    if validation is not None:
        rows, scores, chosen_on = validation, probe.scores(images.features[validation]), "validation"
    elif probe.inner_logits is not None:
        rows, scores, chosen_on = train, sigmoid(probe.inner_logits), "inner folds"
    else:
        rows, scores, chosen_on = (
            train,
            probe.scores(images.features[train]),
            "training images, too few to hold any out",
        )
    points = _choose_points(labels[rows], scores, images.groups[rows], recipe)
    return Fit(
        "probe",
        points,
        probe.calibration,
        chosen_on,
        probe_history(probe),
        probe=probe,
        patient_point=_choose_patient_point(images, rows, scores, recipe),
    )


def _choose_points(
    labels: NDArray[np.int64], scores: NDArray[np.float64], groups: NDArray[np.int64], recipe: TrainingRecipe
) -> tuple[OperatingPoint, ...]:
    return choose_operating_points(labels, scores, _rule(recipe), linked=groups, seed=recipe.seed)


def _rule(recipe: TrainingRecipe) -> Rule:
    """What the threshold in use is chosen by."""
    rule = Rule(recipe.target_sensitivity, recipe.target_specificity, recipe.cost_ratio, recipe.prevalence)
    # no other rule asks for the prevalence
    return rule if rule.cost_ratio is not None else replace(rule, prevalence=None)


def _choose_patient_point(
    images: TrainingImages, rows: Rows, scores: NDArray[np.float64], recipe: TrainingRecipe
) -> PatientPoint | None:
    """As the recipe says, from the images that the threshold is chosen on; what stays together is one patient there."""
    if recipe.patient_score == "mean":
        return None
    return choose_patient_point(
        images.labels[rows],
        scores,
        images.groups[rows],
        rule=recipe.patient_score,
        threshold_rule=_rule(recipe),
    )


def _carve(images: TrainingImages, train: Rows, seed: int) -> tuple[Rows, Rows]:
    labels, groups = images.labels[train], images.groups[train]
    fewest = min(np.unique(groups[labels == label]).size for label in (0, 1))
    if fewest < 2:
        raise SplitError(
            f"fine-tuning inside a fold needs at least 2 patients of each class to set one aside for validation, "
            f"received {fewest}; use --strategy probe or fewer folds"
        )
    carved = split_folds(labels, groups, min(CARVED_FOLDS, fewest), seed) == 0
    return train[~carved], train[carved]
