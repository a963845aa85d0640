"""Options that several commands share, and how their text becomes settings."""

from __future__ import annotations

import functools
import inspect
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from breastlens.cli.reading import Source
from breastlens.config import Augmentation, ImageRecipe
from breastlens.errors import DataError
from breastlens.runs.settings import checked

if TYPE_CHECKING:
    from breastlens.models.feature_cache import FeatureCache

# Options that say what the data is, shared by every command that reads DATA.
DataPath = Annotated[
    Path, typer.Argument(metavar="DATA", help="Folder with a subfolder a category.", show_default=False)
]
OptionalDataPath = Annotated[
    Path | None,
    typer.Argument(metavar="DATA", help="Folder with a subfolder a category.", show_default=False),
]
ManifestPath = Annotated[
    Path | None,
    typer.Option(
        "--manifest", metavar="CSV", help="Columns path, category; optional patient_id, split, any other."
    ),
]
PatientPattern = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX", help="Patient id from the path: a regular expression with (?P<patient_id>...)."
    ),
]
Positive = Annotated[
    list[str] | None,
    typer.Option(
        "--positive", metavar="NAME", help="Category that is looked for; repeatable. [default: sick]"
    ),
]
Negative = Annotated[
    list[str] | None,
    typer.Option("--negative", metavar="NAME", help="Category against it; repeatable. [default: all others]"),
]
# What a saved model calls its sides stands for both where neither is given.
ModelPositive = Annotated[
    list[str] | None,
    typer.Option(
        "--positive", metavar="NAME", help="Category that is looked for; repeatable. [default: the model's]"
    ),
]
ModelNegative = Annotated[
    list[str] | None,
    typer.Option(
        "--negative",
        metavar="NAME",
        help="Category against it; repeatable. [default: the model's, or with --positive all others]",
    ),
]
ExcludeWhen = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="Leave out records whose manifest column is not empty; repeatable."),
]
Subgroups = Annotated[
    list[str] | None,
    typer.Option(
        "--subgroups",
        metavar="COLUMN",
        help="Judge within strata too, such as acquired:year or age:quartile; repeatable.",
    ),
]
EveryFrame = Annotated[bool, typer.Option("--every-frame", help="One record a frame of multi-frame files.")]
Prevalence = Annotated[
    float | None,
    typer.Option(help="Share of positives where the model is to be used, such as 0.006: re-base figures."),
]
Place = Annotated[
    str,
    typer.Option(
        "--on",
        metavar="PLACE",
        help="Where the work is done: here, processes[:N] of this machine, or ray[:ADDRESS].",
    ),
]
ImageSize = Annotated[int, typer.Option(metavar="PIXELS", help="Side of the square that the network sees.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors and the answer.")]
CacheLimit = Annotated[
    float,
    typer.Option(
        "--cache-limit",
        metavar="GB",
        help="Room for features that are kept on disk for the next time; 0 keeps none.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
ModelPath = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A run directory or a bundle directory.", show_default=False)
]


def option_name(field: str) -> str:
    """The option that sets a field of the settings."""
    renamed = {
        "target_sensitivity": "sensitivity",
        "target_specificity": "specificity",
        "augmentation": "augment",
        "file_format": "format",
    }
    return f"--{renamed.get(field, field).replace('_', '-')}"


def read_image_recipe(
    image_size: ImageSize = 128,
    fit: Annotated[
        str, typer.Option(help="stretch or letterbox: how an image becomes a square.")
    ] = "stretch",
    crop: Annotated[
        str, typer.Option(help="none or body: crop to the largest warm or bright component first.")
    ] = "none",
    hide_marks: Annotated[
        bool,
        typer.Option("--hide-marks", help="Paint over letters, crosses, lines and marker squares first."),
    ] = False,
    normalise: Annotated[
        str, typer.Option(help="none or per-image: give every image the same mean and spread of grey levels.")
    ] = "none",
    hide_border: Annotated[
        bool, typer.Option("--hide-border", help="Paint the outermost 8 of 128 pixels of the square black.")
    ] = False,
    temperature_range: Annotated[
        tuple[float, float],
        typer.Option(metavar="LOW HIGH", help="deg C that become black and white in matrices."),
    ] = (20.0, 38.0),
) -> ImageRecipe:
    """How images are prepared, from the options that say so: each is an argument here.

    Raises:
        DataError: A value is not valid; the message names the option.
    """
    return checked(ImageRecipe, dict(locals()), option_name)


def read_source(
    manifest: ManifestPath = None,
    patient_pattern: PatientPattern = None,
    positive: Positive = None,
    negative: Negative = None,
    exclude_when: ExcludeWhen = None,
    every_frame: EveryFrame = False,
) -> Source:
    """Which images of DATA there are, whose and of which side, from the options that say so."""
    return Source(
        manifest,
        patient_pattern,
        positive=tuple(positive or ("sick",)),
        negative=tuple(negative or ()),
        exclude_when=tuple(exclude_when or ()),
        every_frame=every_frame,
    )


_GATHERED: dict[str, Callable[..., Any]] = {"image": read_image_recipe, "source": read_source}


def gathers_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command all options of `read_image_recipe` in the place of its argument ``image``.

    And those of `read_source` in the place of ``source``. So they are listed and read in one place, whichever commands
    have them.
    """
    asked: dict[str, Mapping[str, inspect.Parameter]] = {}
    options: dict[str, inspect.Parameter] = {}
    for name, own in inspect.signature(command, eval_str=True).parameters.items():
        if name in _GATHERED:
            asked[name] = inspect.signature(_GATHERED[name], eval_str=True).parameters
        options |= asked.get(name, {name: own})

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for name, parts in asked.items():
            values[name] = _GATHERED[name](**{part: values.pop(part) for part in parts})
        command(**values)

    # Typer looks at both.
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options.values()]
    )
    run.__annotations__ = {name: option.annotation for name, option in options.items()}
    return run


def read_names(option: str, text: str) -> tuple[str, ...]:
    """Names from text like ``vgg16,mobilenet:0.75``.

    Raises:
        DataError: There is none.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise DataError(f"{option} takes names with commas between them, received {text!r}")
    return names


def read_split(text: str) -> tuple[float, ...]:
    """Three shares from text like ``0.7,0.15,0.15``.

    Raises:
        DataError: There are not three numbers.
    """
    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError:
        shares = ()
    if len(shares) != 3:
        raise DataError(f"--split takes three shares such as 0.6,0.2,0.2, received {text!r}")
    return shares


def read_augmentation(pairs: list[str] | None) -> Augmentation | None:
    """Augmentation from ``name=value`` pairs; None where nothing was said, so that the default holds.

    A range is two numbers with a comma: ``brightness_range=0.8,1.2``. ``none`` alone switches augmentation off.

    Raises:
        DataError: A pair has no ``=``, an unknown name or an impossible value.
    """
    if not pairs:
        return None
    if pairs == ["none"]:
        return Augmentation()
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in Augmentation.model_fields:
            known = ", ".join(Augmentation.model_fields)
            raise DataError(f"--augment takes NAME=VALUE or none, received {pair!r}; names: {known}")
        values[name] = tuple(value.split(",")) if "," in value else value
    return checked(Augmentation, values, lambda field: f"--augment {field}")


def open_cache(limit_gb: float) -> FeatureCache:
    """The cache of features in the user's cache folder, with the room that was given.

    Raises:
        DataError: The room is no number of gigabytes.
    """
    from breastlens.models.feature_cache import FeatureCache

    if not 0 <= limit_gb < math.inf:
        raise DataError(f"--cache-limit takes gigabytes, 0 or more, received {limit_gb:g}")
    return FeatureCache(limit_bytes=int(limit_gb * 1e9))


def command_line() -> tuple[str, ...]:
    """The command as it was typed, for run.json."""
    return ("breastlens", *sys.argv[1:])
