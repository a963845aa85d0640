"""Dividing records into parts so that no patient, no file and no exact duplicate stands in two of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from breastlens.errors import SplitError

PARTS = ("train", "validation", "test")
PART_SPELLINGS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""What a manifest may call a part, in lower case, and which part that is."""

_SHOWN = 5


def split_groups(table: pd.DataFrame, linked: NDArray[np.integer] | None = None) -> NDArray[np.int64]:
    """Numbers the sets of records that must stay together.

    Two records belong together if they have the same known patient or the same pixels, or are frames of one
    file, and so does everything that is linked through others. A record without any of these stands alone.

    Args:
        table: Columns ``path``, ``patient_id`` ("" where unknown) and ``pixels_sha256`` ("" where unreadable).
        linked: (n,), the same number for records that belong together for another reason, such as near-duplicates.

    Returns:
        int64 (n,), numbered from 0 in order of first appearance.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(table)
    starts: list[NDArray[np.int64]] = []
    ends: list[NDArray[np.int64]] = []
    columns = [table[column] for column in ("patient_id", "pixels_sha256", "path")]
    if linked is not None:
        columns.append(pd.Series(linked.astype(str), index=table.index))
    for column in columns:
        codes, values = pd.factorize(column)
        known = np.flatnonzero(np.asarray(column != ""))
        first = np.full(len(values), -1, dtype=np.int64)
        first[codes[known][::-1]] = known[::-1]
        starts.append(known)
        ends.append(first[codes[known]])
    edges = np.concatenate(starts), np.concatenate(ends)
    links = coo_array((np.ones(len(edges[0]), dtype=np.int8), edges), shape=(count, count))
    _, component = connected_components(links, directed=False)
    return np.asarray(pd.factorize(component)[0], dtype=np.int64)


def name_parts(split: pd.Series[str]) -> pd.Series[str]:
    """Brings the names of a manifest's ``split`` column to one spelling.

    Args:
        split: As the manifest has it, in any case.

    Returns:
        "train", "validation" or "test"; a name that is none of `PART_SPELLINGS` in lower case; "" where there is none.
    """
    return split.fillna("").astype(str).str.strip().str.lower().replace(PART_SPELLINGS)


def split_holdout(
    labels: ArrayLike, groups: ArrayLike, fractions: Sequence[float] = (0.6, 0.2, 0.2), seed: int = 0
) -> NDArray[np.str_]:
    """Divides records into training, validation and test, whole groups at a time, stratified by label.

    Args:
        labels: (n,) of 0 and 1.
        groups: (n,) of integers; records with the same number stay together.
        fractions: Shares of the images wanted for train, validation and test.
        seed: Another seed gives another split; the same seed the same one on every machine.

    Returns:
        (n,) of "train", "validation" and "test"; both labels stand in each part.

    Raises:
        SplitError: A label has fewer than three groups.
    """
    fewest = min(_count_groups(labels, groups))
    if fewest < len(PARTS):
        instead = "--folds 2 would work" if fewest == 2 else "at least 3 are needed, or 2 for --folds 2"
        raise SplitError(
            f"training, validation and test need 3 patients of each label; {_tell(labels, groups)}; {instead}"
        )
    return np.asarray(PARTS)[_divide(labels, groups, fractions, seed)]


def split_folds(labels: ArrayLike, groups: ArrayLike, folds: int, seed: int = 0) -> NDArray[np.int64]:
    """Divides records into folds, whole groups at a time, stratified by label.

    Args:
        labels: (n,) of 0 and 1.
        groups: (n,) of integers; records with the same number stay together.
        folds: How many, at least 2.
        seed: Another seed gives other folds; the same seed the same ones on every machine.

    Returns:
        int64 (n,) of 0 to ``folds - 1``; both labels stand in each fold.

    Raises:
        SplitError: Fewer than two folds are asked for, or a label has fewer groups than folds.
    """
    if folds < 2:
        raise SplitError(f"expected at least 2 folds, received {folds}")
    fewest = min(_count_groups(labels, groups))
    if fewest < folds:
        instead = f"at most {fewest} folds would work" if fewest >= 2 else "at least 2 are needed"
        raise SplitError(
            f"{folds} folds need {folds} patients of each label; {_tell(labels, groups)}; {instead}"
        )
    return _divide(labels, groups, [1 / folds] * folds, seed)


def split_from_manifest(table: pd.DataFrame) -> NDArray[np.str_]:
    """Takes the parts from the manifest's ``split`` column and checks them.

    Accepted are train or training; val, valid or validation; test or testing; in any case.

    Args:
        table: The records in use: ``path``, ``label``, ``patient_id``, ``pixels_sha256`` and ``split``.

    Returns:
        (n,) of "train", "validation" and "test".

    Raises:
        SplitError: A name is unknown or missing, a part is missing, training or validation lacks a label, or
            a patient, file or duplicate stands in two parts.
    """
    parts = name_parts(table["split"])
    unknown = table[~parts.isin(PARTS)]
    if len(unknown):
        names = ", ".join(repr(name) for name in sorted(set(unknown["split"])))
        raise SplitError(
            f"the manifest's split column has {names} in {len(unknown)} rows, such as "
            f"{unknown['path'].iloc[0]}; expected {', '.join(PARTS)}"
        )
    for name in PARTS:
        held = set(table["label"][parts == name])
        if not held:
            raise SplitError(
                f"the manifest's split column has no {name} records; all of {', '.join(PARTS)} are needed"
            )
        if name != "test" and len(held) < 2:
            raise SplitError(
                f"the manifest's {name} part has only records of label {held.pop()}; both are needed there"
            )
    prove_disjoint(table.assign(split=parts))
    return np.asarray(parts, dtype=str)


def prove_disjoint(table: pd.DataFrame) -> dict[str, int]:
    """Checks from the finished table that no patient, no file and no exact duplicate stands in two parts.

    It trusts neither the groups nor the way the split was made, only patients, paths and pixel hashes.

    Args:
        table: Columns ``path``, ``patient_id``, ``pixels_sha256`` and ``split`` ("" for what is left out).

    Returns:
        ``patients_checked``, ``patients_shared``, ``duplicate_groups_checked``, ``duplicates_shared``,
        ``files_checked`` (those of which several frames are used) and ``files_shared``; all shared counts are 0.

    Raises:
        SplitError: Something is shared; it names the first few.
    """
    placed = table[table["split"].astype(str) != ""]
    known = placed[placed["patient_id"] != ""]
    repeated = placed[placed["pixels_sha256"].duplicated(keep=False) & (placed["pixels_sha256"] != "")]
    framed = placed[placed["path"].duplicated(keep=False)]
    crossing = [
        *(
            f"patient {rows['patient_id'].iloc[0]} ({_where(rows)})"
            for rows in _find_crossing(known, "patient_id")
        ),
        *(f"same pixels in {_where(rows)}" for rows in _find_crossing(repeated, "pixels_sha256")),
        *(f"frames of one file: {_where(rows)}" for rows in _find_crossing(framed, "path")),
    ]
    if crossing:
        more = f" and {len(crossing) - _SHOWN} more" if len(crossing) > _SHOWN else ""
        raise SplitError(
            f"{len(crossing)} patients, duplicates or files stand in two parts: "
            f"{'; '.join(crossing[:_SHOWN])}{more}; "
            "put all images of a patient, all copies of an image and all frames of a file into one part"
        )
    return {
        "patients_checked": known["patient_id"].nunique(),
        "patients_shared": 0,
        "duplicate_groups_checked": repeated["pixels_sha256"].nunique(),
        "duplicates_shared": 0,
        "files_checked": framed["path"].nunique(),
        "files_shared": 0,
    }


def split_hash(table: pd.DataFrame) -> str:
    """Hashes who stands where, so that two runs can be seen to share a split.

    Args:
        table: Columns ``path``, ``frame`` and ``split`` ("" where a record is left out).

    Returns:
        SHA-256 as 64 hexadecimal digits, whatever the order of the rows.
    """
    columns = (table[name].astype(str) for name in ("path", "frame", "split"))
    lines = sorted("\x1f".join(record) for record in zip(*columns, strict=True) if record[2])
    return hashlib.sha256("\x1e".join(lines).encode()).hexdigest()


def _divide(labels: ArrayLike, groups: ArrayLike, shares: Sequence[float], seed: int) -> NDArray[np.int64]:
    """Gives the part of each record; each label must have at least as many groups as there are parts."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.zeros((len(names), 2), dtype=np.int64)
    np.add.at(sizes, (index, np.asarray(labels, dtype=np.int64)), 1)
    # Hashing instead of a random generator: NumPy may change its streams between versions, SHA-256 never.
    drawn = [hashlib.sha256(f"{seed}:{name}".encode()).digest() for name in names]
    order = sorted(range(len(names)), key=lambda group: (-sizes[group].sum(), drawn[group]))
    part = _deal(sizes, order, shares, {})
    if any(not sizes[part == number].sum(axis=0).all() for number in range(len(shares))):
        part = _deal(sizes, order, shares, _one_of_each(sizes, order[::-1], shares))
    return part[index]


def _deal(
    sizes: NDArray[np.int64], order: Sequence[int], shares: Sequence[float], reserved: dict[int, int]
) -> NDArray[np.int64]:
    """Deals groups, the largest first, each to the part that it brings least beyond its share of both labels.

    For groups of one image that is the Webster/Sainte-Lague method of apportionment (Balinski and Young, Fair
    Representation, 1982), applied to each label; equal parts are told apart by how full they are.

    Args:
        sizes: int64 (groups, 2), images of each label.
        order: Groups, the largest first.
        shares: Wanted share of each part.
        reserved: Groups whose part is settled beforehand.

    Returns:
        int64 (groups,), the part of each group.
    """
    totals = sizes.sum(axis=0).tolist()
    held = [[0, 0] for _ in shares]
    part = np.zeros(len(sizes), dtype=np.int64)
    for group in [*reserved, *(each for each in order if each not in reserved)]:
        added = sizes[group].tolist()

        def excess(number: int, added: list[int] = added) -> tuple[float, float]:
            beyond = sum(
                new * (2 * old + new) / total
                for new, old, total in zip(added, held[number], totals, strict=True)
            )
            return beyond / shares[number], sum(held[number]) / shares[number]

        chosen = reserved[group] if group in reserved else min(range(len(shares)), key=excess)
        held[chosen] = [old + new for old, new in zip(held[chosen], added, strict=True)]
        part[group] = chosen
    return part


def _one_of_each(
    sizes: NDArray[np.int64], smallest_first: Sequence[int], shares: Sequence[float]
) -> dict[int, int]:
    """Reserves for each part a small group with both labels, or one of each, so that none lacks a label."""
    parts = sorted(range(len(shares)), key=lambda number: shares[number])
    both = [group for group in smallest_first if sizes[group].all()]
    reserved = dict(zip(both, parts, strict=False))
    for label in (0, 1):
        alone = [group for group in smallest_first if sizes[group, label] and not sizes[group, 1 - label]]
        reserved |= dict(zip(alone, parts[len(both) :], strict=False))
    return reserved


def _count_groups(labels: ArrayLike, groups: ArrayLike) -> tuple[int, int]:
    """How many groups have a record of label 0, and of label 1."""
    y, names = np.asarray(labels), np.asarray(groups)
    return len(np.unique(names[y == 0])), len(np.unique(names[y == 1]))


def _tell(labels: ArrayLike, groups: ArrayLike) -> str:
    negative, positive = _count_groups(labels, groups)
    return (
        f"there are {positive} positive and {negative} negative (whoever shares a picture counts as one, and an image "
        "or file of unknown patient does)"
    )


def _find_crossing(table: pd.DataFrame, column: str) -> list[pd.DataFrame]:
    """The records of each value of a column that stands in more than one part."""
    parts = table.groupby(column)["split"].nunique()
    return [table[table[column] == name] for name in parts.index[parts > 1]]


def _where(rows: pd.DataFrame) -> str:
    return ", ".join(f"{path} in {split}" for path, split in zip(rows["path"], rows["split"], strict=True))
