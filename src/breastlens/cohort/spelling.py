"""Finding the name somebody meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def find_similar(name: str, known: Iterable[str]) -> str | None:
    """Gives the known name closest to a misspelt one, ignoring case, or None if none is close."""
    by_lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), list(by_lower), n=1)
    return by_lower[close[0]] if close else None
