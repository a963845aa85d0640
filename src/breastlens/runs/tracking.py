"""What a tracker is told of a finished run: settings, figures with intervals, a verdict, files; no names of anyone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from breastlens.errors import RunDirectoryError
from breastlens.report.comparison import PAGE_NAME
from breastlens.report.facts import Block, Interval, Reached
from breastlens.report.page import REPORT_NAME
from breastlens.report.run_files import RunFiles, read_run_files
from breastlens.report.run_list import describe_line
from breastlens.report.tables import METRICS, setting_rows
from breastlens.report.wording import RESEARCH_USE, reservations, verdict

KEPT_FILES = (REPORT_NAME, "figures", "model")
"""Files and folders of a run that a tracker gets; tables, which name patients and images, stay where they are."""


@dataclass(frozen=True)
class Tracked:
    """What a tracker is told of one run.

    Attributes:
        name: Of the run.
        params: Settings and what is known of the data, as text.
        metrics: Figures by name; the ends of an interval stand under the name with ``_low`` and ``_high``.
        tags: Verdict in a word, research use, version and more.
        note: Verdict and reservations in sentences.
        fingerprint: SHA-256 of run.json, by which the run is known again.
        files: What to keep of it.
    """

    name: str
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    note: str
    fingerprint: str
    files: tuple[Path, ...]


def describe_for_tracker(run_dir: Path) -> Tracked:
    """Gather what a tracker is told.

    Args:
        run_dir: The run directory. Where it lies in the folder of a comparison, that is told, too, with its page.

    Raises:
        RunDirectoryError: The run cannot be read, or is not complete.
    """
    files = read_run_files(run_dir)
    facts, line = files.facts, describe_line(files, run_dir.resolve().name)
    if not (run_dir / REPORT_NAME).is_file():
        raise RunDirectoryError(f"{run_dir} has no {REPORT_NAME}: breastlens report {run_dir} writes it")
    data = facts.data.model_dump(exclude={"manifest", "patient_source"})
    # a weights file is named without its folder, which says something of the machine
    recipe = facts.recipe | ({"weights": facts.backbone.weights} if "weights" in facts.recipe else {})
    settings = {
        "recipe": recipe,
        "image": facts.image,
        "data": data,
        "split_hash": facts.split.hash,
        "backbone": facts.backbone.name,
    }
    page = run_dir.resolve().parent / PAGE_NAME
    compared = (page,) if page.is_file() else ()
    told = (line.kind, line.part, line.verdict, line.rule)
    return Tracked(
        name=line.path,
        params=dict(setting_rows(settings)),
        metrics=_metrics(files),
        tags={
            **dict(zip(("kind", "part", "verdict", "threshold_rule"), told, strict=True)),
            "use": "research use only",
            "breastlens_version": str(facts.versions.get("breastlens", "")),
            "created": facts.created,
            **({"comparison": page.parent.name} if compared else {}),
        },
        note="\n\n".join([verdict(files), *reservations(files), RESEARCH_USE]),
        fingerprint=hashlib.sha256((run_dir / "run.json").read_bytes()).hexdigest(),
        files=(*(path for name in KEPT_FILES if (path := run_dir / name).exists()), *compared),
    )


def _metrics(files: RunFiles) -> dict[str, float]:
    """The headline under plain names, which all runs share; then each part's figures, and each control's."""
    line = describe_line(files, "")._asdict()
    found = {name: value for name, value in line.items() if not isinstance(value, str)}
    for part, block in ((files.part, files.block), ("validation", files.validation)):
        if block is not None:
            found |= _of_block(part, block)
            if block.by_patient is not None:
                found |= _of_block(f"{part}/by_patient", block.by_patient)
    for name, control in files.controls.items():
        found |= _with_ends(f"controls/{name}/auc", control.auc, control)
        if control.margin is not None:
            found |= _with_ends(f"controls/{name}/margin", control.margin.value, control.margin)
    return {name: float(value) for name, value in found.items() if value is not None}


def _of_block(part: str, block: Block) -> dict[str, float | None]:
    found: dict[str, float | None] = {f"{part}/threshold": block.threshold, f"{part}/images": block.n}
    for name, _, _ in METRICS:
        found |= _with_ends(f"{part}/{name}", block.value(name), block.intervals.get(name))
    return found


def _with_ends(
    name: str, value: float | None, interval: Interval | Reached | None
) -> dict[str, float | None]:
    ends = interval or Interval()
    return {name: value, f"{name}_low": ends.low, f"{name}_high": ends.high}
