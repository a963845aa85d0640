"""The runs under a folder as rows: found, read from run.json and metrics.json alone, filtered and put in order."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from breastlens.cohort.spelling import find_similar
from breastlens.errors import DataError, RunDirectoryError
from breastlens.report.control_wording import find_worst
from breastlens.report.facts import Interval
from breastlens.report.repeats import headline_auc
from breastlens.report.run_files import RunFiles, read_told
from breastlens.report.wording import verdict_word

NEWEST_FIRST = "-date"
_KINDS = {"training": "train", "evaluation": "evaluate"}


class RunLine(NamedTuple):
    """One run; numbers are None where there are none, text is empty.

    Attributes:
        path: Of its directory, from the folder that was searched.
        date: When it was made, ISO 8601.
        kind: ``train`` or ``evaluate``.
        data: The last part of the path of its images.
        images: How many were judged.
        patients: Of how many patients.
        backbone: Its network, or networks.
        strategy: That was asked for; empty for an evaluation.
        kept: What fine-tuning left: ``probe`` or ``finetune``.
        part: That was judged: test, out_of_fold or external.
        auc: As the first screen of the report gives it, with repeats their mean.
        auc_low: Low end of its interval.
        auc_high: High end.
        control: The negative control that comes closest to the model, or goes furthest beyond it.
        control_auc: Its AUC.
        margin: The model's AUC less that control's.
        margin_low: Low end of its paired interval.
        margin_high: High end.
        verdict: In a word or two, see `breastlens.report.wording.verdict_word`.
        rule: By which the threshold was chosen.
        split_hash: Equal where two runs divided the same images in the same way.
    """

    path: str
    date: str = ""
    kind: str = ""
    data: str = ""
    images: int | None = None
    patients: int | None = None
    backbone: str = ""
    strategy: str = ""
    kept: str = ""
    part: str = ""
    auc: float | None = None
    auc_low: float | None = None
    auc_high: float | None = None
    control: str = ""
    control_auc: float | None = None
    margin: float | None = None
    margin_low: float | None = None
    margin_high: float | None = None
    verdict: str = ""
    rule: str = ""
    split_hash: str = ""


TEXT_COLUMNS = frozenset(name for name, kind in get_type_hints(RunLine).items() if kind is str)
"""All others are numbers."""

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "~": lambda value, part: part.casefold() in value.casefold(),
}
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
_DIGITS = re.compile(r"(\d+)", re.ASCII)
_CONDITION = re.compile(rf"\s*([^\s=!<>~]+)\s*({'|'.join(_OPERATORS)})\s*(.*?)\s*", re.DOTALL)


def list_runs(folder: Path) -> tuple[list[RunLine], list[str]]:
    """Read all runs in a folder and below.

    Hidden directories are passed over, among them those of trainings that were not finished.

    Args:
        folder: Where to search; it may be a run itself.

    Returns:
        A row a run, by path, and a line for each directory that is a damaged run.

    Raises:
        RunDirectoryError: There is no such folder, or neither a run nor a damaged one in it.
    """
    if not folder.is_dir():
        raise RunDirectoryError(f"{folder}: there is no such folder")
    lines, damaged = [], []
    for run_dir in find_runs(folder):
        try:
            lines.append(describe_line(read_told(run_dir), run_dir.relative_to(folder).as_posix()))
        except RunDirectoryError as error:
            damaged.append(str(error))
    if not lines and not damaged:
        raise RunDirectoryError(f"{folder}: there is no run in it, and none below")
    return lines, damaged


def find_runs(folder: Path) -> Iterator[Path]:
    """Directories that hold run.json or metrics.json, in a folder and below; in those nothing further is searched."""
    for place, folders, files in os.walk(folder):
        if not {"run.json", "metrics.json"}.isdisjoint(files):
            folders.clear()
            yield Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))


def describe_line(files: RunFiles, path: str) -> RunLine:
    """The row of one run.

    Args:
        files: At least what `read_told` reads.
        path: What the row calls it.
    """
    facts, block, auc = files.facts, files.block, headline_auc(files)
    name = find_worst(files.controls)
    control = None if name is None else files.controls[name]
    margin = (None if control is None else control.margin) or Interval()
    return RunLine(
        path=path,
        date=facts.created,
        kind=_KINDS[facts.kind],
        data=facts.data.root,
        images=block.n,
        patients=block.patients,
        backbone=facts.backbone.name,
        strategy=str(facts.recipe.get("strategy", "")),
        kept=facts.kept or "",
        part=files.part,
        auc=auc.value,
        auc_low=auc.low,
        auc_high=auc.high,
        control=name or "",
        control_auc=None if control is None else control.auc,
        margin=margin.value,
        margin_low=margin.low,
        margin_high=margin.high,
        verdict=verdict_word(files),
        rule=facts.operating_point.rule,
        split_hash=facts.split.hash,
    )


def select(lines: Sequence[RunLine], conditions: Sequence[str]) -> list[RunLine]:
    """The rows for which every condition holds.

    Args:
        lines: The rows.
        conditions: Such as ``auc >= 0.8`` or ``data ~ busi``: a column, one of ``= != < <= > >= ~``, and a value.
            Nothing as value stands for a missing one; a missing number is neither below nor above anything.

    Raises:
        DataError: A condition has another form, an unknown column, or compares a number with text.
    """
    tests = [_read_condition(condition) for condition in conditions]
    return [line for line in lines if all(test(line) for test in tests)]


def _read_condition(condition: str) -> Callable[[RunLine], bool]:
    found = _CONDITION.fullmatch(condition)
    if found is None:
        raise DataError(f"--where takes a column, one of {' '.join(_OPERATORS)}, and a value: {condition!r}")
    column, symbol, text = found.groups()
    _require_column(column, "--where")
    compare = _OPERATORS[symbol]
    if column in TEXT_COLUMNS or symbol == "~":
        return lambda line: compare(_text(getattr(line, column)), text)
    if text and not _NUMBER.fullmatch(text):
        raise DataError(f"--where {condition!r}: {column} is a number, and {text!r} is none")
    wanted = float(text) if text else None
    if symbol in ("=", "!="):
        return lambda line: compare(getattr(line, column), wanted)
    if wanted is None:
        raise DataError(f"--where {condition!r}: expected a number after {symbol}")
    return lambda line: getattr(line, column) is not None and compare(getattr(line, column), wanted)


def _text(value: object) -> str:
    return "" if value is None else str(value).removesuffix(".0")


def put_in_order(lines: Sequence[RunLine], column: str) -> list[RunLine]:
    """Rows by one column, those without a value last; where it is the same, in the order they came in.

    Args:
        lines: The rows.
        column: Its name; with a minus before it, the largest first. In text, digits count as the number they are, and
            capitals as small letters.

    Raises:
        DataError: There is no such column.
    """
    name = column.removeprefix("-")
    _require_column(name, "--sort")
    known = [line for line in lines if getattr(line, name) not in (None, "")]
    known.sort(key=lambda line: _natural(getattr(line, name)), reverse=column.startswith("-"))
    return [*known, *(line for line in lines if getattr(line, name) in (None, ""))]


def _natural(value: Any) -> Any:
    """A number as it is; of text its parts, alternately without digits and of digits."""
    if not isinstance(value, str):
        return value
    return [int(part) if at % 2 else part for at, part in enumerate(_DIGITS.split(value.lower()))]


def _require_column(name: str, option: str) -> None:
    if name not in RunLine._fields:
        meant = find_similar(name, RunLine._fields)
        hint = f"; did you mean {meant}?" if meant else ""
        raise DataError(
            f"no column {name!r} for {option}; the columns are {', '.join(RunLine._fields)}{hint}"
        )
