"""The cohort: one table of all images, labelled, with what is left out and why."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.cohort.duplicates import contradictions
from breastlens.cohort.parallel import Mapper, OnProgress
from breastlens.cohort.reading import COLUMN_ORDER, DEFAULT_RECIPE, PatientSource, Scan, as_names, scan
from breastlens.cohort.spelling import find_similar, same_but_for_case
from breastlens.cohort.splits import split_groups
from breastlens.config import ImageRecipe, LabelMap, ReadingLimits, quote_name
from breastlens.errors import DataError
from breastlens.imaging.decode import DEFAULT_LIMITS

logger = logging.getLogger(__name__)

CATEGORY_NOT_USED = "category not used"
COPY_OF = "same pixels as "
"""How the reason begins of a copy that is left out."""


@dataclass(frozen=True, eq=False)
class Cohort:
    """Labelled images of a folder or manifest.

    Attributes:
        root: The data folder.
        table: A row an image, sorted by path and frame: ``path`` (POSIX, relative to the root), ``frame``,
            ``category``, ``label`` (0, 1, or missing where the category is not used), ``patient_id`` (""
            where unknown), ``split`` (only if the manifest has it), ``image_size``, ``width`` and ``height``
            (px), ``format``, ``bits``, ``sha256`` of the file, ``pixels_sha256`` of the decoded pixels,
            ``duplicate_group`` ("" where no other image has these pixels), ``excluded`` ("" or the reason),
            and every further column of the manifest.
        labels: Which categories are positive and which negative.
        image: How images are brought to the network's size.
        manifest: The CSV that named the images, if one did.
        patient_source: Where patient ids come from; None if there are none. With "manifest" they come from
            DICOM headers where the manifest's are blank.
        ignored: Files that are no images, as paths relative to the root.
    """

    root: Path
    table: pd.DataFrame
    labels: LabelMap
    image: ImageRecipe
    manifest: Path | None
    patient_source: PatientSource | None
    ignored: tuple[str, ...] = ()

    @classmethod
    def read(
        cls,
        data: str | Path,
        *,
        manifest: str | Path | None = None,
        patient_pattern: str | None = None,
        positive: str | Sequence[str] = "sick",
        negative: str | Sequence[str] = (),
        labels: LabelMap | None = None,
        image: ImageRecipe = DEFAULT_RECIPE,
        exclude_when: str | Sequence[str] = (),
        every_frame: bool = False,
        limits: ReadingLimits = DEFAULT_LIMITS,
        workers: int | None = None,
        mapper: Mapper | None = None,
        on_progress: OnProgress | None = None,
    ) -> Cohort:
        """Reads and labels the images of a folder or manifest.

        Args:
            data: Folder with a subfolder a category, or the folder that a manifest's paths start from.
            manifest: CSV with the columns path and category, optionally patient_id and split, and any others.
            patient_pattern: Regular expression with a group named ``patient_id``, searched in each path.
            positive: The categories that are looked for (label 1).
            negative: The categories against them (label 0); empty for all others.
            labels: Both at once, settled beforehand; see ``from_scan``.
            image: How images are brought to the network's size.
            exclude_when: Manifest columns; a record with text there is left out for that reason.
            every_frame: One record a frame of a file with several; otherwise the first frame alone.
            limits: What a file may cost before it is refused.
            workers: Threads; None for one a processor.
            mapper: Reads the files elsewhere; None: threads of this process.
            on_progress: Told after each file with how many are done and how many there are.

        Raises:
            DataError: The data, the manifest, the pattern or the categories are not what was expected.
        """
        found = scan(
            data,
            manifest=manifest,
            patient_pattern=patient_pattern,
            image=image,
            exclude_when=exclude_when,
            every_frame=every_frame,
            limits=limits,
            workers=workers,
            mapper=mapper,
            on_progress=on_progress,
        )
        return cls.from_scan(found, positive=positive, negative=negative, labels=labels)

    @classmethod
    def from_scan(
        cls,
        found: Scan,
        *,
        positive: str | Sequence[str] = "sick",
        negative: str | Sequence[str] = (),
        labels: LabelMap | None = None,
    ) -> Cohort:
        """Labels images that were read.

        Left out are images of categories that are not used, and images whose pixels stand under both labels.

        Args:
            found: What was read.
            positive: The categories that are looked for (label 1).
            negative: The categories against them (label 0); empty for all others.
            labels: Both at once, settled beforehand, as by a model that is to be evaluated; a category of it may be
                absent here.

        Raises:
            DataError: A category does not exist, stands on both sides, or there is only one; two that differ only in
                capitals or blanks would stand on opposite sides; or none of the given ``labels`` is here.
        """
        if labels is None:
            labels = choose_labels(
                found.table["category"], as_names(positive), as_names(negative), empty=found.empty
            )
        elif not {*labels.positive, *labels.negative} & set(found.table["category"]):
            raise DataError(
                f"no image stands under {labels.positive_name} or {labels.negative_name}, which the model tells apart; "
                f"the categories are {', '.join(known_categories(found.table['category']))}; "
                "say which is which with --positive and --negative"
            )
        sides = dict.fromkeys(labels.negative, 0) | dict.fromkeys(labels.positive, 1)
        table = found.table.copy()
        table["label"] = table["category"].map(sides).astype("Int64")
        _exclude(table, dict.fromkeys(table.index[table["label"].isna()], CATEGORY_NOT_USED))
        _exclude(table, contradictions(table))
        ordered = [name for name in COLUMN_ORDER if name in table.columns]
        table = table[[*ordered, *(name for name in table.columns if name not in ordered)]]
        logger.info(
            "%d images found, %d left out; %s", len(table), (table["excluded"] != "").sum(), labels.describe()
        )
        return cls(
            found.root, table, labels, found.image, found.manifest, found.patient_source, found.ignored
        )

    @property
    def included(self) -> pd.DataFrame:
        """The rows that are used, numbered from 0; label, width, height and bits are int64."""
        used = self.table[self.table["excluded"] == ""].reset_index(drop=True)
        return used.astype(dict.fromkeys(("label", "width", "height", "bits"), "int64"))

    @property
    def patients(self) -> tuple[str, ...]:
        """The known patients of the images that are used, sorted."""
        return tuple(sorted(set(self.included["patient_id"]) - {""}))

    def without_copies(self) -> Cohort:
        """Leaves out every image in use whose pixels an earlier one has already, so that none counts twice."""
        table = self.table.copy()
        used = table[(table["excluded"] == "") & (table["pixels_sha256"] != "")]
        first = used.groupby("pixels_sha256")["path"].transform("first")
        again = used["pixels_sha256"].duplicated()
        _exclude(table, {row: f"{COPY_OF}{first[row]}" for row in used.index[again]})
        return replace(self, table=table)

    @property
    def scanned(self) -> Path | None:
        """The folder whose subfolders are the categories; None where a manifest names the images."""
        return self.root if self.manifest is None else None

    def require_used(self) -> None:
        """Refuses a cohort of which every image is left out.

        Raises:
            DataError: With the reasons and how many images have each.
        """
        reasons = self.table["excluded"]
        if (reasons == "").any():
            return
        # What stands behind a colon or semicolon are file names, or what somebody noted.
        kinds = reasons.str.split(r": |; ", n=1, regex=True).str[0].value_counts()
        ordered = sorted(kinds.items(), key=lambda kind: (-kind[1], str(kind[0])))
        told = ", ".join(f"{kind} ({count})" for kind, count in ordered)
        raise DataError(
            f"no image is left to use: {len(reasons)} of {len(reasons)} are left out, because: {told}"
        )

    def groups(self, linked: NDArray[np.integer] | None = None) -> NDArray[np.int64]:
        """Numbers the sets of images in use that must stay together in every split.

        A copy that was left out still links: whoever shares a picture may be one patient under two ids.

        Args:
            linked: (n,), the same number for images in use that belong together for another reason, such as
                near-duplicates.

        Returns:
            int64 (n,), in the order of ``included``.
        """
        excluded = self.table["excluded"]
        used = (excluded == "").to_numpy()
        involved = used | excluded.str.startswith(COPY_OF).to_numpy()
        links = -1 - np.arange(len(used), dtype=np.int64)
        if linked is not None:
            links[used] = linked
        return split_groups(self.table[involved], links[involved])[used[involved]]

    @property
    def categories(self) -> tuple[str, ...]:
        """All categories that were found, used or not, sorted."""
        return known_categories(self.table["category"])

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the image recipe and each record's path, frame, category, patient, pixels and use.

        It depends neither on the order in which files were found nor on how a file stores its pixels.
        """
        digest = hashlib.sha256(self.image.model_dump_json().encode())
        used = (self.table["excluded"] == "").map({True: "used", False: "left out"})
        columns = [
            self.table[name].astype(str)
            for name in ("path", "frame", "category", "patient_id", "pixels_sha256")
        ]
        for record in sorted(zip(*columns, used, strict=True)):
            digest.update("\x1f".join(record).encode() + b"\x1e")
        return digest.hexdigest()


def known_categories(column: Iterable[str]) -> tuple[str, ...]:
    """The distinct category names of a column, sorted."""
    return tuple(sorted(set(column) - {""}))


def choose_labels(
    categories: Iterable[str], positive: Sequence[str], negative: Sequence[str], *, empty: Sequence[str] = ()
) -> LabelMap:
    """Settles which categories are positive and which negative.

    Args:
        categories: The category of every record.
        positive: Names that are looked for.
        negative: Names against them; empty for all others.
        empty: Folders without images, named where a category is missing.

    Raises:
        DataError: A name is not among the categories or on both sides, no category is left for one side, or one that
            nobody named would stand against one whose name is the same but for capitals and blanks.
    """
    known = known_categories(categories)
    listed = ", ".join(map(quote_name, known))
    if len(known) < 2:
        raise DataError(
            f"only one category, {listed}; expected at least two, such as healthy and sick{_tell_empty(empty)}"
        )
    if not positive:
        raise DataError(f"no positive category was named; the categories are {listed}")
    for option, names in (("--positive", positive), ("--negative", negative)):
        for name in names:
            if name not in known:
                meant = find_similar(name, known)
                hint = f"did you mean {option} {meant}?" if meant else f"name one of them with {option}"
                told = _tell_empty([each for each in empty if each == name])
                raise DataError(
                    f"no category {name!r} for {option}{told}; the categories are {listed}; {hint}"
                )
    if both := sorted(set(positive) & set(negative)):
        raise DataError(f"{', '.join(both)} cannot be both --positive and --negative")
    against = tuple(negative) or tuple(name for name in known if name not in positive)
    if not against:
        raise DataError(f"every category ({listed}) is positive; expected at least one that is not")
    if not negative:
        _refuse_twins(positive, against)
    return LabelMap(positive=tuple(dict.fromkeys(positive)), negative=tuple(dict.fromkeys(against)))


def _refuse_twins(positive: Sequence[str], against: Sequence[str]) -> None:
    """Refuses to take a misspelt positive category for a negative one."""
    for name in against:
        if twin := same_but_for_case(name, positive):
            raise DataError(
                f"the categories {twin!r} and {name!r} differ only in capitals or blanks, and {name!r} would be "
                "negative; give both one name, or name each with --positive or --negative"
            )


def _tell_empty(folders: Sequence[str]) -> str:
    if not folders:
        return ""
    if len(folders) == 1:
        return f"; the folder {quote_name(folders[0])} has no images in it"
    return f"; the folders {', '.join(map(quote_name, folders))} have no images in them"


def _exclude(table: pd.DataFrame, reasons: dict[int, str]) -> None:
    """Writes a reason where there is none yet."""
    for row, reason in reasons.items():
        if table.at[row, "excluded"] == "":
            table.at[row, "excluded"] = reason
