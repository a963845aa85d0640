"""What a cohort holds, told to programs (JSON lines) and to people (a table of counts)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pandas as pd

from breastlens.cohort.reading import Scan
from breastlens.cohort.records import Cohort, known_categories
from breastlens.config import quote_name


def describe_json_lines(records: Scan | Cohort) -> Iterator[str]:
    """Yields one JSON object a record, in the table's order.

    ``patient_id`` is null where it is unknown; width, height, format and bits are null where the file could
    not be read. ``frame`` stands only for frames after the first, ``excluded`` only for what is left out.

    Args:
        records: What was read, labelled or not.
    """
    for row in records.table.to_dict(orient="records"):
        line = {
            "path": row["path"],
            "category": row["category"] or None,
            "image_size": row["image_size"],
            "patient_id": row["patient_id"] or None,
            **{name: None if pd.isna(row[name]) else int(row[name]) for name in ("width", "height")},
            "format": row["format"] or None,
            "bits": None if pd.isna(row["bits"]) else int(row["bits"]),
        }
        if row["frame"]:
            line["frame"] = int(row["frame"])
        if row["excluded"]:
            line["excluded"] = row["excluded"]
        yield json.dumps(line, ensure_ascii=False)


def summarise(records: Scan | Cohort) -> pd.DataFrame:
    """Counts the records of each category.

    Args:
        records: What was read, labelled or not.

    Returns:
        A row a category, the last for images outside any (""): ``category`` (quoted where a line break or
        comma in it would mislead), ``images`` (found), ``excluded``, ``patients`` (known ones), and of the
        readable images ``formats``, ``sizes`` and ``bits`` as text like "PNG 170, JPEG 7".
    """
    rows = []
    outside = [""] if (records.table["category"] == "").any() else []
    for category in [*known_categories(records.table["category"]), *outside]:
        found = records.table[records.table["category"] == category]
        readable = found[found["pixels_sha256"] != ""]
        rows.append(
            {
                "category": quote_name(category),
                "images": len(found),
                "excluded": int((found["excluded"] != "").sum()),
                "patients": found.loc[found["patient_id"] != "", "patient_id"].nunique(),
                "formats": count_values(readable["format"]),
                "sizes": count_values(name_sizes(readable)),
                "bits": count_values(readable["bits"].astype(str)),
            }
        )
    return pd.DataFrame(rows)


def count_reasons(records: Scan | Cohort, shown: int = 10) -> pd.DataFrame:
    """Counts why images are left out.

    Args:
        records: What was read, labelled or not.
        shown: Reasons named; the rest are summed up.

    Returns:
        A row a reason, the most frequent first: ``images`` and ``left_out_because`` (quoted where it has a line break
        or another invisible character); empty where nothing is left out.
    """
    left_out = records.table.loc[records.table["excluded"] != "", "excluded"]
    counts = sorted(left_out.value_counts().items(), key=lambda item: (-item[1], str(item[0])))
    rows = [(count, _on_one_line(str(reason))) for reason, count in counts[:shown]]
    if rest := counts[shown:]:
        rows.append((sum(count for _, count in rest), f"{len(rest)} other reason{'s' * (len(rest) > 1)}"))
    return pd.DataFrame(rows, columns=["images", "left_out_because"])


def _on_one_line(text: str) -> str:
    return text if text.isprintable() else repr(text)


def name_sizes(table: pd.DataFrame) -> pd.Series[str]:
    """Writes the stored size of readable images, like "640x480" for width 640 and height 480."""
    return table["width"].astype(str) + "x" + table["height"].astype(str)


def count_values(column: pd.Series[str], shown: int = 4) -> str:
    """Writes how often each value occurs, like "PNG 170, JPEG 7", the most frequent first.

    Args:
        column: Values of any kind that can be printed.
        shown: Values named; the rest are summed up.
    """
    counts = sorted(column.value_counts().items(), key=lambda item: (-item[1], str(item[0])))
    told = [f"{value} {count}" for value, count in counts[:shown]]
    if len(counts) > shown:
        told.append(f"{len(counts) - shown} others {sum(count for _, count in counts[shown:])}")
    return ", ".join(told)
