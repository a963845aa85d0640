"""Pretrained weights: where they come from, whether they fit, and how they get into a network."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from breastlens.errors import WeightsError
from breastlens.models._keras import import_keras
from breastlens.models.backbones import PUBLISHED_ALPHAS, Backbone, list_backbones
from breastlens.models.weight_files import SUFFIXES, Stored, first_line, layer_arrays, open_weights

_SILENCE_S = 15.0
_TOP_CONVOLUTIONS = frozenset({"conv_preds", "conv_2", "logits"})


@dataclass(frozen=True)
class WeightsSource:
    """Where the starting weights of a training come from, settled before anything is built.

    Attributes:
        kind: ``imagenet`` (Keras's own download), ``none`` (random) or ``file``.
        path: The file, where there is one.
        description: For run.json and reports: ``ImageNet (Keras)``, ``none`` or the file's name.
        sha256: Of the file, where there is one.
    """

    kind: Literal["imagenet", "none", "file"]
    path: Path | None
    description: str
    sha256: str | None


def resolve_weights(weights: str | Path, backbone: Backbone) -> WeightsSource:
    """Settle what ``--weights`` means for one backbone, without building anything.

    Args:
        weights: ``imagenet``, ``none``, a file, or a folder with one file a backbone, found by its name
            (for example ``vgg16_notop.weights.h5`` or ``mobilenet_v1_alpha0.75.h5``).
        backbone: Whose weights are wanted.

    Raises:
        WeightsError: No such file or folder, an unknown kind of file, or not exactly one match in the
            folder.
    """
    if weights == "imagenet":
        return WeightsSource("imagenet", None, "ImageNet (Keras)", None)
    if weights == "none":
        return WeightsSource("none", None, "none", None)
    path = Path(weights)
    if path.is_dir():
        path = _find_in_folder(path, backbone)
    elif not path.is_file():
        raise WeightsError(
            f"no weights at {path}: expected 'imagenet', 'none', a weights file, or a folder of them"
        )
    if not path.name.endswith(SUFFIXES):
        raise WeightsError(f"{path} is no weights file: expected a name ending in {', '.join(SUFFIXES)}")
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    return WeightsSource("file", path, path.name, digest)


def load_backbone_weights(network: Any, backbone: Backbone, source: WeightsSource) -> None:
    """Put pretrained weights into a network from ``build_network``; ``none`` leaves it as it was built.

    Layers are matched by name, never by position alone: two layers of one shape in another order would
    fit and be wrong. All are checked before the first is changed. A classifier's top in the file is left
    aside.

    Args:
        network: ``keras.Model`` of the backbone.
        backbone: Which backbone it is.
        source: From ``resolve_weights``.

    Raises:
        WeightsError: The download is unreachable, the file cannot be read, or a layer does not fit; the
            message names the first such layer with the shapes expected and found.
    """
    if source.kind == "imagenet":
        donor = _download_imagenet(network, backbone)
        _assign(network, layer_arrays(donor), source.description, backbone)
    elif source.path is not None:
        with open_weights(network, source.path) as stored:
            _assign(network, stored, str(source.path), backbone)


def _assign(network: Any, stored: Stored, origin: str, backbone: Backbone) -> None:
    """Check every layer against what is stored, then set them all."""
    layers = [layer for layer in network.layers if layer.weights]
    for layer in layers:
        expected = [tuple(weight.shape) for weight in layer.weights]
        arrays = stored.get(layer.name)
        if arrays is None or _shapes(arrays) != expected:
            found = "no such layer" if arrays is None else _written(_shapes(arrays))
            raise WeightsError(
                f"{origin} does not fit {backbone.name}: layer {layer.name} expected {_written(expected)}, "
                f"found {found}; give weights saved from keras.applications.{backbone.keras_name}"
            )
    surplus = stored.keys() - {layer.name for layer in layers}
    for name in (name for name in stored if name in surplus and not _is_top(name, stored[name])):
        raise WeightsError(
            f"{origin} does not fit {backbone.name}: expected no layer {name}, "
            f"found {_written(_shapes(stored[name]))}; give weights saved from "
            f"keras.applications.{backbone.keras_name}"
        )
    for layer in layers:
        layer.set_weights([np.asarray(array) for array in stored[layer.name]])


def _shapes(arrays: Sequence[Any]) -> list[tuple[int, ...]]:
    return [tuple(array.shape) for array in arrays]


def _written(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join("x".join(map(str, shape)) for shape in shapes)


def _is_top(name: str, arrays: Sequence[Any]) -> bool:
    """Whether a layer belongs to a classifier's top: no convolution, or one that MobileNets end with.

    A surplus convolution elsewhere means a deeper network of the same family, such as VGG19 given for
    VGG16.
    """
    return name in _TOP_CONVOLUTIONS or all(len(array.shape) != 4 for array in arrays)


def _download_imagenet(network: Any, backbone: Backbone) -> Any:
    """Let Keras download the backbone with its ImageNet weights, or take it from Keras's cache.

    A connection that stays silent for 15 seconds ends instead of hanging, and Keras removes what it had not
    finished. Its progress goes to stderr, since stdout may be read by a program.
    """
    keras = import_keras()
    options = {} if backbone.alpha is None else {"alpha": backbone.alpha}
    timeout_s = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE_S)
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            # at sizes for which MobileNet was not trained, Keras warns and takes the weights for 224 pixels
            warnings.filterwarnings("ignore", message="`input_shape` is undefined or non-square")
            return getattr(keras.applications, backbone.keras_name)(
                include_top=False, weights="imagenet", input_shape=network.input_shape[1:], **options
            )
    except Exception as error:  # Keras raises a bare Exception when it cannot download
        ways_out = "give a file you have with --weights FILE, or start from random with --weights none"
        cut_short = _unreadable_downloads()
        if cut_short:
            raise WeightsError(
                f"the downloaded ImageNet weights {', '.join(map(str, cut_short))} are incomplete: "
                f"delete them and try again, {ways_out}"
            ) from error
        raise WeightsError(
            f"the ImageNet weights of {backbone.name} cannot be downloaded ({first_line(error)}): {ways_out}",
            brief=f"the ImageNet weights of {backbone.name} cannot be downloaded; a file of them goes with "
            "--weights FILE",
        ) from error
    finally:
        socket.setdefaulttimeout(timeout_s)


def _unreadable_downloads() -> list[Path]:
    """What killed downloads left in Keras's cache, of which it checks only some by their hash."""
    import h5py

    cache = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"
    unreadable = []
    for path in sorted(cache.glob("*.h5")):
        try:
            h5py.File(path, "r").close()
        except OSError:
            unreadable.append(path)
    return unreadable


def _find_in_folder(folder: Path, backbone: Backbone) -> Path:
    """The one weights file in a folder whose name says that it is this backbone's."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name.endswith(SUFFIXES))
    matches = [path for path in files if _is_named_after(path.name.lower(), backbone)]
    if len(matches) == 1:
        return matches[0]
    listed = ", ".join(path.name for path in (matches or files)[:8]) or "no weights file at all"
    raise WeightsError(
        f"{folder}: expected one file named after {backbone.name}, found {listed}; "
        "name the right one with --weights FILE"
    )


def _is_named_after(file_name: str, backbone: Backbone) -> bool:
    """Whether a file name speaks of this backbone: its family, and its width where the name says one."""
    squeezed = re.sub(r"[^a-z0-9]", "", file_name).replace("mobilenetv1", "mobilenet")
    families = sorted((known.name for known in list_backbones()), key=len, reverse=True)
    family = next((known for known in families if known in squeezed), None)
    if family != backbone.name.partition(":")[0]:
        return False
    said = {
        alpha
        for alpha in PUBLISHED_ALPHAS.get(family, ())
        if re.search(rf"(?<![\d.])({'|'.join(map(re.escape, _spellings(alpha)))})(?!\d)", file_name)
    }
    return not said or backbone.alpha in said


def _spellings(alpha: float) -> tuple[str, ...]:
    """How file names write a width: 0.5, 0.50, or as Keras's of the first MobileNet 5_0 (and 1_0)."""
    tenths = 1.0 if alpha == 1.0 else 10 * alpha
    return f"{alpha}", f"{alpha:.2f}", f"{tenths:.1f}".replace(".", "_")
