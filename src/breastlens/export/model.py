"""One export from beginning to end: written, run by its own runtime, held to the bundle, and only then kept."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from breastlens.errors import BreastLensError, DataError, ExportError
from breastlens.export.check import compare, last_line, require_equal, run_exported
from breastlens.export.convert import Batch, score_network
from breastlens.export.describe import describe_export
from breastlens.export.example import write_example
from breastlens.export.formats import Format, get_format
from breastlens.export.images import choose_images
from breastlens.models._keras import import_keras
from breastlens.models._openvino import import_openvino
from breastlens.models.bundle import Bundle, load_bundle
from breastlens.progress import Progress
from breastlens.runs.directory import first_free, new_directory, write_json

JSON_NAME = "export.json"


@dataclass(frozen=True)
class Exported:
    """What an export left.

    Attributes:
        directory: Where.
        facts: The content of ``export.json``.
    """

    directory: Path
    facts: dict[str, Any]


def export_model(
    model: str | Path,
    format: str,  # noqa: A002  as the option is called
    *,
    out: str | Path | None = None,
    batch: int | None = None,
    images: Sequence[str | Path] = (),
    progress: Progress | None = None,
) -> Exported:
    """Write a saved model in another format, and keep it only if its own runtime gives the bundle's scores.

    The exported network takes uint8 squares, RGB, and gives the calibrated probability of positive.

    Args:
        model: A run or bundle directory.
        format: ``onnx``, ``openvino``, ``litert`` or ``savedmodel``.
        out: The directory to make; None: ``runs/MODEL-FORMAT-N`` with the first free number.
        batch: How many images a call takes; None: any number.
        images: Files and folders to check it on; none: those of the run where they can be reached, else simulated ones.
        progress: Where to tell how far it is.

    Raises:
        BundleError: The directory holds no model that is whole.
        DataError: The format is unknown, the batch is no positive number, or no image can be read.
        ExportError: It cannot be converted, its runtime cannot run it, or a score differs by more than 1e-4; nothing
            is left behind.
        MissingDependencyError: A package that the format needs is not installed.
        RunDirectoryError: The directory exists or cannot be written.
    """
    progress = progress or Progress()
    chosen = get_format(format)
    if batch is not None and batch < 1:
        raise DataError(f"--batch takes free or a number of images, 1 or more, received {batch}")
    chosen.require()
    model = Path(model)
    bundle = load_bundle(model, keras_model=chosen.from_keras)
    if out is None:
        out = first_free(Path("runs"), f"{model.resolve().name}-{chosen.name}")
    out = Path(out)
    with new_directory(out) as unfinished:
        shown = choose_images(model, [Path(path) for path in images], bundle.card.image)
        with progress.task(f"convert to {chosen.name}", 1) as advance:
            source = _convert(bundle, chosen, unfinished, batch)
            advance(1)
        with progress.task(f"check in {chosen.title}", len(shown.pixels)) as advance:
            opened, scores = run_exported(chosen, unfinished, shown, batch)
            check = compare(bundle, chosen, source, shown, scores)
            advance(len(shown.pixels))
        require_equal(check, chosen)
        write_example(unfinished, chosen.name, bundle.card, batch)
        files = {
            path.relative_to(unfinished).as_posix(): {
                "bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in sorted(unfinished.rglob("*"))
            if path.is_file()
        }
        facts = describe_export(bundle, chosen, batch, opened, files, check, _now())
        write_json(unfinished / JSON_NAME, facts)
    return Exported(out, facts)


def _convert(bundle: Bundle, chosen: Format, folder: Path, batch: Batch) -> Any:
    """Write the files, and give what they were made of: the Keras network, or the OpenVINO graph.

    Raises:
        ExportError: The bundle's network cannot be read, or not be converted.
    """
    try:
        if chosen.from_keras:
            loaded = import_keras().models.load_model(bundle.keras_path, compile=False, safe_mode=True)
            source = score_network(loaded)
        else:
            source = import_openvino().Core().read_model(bundle.graph_path)
        chosen.write(source, folder, batch)
    except (OSError, BreastLensError):
        raise
    except Exception as error:
        raise ExportError(f"this model cannot be converted to {chosen.name}: {last_line(error)}") from error
    return source


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
