"""In which precision Keras trains: chosen by measuring a few steps on this machine.

XLA is no choice here. Keras refuses it where TensorFlow has to be deterministic, and the same seed must give the same
network.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import itertools
import json
import logging
import platform
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from breastlens.cache_folder import cache_folder, empty
from breastlens.config import TrainingPrecision
from breastlens.machine import usable_cores
from breastlens.models._keras import import_keras
from breastlens.models._openvino import import_openvino
from breastlens.whole_files import write_whole

logger = logging.getLogger(__name__)

_PRECISIONS: tuple[TrainingPrecision, ...] = ("float32", "bfloat16")

MEASURING_SHARE = 0.1
"""Of the time that a training in float32 would take, so much at most goes into measuring bfloat16."""

LEAST_GAIN = 1.3
"""Sixteen bits change results. They are taken only where the training is this many times faster with them."""

_STEPS = 4
"""Steps of a measurement, the first of which compiles."""


@dataclass(frozen=True)
class Timed:
    """What training in a precision costs.

    Attributes:
        first_step_s: Seconds of the first step, compilation included.
        step_s: Seconds of a later step, the middle one of those measured.
    """

    first_step_s: float
    step_s: float

    def total_s(self, steps: int) -> float:
        """Seconds that so many steps take."""
        return self.first_step_s + (steps - 1) * self.step_s


Measure = Callable[[TrainingPrecision], Timed | None]


@dataclass(frozen=True)
class Choice:
    """In which precision a training runs, and why.

    Attributes:
        precision: Chosen.
        steps: How many steps it was chosen for; of several trainings of a run, the first has so many.
        measured: What was measured, by precision; empty where the recipe names one.
    """

    precision: TrainingPrecision
    steps: int
    measured: dict[TrainingPrecision, Timed]

    def describe(self) -> dict[str, Any]:
        """What run.json says of it."""
        return {
            "precision": self.precision,
            "xla": False,
            "steps": self.steps,
            "measured": {precision: asdict(timed) for precision, timed in self.measured.items()},
        }


def choose_precision(measure: Measure, steps: int, task: dict[str, Any]) -> Choice:
    """Choose the precision in which a training takes the least time, by what such trainings took on this machine.

    It is measured once for each kind of task, length (to a factor of two), version and processor. The figures are kept,
    so that the same training is later run in the same way. Sixteen bits are measured only if that, as far as can be
    told before, costs no more than ``MEASURING_SHARE`` of the training; a short one therefore runs in float32.

    Args:
        measure: Takes a few steps in a precision and gives their times; None where TensorFlow cannot.
        steps: How many the training has.
        task: What decides a step's time besides the machine: network, cut, batch.
    """
    key = {**task, "steps_from": 1 << (steps.bit_length() - 1), **_describe_machine()}
    path = _folder() / f"{hashlib.sha256(_written(key).encode()).hexdigest()[:32]}.json"
    measured = _read(path, key)
    if measured is None:
        measured = _measure(measure, steps)
        _write(path, key, measured)
    total_s = {precision: timed.total_s(steps) for precision, timed in measured.items()}
    faster = "bfloat16" in total_s and total_s["bfloat16"] * LEAST_GAIN <= total_s["float32"]
    return Choice("bfloat16" if faster else "float32", steps, measured)


def forget_measured() -> None:
    """Remove what was measured before, so that the next trainings measure again."""
    empty(_folder(), "*.json")


def _folder() -> Path:
    return cache_folder() / "execution"


def _measure(measure: Measure, steps: int) -> dict[TrainingPrecision, Timed]:
    exact = measure("float32")
    if exact is None:
        raise RuntimeError("TensorFlow cannot train this network in float32")
    measured: dict[TrainingPrecision, Timed] = {"float32": exact}
    expected_s = exact.total_s(_STEPS)  # as many steps in sixteen bits, and compiling them
    if expected_s <= MEASURING_SHARE * exact.total_s(steps):
        short = measure("bfloat16")
        if short is not None:
            measured["bfloat16"] = short
    return measured


def _describe_machine() -> dict[str, Any]:
    """What decides a step's time besides the network: processor, cores that may be used, versions."""
    return {
        "processor": import_openvino().Core().get_property("CPU", "FULL_DEVICE_NAME"),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "breastlens": importlib.metadata.version("breastlens"),
        "keras": importlib.metadata.version("keras"),
        "tensorflow": _tensorflow_version(),
    }


def _tensorflow_version() -> str:
    import tensorflow as tf

    return str(tf.__version__)


def _written(key: dict[str, Any]) -> str:
    return json.dumps(key, sort_keys=True)


def _read(path: Path, key: dict[str, Any]) -> dict[TrainingPrecision, Timed] | None:
    """What was measured before; None where there is nothing, or nothing whole."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        measured: dict[TrainingPrecision, Timed] = {
            precision: Timed(**content["measured"][precision])
            for precision in _PRECISIONS
            if precision in content["measured"]
        }
        seconds = [each for timed in measured.values() for each in (timed.first_step_s, timed.step_s)]
        whole = content["key"] == json.loads(_written(key)) and "float32" in measured and min(seconds) > 0
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        whole = False
    if not whole:
        logger.warning("%s is damaged: the speed of training is measured again", path)
        return None
    return measured


def _write(path: Path, key: dict[str, Any], measured: dict[TrainingPrecision, Timed]) -> None:
    """Keep what was measured; where that cannot be written it is measured again next time."""
    content = {"key": key, "measured": {name: asdict(timed) for name, timed in measured.items()}}
    with contextlib.suppress(OSError):
        write_whole(path, [json.dumps(content, indent=2).encode()])


def time_steps(network: Any, batches: Any) -> Timed | None:
    """Take a few steps of Keras's ``fit`` and leave the network, its optimizer and its batches as they were.

    What TensorFlow compiled for these steps is used again by the training.

    Args:
        network: Compiled, not trained yet.
        batches: What it is to be trained on, a ``keras.utils.PyDataset``.

    Returns:
        Their times; None if TensorFlow cannot run the network in its precision.
    """
    import tensorflow as tf

    keras = import_keras()
    network.optimizer.build(network.trainable_variables)
    before = [(variable, variable.numpy()) for variable in [*network.variables, *network.optimizer.variables]]

    class FewBatches(keras.utils.PyDataset):  # type: ignore[misc, name-defined]
        """The first batches, each once."""

        def __len__(self) -> int:
            return min(_STEPS, len(batches))

        def __getitem__(self, index: int) -> Any:
            return batches[index]

    class Watch(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        """Notes when each step had ended."""

        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            ends.append(perf_counter())

    ends = [perf_counter()]
    try:
        epochs = 1 if len(batches) > 1 else 2  # the smallest data have one batch only
        network.fit(FewBatches(), epochs=epochs, verbose=0, callbacks=[Watch()], shuffle=False)
    except (tf.errors.OpError, TypeError, ValueError) as error:
        logger.info("TensorFlow cannot train in this precision: %s", error)
        return None
    finally:
        for variable, value in before:
            variable.assign(value)
    first, *later = [after - earlier for earlier, after in itertools.pairwise(ends)]
    return Timed(first, statistics.median(later))


@contextlib.contextmanager
def computing_in(layers: list[Any], policy: str) -> Iterator[None]:
    """Let layers compute in another precision for a while; their weights stay in float32.

    Args:
        layers: Of a network.
        policy: By Keras's name, such as ``mixed_bfloat16``.
    """
    before = [(layer, layer.dtype_policy) for layer in layers]
    for layer in layers:
        layer.dtype_policy = policy
    try:
        yield
    finally:
        for layer, own in before:
            layer.dtype_policy = own


def layers_of_backbone(classifier: Any) -> list[Any]:
    """The layers that may compute in 16 bits: all below the pooled features; these and the head stay in float32."""
    keras = import_keras()
    exact = (
        keras.layers.InputLayer,
        keras.layers.GlobalAveragePooling2D,
        keras.layers.GlobalMaxPooling2D,
    )
    of_head = ("features", "standardised", "score")
    return [
        layer
        for layer in classifier.layers
        if hasattr(layer, "dtype_policy") and not isinstance(layer, exact) and layer.name not in of_head
    ]
