"""Reads a run directory for a page: typed facts, tables and pictures, or one line that says what is wrong.

Only what a page cannot do without is required; everything else has an empty default, so that a shorter run
still gets its report.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from breastlens.config import LabelMap
from breastlens.errors import RunDirectoryError
from breastlens.evaluation.by_patient import PatientRule

FIGURE_NAMES = ("confusion_matrix", "roc", "precision_recall", "scores", "history", "most_wrong")
_RECORD_COLUMNS = {
    "path", "category", "label", "patient_id", "split", "width", "height", "format", "bits", "excluded",
}  # fmt: skip
MAIN_BLOCKS = ("test", "out_of_fold", "external")


class Facts(BaseModel):
    """Base of what is read from JSON: frozen, and fields that a page does not show are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Interval(Facts):
    """A figure with the ends of its interval, or the reason why it has none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    method: str = ""
    reason: str = ""

    @model_validator(mode="before")
    @classmethod
    def _nulls_are_defaults(cls, given: Any) -> Any:
        """Where there is no figure, its level and method are null in the file, too."""
        return (
            {name: each for name, each in given.items() if each is not None}
            if isinstance(given, dict)
            else given
        )

    def lies_below(self, limit: float) -> bool:
        """Whether all that is known of the figure lies below a limit; without an interval that is its value."""
        most = self.value if self.low is None or self.high is None else self.high
        return most is not None and most < limit


_RULE_NAMES: dict[PatientRule, str] = {
    "mean": "mean score",
    "max": "highest score",
    "noisy-or": "noisy-or of the scores",
}


class Block(Facts):
    """The figures of one part, of metrics.json."""

    n: int
    patients: int | None = None
    positives: int
    negatives: int
    threshold: float | None
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    auc: float | None = None
    average_precision: float | None = None
    sensitivity: float | None = None
    specificity: float | None = None
    ppv: float | None = None
    npv: float | None = None
    f1: float | None = None
    mcc: float | None = None
    brier: float | None = None
    confusion_matrix: tuple[tuple[int, int], tuple[int, int]]
    reasons: dict[str, str] = {}
    intervals: dict[str, Interval] = {}
    by_patient: Block | None = None
    calibration: dict[str, Any] | None = None
    operating_points: list[dict[str, Any]] = []
    decision_curve: dict[str, Any] | None = None
    prevalence: dict[str, Any] = {}
    rules: dict[PatientRule, int] = {}

    @property
    def patient_rule(self) -> str:
        """In a block by patient, what became of the scores of a patient's images."""
        names = [_RULE_NAMES[rule] for rule in self.rules or {"mean": 0}]
        if len(names) == 1:
            return names[0]
        return ", ".join(f"{name} of {count}" for name, count in zip(names, self.rules.values(), strict=True))

    def value(self, metric: str) -> float | None:
        """One scalar metric by its name in metrics.json."""
        found: float | None = getattr(self, metric)
        return found


class Reached(Facts):
    """The AUC that a model reached, and the ends of its interval."""

    auc: float | None = None
    low: float | None = None
    high: float | None = None


class Control(Reached):
    """A model that was denied the breast, how far the real one is above it, and the real one shown the same."""

    margin: Interval | None = None
    what: str = ""
    same_model: Reached | None = None


class Backbone(Facts):
    """The network underneath."""

    name: str
    title: str = ""
    parameters: int | None = None
    weights: str = ""
    weights_sha256: str | None = None
    licence: str = ""
    paper: str = ""


class Data(Facts):
    """What was found and used."""

    root: str = ""
    manifest: str | None = None
    fingerprint: str = ""
    found: int = 0
    excluded: int = 0
    used: int = 0
    patients: int | None = None
    images_without_patient: int | None = None
    patient_source: str | None = None


class Evidence(Facts):
    """The figure that a finding rests on."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    level: float | None = None
    method: str = ""


class Finding(Facts):
    """Something about the data that the reader should know."""

    code: str
    severity: Literal["info", "warning", "error"]
    what: str
    count: int = 0
    records: list[str] = []
    advice: str = ""
    evidence: Evidence | None = None


class Part(Facts):
    """One part or fold of the split."""

    name: str
    images: int
    patients: int | None = None
    positive: int
    negative: int


class Proof(Facts):
    """What was compared between the parts, and what was found in two of them."""

    patients_checked: int = 0
    patients_shared: int = 0
    duplicate_groups_checked: int = 0
    duplicates_shared: int = 0
    files_checked: int = 0
    files_shared: int = 0
    near_duplicates_checked: int | None = None
    near_duplicates_shared: int = 0


class Split(Facts):
    """How the records were divided."""

    kind: str
    hash: str = ""
    parts: list[Part] = []
    proof: Proof | None = None
    repeats: list[Split] = []


class OperatingPoint(Facts):
    """Where the line between the two calls was drawn, and on what."""

    rule: str = ""
    threshold: float
    low: float | None = None
    high: float | None = None
    chosen_on: str = ""


class Phase(Facts):
    """One phase of the run and its cost in seconds."""

    name: str
    wall_s: float
    cpu_s: float | None = None


class AuditBefore(Facts):
    """Whether the data were audited before the training, and what was changed because of it."""

    done: bool
    changes: list[str] = []


class SavedPrecision(Facts):
    """What the saved model computes in."""

    asked: str
    used: str


class RunFacts(Facts):
    """The content of run.json, as far as a page shows it."""

    format: Literal[1]
    kind: Literal["training", "evaluation"]
    command: list[str] = []
    created: str = ""
    recipe: dict[str, Any] = {}
    image: dict[str, Any] = {}
    labels: LabelMap
    backbone: Backbone
    data: Data = Data()
    findings: list[Finding] = []
    audit: AuditBefore | None = None
    split: Split
    operating_point: OperatingPoint
    calibration: dict[str, Any] = {}
    kept: str | None = None
    precision: SavedPrecision | None = None
    model: dict[str, Any] = {}
    notes: list[str] = []
    versions: dict[str, Any] = {}
    machine: dict[str, Any] = {}
    phases: list[Phase] = []


class Matched(Facts):
    """The AUC within strata that hold both labels."""

    column: str
    auc: Interval | None = None
    images: int = 0
    images_left_out: int = 0
    strata: tuple[str, ...] = ()
    reason: str = ""


class Nuisance(Facts):
    """How well the image gives a column away, within one label."""

    column: str
    what: str = ""
    auc: Interval | None = None
    reason: str = ""


class Activation(Facts):
    """How much of the model's activation map falls on the body, and how much of the image the body fills.

    ``map`` is how many cells the map is high and wide; None in runs from before that was recorded.
    """

    images: int = 0
    map: tuple[int, int] | None = None
    without_body: int = 0
    without_map: int = 0
    share: Interval | None = None
    area: float | None = None
    excess: Interval | None = None
    reason: str = ""


class _Metrics(Facts):
    model_config = ConfigDict(frozen=True, extra="allow")

    test: Block | None = None
    validation: Block | None = None
    out_of_fold: Block | None = None
    external: Block | None = None
    controls: dict[str, Control] = Field(default_factory=dict)
    corrected: Interval | None = None
    matched: tuple[Matched, ...] = ()
    activation: Activation | None = None
    nuisance: tuple[Nuisance, ...] = ()


@dataclass(frozen=True)
class RunFiles:
    """Everything of a run directory that a page shows.

    Attributes:
        facts: The content of run.json.
        part: Name of the judged block: test, out_of_fold or external.
        block: Its figures.
        validation: The figures of the validation part, if there is one.
        controls: Negative controls by name; empty when none was run.
        corrected: An estimate of the AUC elsewhere, as far as shuffled pixels tell.
        matched: The score within the strata of each column that tells the label.
        activation: How much of the activation map falls on the body.
        nuisance: How well the image gives each such column away.
        records: records.csv, all columns as text.
        predictions: The judged part's rows of predictions.csv.
        history: history.csv; empty when there is none.
        figures: PNG bytes by figure name, only those that exist.
        further: What else metrics.json holds, for the sections that read it themselves.
    """

    facts: RunFacts
    part: str
    block: Block
    validation: Block | None
    controls: dict[str, Control]
    corrected: Interval | None
    matched: tuple[Matched, ...]
    activation: Activation | None
    nuisance: tuple[Nuisance, ...]
    records: pd.DataFrame
    predictions: pd.DataFrame
    history: pd.DataFrame
    figures: dict[str, bytes]
    further: dict[str, Any]


def read_run_files(run_dir: Path) -> RunFiles:
    """Read what a page needs from a run directory.

    Raises:
        RunDirectoryError: A needed file is missing, damaged, or of another format.
    """
    facts = RunFacts.model_validate(_read_json(run_dir, "run.json", RunFacts))
    metrics = _Metrics.model_validate(_read_json(run_dir, "metrics.json", _Metrics))
    part = next((name for name in MAIN_BLOCKS if getattr(metrics, name) is not None), None)
    if part is None:
        raise RunDirectoryError(
            f"{run_dir / 'metrics.json'}: expected one of {', '.join(MAIN_BLOCKS)}, found none"
        )
    predictions = _read_table(
        run_dir, "predictions.csv", {"path", "patient_id", "split", "y_true", "y_score", "y_pred"}
    )
    predictions = predictions.astype({"y_true": "int64", "y_score": "float64", "y_pred": "int64"})
    has_history = (run_dir / "history.csv").is_file()
    return RunFiles(
        facts=facts,
        part=part,
        block=getattr(metrics, part),
        validation=metrics.validation,
        controls=metrics.controls,
        corrected=metrics.corrected,
        matched=metrics.matched,
        activation=metrics.activation,
        nuisance=metrics.nuisance,
        records=_read_table(
            run_dir,
            "records.csv",
            _RECORD_COLUMNS,
        ),
        predictions=predictions[predictions["split"] == "test"] if part == "test" else predictions,
        history=pd.read_csv(run_dir / "history.csv") if has_history else pd.DataFrame(),
        figures={path.stem: path.read_bytes() for path in sorted((run_dir / "figures").glob("*.png"))},
        further=metrics.model_extra or {},
    )


def _read_json(run_dir: Path, name: str, model: type[Facts]) -> Facts:
    try:
        return model.model_validate(json.loads((run_dir / name).read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise RunDirectoryError(f"{run_dir} is not a complete run directory: it has no {name}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RunDirectoryError(
            f"{run_dir / name} is not what this version reads: {place}: {first['msg']}"
        ) from error
    except ValueError as error:
        raise RunDirectoryError(f"{run_dir / name} is damaged: {error}") from error


def _read_table(run_dir: Path, name: str, needed: set[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(run_dir / name, dtype=str, keep_default_na=False)
    except FileNotFoundError as error:
        raise RunDirectoryError(f"{run_dir} is not a complete run directory: it has no {name}") from error
    lacking = sorted(needed - set(table.columns))
    if lacking:
        raise RunDirectoryError(f"{run_dir / name} lacks the column {', '.join(lacking)}")
    return table
