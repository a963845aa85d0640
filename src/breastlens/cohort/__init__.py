"""Many files become one table: reading, labelling, duplicates, splits, and images in batches."""

from breastlens.cohort.records import Cohort

__all__ = ["Cohort"]
