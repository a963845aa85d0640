"""What a page knows of a run: the typed content of run.json and metrics.json.

Only what a page cannot do without is required; everything else has an empty default, so that a shorter run
still gets its report.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from breastlens.config import LabelMap
from breastlens.evaluation.by_patient import PatientRule


class Facts(BaseModel):
    """Base of what is read from JSON: frozen, of finite numbers; fields that a page does not show are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


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


class Metrics(Facts):
    """The content of metrics.json; what is not named here is kept for the sections that read it themselves."""

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
