"""Marks in the images: that there are any, and whether they go with the label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breastlens.audit.acquisition import FEWEST_DRAWS, TELLING_EFFECT, TELLING_P_VALUE
from breastlens.audit.association import (
    compare_categories,
    cramers_v,
    find_blocks,
    permutation_p_values,
)
from breastlens.audit.finding import Evidence, Finding, name_records, say_count
from breastlens.evaluation.significance import holm
from breastlens.imaging.marks import Kind, Marks

KIND_NAMES: dict[Kind, str] = {
    "text": "letters",
    "cross": "calliper crosses",
    "line": "lines",
    "colour": "colour",
    "square": "squares",
}
"""What people call each kind, in several; in the order in which they are told."""


def find_mark_problems(
    rows: pd.DataFrame,
    marks: Sequence[Marks],
    *,
    seed: int = 0,
    groups: NDArray[np.int64] | None = None,
) -> Iterator[Finding]:
    """Tells of marks in the images, and whether they go with the label.

    Args:
        rows: The images; ``path``, ``label`` and ``patient_id`` are used.
        marks: Those of each.
        seed: Of the permutations.
        groups: (n,) what stays together in every split (`Cohort.groups`); None to go by ``patient_id`` alone.
    """
    marked = np.array([bool(each.boxes) for each in marks], dtype=bool)
    count, records = int(marked.sum()), name_records(rows.loc[marked, "path"])
    if not count:
        return
    kinds = Counter(kind for each in marks for kind in set(each.kinds))
    told = ", ".join(f"{KIND_NAMES[kind]} {kinds[kind]}" for kind in KIND_NAMES if kinds[kind])
    sure = max(each.confidence for each in marks)
    yield Finding(
        code="burned-in-marks",
        severity="info",
        what=f"{count} of {say_count(len(rows), 'image')} {'has' if count == 1 else 'have'} marks that are not the "
        f"breast ({told}).",
        count=count,
        records=records,
        advice="Look at them: a name must go, and a mark set by who knew the diagnosis gives it away.",
        evidence=Evidence(
            name="share right by eye", value=sure, method="lower end of a 95 % interval, surest kind"
        ),
    )
    yield from _find_telling_marks(rows, marks, marked, seed, groups)


def _find_telling_marks(
    rows: pd.DataFrame,
    marks: Sequence[Marks],
    marked: NDArray[np.bool_],
    seed: int,
    groups: NDArray[np.int64] | None,
) -> Iterator[Finding]:
    """Tests marks of any kind and of each kind, and tells of the one that goes with the label most strongly."""
    labels = rows["label"].to_numpy(dtype=np.int64)
    present = {"any mark": marked}
    for kind, name in KIND_NAMES.items():
        present[name] = np.array([kind in each.kinds for each in marks], dtype=bool)
    tested = {name: has for name, has in present.items() if has.any() and not has.all()}
    if not tested or np.unique(labels).size < 2:
        return
    blocks = find_blocks(labels, rows["patient_id"].tolist(), groups)
    statistics = [
        compare_categories(has.astype(str), np.arange(labels.size), blocks) for has in tested.values()
    ]
    chances = holm(permutation_p_values(statistics, labels, blocks, seed=seed, draws=FEWEST_DRAWS))
    strengths = [cramers_v(has.astype(str), labels, blocks) for has in tested.values()]
    telling = [
        (strength, chance, name)
        for strength, chance, name in zip(strengths, chances, tested, strict=True)
        if strength >= TELLING_EFFECT and chance < TELLING_P_VALUE
    ]
    if telling:
        strength, chance, name = max(telling)
        has = tested[name]
        shares = [float(has[labels == label].mean()) for label in (1, 0)]
        yield Finding(
            code="marks-tell-label",
            severity="warning",
            what=f"Marks go with the label (Cramer's V {strength:.2f}): {name} in {shares[0]:.0%} of positive and "
            f"{shares[1]:.0%} of negative images.",
            count=int(has.sum()),
            records=name_records(rows.loc[has, "path"]),
            advice="A network can read them instead of the breast: use images without marks, or crop them away.",
            evidence=Evidence(
                name="Cramer's V",
                value=strength,
                method=f"{FEWEST_DRAWS} permutations of labels over patients, p {chance:.2g} after Holm's correction "
                f"for {len(tested)} kinds of marks",
            ),
        )
