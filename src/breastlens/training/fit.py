"""One training on given patients: the probe, and from it, where asked for, a fine-tuned network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.cohort.splits import split_folds
from breastlens.config import TrainingRecipe
from breastlens.errors import SplitError
from breastlens.evaluation.by_patient import PatientPoint, choose_patient_point
from breastlens.evaluation.metrics import auc
from breastlens.evaluation.thresholds import OperatingPoint, Rule, choose_operating_points
from breastlens.models.backbones import Backbone
from breastlens.models.cut import FrozenPart
from breastlens.progress import Progress
from breastlens.training.ensemble import fit_members
from breastlens.training.finetune import LEAST_SPREAD, train_again, train_network
from breastlens.training.fitted import Fit, Rows, TrainingImages, in_parts, probe_history, score_with
from breastlens.training.precision import Choice
from breastlens.training.probe import Probe, fit_probe, sigmoid
from breastlens.training.views import Shown, show_images

CARVED_FOLDS = 5
"""Cross-validation has no validation part: fine-tuning sets aside this fraction (1 in 5) of its training patients."""


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
    checkpoints: Path | None = None,
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
        checkpoints: Folder for the state after each epoch; where there is one, the training goes on from it. None: no
            state is kept.

    Raises:
        OSError: A state cannot be written.
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
            checkpoints=checkpoints,
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
    checkpoints: Path | None,
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
        checkpoints=checkpoints and checkpoints / "first",
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
            checkpoints=checkpoints and checkpoints / "again",
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
