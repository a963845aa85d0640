"""Finding the name somebody meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def find_similar(name: str, known: Iterable[str]) -> str | None:
    """Gives the known name closest to a misspelt one, ignoring case, or None if none is close."""
    by_lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), list(by_lower), n=1)
    return by_lower[close[0]] if close else None


def same_but_for_case(name: str, known: Iterable[str]) -> str | None:
    """Gives the first known name that differs from a name only in capitals or blanks, or None."""
    return next((each for each in known if each != name and _plain(each) == _plain(name)), None)


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()
