"""Reading every file of a data source once: what it is, its hashes, its patient, or why it cannot be used."""

from __future__ import annotations

import hashlib
import logging
import re
import sys
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from breastlens.cohort.duplicates import hash_pixels, name_groups
from breastlens.cohort.folder import NAME_NOT_UTF8, NOT_IN_A_CATEGORY, list_folder
from breastlens.cohort.manifest import MEASURED_COLUMNS, read_manifest
from breastlens.cohort.parallel import Mapper, OnProgress, map_in_order
from breastlens.config import ImageRecipe, ReadingLimits
from breastlens.errors import DataError, DecodeError
from breastlens.imaging.decode import DEFAULT_LIMITS, decode, decode_frames

logger = logging.getLogger(__name__)

DEFAULT_RECIPE = ImageRecipe()
PatientSource = Literal["manifest", "pattern", "dicom"]
NEVER_READ = frozenset({NOT_IN_A_CATEGORY, NAME_NOT_UTF8})
"""Reasons for which a file is listed but not opened."""

_LEADING = ("path", "frame", "category", "label", "patient_id", "split")
COLUMN_ORDER = (*_LEADING, *(name for name in MEASURED_COLUMNS if name not in _LEADING))
_SHOWN = 5
_RECORDS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Scan:
    """All images of a data source, read but not yet labelled.

    Attributes:
        root: The data folder.
        table: A row an image, sorted by path and frame; the columns of ``Cohort.table`` without ``label``.
        image: How the images will be brought to the network's size.
        manifest: The CSV that named the images, if one did.
        patient_source: Where patient ids come from; None if there are none. With "manifest" they come from
            DICOM headers where the manifest's are blank.
        ignored: Files that are no images, as paths relative to the root.
        empty: Folders that would be categories but have no images in them.
    """

    root: Path
    table: pd.DataFrame
    image: ImageRecipe
    manifest: Path | None
    patient_source: PatientSource | None
    ignored: tuple[str, ...]
    empty: tuple[str, ...] = ()


def scan(
    data: str | Path,
    *,
    manifest: str | Path | None = None,
    patient_pattern: str | None = None,
    image: ImageRecipe = DEFAULT_RECIPE,
    exclude_when: str | Sequence[str] = (),
    every_frame: bool = False,
    limits: ReadingLimits = DEFAULT_LIMITS,
    workers: int | None = None,
    mapper: Mapper | None = None,
    on_progress: OnProgress | None = None,
) -> Scan:
    """Reads every image of a folder or manifest once, in threads.

    Args:
        data: Folder with a subfolder a category, or the folder to which the manifest's paths are relative.
        manifest: CSV with the columns path and category, optionally patient_id and split, and any others.
        patient_pattern: Regular expression with a group named ``patient_id``, searched in each relative path.
        image: How the images will be brought to the network's size; only recorded here.
        exclude_when: Manifest columns; a record with text there is left out for that reason.
        every_frame: One record a frame of a file with several; otherwise the first frame alone.
        limits: What a file may cost before it is refused.
        workers: Threads; None for one a processor.
        mapper: Reads the files elsewhere; None: threads of this process.
        on_progress: Told after each file.

    Raises:
        DataError: The folder, manifest, pattern or column is not usable, two sources of patient ids are
            given, or not one file can be read.
    """
    root, conditions = Path(data), as_names(exclude_when)
    pattern = None if patient_pattern is None else _compile(patient_pattern)
    if manifest is None:
        if conditions:
            raise DataError(
                f"--exclude-when {conditions[0]} names a column of a manifest; name it with --manifest"
            )
        listing = list_folder(root)
    else:
        listing = read_manifest(Path(manifest), root, conditions)
    files, source = _settle_patients(listing.table, pattern)

    # A pattern says of every path whose it is; a manifest may leave that to the file.
    read = _ReadFile(root, every_frame, limits, patient_from_header=source != "pattern")
    each = mapper or partial(map_in_order, workers=workers)
    found = each(read, _Rows(files), on_progress=on_progress)
    table = _gather(record for records in found for record in records)
    if pattern is not None:
        _require_patients(table, pattern)
    if source is None and (table["patient_id"] != "").any():
        source = "dicom"
    _require_readable(table, root)
    table["image_size"] = image.size_label
    table["duplicate_group"] = name_groups(table["pixels_sha256"])
    named_by = None if manifest is None else Path(manifest)
    return Scan(root, _tidy(table), image, named_by, source, listing.ignored, listing.empty)


class _Rows(Sequence[dict[Hashable, Any]]):
    """The rows of a table, each made when it is asked for."""

    def __init__(self, table: pd.DataFrame) -> None:
        self._columns = {name: table[name].to_numpy() for name in table}
        self._count = len(table)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: Any) -> Any:
        if number >= self._count:
            raise IndexError(number)
        return {name: values[number] for name, values in self._columns.items()}


@dataclass(frozen=True)
class _ReadFile:
    """Makes the records of one file."""

    root: Path
    every_frame: bool
    limits: ReadingLimits
    patient_from_header: bool

    def file(self, row: dict[Hashable, Any]) -> Path:
        return self.root / str(row["path"])

    def __call__(self, row: dict[Hashable, Any]) -> list[dict[Hashable, Any]]:
        return _read_file(
            self.root, row, self.every_frame, self.limits, patient_from_header=self.patient_from_header
        )


def _gather(records: Iterator[dict[Hashable, Any]]) -> pd.DataFrame:
    """A table of many records, of which only a few are held as such, since a record takes more room than a row."""
    pieces = []
    while piece := list(islice(records, _RECORDS_AT_ONCE)):
        pieces.append(pd.DataFrame(piece))
    return pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame()


def as_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Lets one name stand for a list of one."""
    return (names,) if isinstance(names, str) else tuple(names)


def find_unreadable(table: pd.DataFrame) -> pd.Series[bool]:
    """Marks the rows of files that were tried and could not be decoded."""
    return (table["pixels_sha256"] == "") & ~table["excluded"].isin(NEVER_READ)


def _read_file(
    root: Path,
    row: dict[Hashable, Any],
    every_frame: bool,
    limits: ReadingLimits,
    *,
    patient_from_header: bool,
) -> list[dict[Hashable, Any]]:
    """The records of one file: one a frame that can be read, or one that says why it cannot.

    The header's patient stands where ``row`` names none, if it may.
    """
    unread: dict[Hashable, Any] = {"frame": 0, "format": "", "sha256": "", "pixels_sha256": ""}
    path = root / row["path"]
    if row["excluded"] in NEVER_READ:
        return [{"patient_id": "", **row, **unread}]
    records: list[dict[Hashable, Any]] = []
    try:
        for image in decode_frames(path, limits=limits) if every_frame else (decode(path, limits=limits),):
            measured: dict[Hashable, Any] = {
                "frame": image.frame,
                "width": image.width,
                "height": image.height,
                "format": image.format,
                "bits": image.bits,
                "sha256": records[0]["sha256"] if records else _hash_file(path),
                "pixels_sha256": hash_pixels(image.pixels),
            }
            header = (image.patient_id or "").strip() if patient_from_header else ""
            records.append({**row, "patient_id": row.get("patient_id") or header, **measured})
    except DecodeError as error:
        unread |= {"frame": len(records), "excluded": f"unreadable: {error.reason}"}
        records.append({"patient_id": "", **row, **unread})
    return records


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise DecodeError(path, f"cannot be read: {error.strerror}") from error


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DataError(f"--patient-pattern '{pattern}' is not a regular expression: {error}") from error
    if "patient_id" not in compiled.groupindex:
        raise DataError(
            f"--patient-pattern '{pattern}' has no group named patient_id; "
            "write for example (?P<patient_id>T\\d+)"
        )
    return compiled


def _settle_patients(
    files: pd.DataFrame, pattern: re.Pattern[str] | None
) -> tuple[pd.DataFrame, PatientSource | None]:
    """Gives the files a ``patient_id`` from manifest or pattern; what is blank is left to the DICOM headers."""
    in_manifest = "patient_id" in files.columns and (files["patient_id"] != "").any()
    if pattern is None and in_manifest:
        return files, "manifest"
    if pattern is None:
        return files.drop(columns="patient_id", errors="ignore"), None
    if in_manifest:
        raise DataError(
            "the manifest has a patient_id column and --patient-pattern is given; use one of the two"
        )
    matches = (pattern.search(path) for path in files["path"])
    patients = [sys.intern((match["patient_id"] or "").strip()) if match else "" for match in matches]
    if not any(patients):
        raise DataError(
            f"--patient-pattern '{pattern.pattern}' matches none of {len(files)} paths, "
            f"such as {files['path'].iloc[0]}"
        )
    return files.assign(patient_id=patients), "pattern"


def _require_patients(table: pd.DataFrame, pattern: re.Pattern[str]) -> None:
    """Refuses a pattern that leaves a usable image without a patient, who may have others."""
    nameless = table.loc[(table["patient_id"] == "") & (table["excluded"] == ""), "path"].tolist()
    if nameless:
        raise DataError(
            f"--patient-pattern '{pattern.pattern}' does not match {len(nameless)} of {len(table)} paths: "
            f"{', '.join(nameless[:_SHOWN])}; widen it or name the patients in a manifest"
        )


def _require_readable(table: pd.DataFrame, root: Path) -> None:
    count = int(find_unreadable(table).sum())
    if count:
        logger.warning("%d of %d images in %s cannot be read and are left out", count, len(table), root)
    if (table["pixels_sha256"] == "").all():
        first = [f"{row.path} ({row.excluded})" for row in table.head(_SHOWN).itertuples()]
        raise DataError(f"none of {len(table)} files in {root} can be read as an image: {', '.join(first)}")


def _tidy(table: pd.DataFrame) -> pd.DataFrame:
    """Sorts rows and columns, and lets whole numbers be missing where a file could not be read."""
    whole = dict.fromkeys(("width", "height", "bits"), "Int64")
    measured = [name for name in COLUMN_ORDER if name in table.columns]
    extra = [name for name in table.columns if name not in COLUMN_ORDER]
    ordered = table[[*measured, *extra]].astype(whole)
    return ordered.sort_values(["path", "frame"], ignore_index=True)
