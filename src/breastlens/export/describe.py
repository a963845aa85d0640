"""The content of export.json: all that somebody needs to use an exported model without BreastLens."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from breastlens.export.check import LIMIT, Check
from breastlens.export.convert import Batch
from breastlens.export.formats import Format
from breastlens.export.recipe import describe_preprocessing
from breastlens.export.runtimes import Opened
from breastlens.models.bundle import Bundle
from breastlens.runs.facts import describe_versions

FORMAT = 1

_LEFT_BEHIND = (
    "refusing images unlike those of training",
    "prediction sets",
    "maps of what influenced a score",
    "scores of patients with several images",
)


def describe_export(
    bundle: Bundle,
    chosen: Format,
    batch: Batch,
    opened: Opened,
    files: dict[str, dict[str, Any]],
    check: Check,
    created: str,
) -> dict[str, Any]:
    """Put it together.

    Args:
        bundle: What was exported.
        chosen: To which format.
        batch: How many images a call takes; None: any number.
        opened: The exported file in its runtime.
        files: Size and SHA-256 of each file.
        check: How it compares with the bundle.
        created: When, ISO 8601.
    """
    card = bundle.card
    return {
        "format": FORMAT,
        "kind": "export",
        "created": created,
        "notice": card.notice,
        "runtime": chosen.title,
        "exported_format": chosen.name,
        "files": files,
        "precision": "fp32" if chosen.from_keras or card.precision == "bf16" else card.precision,
        "batch": "free" if batch is None else batch,
        "input": {
            "name": opened.input_name,
            "dtype": "uint8",
            "shape": list(opened.input_shape),
            "layout": "image, row, column, channel",
            "channels": "RGB",
            "range": [0, 255],
        },
        "output": {
            "name": opened.output_name,
            "dtype": "float32",
            "shape": list(opened.output_shape),
            "meaning": f"calibrated probability of positive: {card.labels.positive_name}",
        },
        "labels": card.labels.model_dump(mode="json"),
        "categories": list(card.categories),
        "threshold": card.threshold,
        "threshold_rule": card.threshold_rule,
        "training_prevalence": card.training_prevalence,
        "preprocessing": describe_preprocessing(card.image),
        "check": {
            "images": len(check.images.pixels),
            "source": check.images.source,
            "held_to": check.reference,
            "limit": LIMIT,
            "largest_difference": check.difference,
            "largest_difference_from_bundle_in_use": check.in_use,
            "decisions_changed": check.changed,
        },
        "not_exported": list(_LEFT_BEHIND),
        "bundle": {
            "sha256": bundle.version,
            "created": card.created,
            "backbone": card.backbone,
            "precision": card.precision,
            "data_fingerprint": card.data_fingerprint,
            "versions": card.versions,
        },
        "versions": describe_versions()
        | {
            package: importlib.metadata.version(package)
            for module, package in chosen.modules.items()
            if module not in {"keras", "tensorflow"}
        },
    }
