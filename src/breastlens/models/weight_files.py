"""Weights files as mappings from layer name to arrays: ``.weights.h5``, Keras 2 style ``.h5``, ``.keras``."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from breastlens.errors import WeightsError
from breastlens.models._keras import import_keras

SUFFIXES = (".weights.h5", ".h5", ".hdf5", ".keras")

Stored = Mapping[str, Sequence[Any]]
"""Layer name to its arrays (anything with a shape that NumPy can read), in Keras's order."""


@contextlib.contextmanager
def open_weights(network: Any, path: Path) -> Iterator[Stored]:
    """Open a weights file, whichever of the three kinds it is, and give its weighted layers by name.

    Args:
        network: ``keras.Model`` that the weights are for; it names the layers where the file does not.
        path: The file; it is closed when the block ends.

    Raises:
        WeightsError: The file cannot be read, or holds no Keras weights.
    """
    import h5py

    if path.suffix == ".keras":
        yield layer_arrays(load_keras_file(path))
        return
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise WeightsError(f"{path} cannot be read as HDF5: {first_line(error)}") from error
    with file:
        group = file.get("model_weights", file)
        if "layer_names" in group.attrs:
            yield _keras2_layers(group)
        elif "layers" in file:
            yield _keras3_layers(file["layers"], _keys_by_position(network))
        else:
            raise WeightsError(
                f"{path} is HDF5 without Keras weights: expected 'layers' or 'layer_names' in it"
            )


def layer_arrays(model: Any) -> dict[str, list[np.ndarray]]:
    """The weighted layers of a Keras model by name; models nested in it are opened."""
    found: dict[str, list[np.ndarray]] = {}
    for layer in model.layers:
        if hasattr(layer, "layers"):
            found |= layer_arrays(layer)
        elif layer.weights:
            found[layer.name] = layer.get_weights()
    return found


def load_keras_file(path: Path) -> Any:
    """Load a whole model in safe mode, so that no code in the file can run."""
    try:
        return import_keras().models.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise WeightsError(f"{path} cannot be read as a Keras model: {first_line(error)}") from error


def _keras3_layers(layers: Any, names: Mapping[str, str]) -> dict[str, list[Any]]:
    """The layers of a ``.weights.h5``, where a group is called by class and count and says its layer's name.

    Args:
        layers: The HDF5 group ``layers``.
        names: Group to layer name, for files of early Keras 3, which say no names.
    """
    stored: dict[str, list[Any]] = {}
    for key, group in layers.items():
        if "layers" in group:
            stored |= _keras3_layers(group["layers"], names)
        elif arrays := group.get("vars"):
            name = arrays.attrs.get("name", names.get(key, key))
            stored[str(name)] = [arrays[str(index)] for index in range(len(arrays))]
    return stored


def _keys_by_position(network: Any) -> dict[str, str]:
    """The group in which Keras 3 saves each layer, such as ``conv2d_7``, to the layer's name."""
    names: dict[str, str] = {}
    counts: dict[str, int] = {}
    for layer in network.layers:
        kind = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
        kind = re.sub(r"([a-z])([A-Z])", r"\1_\2", kind).lower()
        count = counts.get(kind, 0)
        names[f"{kind}_{count}" if count else kind] = layer.name
        counts[kind] = count + 1
    return names


def _keras2_layers(group: Any) -> dict[str, list[Any]]:
    """The layers of a Keras 2 ``.h5``; a nested model is one group, its weights named after its layers."""
    stored: dict[str, list[Any]] = {}
    for group_name in _texts(group.attrs["layer_names"]):
        entry = group[group_name]
        for weight_name in _texts(entry.attrs["weight_names"]):
            parts = weight_name.split("/")
            name = parts[-2] if len(parts) > 1 else group_name
            stored.setdefault(name, []).append(entry[weight_name])
    return stored


def _texts(values: Any) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def first_line(error: BaseException) -> str:
    """The first line of an error's text, for a message that has to stay one line."""
    return str(error).strip().partition("\n")[0]
