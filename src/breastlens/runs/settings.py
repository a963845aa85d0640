"""From loose values, as options or keyword arguments give them, to checked settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from breastlens.config import Settings
from breastlens.errors import DataError

Made = TypeVar("Made", bound=Settings)


def checked(kind: type[Made], values: Mapping[str, Any], spell: Callable[[str], str] = str) -> Made:
    """Make settings from values by field name.

    Args:
        kind: Which settings.
        values: Value of each field that is given; the others keep their defaults.
        spell: How the caller's user knows a field, for example as ``--image-size``.

    Raises:
        DataError: A field is unknown or its value not valid; the message names every such field once.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        # A field that may be of several types is told once, by the first of them and the words that it takes.
        problems: dict[tuple[int | str, ...], list[ErrorDetails]] = {}
        for problem in error.errors():
            problems.setdefault(problem["loc"][:1], []).append(problem)
        told = (_tell(first, others, spell) for first, *others in problems.values())
        raise DataError("; ".join(told)) from error


def _tell(problem: ErrorDetails, others: list[ErrorDetails], spell: Callable[[str], str]) -> str:
    said = problem["msg"].removeprefix("Value error, ")
    for other in others:
        if other["type"] == "literal_error":
            said += f", or {other['ctx']['expected']}"
    if not problem["loc"]:  # a rule over several fields, which names them itself
        return said
    return f"{spell(str(problem['loc'][0]))}: {said}, received {problem['input']!r}"
