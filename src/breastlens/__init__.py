"""BreastLens: honest training and evaluation of breast-image classifiers. Research use only.

Importing this package is cheap: the public names below are loaded when first used, and none of
Keras, TensorFlow or OpenVINO is imported before it is needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from breastlens.cohort.records import Cohort
    from breastlens.config import Augmentation, ImageRecipe, LabelMap, ReadingLimits, TrainingRecipe
    from breastlens.errors import (
        BreastLensError,
        BundleError,
        DataError,
        DecodeError,
        ExportError,
        MissingDependencyError,
        RunDirectoryError,
        SplitError,
        WeightsError,
    )
    from breastlens.export.model import Exported, export_model
    from breastlens.inference.activation_map import Explanation
    from breastlens.inference.predictor import Prediction, Predictor, load
    from breastlens.runs.audit import Audit, audit_cohort
    from breastlens.runs.compare import compare_runs, train_all
    from breastlens.runs.directory import Run
    from breastlens.runs.evaluate import evaluate
    from breastlens.runs.train import train

__version__ = "0.1.0"

_HOME = {
    "Audit": "runs.audit",
    "Augmentation": "config",
    "BreastLensError": "errors",
    "BundleError": "errors",
    "Cohort": "cohort.records",
    "DataError": "errors",
    "DecodeError": "errors",
    "ExportError": "errors",
    "Exported": "export.model",
    "Explanation": "inference.activation_map",
    "ImageRecipe": "config",
    "LabelMap": "config",
    "MissingDependencyError": "errors",
    "Prediction": "inference.predictor",
    "Predictor": "inference.predictor",
    "ReadingLimits": "config",
    "Run": "runs.directory",
    "RunDirectoryError": "errors",
    "SplitError": "errors",
    "TrainingRecipe": "config",
    "WeightsError": "errors",
    "audit_cohort": "runs.audit",
    "compare_runs": "runs.compare",
    "evaluate": "runs.evaluate",
    "export_model": "export.model",
    "load": "inference.predictor",
    "train": "runs.train",
    "train_all": "runs.compare",
}

__all__ = [
    "Audit",
    "Augmentation",
    "BreastLensError",
    "BundleError",
    "Cohort",
    "DataError",
    "DecodeError",
    "Explanation",
    "ExportError",
    "Exported",
    "ImageRecipe",
    "LabelMap",
    "MissingDependencyError",
    "Prediction",
    "Predictor",
    "ReadingLimits",
    "Run",
    "RunDirectoryError",
    "SplitError",
    "TrainingRecipe",
    "WeightsError",
    "__version__",
    "audit_cohort",
    "compare_runs",
    "evaluate",
    "export_model",
    "load",
    "train",
    "train_all",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module 'breastlens' has no attribute {name!r}")
    return getattr(importlib.import_module(f"breastlens.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
