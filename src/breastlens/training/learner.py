"""A classifier that is ready for Keras's ``fit``: what may learn, and how."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.config import TrainingPrecision, TrainingRecipe
from breastlens.evaluation.calibration import Calibration
from breastlens.models._keras import import_keras
from breastlens.models.backbones import Backbone
from breastlens.models.classifier import (
    average_classifiers,
    build_classifier,
    learning_stages,
    set_trainable,
)
from breastlens.models.cut import build_upper
from breastlens.models.head import Head, calibrate_head
from breastlens.training.precision import (
    Choice,
    Timed,
    choose_precision,
    computing_in,
    layers_of_backbone,
    time_steps,
)
from breastlens.training.probe import Probe
from breastlens.training.views import Shown

WARM_UP_SHARE = 0.1
"""Share of all steps over which the learning rate rises from zero to its peak."""

_POLICIES: dict[TrainingPrecision, str] = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
"""Keras's names for what layers compute in."""

_AT_ONCE = 64
_LEAST = 1e-7
"""Scores in float32 are kept so far from 0 and 1 that their log-odds are finite."""


@dataclass(frozen=True, eq=False)
class Learner:
    """A classifier that is ready to be trained.

    Attributes:
        classifier: What learns.
        network: From what it is shown to its score, in 32 bits; it shares its layers with the classifier.
        trained: The same, compiled for Keras's ``fit``; use ``fit``.
        schedule: The learning rate by step.
        probe: The classifier that it starts from and is averaged with; None from scratch.
        steps: How many steps it is trained for at most.
        choice: In which precision it is trained.
    """

    classifier: Any
    network: Any
    trained: Any
    schedule: Any
    probe: Any
    steps: int
    choice: Choice

    @classmethod
    def prepare(
        cls,
        build_features_model: Callable[[], Any],
        backbone: Backbone,
        probe: Probe | None,
        shown: Shown,
        recipe: TrainingRecipe,
        batches: Any,
        epochs: int,
        choice: Choice | None,
    ) -> Learner:
        """Build it, and choose the precision.

        Args:
            build_features_model: Makes a fresh features model with the starting weights.
            backbone: Which network.
            probe: Where to start; None for an untrained head with everything learning.
            shown: What the network is shown of each image.
            recipe: Rates, batch size, trainable stages, precision, seed.
            batches: What it is to be trained on.
            epochs: How long at most.
            choice: In which precision, where an earlier training of the same run has chosen it; None: as the recipe
                says.

        Raises:
            DataError: The backbone has fewer stages than are to be trained.
        """
        make_deterministic(recipe.seed)
        keras = import_keras()
        features_model = build_features_model()
        head = Head.untrained(features_model.output.shape[-1]) if probe is None else probe.head
        classifier = build_classifier(features_model, head)
        stages = learning_stages(backbone, recipe)
        set_trainable(classifier, backbone, stages, batch_norm_learns=probe is None)
        if shown.stage is None:
            network = keras.Model(classifier.input, classifier.output["score"])
        else:
            network = build_upper(classifier, backbone, shown.stage)

        steps = epochs * len(batches)
        warm_up = math.ceil(WARM_UP_SHARE * steps)
        schedule = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0,
            decay_steps=max(1, steps - warm_up),
            warmup_target=recipe.peak_learning_rate,
            warmup_steps=warm_up,
        )
        compiled: dict[TrainingPrecision, Any] = {}

        def measure(precision: TrainingPrecision) -> Timed | None:
            compiled[precision] = _compiled(network, schedule, recipe)
            with computing_in(layers_of_backbone(classifier), _POLICIES[precision]):
                return time_steps(compiled[precision], batches)

        if choice is None and recipe.training_precision != "auto":
            choice = Choice(recipe.training_precision, steps, {})
        elif choice is None:
            task = {
                "backbone": backbone.name,
                "strategy": recipe.strategy,
                "stages": stages,
                "cut": shown.stage,
                "input": network.input.shape[1:],
                "batch": recipe.batch_size,
            }
            choice = choose_precision(measure, steps, task)
            make_deterministic(recipe.seed)  # as if nothing had been measured
        # what was compiled for measuring need not be compiled again
        trained = compiled.get(choice.precision) or _compiled(network, schedule, recipe)
        start = None if probe is None else build_classifier(build_features_model(), probe.head)
        return cls(classifier, network, trained, schedule, start, steps, choice)

    def fit(self, batches: Any, epochs: int, callbacks: list[Any], *, begun: int = 0) -> None:
        """Train with Keras, with the recipe's batches in their order.

        Args:
            batches: From ``training_batches``.
            epochs: The number of the last one, counted from 1.
            callbacks: Keras's.
            begun: How many epochs were trained before.
        """
        begin = import_keras().callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: batches.begin_epoch(epoch)
        )
        callbacks = [begin, *callbacks]
        with computing_in(layers_of_backbone(self.classifier), _POLICIES[self.choice.precision]):
            self.trained.fit(
                batches, epochs=epochs, initial_epoch=begun, verbose=0, callbacks=callbacks, shuffle=False
            )

    def logits(self, shown: Shown, rows: NDArray[np.integer]) -> NDArray[np.float64]:
        """Log-odds of some images as they are, in 32 bits and inference mode, (n,); in batches that bound memory."""
        from scipy.special import logit

        with computing_in(layers_of_backbone(self.classifier), _POLICIES["float32"]):
            chunks = [
                self.network.predict_on_batch(shown.still(rows[start : start + _AT_ONCE]))
                for start in range(0, len(rows), _AT_ONCE)
            ]
        scores = np.concatenate(chunks).astype(np.float64)[:, 0]
        return np.asarray(logit(np.clip(scores, _LEAST, 1 - _LEAST)), dtype=np.float64)

    @property
    def learning_rate(self) -> float:
        """That of the next step."""
        return float(self.schedule(int(self.trained.optimizer.iterations)))

    def finished(self, calibration: Calibration) -> Any:
        """The classifier that is kept: averaged with its probe and calibrated."""
        kept = self.classifier if self.probe is None else average_classifiers(self.classifier, self.probe)
        return calibrate_head(kept, calibration)


def make_deterministic(seed: int) -> None:
    """Same seed, same result on one machine: TensorFlow offers this only for the whole process."""
    import_keras().utils.set_random_seed(seed)
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()


def _compiled(network: Any, schedule: Any, recipe: TrainingRecipe) -> Any:
    """The network as a Keras model of its own, with an optimizer of its own."""
    keras = import_keras()
    own = keras.Model(network.input, network.output)
    own.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay, clipnorm=1.0),
        loss=keras.losses.BinaryCrossentropy(),
        weighted_metrics=[keras.metrics.AUC(name="auc")],
        jit_compile=False,
    )
    return own
