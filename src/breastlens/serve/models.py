"""The models of the service by name: each checked before it is believed, new versions taken while it runs."""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.errors import BreastLensError, BundleError, DataError
from breastlens.imaging.preprocess import PreparedImage
from breastlens.inference.activation_map import Explanation, explain_row
from breastlens.inference.predictor import Predictor
from breastlens.inference.thumbnails import read_thumbnails
from breastlens.models.bundle import CARD, FIGURES, Bundle, copy_bundle, find_bundle, load_bundle
from breastlens.serve.pictures import encode_layer
from breastlens.serve.signature import FIGURES_NAME, are_figures_signed, require_signature
from breastlens.serve.signature import NAME as SIGNATURE

logger = logging.getLogger(__name__)

_MOST_FEATURES = 2**18
_MOST_MAP_CELLS = 2**22

Row = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class ModelSource:
    """Where a model lies.

    Attributes:
        name: What clients call it.
        directory: A bundle, or a run directory that holds one.
        public_key: Of whoever has to have signed it; None where no signature is asked for.
    """

    name: str
    directory: Path
    public_key: bytes | None = None


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One version of one model, ready to answer.

    Attributes:
        name: What clients call it.
        predictor: The model.
        figures: What its training run found of it; None where that is not known.
        thumbnails: JPEG pictures of training images by number, where their maker gave them along.
    """

    name: str
    predictor: Predictor
    figures: dict[str, Any] | None
    thumbnails: Mapping[int, bytes]

    @property
    def bundle(self) -> Bundle:
        """The saved model."""
        return self.predictor.bundle

    @property
    def version(self) -> str:
        """Names the model exactly: twelve digits of the SHA-256 over everything it consists of."""
        return self.bundle.version[:12]

    def explain(self, image: PreparedImage, row: Row) -> Explanation | None:
        """Which places of an image influenced its score; None from a model that cannot tell."""
        if "activation_constant" not in row:
            return None
        return explain_row(image, self.bundle.card.image, row)


def load_model(source: ModelSource) -> ServedModel:
    """Load a model and see that it works; of its files only the graph, its weights and plain arrays are read.

    It is copied first to a folder of this process's own, which is gone afterwards: so what is used is what was checked,
    and whoever replaces files in its place meanwhile changes nothing.

    Raises:
        BundleError: It is missing, damaged, altered, not signed, or gives other outputs than a model of ours.
    """
    directory = find_bundle(source.directory)
    with tempfile.TemporaryDirectory(prefix="breastlens-") as name:
        copy = Path(name)
        copy_bundle(directory, copy, (FIGURES, SIGNATURE, FIGURES_NAME))
        try:
            return _load(source, copy)
        except BundleError as error:
            raise BundleError(str(error).replace(name, str(directory))) from error
        except Exception as error:  # whatever a strange file does to a library
            raise BundleError(
                f"{directory} cannot be used as a model: {type(error).__name__} while it was loaded"
            ) from error


def _load(source: ModelSource, directory: Path) -> ServedModel:
    key = source.public_key
    check = {} if key is None else {"check_card": require_signature(directory, key)}
    bundle = load_bundle(directory, keras_model=False, **check)
    path = bundle.thumbnails_path
    thumbnails = {} if path is None else read_thumbnails(path)
    model = ServedModel(source.name, Predictor(bundle), _read_figures(directory, key), thumbnails)
    _try(model)
    return model


def _try(model: ServedModel) -> None:
    """Answer a grey square, whole.

    Raises:
        BundleError: The network does not take or give what its card says.
    """
    bundle, side = model.bundle, model.bundle.card.image.image_size
    if bundle.engine.image_size != side:
        raise BundleError(
            f"{bundle.directory}: its graph takes {bundle.engine.image_size} px, its card says {side}"
        )
    image = PreparedImage(np.full((side, side, 3), 128, np.uint8), 0.0, 255.0, None, (side, side))
    [row] = bundle.engine.stream(image.pixels[np.newaxis])
    sizes = {name: values.size for name, values in row.items()}
    if sizes.get("score") != 1 or not 0 <= row["score"].item() <= 1:
        raise BundleError(f"{bundle.directory}: its graph gives no score from 0 to 1")
    if sizes.get("features", 0) > _MOST_FEATURES or sizes.get("activation_map", 0) > _MOST_MAP_CELLS:
        raise BundleError(f"{bundle.directory}: its graph gives more than a model of ours does")
    model.predictor.conclude([image], [row], similar=1)
    explanation = model.explain(image, row)
    if explanation is not None:
        encode_layer(explanation)


def _read_figures(directory: Path, public_key: bytes | None) -> dict[str, Any] | None:
    path = directory / FIGURES
    if not path.exists():
        return None
    if public_key is not None and not are_figures_signed(directory, public_key):
        logger.warning(
            "%s of a model has no %s by the key of --public-key and is not shown", FIGURES, FIGURES_NAME
        )
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError):
        logger.warning("%s of a model cannot be read and is not shown", FIGURES)
        return None
    return found if isinstance(found, dict) and found.keys() >= _SHOWN else None


_SHOWN = {"verdict", "meaning", "key_figures", "metrics", "controls", "doubts", "judged_on"}
"""What the page shows of the figures."""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


class ModelTable:
    """The models that are served; each name stands for the newest version that could be loaded."""

    def __init__(self, sources: Sequence[ModelSource]) -> None:
        """Load all of them.

        Raises:
            BundleError: One cannot be used.
        """
        self._sources = {source.name: source for source in sources}
        self._seen = {name: _look_at(source) for name, source in self._sources.items()}
        self._models = {name: load_model(source) for name, source in self._sources.items()}
        self._refused: dict[str, str] = {}

    @property
    def names(self) -> list[str]:
        """What clients may ask for, the default first."""
        return list(self._models)

    def get(self, name: str | None) -> ServedModel | None:
        """The model of a name; the first where none is given; None where there is no such."""
        return self._models.get(name or self.names[0])

    async def refresh(self) -> list[str]:
        """Load what has changed on disk; a version that cannot be loaded changes nothing but is logged.

        Returns:
            The names of the models that are new.
        """
        changed = []
        for name, source in self._sources.items():
            looks = _look_at(source)
            if looks is None or looks == self._seen[name]:
                continue
            try:
                model = await asyncio.to_thread(load_model, source)
            except BreastLensError as error:  # perhaps it is still being copied: it is tried again
                if self._refused.get(name) != str(error):
                    logger.warning("the new version of model %s is not used: %s", name, error)
                self._refused[name] = str(error)
                continue
            self._seen[name] = looks
            self._refused.pop(name, None)
            self._models[name] = model
            logger.info("model %s is now of version %s", name, model.version)
            changed.append(name)
        return changed


def _look_at(source: ModelSource) -> tuple[int, ...] | None:
    """What changes when a bundle is replaced; None while it is away."""
    found: list[int] = []
    folder = find_bundle(source.directory)
    try:
        for name in (CARD, FIGURES, FIGURES_NAME):
            status = (folder / name).stat()
            found += status.st_ino, status.st_mtime_ns, status.st_size
    except OSError:
        return tuple(found) or None
    return tuple(found)


def name_sources(given: Iterable[str], public_key: bytes | None = None) -> list[ModelSource]:
    """Read ``NAME=DIRECTORY`` or ``DIRECTORY``, whose own name then is the model's.

    Raises:
        DataError: A name is none, or is given twice.
    """
    sources: dict[str, ModelSource] = {}
    for text in given:
        name, equals, place = text.partition("=")
        directory = Path(place if equals else text)
        if not equals:
            resolved = directory.resolve()
            name = resolved.parent.name if resolved.name == "model" else resolved.name
        if not name or not all(letter.isalnum() or letter in "-_." for letter in name) or len(name) > 64:
            raise DataError(
                f"{text}: {name!r} is no name of a model; say NAME={directory}, of letters, digits and -_."
            )
        if name in sources:
            raise DataError(f"two models are called {name}: say NAME=DIRECTORY for each")
        sources[name] = ModelSource(name, directory, public_key)
    return list(sources.values())
