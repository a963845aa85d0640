"""The content of run.json: the data, the split, the network, the versions and the machine."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from breastlens.audit.finding import Finding
from breastlens.cohort.records import Cohort
from breastlens.cohort.splits import PARTS, prove_disjoint, split_hash
from breastlens.machine import usable_cores
from breastlens.models.backbones import Backbone, joint_name
from breastlens.runs.directory import FORMAT

_REPORTED_PACKAGES = (
    "breastlens",
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "openvino",
    "opencv-python-headless",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
)


class Stopwatch:
    """Wall and processor seconds of each phase of a run."""

    def __init__(self) -> None:
        self.phases: list[dict[str, Any]] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the block; phases of the same name are added up."""
        wall, cpu = time.perf_counter(), _cpu_s()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - wall, _cpu_s() - cpu)

    def add(self, name: str, wall_s: float, cpu_s: float) -> None:
        """Add what was timed elsewhere to a phase."""
        phase = next((phase for phase in self.phases if phase["name"] == name), None)
        if phase is None:
            phase = {"name": name, "wall_s": 0.0, "cpu_s": 0.0}
            self.phases.append(phase)
        phase["wall_s"] = round(phase["wall_s"] + wall_s, 3)
        phase["cpu_s"] = round(phase["cpu_s"] + cpu_s, 3)


def describe_run(
    kind: str,
    cohort: Cohort,
    backbones: Sequence[Backbone],
    *,
    command: Sequence[str],
    created: str,
    findings: Sequence[Finding],
    split: dict[str, Any],
    weights: dict[str, Any],
    phases: list[dict[str, Any]],
    **own: Any,
) -> dict[str, Any]:
    """The content of run.json.

    Args:
        kind: ``training`` or ``evaluation``.
        cohort: The images.
        backbones: The network, or the networks of an ensemble.
        command: The command line.
        created: When, ISO 8601.
        findings: About the data.
        split: From ``describe_split``.
        weights: Where the network's weights come from, and what else is known of them.
        phases: Of the stopwatch.
        **own: What only this kind of run has to say: recipe, operating point, notes.
    """
    return {
        "format": FORMAT,
        "kind": kind,
        "status": "complete",
        "command": list(command),
        "created": created,
        "image": cohort.image.model_dump(mode="json"),
        "labels": cohort.labels.model_dump(mode="json"),
        "backbone": {
            "name": joint_name(backbones),
            "title": " and ".join(each.title for each in backbones),
            **weights,
            "licence": "; ".join(dict.fromkeys(each.weights_licence for each in backbones)),
            "paper": "; ".join(dict.fromkeys(each.paper for each in backbones)),
        },
        "data": describe_data(cohort),
        "findings": [finding.model_dump(mode="json") for finding in findings],
        "split": split,
        **own,
        "versions": describe_versions(),
        "machine": describe_machine(),
        "phases": phases,
    }


def describe_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide figures; those not installed are left out."""
    versions = {"python": platform.python_version()}
    for package in _REPORTED_PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def describe_machine() -> dict[str, Any]:
    """Processor, cores and system; no host name and no user name."""
    return {
        "processor": _processor_name(),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def describe_data(cohort: Cohort) -> dict[str, Any]:
    """Counts and identity of the images; names only the last part of the folder's path."""
    return {
        "root": cohort.root.resolve().name,
        "manifest": cohort.manifest.name if cohort.manifest else None,
        "fingerprint": cohort.fingerprint,
        "found": len(cohort.table),
        "excluded": int((cohort.table["excluded"] != "").sum()),
        "used": len(cohort.included),
        "patients": len(cohort.patients),
        "images_without_patient": int((cohort.included["patient_id"] == "").sum()),
        "patient_source": cohort.patient_source,
    }


def describe_split(kind: str, used: pd.DataFrame) -> dict[str, Any]:
    """Sizes of the parts, the split's hash, and the proof that nothing crosses it.

    Args:
        kind: ``holdout``, ``folds``, ``manifest`` or ``external``.
        used: The records that are used, with a ``split`` for each.

    Raises:
        SplitError: A patient or a duplicate stands in two parts.
    """
    order = [name for name in PARTS if name in set(used["split"])] or sorted(set(used["split"]), key=_natural)
    parts = [_describe_part(name, used[used["split"] == name]) for name in order]
    return {"kind": kind, "hash": split_hash(used), "parts": parts, "proof": prove_disjoint(used)}


def _describe_part(name: str, rows: pd.DataFrame) -> dict[str, Any]:
    return {
        "name": name,
        "images": len(rows),
        "patients": rows.loc[rows["patient_id"] != "", "patient_id"].nunique(),
        "positive": int((rows["label"] == 1).sum()),
        "negative": int((rows["label"] == 0).sum()),
    }


def _natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (sys.maxsize, name)


def _cpu_s() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


def _processor_name() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
