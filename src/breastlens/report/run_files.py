"""Reads a run directory for a page: typed facts, tables and pictures, or one line that says what is wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from breastlens.errors import RunDirectoryError
from breastlens.report.facts import (
    Activation,
    Block,
    Control,
    Facts,
    Interval,
    Matched,
    Metrics,
    Nuisance,
    RunFacts,
)

FIGURE_NAMES = ("confusion_matrix", "roc", "precision_recall", "scores", "history", "most_wrong")
_RECORD_COLUMNS = {
    "path", "category", "label", "patient_id", "split", "width", "height", "format", "bits", "excluded",
}  # fmt: skip
MAIN_BLOCKS = ("test", "out_of_fold", "external")


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
        patients: The judged part's rows of patients.csv; empty when no patient has several images.
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
    patients: pd.DataFrame
    history: pd.DataFrame
    figures: dict[str, bytes]
    further: dict[str, Any]


def read_run_files(run_dir: Path) -> RunFiles:
    """Read what a page needs from a run directory.

    Raises:
        RunDirectoryError: A needed file is missing, damaged, or of another format.
    """
    told = read_told(run_dir)
    patients = pd.DataFrame()
    if (run_dir / "patients.csv").is_file():
        patients = _read_numbers(
            run_dir,
            "patients.csv",
            {"patient_id", "split", "y_true", "decision", "prediction_set"},
            {"images": "int64", "refused": "int64", "y_score": "float64", "y_pred": "int64"},
        )
    has_history = (run_dir / "history.csv").is_file()
    return replace(
        told,
        records=_read_table(
            run_dir,
            "records.csv",
            _RECORD_COLUMNS,
        ),
        predictions=_read_predictions(run_dir, told.part),
        patients=_of_part(patients, told.part),
        history=_read_csv(run_dir, "history.csv") if has_history else pd.DataFrame(),
        figures={path.stem: path.read_bytes() for path in sorted((run_dir / "figures").glob("*.png"))},
    )


def read_told(run_dir: Path) -> RunFiles:
    """Read what run.json and metrics.json tell, which is quick; tables are empty, and there are no figures.

    That is enough for the verdict. Only where some images have no patient are the predictions read too, since
    how many of them were judged stands nowhere else.

    Raises:
        RunDirectoryError: A needed file is missing, damaged, or of another format.
    """
    if not run_dir.exists():
        raise RunDirectoryError(f"{run_dir}: there is no such run directory")
    facts = RunFacts.model_validate(_read_json(run_dir, "run.json", RunFacts))
    metrics = Metrics.model_validate(_read_json(run_dir, "metrics.json", Metrics))
    part = next((name for name in MAIN_BLOCKS if getattr(metrics, name) is not None), None)
    if part is None:
        raise RunDirectoryError(
            f"{run_dir / 'metrics.json'}: expected one of {', '.join(MAIN_BLOCKS)}, found none"
        )
    block: Block = getattr(metrics, part)
    nameless = block.patients and facts.data.images_without_patient != 0
    return RunFiles(
        facts=facts,
        part=part,
        block=block,
        validation=metrics.validation,
        controls=metrics.controls,
        corrected=metrics.corrected,
        matched=metrics.matched,
        activation=metrics.activation,
        nuisance=metrics.nuisance,
        records=pd.DataFrame(),
        predictions=_read_predictions(run_dir, part) if nameless else pd.DataFrame({"patient_id": []}),
        patients=pd.DataFrame(),
        history=pd.DataFrame(),
        figures={},
        further=metrics.model_extra or {},
    )


def _read_predictions(run_dir: Path, part: str) -> pd.DataFrame:
    predictions = _read_numbers(
        run_dir,
        "predictions.csv",
        {"path", "patient_id", "split"},
        {"y_true": "int64", "y_score": "float64", "y_pred": "int64"},
    )
    return _of_part(predictions, part)


def _read_json(run_dir: Path, name: str, model: type[Facts]) -> Facts:
    try:
        return model.model_validate(json.loads((run_dir / name).read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunDirectoryError(f"{run_dir} is not a complete run directory: it has no {name}") from error
    except OSError as error:
        raise RunDirectoryError(f"{run_dir / name} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RunDirectoryError(
            f"{run_dir / name} is not what this version reads: {place}: {first['msg']}"
        ) from error
    except ValueError as error:
        raise RunDirectoryError(f"{run_dir / name} is damaged: {error}") from error


def _of_part(table: pd.DataFrame, part: str) -> pd.DataFrame:
    return table[table["split"] == part] if part == "test" and not table.empty else table


def _read_numbers(run_dir: Path, name: str, text: set[str], numbers: dict[str, str]) -> pd.DataFrame:
    """A table with columns of text and of numbers."""
    table = _read_table(run_dir, name, text | set(numbers))
    try:
        return table.astype(numbers)
    except ValueError as error:
        raise RunDirectoryError(f"{run_dir / name} is damaged: {error}") from error


def _read_table(run_dir: Path, name: str, needed: set[str]) -> pd.DataFrame:
    table = _read_csv(run_dir, name, dtype=str, keep_default_na=False)
    lacking = sorted(needed - set(table.columns))
    if lacking:
        raise RunDirectoryError(f"{run_dir / name} lacks the column {', '.join(lacking)}")
    return table


def _read_csv(run_dir: Path, name: str, **options: Any) -> pd.DataFrame:
    try:
        table: pd.DataFrame = pd.read_csv(run_dir / name, **options)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunDirectoryError(f"{run_dir} is not a complete run directory: it has no {name}") from error
    except OSError as error:
        raise RunDirectoryError(f"{run_dir / name} cannot be read: {error.strerror}") from error
    except ValueError as error:  # pandas' own errors of parsing are among these
        raise RunDirectoryError(f"{run_dir / name} is damaged: {error}") from error
    return table
