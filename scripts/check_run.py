#!/usr/bin/env python3
"""Check a run directory without BreastLens: nothing but Python's standard library and the files themselves.

    python scripts/check_run.py RUN

It recomputes from records.csv that no patient and no image stands in two parts of the split, from predictions.csv
that every judged image was scored once, and from both the AUC, accuracy and confusion matrix of metrics.json.
Exit code 0 if all of it holds, 1 with the first thing that does not.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

PARTS = {"test": "test", "out_of_fold": None, "external": "external"}


def main(run: Path) -> str:
    """Give one line that says what was found to hold; raise SystemExit with what does not."""
    records = list(csv.DictReader((run / "records.csv").open(encoding="utf-8", newline="")))
    predictions = list(csv.DictReader((run / "predictions.csv").open(encoding="utf-8", newline="")))
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))

    used = [record for record in records if not record["excluded"]]
    for column in ("patient_id", "pixels_sha256"):
        places = defaultdict(set)
        for record in used:
            if record[column]:
                places[record[column]].add(record["split"])
        crossing = sorted(value for value, parts in places.items() if len(parts) > 1)
        require(
            not crossing, f"{len(crossing)} values of {column} stand in two parts, such as {crossing[:3]}"
        )
    require(all(record["split"] for record in used), "a record that is used has no part")

    part = next(name for name in PARTS if name in metrics)
    judged = [row for row in predictions if PARTS[part] in (None, row["split"])]
    scored = Counter(row["path"] for row in judged)
    expected = Counter(record["path"] for record in used if PARTS[part] in (None, record["split"]))
    require(scored == expected, "the judged images are not scored exactly once each")

    positive = [float(row["y_score"]) for row in judged if row["y_true"] == "1"]
    negative = [float(row["y_score"]) for row in judged if row["y_true"] == "0"]
    block = metrics[part]
    cells = Counter((row["y_true"], row["y_pred"]) for row in judged)
    matrix = [[cells["0", "0"], cells["0", "1"]], [cells["1", "0"], cells["1", "1"]]]
    require(matrix == block["confusion_matrix"], f"the confusion matrix is {matrix}")
    accuracy = (matrix[0][0] + matrix[1][1]) / len(judged)
    require(abs(accuracy - block["accuracy"]) < 1e-12, f"the accuracy is {accuracy}")
    if positive and negative:
        won = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
        auc = won / (len(positive) * len(negative))
        require(abs(auc - block["auc"]) < 1e-12, f"the AUC is {auc}")
    return f"{part}: {len(judged)} images once each, nothing crosses the split, AUC {block['auc']}, accuracy {accuracy}"


def require(holds: bool, otherwise: str) -> None:
    """Stop with exit code 1 and one line unless something holds."""
    if not holds:
        raise SystemExit(f"check failed: {otherwise}")


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
