"""What run.json says of a training beyond what it says of every run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from breastlens.audit.finding import most_severe_first
from breastlens.config import TrainingRecipe, settings_without_effect
from breastlens.runs.doubts import Doubts
from breastlens.runs.facts import Stopwatch, describe_run
from breastlens.runs.material import Material
from breastlens.runs.outcome import Outcome
from breastlens.runs.precision import Chosen
from breastlens.runs.splitting import say_unused


def describe_training(
    material: Material,
    outcome: Outcome,
    chosen: Chosen,
    doubts: Doubts,
    split: dict[str, Any],
    *,
    command: Sequence[str],
    created: str,
    tensorboard: Path | None,
    watch: Stopwatch,
) -> dict[str, Any]:
    """The content of run.json.

    Args:
        material: What was trained on.
        outcome: What was trained.
        chosen: What the saved model computes in.
        doubts: What stands against it.
        split: From ``describe_split``, with what was proved besides.
        command: The command line.
        created: When, ISO 8601.
        tensorboard: Where logs were wanted.
        watch: What took how long.
    """
    final, recipe, prepared = outcome.final, material.recipe, material.prepared
    weights = [member.weights for member in material.network.members]
    return describe_run(
        "training",
        prepared.cohort,
        material.backbones,
        command=command,
        created=created,
        findings=most_severe_first([*prepared.seen.findings, *doubts.findings]),
        split=split,
        weights={
            "parameters": int(material.network.model.count_params()),
            "weights": ", ".join(dict.fromkeys(each.description for each in weights)),
            "weights_sha256": " ".join(filter(None, (each.sha256 for each in weights))) or None,
        },
        phases=watch.phases,
        recipe=recipe.model_dump(mode="json"),
        audit={"done": prepared.audited, "changes": list(prepared.changes)},
        operating_point=asdict(final.operating_point) | {"chosen_on": final.chosen_on},
        calibration=_describe_calibration(outcome),
        patient_score=final.patient_point and asdict(final.patient_point),
        kept=final.kept,
        execution=final.choice and final.choice.describe(),
        precision=chosen.describe(),
        notes=[
            *_unused_settings(recipe, tensorboard),
            *say_unused(material.kind, prepared.cohort, recipe),
            *outcome.notes,
            *chosen.notes,
        ],
    )


def _describe_calibration(outcome: Outcome) -> dict[str, Any]:
    """Of the saved model, and the method of each model that was judged, with the log losses that chose it."""
    return {
        "saved": asdict(outcome.final.calibration),
        "judged": [{"method": one.method, "log_loss": dict(one.log_loss)} for one in outcome.calibrations],
    }


def _unused_settings(recipe: TrainingRecipe, tensorboard: Path | None) -> list[str]:
    """What was asked for and the strategy has no use for."""
    why, unused = settings_without_effect(recipe.strategy, recipe.trainable_stages)
    named = [name for name in unused if name in recipe.model_fields_set]
    if tensorboard is not None and recipe.strategy == "probe":
        named.append("tensorboard")
    if not named:
        return []
    said = ", ".join(name.replace("_", " ") for name in named)
    return [f"{why}, so these settings were not used: {said}."]
