"""Compiled networks on disk, found again by what was compiled, on which processor and how."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from breastlens.cache_folder import cache_folder, empty, remove, shrink, size_bytes, used_now
from breastlens.whole_files import write_whole

logger = logging.getLogger(__name__)

LIMIT_BYTES = 32 * 2**20
"""An entry holds no weights and takes 0.1 to 0.6 MB."""

_SUFFIX = ".compiled"
_PATTERN = f"*{_SUFFIX}"
_DIGEST_BYTES = 32


def load_compiled(core: Any, graph: Path, content: str, settings: Mapping[str, Any]) -> Any | None:
    """Find a compiled network, or None where it has to be compiled.

    An entry is checked against its own SHA-256 before OpenVINO is given one byte of it, so that a file that was cut
    short or damaged cannot do harm; it is removed.

    Args:
        core: ``openvino.Core``.
        graph: The ``.xml``; the ``.bin`` beside it holds the weights that the entry refers to.
        content: What decides graph and weights, for example their hashes. The caller vouches that the files are those.
        settings: How it is compiled; see ``entry_settings``.

    Returns:
        ``openvino.CompiledModel``, or None.
    """
    entry = _entry(core, content, settings)
    try:
        stored = entry.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.warning("%s cannot be read: %s", entry, error.strerror or error)
        return None
    digest, body = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        _discard(entry, "its checksum differs")
        return None
    try:
        compiled = core.import_model(
            body, "CPU", entry_settings(settings) | {"WEIGHTS_PATH": str(graph.with_suffix(".bin"))}
        )
    except RuntimeError as error:
        _discard(entry, str(error).strip().splitlines()[-1])
        return None
    used_now(entry)
    return compiled


def keep_compiled(core: Any, compiled: Any, content: str, settings: Mapping[str, Any]) -> None:
    """Store a network that was compiled with ``entry_settings``; where that is not possible, say so in the log.

    It is written under a temporary name and renamed when it is whole, so that no other process ever reads half of it.

    Args:
        core: ``openvino.Core``.
        compiled: ``openvino.CompiledModel``.
        content: As for ``load_compiled``.
        settings: As for ``load_compiled``.
    """
    entry = _entry(core, content, settings)
    try:
        body = compiled.export_model().getvalue()
        write_whole(entry, [hashlib.sha256(body).digest(), body])
        shrink(_folder(), _PATTERN, LIMIT_BYTES, keep=entry)
    except (OSError, RuntimeError) as error:
        logger.warning("%s: a compiled network was not kept for the next time: %s", entry.parent, error)


def entry_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings to compile with so that what is exported refers to the weights' file instead of holding it."""
    return {**settings, "CACHE_MODE": "OPTIMIZE_SIZE"}


def clear_compiled() -> int:
    """Remove everything; gives how many bytes that were."""
    before = compiled_size()
    empty(_folder(), _PATTERN)
    return before - compiled_size()


def compiled_size() -> int:
    """Bytes on disk."""
    return size_bytes(_folder(), _PATTERN)


def _folder() -> Path:
    return cache_folder() / "compiled"


def _entry(core: Any, content: str, settings: Mapping[str, Any]) -> Path:
    """The file of a network: another version, processor, number of threads or precision has another one."""
    versions = core.get_versions("CPU")["CPU"]
    machine = [core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
    key = json.dumps([content, str(versions.build_number), *machine, sorted(settings.items())], default=str)
    return _folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}{_SUFFIX}"


def _discard(entry: Path, reason: str) -> None:
    logger.warning("%s is damaged and compiled anew: %s", entry, reason)
    remove(entry)
