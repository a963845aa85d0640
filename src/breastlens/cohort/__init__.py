"""Many files become one table: reading, labelling, duplicates, splits, and images in batches.

``Cohort`` is loaded when it is first used: whoever only lists files, as a service does, need not wait for pandas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from breastlens.cohort.records import Cohort

__all__ = ["Cohort"]


def __getattr__(name: str) -> type[Cohort]:
    if name != "Cohort":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from breastlens.cohort.records import Cohort

    return Cohort
