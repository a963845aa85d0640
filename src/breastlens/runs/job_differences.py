"""What differs between what a job was begun with and what it is to go on with, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

_NAMED = 3
"""Images that a difference names; the others are counted."""

_SECTIONS = {
    "recipe": "",
    "image": "",
    "labels": "",
    "weights": "weights of ",
    "versions": "",
}


def name_differences(
    before: Mapping[str, Any], now: Mapping[str, Any], images_before: pd.DataFrame, images_now: pd.DataFrame
) -> list[str]:
    """Name what differs.

    Args:
        before: The purpose of the job, by section.
        now: What it is to be now.
        images_before: A row an image, all text: path, frame, and what must stay as it was.
        images_now: The same now.

    Returns:
        A piece of a sentence each; empty where all is the same.
    """
    found = []
    for section, prefix in _SECTIONS.items():
        old, new = before[section], now[section]
        found += [
            f"{prefix}{name.replace('_', ' ')} was {_told(old.get(name))}, is {_told(new.get(name))}"
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ]
    return found + _name_images(images_before, images_now)


def _told(value: Any) -> str:
    if value is None:
        return "not given"
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _name_images(before: pd.DataFrame, now: pd.DataFrame) -> list[str]:
    key = ["path", "frame"]
    old, new = (
        dict(zip(zip(*(table[name] for name in key), strict=True), _rest(table, key), strict=True))
        for table in (before, now)
    )
    told = []
    for said, paths in (
        ("gone", [path for path, _ in old.keys() - new.keys()]),
        ("new", [path for path, _ in new.keys() - old.keys()]),
        ("changed", [each[0] for each in old.keys() & new.keys() if old[each] != new[each]]),
    ):
        if paths:
            some = ", ".join(sorted(set(paths))[:_NAMED])
            more = ", ..." if len(set(paths)) > _NAMED else ""
            images = "1 image is" if len(paths) == 1 else f"{len(paths)} images are"
            told.append(f"{images} {said} ({some}{more})")
    return told


def _rest(table: pd.DataFrame, key: list[str]) -> list[tuple[str, ...]]:
    return list(zip(*(table[name] for name in table if name not in key), strict=True))
