"""What enters this room is checked here, once: labels, scores, thresholds and patient ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from breastlens.errors import DataError


@dataclass(frozen=True)
class Units:
    """Which images belong together when patients are drawn or averaged.

    Attributes:
        index: The unit of each image, (n,) int64 in ``0 .. count - 1``. Patients come first, in the order of
            their ids, so that the order of the records changes nothing; then the images without an id, each a unit
            of its own unless it is linked with others.
        patients: How many of the units are patients with an id.
        count: How many units there are.
    """

    index: NDArray[np.int64]
    patients: int
    count: int

    @property
    def images_without_patient(self) -> int:
        """How many images have no patient id."""
        return int(np.count_nonzero(self.index >= self.patients))

    @property
    def units_without_patient(self) -> int:
        """How many units these images make; fewer than images where some are linked."""
        return self.count - self.patients


def check_labels(y_true: ArrayLike) -> NDArray[np.int64]:
    """Return the labels as (n,) int64 of 0 and 1.

    Raises:
        DataError: There are none, they are not one-dimensional, or one of them is neither 0 nor 1.
    """
    labels = np.asarray(y_true)
    if labels.ndim != 1 or labels.size == 0:
        raise DataError(
            f"y_true must hold one label an image and at least one image, got shape {labels.shape}"
        )
    try:
        numbers = labels.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"y_true must hold 0 (negative) or 1 (positive), got {labels.dtype} values"
        ) from error
    _refuse("y_true must be 0 (negative) or 1 (positive)", numbers, (numbers != 0) & (numbers != 1))
    return numbers.astype(np.int64)


def check_scores(y_score: ArrayLike, count: int) -> NDArray[np.float64]:
    """Return the scores as (n,) float64 in [0, 1].

    Raises:
        DataError: Their number is not ``count``, or one of them is not a number from 0 to 1.
    """
    scores = check_numbers("y_score", y_score, count)
    _refuse("y_score must lie between 0 and 1", scores, (scores < 0) | (scores > 1))
    return scores


def check_numbers(name: str, values: ArrayLike, count: int) -> NDArray[np.float64]:
    """Return ``values`` as (count,) float64 without NaN or infinity.

    Raises:
        DataError: Their number is not ``count``, or one of them is not a finite number.
    """
    array = np.asarray(values)
    if array.shape != (count,):
        raise DataError(
            f"{name} must hold one number for each of the {count} labels, got shape {array.shape}"
        )
    try:
        numbers = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must hold numbers, got {array.dtype} values") from error
    _refuse(f"{name} must be finite", numbers, ~np.isfinite(numbers))
    return numbers


def check_thresholds(threshold: ArrayLike, count: int) -> NDArray[np.float64]:
    """Return the threshold of each image, float64 (count,), from one for all of them or one for each.

    Raises:
        DataError: There is another number of them, or one is not a number from 0 to 1.
    """
    try:
        values = np.asarray(threshold, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"the threshold must be a number from 0 to 1, got {threshold!r}") from error
    if values.ndim and values.shape != (count,):
        raise DataError(f"expected one threshold or one for each of {count} images, got {values.shape}")
    wrong = values[~((values >= 0.0) & (values <= 1.0))]
    if wrong.size:
        raise DataError(f"the threshold must lie between 0 and 1, as scores do, got {wrong.flat[0]}")
    return np.broadcast_to(values, (count,))


def find_units(
    patient_id: Sequence[str] | None, count: int, linked: NDArray[np.integer] | None = None
) -> Units:
    """Group images by patient; an image without an id ("" or ``patient_id`` None) stands alone, or with its likes.

    Args:
        patient_id: Patient of each image, "" where unknown; None where no patient is known.
        count: Number of images, n.
        linked: (n,) numbers; images without a patient that have the same one are a unit, such as the frames of a file
            or copies (`breastlens.cohort.records.Cohort.groups`). Patients stay as they are. None where nothing is
            linked.

    Raises:
        DataError: The number of ids or of ``linked`` is not ``count``, or an id is not text.
    """
    ids = [""] * count if patient_id is None else list(patient_id)
    if len(ids) != count:
        raise DataError(f"patient_id must hold one id for each of the {count} labels, got {len(ids)}")
    for position, value in enumerate(ids):
        if not isinstance(value, str):
            raise DataError(
                f'patient_id must be text ("" where it is unknown), got {value!r} at position {position}; '
                "read the column as text without turning empty cells into NaN"
            )
    links = np.arange(count) if linked is None else np.asarray(linked)
    if links.shape != (count,):
        raise DataError(
            f"linked must hold one number for each of the {count} labels, got shape {links.shape}"
        )
    # Python's own order of text: the same on every machine, whatever its locale.
    code = {name: number for number, name in enumerate(sorted(set(ids) - {""}))}
    patients = len(code)
    index = np.array([code.get(name, -1) for name in ids], dtype=np.int64)
    alone = index < 0
    sets, place = np.unique(links[alone], return_inverse=True)
    index[alone] = patients + place
    return Units(index=index, patients=patients, count=patients + sets.size)


def _refuse(rule: str, values: NDArray[np.float64], wrong: NDArray[np.bool_]) -> None:
    positions = np.flatnonzero(wrong)
    if positions.size:
        more = f" (and {positions.size - 1} more)" if positions.size > 1 else ""
        raise DataError(f"{rule}, got {values[positions[0]]:g} at position {positions[0]}{more}")
