"""The bundle: a saved model with everything needed to use it, checked before it is believed."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field, ValidationError

from breastlens.config import ImageRecipe, LabelMap, Precision, Settings
from breastlens.errors import BundleError
from breastlens.evaluation.by_patient import PatientPoint, PatientRule
from breastlens.evaluation.calibration import Calibration
from breastlens.evaluation.thresholds import OperatingPoint
from breastlens.models.abstention import Abstention
from breastlens.models.engine import Engine, save_graph

FORMAT: Literal[1] = 1
RESEARCH_NOTICE = (
    "For research use only. Not a medical device: not for diagnosis, screening or any decision about a "
    "patient's care."
)
CARD = "bundle.json"
_KERAS = "model.keras"
_GRAPH = "model.xml"
_GRAPH_WEIGHTS = "model.bin"
_FILES = (_KERAS, _GRAPH, _GRAPH_WEIGHTS)
REFERENCE = "reference.npz"
"""What novelty is measured from; bundles from before that have none."""

THUMBNAILS = "thumbnails.npz"
"""Small pictures of the training images, where their maker allowed that."""

FIGURES = "figures.json"
"""How well the model does, for who uses it; bundle.json does not vouch for it, since it is written after the model."""

_PIECE_BYTES = 2**20
_MOST_SMALL_BYTES = 4 * 2**20
_MOST_BYTES = {
    CARD: 64 * 2**20,
    _KERAS: 4 * 2**30,
    _GRAPH: 64 * 2**20,
    _GRAPH_WEIGHTS: 4 * 2**30,
    REFERENCE: 2**30,
    THUMBNAILS: 2**30,
}
"""Of each file; a larger one is no bundle's."""


_DIGITS = 10
"""Of a pixel hash: two different images agree in them once in 10**12 pairs."""


def shorten_hashes(pixels_sha256: Iterable[str]) -> tuple[str, ...]:
    """The pixel hashes of images as a bundle keeps them: shortened, sorted, each once."""
    return tuple(sorted({value[:_DIGITS] for value in pixels_sha256}))


class BundleCard(Settings):
    """What bundle.json says of a saved model."""

    format: Literal[1] = Field(default=FORMAT, description="raised when older readers would misread a bundle")
    created: str = Field(description="ISO 8601 with time zone")
    backbone: str = Field(description="name in the registry, for example mobilenet:0.75")
    image: ImageRecipe
    labels: LabelMap
    categories: tuple[str, ...] = Field(
        description="every category of the training data, in the labels or not"
    )
    precision: Precision = Field(
        default="fp32",
        description="what the network computes with; the graph of int8 is quantised, bf16 is the graph of fp32",
    )
    threshold: float = Field(ge=0, le=1, description="a score at or above it is called positive")
    threshold_rule: str = Field(description="how the threshold was chosen, in words")
    abstention: Abstention | None = Field(
        default=None,
        description="when the model does not answer; None in bundles from before it could decline",
    )
    operating_points: tuple[OperatingPoint, ...] = Field(
        default=(), description="the one in use, then others that may be chosen instead"
    )
    calibration: Calibration = Field(
        default=Calibration(), description="what is in the network already; undone it gives raw log-odds"
    )
    training_prevalence: float | None = Field(
        default=None, gt=0, lt=1, description="share of positives that the probabilities are made for"
    )
    patient_rule: PatientRule = Field(
        default="mean", description="how the scores of a patient's images become the patient's"
    )
    patient_threshold: float | None = Field(
        default=None, ge=0, le=1, description="for a patient's score; None: that of images"
    )
    data_fingerprint: str = Field(description="SHA-256 over the training data")
    learnt_from: tuple[str, ...] = Field(
        default=(),
        description="for each image of training and validation the first ten digits of the SHA-256 of its pixels, so "
        "that an evaluation on the same images can be told from one on others; sorted, no image can be had from it",
    )
    versions: dict[str, str] = Field(description="of BreastLens and of the libraries that made the model")
    files: dict[str, str] = Field(
        default={}, description="SHA-256 of each file; filled in when the bundle is saved"
    )
    notice: str = RESEARCH_NOTICE

    @property
    def patient_point(self) -> PatientPoint | None:
        """How patients are scored and called; None: by means."""
        if self.patient_threshold is None:
            return None
        return PatientPoint(self.patient_rule, self.patient_threshold, {})


class Bundle:
    """A saved model that was found whole.

    Attributes:
        card: What bundle.json says.
        directory: Where it lies.
        version: SHA-256 of bundle.json, which holds those of all other files: it names the model exactly.
    """

    def __init__(self, card: BundleCard, directory: Path, version: str) -> None:
        self.card = card
        self.directory = directory
        self.version = version

    @functools.cached_property
    def engine(self) -> Engine:
        """The compiled network; made on first use, or found in the user's cache folder."""
        return Engine.load(
            self.graph_path,
            precision="bf16" if self.card.precision == "bf16" else "fp32",
            content=" ".join(self.card.files[name] for name in (_GRAPH, _GRAPH_WEIGHTS)),
        )

    @property
    def reference_path(self) -> Path | None:
        """What novelty is measured from; None where the bundle has no such file."""
        return None if self.card.abstention is None else self.directory / REFERENCE

    @property
    def thumbnails_path(self) -> Path | None:
        """Small pictures of the training images; None where the bundle carries none."""
        return self.directory / THUMBNAILS if THUMBNAILS in self.card.files else None

    @property
    def graph_path(self) -> Path:
        """The network as OpenVINO reads it; its weights stand beside it."""
        return self.directory / _GRAPH

    @property
    def keras_path(self) -> Path:
        """The model as Keras saved it, for export and for training on."""
        return self.directory / _KERAS


def save_bundle(
    directory: Path,
    keras_model: Any,
    graph: Any,
    card: BundleCard,
    further: Mapping[str, bytes] = MappingProxyType({}),
) -> Bundle:
    """Write a bundle; bundle.json goes last, so a directory that has it is whole.

    Args:
        directory: Made where it does not exist.
        keras_model: A classifier from ``build_classifier``, for export and for training on.
        graph: What ``convert`` or ``quantise`` made of it, for use; its outputs have ``score`` among them.
        card: What to say of it; its ``files`` are filled in.
        further: The content of other files by name: ``REFERENCE``, where the card says when the model does not answer,
            and ``THUMBNAILS``.

    Raises:
        BundleError: The directory holds files already.
        OSError: It cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise BundleError(f"{directory} is not empty: a bundle is saved to a new or empty directory")
    keras_model.save(directory / _KERAS)
    save_graph(graph, directory / _GRAPH)
    for name, content in further.items():
        (directory / name).write_bytes(content)
    names = (*_FILES, *further)
    complete = card.model_copy(update={"files": {name: _sha256(directory / name) for name in names}})
    written = (complete.model_dump_json(indent=2) + "\n").encode()
    (directory / CARD).write_bytes(written)
    return Bundle(complete, directory, hashlib.sha256(written).hexdigest())


def copy_bundle(directory: Path, target: Path, further: Iterable[str] = ()) -> None:
    """Copy what using a bundle needs, each file read once, so that what is checked then is what is used.

    Args:
        directory: The bundle.
        target: An empty folder that nobody else writes to.
        further: Names of other small files to take along, where they are.

    Raises:
        BundleError: A file is missing, a link, or larger than such a file may be.
    """
    try:
        for name in (CARD, _GRAPH, _GRAPH_WEIGHTS):
            _copy(directory / name, target / name, _MOST_BYTES[name])
        for name in (REFERENCE, THUMBNAILS, *further):
            path = directory / name
            if path.is_symlink() or path.exists():
                _copy(path, target / name, _MOST_BYTES.get(name, _MOST_SMALL_BYTES))
    except OSError as error:
        raise BundleError(f"{directory}: the bundle cannot be read: {error.strerror or error}") from error


def _copy(path: Path, target: Path, most_bytes: int) -> None:
    _regular(path)
    with path.open("rb") as source, target.open("xb") as copy:
        left = most_bytes
        while piece := source.read(min(left + 1, _PIECE_BYTES)):
            left -= len(piece)
            if left < 0:
                raise BundleError(f"{path} has more than the {most_bytes} bytes that such a file may have")
            copy.write(piece)


def find_bundle(directory: Path) -> Path:
    """The bundle itself, where a directory is one or is a run directory that has it as ``model/``."""
    if not (directory / CARD).exists() and (directory / "model" / CARD).exists():
        return directory / "model"
    return directory


def load_bundle(
    directory: Path, *, keras_model: bool = True, check_card: Callable[[bytes], None] = lambda content: None
) -> Bundle:
    """Read a bundle and check it; imports neither Keras nor TensorFlow.

    The check finds damage and mix-ups. It cannot find forgery: whoever can change a model can change
    bundle.json too.

    Args:
        directory: The bundle, or a run directory that has it as ``model/``.
        keras_model: Whether Keras's own file has to be there, too. Whoever only uses the model never opens it.
        check_card: Given the content of bundle.json before anything is made of it; it may refuse it.

    Raises:
        BundleError: Missing, incomplete, damaged, altered, or of a newer format.
    """
    directory = find_bundle(directory)
    try:
        content = _read_whole(directory / CARD)
        check_card(content)
        card = _parse_card(directory / CARD, content)
        names = [name for name in _FILES if keras_model or name != _KERAS]
        names += [REFERENCE] if card.abstention is not None else []
        names += [THUMBNAILS] if THUMBNAILS in card.files else []
        for name in names:
            if _sha256(_regular(directory / name)) != card.files.get(name):
                raise BundleError(
                    f"{directory / name} is not the file that was saved (its SHA-256 differs from {CARD}): "
                    "copy the bundle again from its source, or train anew"
                )
    except OSError as error:
        raise BundleError(f"{directory}: the bundle cannot be read: {error.strerror or error}") from error
    return Bundle(card, directory, hashlib.sha256(content).hexdigest())


def _read_whole(path: Path) -> bytes:
    return _regular(path).read_bytes()


def _parse_card(path: Path, written_bytes: bytes) -> BundleCard:
    try:
        content = json.loads(written_bytes.decode("utf-8"))
    except ValueError as error:
        raise BundleError(f"{path} is damaged: expected JSON with a 'format', {error}") from error
    if not isinstance(content, dict) or "format" not in content:
        raise BundleError(f"{path} is damaged: expected a JSON object with a 'format'")
    written = content["format"]
    if isinstance(written, int) and written > FORMAT:
        raise BundleError(
            f"{path} is of format {written}; this BreastLens reads up to {FORMAT}: update it with "
            "pip install --upgrade breastlens"
        )
    try:
        return BundleCard.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise BundleError(f"{path} is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _regular(path: Path) -> Path:
    """The path, if a plain file is there; a link could lead to a file outside the bundle."""
    if path.is_symlink():
        raise BundleError(f"{path} is a link: a bundle holds its own files only")
    if not path.is_file():
        raise BundleError(
            f"no {path.name} in {path.parent}: expected a run or a bundle directory that train has finished"
        )
    size, most = path.stat().st_size, _MOST_BYTES.get(path.name, _MOST_SMALL_BYTES)
    if size > most:
        raise BundleError(f"{path} has {size} bytes, more than the {most} that such a file may have")
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
