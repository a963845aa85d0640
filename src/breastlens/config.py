"""The settings that travel: frozen models written to run.json and bundle.json and read back from there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Strategy = Literal["probe", "finetune", "scratch"]
Precision = Literal["fp32", "bf16", "int8"]
"""What a saved network computes with: 32-bit and 16-bit floating point (bfloat16), or 8-bit integers."""

AskedPrecision = Literal["fp32", "bf16", "int8", "auto"]
TrainingPrecision = Literal["float32", "bfloat16"]
"""In what Keras trains: 32 bits, or 16 in all layers but the head; the weights themselves have 32 in both."""

AskedTrainingPrecision = Literal["float32", "bfloat16", "auto"]
EnsembleWeights = Literal["equal", "learnt"]
TestTimeViews = Literal["none", "flip", "shift", "flip-shift"]
Pooling = Literal["global", "sides"]
PatientScore = Literal["mean", "max", "noisy-or", "auto"]
FillMode = Literal["constant", "nearest", "reflect", "wrap"]

DEFAULT_CACHE_GB = 4.0
"""Room on disk for the features of some 75,000 images as MobileNet (alpha 0.75) makes them: whole, and occluded in the
four ways of an audit."""


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown field is an error rather than ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ReadingLimits(Settings):
    """What a file may cost before it is refused, so that a hostile or broken file cannot take the machine."""

    file_bytes: int = Field(default=512 * 1024**2, gt=0)
    pixels: int = Field(
        default=100_000_000, gt=0, description="height times width of one frame, known before decoding"
    )
    frames: int = Field(default=2_000, gt=0)
    memory_bytes: int | None = Field(
        default=None,
        gt=0,
        description="for making a square of one frame, reckoned from its header; None for no limit",
    )


class ImageRecipe(Settings):
    """How one decoded image becomes the uint8 square that the network sees. Saved with every model."""

    image_size: int = Field(default=128, ge=32, le=1024, description="side in pixels")
    fit: Literal["stretch", "letterbox"] = "stretch"
    crop: Literal["none", "body"] = "none"
    hide_marks: bool = Field(default=False, description="paint over what was drawn in or stuck on the skin")
    normalise: Literal["none", "per-image"] = Field(
        default="none", description="per-image: the grey levels of each square to one mean and one spread"
    )
    hide_border: bool = Field(
        default=False, description="paint the outermost 8 of 128 px of the square black"
    )
    temperature_range: tuple[float, float] = Field(
        default=(20.0, 38.0), description="deg C mapped to grey 0 and 255; outside it is clipped"
    )

    @model_validator(mode="after")
    def _range_is_ordered(self) -> Self:
        low, high = self.temperature_range
        if not low < high:
            raise ValueError(
                f"--temperature-range must rise from low to high, got {low:g} and {high:g} deg C"
            )
        return self

    @property
    def size_label(self) -> str:
        """The size as records write it, for example ``128x128``."""
        return f"{self.image_size}x{self.image_size}"

    @property
    def border_px(self) -> int:
        """Width of what is called the border: 8 of 128 px."""
        return max(1, round(self.image_size * 8 / 128))

    @property
    def hidden_border_px(self) -> int:
        """Width of the black ring at the square's edge: 0 unless the border is hidden."""
        return self.border_px if self.hide_border else 0


def quote_name(name: str) -> str:
    """A category's name as it stands in a list on one line: quoted and escaped only where it has to be.

    That is where it has a comma, a semicolon, a line break or another invisible character, blanks around it,
    or begins with a quotation mark.
    """
    plain = name.isprintable() and name == name.strip() and not set(name) & {",", ";"}
    return name if plain and not name.startswith(("'", '"')) else repr(name)


class LabelMap(Settings):
    """Which categories are looked for (label 1) and which stand against them (label 0)."""

    positive: tuple[str, ...] = Field(min_length=1)
    negative: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _sides_are_disjoint(self) -> Self:
        both = sorted(set(self.positive) & set(self.negative))
        if both:
            raise ValueError(f"positive and negative share {', '.join(both)}")
        return self

    @property
    def positive_name(self) -> str:
        """What label 1 is called, for example ``sick``."""
        return " or ".join(self.positive)

    @property
    def negative_name(self) -> str:
        """What label 0 is called, for example ``benign or normal``."""
        return " or ".join(self.negative)

    def describe(self) -> str:
        """One line for people: what counts as 1 and what as 0."""
        positive, negative = (", ".join(map(quote_name, side)) for side in (self.positive, self.negative))
        return f"positive (1) = {positive}; negative (0) = {negative}"


class Augmentation(Settings):
    """Random changes to training images; names and meanings are those of Keras's ImageDataGenerator."""

    rotation_range: float = Field(default=0.0, ge=0, description="degrees; drawn from [-r, r]")
    width_shift_range: float = Field(
        default=0.0, ge=0, description="below 1 a fraction of the width, else pixels"
    )
    height_shift_range: float = Field(
        default=0.0, ge=0, description="below 1 a fraction of the height, else pixels"
    )
    shear_range: float = Field(default=0.0, ge=0, description="degrees")
    zoom_range: float | tuple[float, float] = 0.0
    channel_shift_range: float = Field(default=0.0, ge=0, description="grey levels")
    brightness_range: tuple[float, float] | None = None
    horizontal_flip: bool = False
    vertical_flip: bool = False
    fill_mode: FillMode = "nearest"
    cval: float = Field(default=0.0, description="grey level outside the image when fill_mode is constant")

    @model_validator(mode="after")
    def _ranges_make_images(self) -> Self:
        zoom = self.zoom_range
        low, high = zoom if isinstance(zoom, tuple) else (1 - zoom, 1 + zoom)
        if not 0 < low <= high:
            raise ValueError(
                f"zoom_range must stay above 0 and rise from low to high, got {low:g} to {high:g}"
            )
        if (
            self.brightness_range is not None
            and not 0 <= self.brightness_range[0] <= self.brightness_range[1]
        ):
            raise ValueError(
                f"brightness_range must be 0 or more and rise from low to high, got {self.brightness_range}"
            )
        return self


MILD = Augmentation(
    rotation_range=10.0,
    width_shift_range=0.05,
    height_shift_range=0.05,
    zoom_range=0.1,
    horizontal_flip=True,
)
"""What is done to training images unless the user says otherwise: changes that another pose would also bring."""


_OF_EPOCHS = (
    "epochs",
    "batch_size",
    "learning_rate",
    "weight_decay",
    "patience",
    "trainable_stages",
    "views",
    "training_precision",
    "augmentation",
)


def settings_without_effect(strategy: str, trainable_stages: object) -> tuple[str, tuple[str, ...]]:
    """Why a training has no use for some settings of ``TrainingRecipe``, and for which.

    Args:
        strategy: Of the recipe.
        trainable_stages: Likewise.
    """
    if strategy == "probe":
        return "A probe is not trained by epochs", _OF_EPOCHS
    if strategy == "scratch":
        return "From scratch all layers learn from random weights", ("trainable_stages", "views", "weights")
    return "All layers learn", ("views",) if trainable_stages == "all" else ()


class TrainingRecipe(Settings):
    """Everything that decides a training besides the data. Written to run.json whole."""

    backbone: str = "mobilenetv2"
    ensemble: tuple[str, ...] = Field(
        default=(),
        description="backbones whose mean log-odds are the score, in place of backbone; empty: that alone",
    )
    ensemble_weights: EnsembleWeights = Field(
        default="equal", description="learnt: those with the smallest log loss on inner folds"
    )
    tta: TestTimeViews = Field(
        default="none", description="what is shown of each image besides itself, in training and in use"
    )
    pooling: Pooling = Field(
        default="global",
        description="features of a stage: mean and maximum, or for pictures of both breasts left held against right",
    )
    weights: str = "imagenet"
    strategy: Strategy = "probe"
    folds: int | None = Field(default=None, ge=2, description="None: one training, validation and test part")
    repeats: int = Field(
        default=1, ge=1, description="how often the folds are dealt, each time by another seed"
    )
    learning_curve: bool = Field(default=False, description="judge probes that learnt from fewer patients")
    split: tuple[float, float, float] = (0.6, 0.2, 0.2)
    seed: int = Field(default=0, ge=0, lt=2**32)
    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float | None = Field(
        default=None, gt=0, description="at its peak; None: 3e-4 for finetune, 3e-3 for scratch"
    )
    weight_decay: float = Field(default=1e-2, ge=0)
    patience: int = Field(
        default=8, ge=1, description="epochs without a better validation AUC before stopping"
    )
    trainable_stages: Annotated[int, Field(ge=0)] | Literal["all"] = Field(
        default=2, description="top stages of the backbone that fine-tuning moves"
    )
    views: int = Field(
        default=8,
        ge=0,
        description="augmented views of each image whose activations below the trained stages are computed once; 0: "
        "all layers run at every step, on an image augmented anew",
    )
    training_precision: AskedTrainingPrecision = Field(
        default="auto",
        description="auto: float32, or bfloat16 where a few steps measured on this machine say that it is much faster",
    )
    precision: AskedPrecision = Field(
        default="fp32", description="of the saved model; auto: the fastest that decides like fp32"
    )
    target_sensitivity: float | None = Field(default=None, gt=0, le=1)
    coverage: float = Field(
        default=0.9,
        gt=0,
        lt=1,
        description="of each class, the share whose prediction set is to hold the truth",
    )
    false_alarms: float = Field(
        default=0.05, gt=0, lt=1, description="of images like those of training, the share refused as novel"
    )
    target_specificity: float | None = Field(default=None, gt=0, le=1)
    cost_ratio: float | None = Field(
        default=None, gt=0, description="a missed positive costs so many times as much as a false alarm"
    )
    prevalence: float | None = Field(
        default=None, gt=0, lt=1, description="of those to be screened; figures are re-based to it"
    )
    patient_score: PatientScore = Field(
        default="mean",
        description="of a patient with several images; auto: the rule of the largest AUC where thresholds are chosen",
    )
    audit: bool = Field(
        default=True, description="look at files and pixels first, and set right what needs no judgement"
    )
    thumbnails: bool = Field(
        default=False,
        description="keep small pictures of the training images in the bundle, to be shown to whoever uses it",
    )
    subgroups: tuple[str, ...] = Field(
        default=(), description="columns in whose strata the scores are judged again, such as acquired:year"
    )
    augmentation: Augmentation = Field(default=MILD, description="of training images; a probe uses none")

    @field_validator("weights", mode="before")
    @classmethod
    def _path_is_text(cls, value: object) -> object:
        return str(value) if isinstance(value, Path) else value

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate after warm-up: as given, or the strategy's own."""
        return self.learning_rate or (3e-3 if self.strategy == "scratch" else 3e-4)

    @property
    def backbones(self) -> tuple[str, ...]:
        """The members of the ensemble, or the one backbone."""
        return self.ensemble or (self.backbone,)

    @model_validator(mode="after")
    def _ensemble_is_of_probes(self) -> Self:
        if len(self.ensemble) == 1:
            raise ValueError(f"--ensemble takes two backbones or more, received {self.ensemble[0]} alone")
        if len(set(self.ensemble)) < len(self.ensemble) and self.weights != "none":
            raise ValueError(
                f"--ensemble {','.join(self.ensemble)} names a backbone twice, and with the same weights both give "
                "the same probe"
            )
        if self.ensemble_weights != "equal" and not self.ensemble:
            raise ValueError("--ensemble-weights needs --ensemble")
        if self.strategy != "probe" and (self.ensemble or self.tta != "none" or self.pooling != "global"):
            raise ValueError(
                f"--ensemble, --tta and --pooling are for --strategy probe, received {self.strategy}"
            )
        return self

    @model_validator(mode="after")
    def _one_rule_for_the_threshold(self) -> Self:
        rules = (self.target_sensitivity, self.target_specificity, self.cost_ratio)
        if sum(each is not None for each in rules) > 1:
            raise ValueError("the threshold follows one of --sensitivity, --specificity and --cost-ratio")
        return self

    @model_validator(mode="after")
    def _split_is_whole(self) -> Self:
        if any(part <= 0 for part in self.split) or abs(sum(self.split) - 1) > 1e-6:
            shares = ", ".join(f"{part:g}" for part in self.split)
            raise ValueError(f"the split takes three positive shares that add up to 1, got {shares}")
        return self

    @model_validator(mode="after")
    def _only_folds_are_repeated(self) -> Self:
        if self.repeats > 1 and self.folds is None:
            raise ValueError(
                f"{self.repeats} repeats need folds: give their number, too, such as 5; one split is not repeated"
            )
        return self


class AuditRecipe(Settings):
    """Everything that decides an audit besides the data. Written to findings.json whole."""

    backbone: str = "mobilenet"
    weights: str = "imagenet"
    folds: int = Field(default=5, ge=2)
    seed: int = Field(default=0, ge=0, lt=2**32)
    border_px: int | None = Field(default=None, ge=1, description="width of the border; None: 8 of 128")
    within: tuple[str, ...] = Field(
        default=(), description="columns in whose strata the score is made again, such as acquired:year"
    )
    controls: bool = Field(default=True, description="train probes on whole images and on each control")
    remedies: bool = Field(
        default=False, description="measure what other ways of preparing images would bring"
    )

    @field_validator("weights", mode="before")
    @classmethod
    def _path_is_text(cls, value: object) -> object:
        return str(value) if isinstance(value, Path) else value

    @model_validator(mode="after")
    def _remedies_are_measured_by_controls(self) -> Self:
        if not self.controls and (self.remedies or self.within):
            raise ValueError("without controls no probe is trained, which remedies and within need")
        return self
