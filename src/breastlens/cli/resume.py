"""`--resume RUN`: the command as it was given when the run was begun, unless it is given otherwise now."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from breastlens.errors import RunDirectoryError

_OF_EACH_TIME = frozenset({"out", "resume", "quiet", "as_json"})
"""What is given anew each time."""

_MAY_DIFFER = frozenset({"on", "tensorboard", "track"})
"""What is as it was unless it is given otherwise: it changes nothing about the result."""


def resumable(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command with the option ``resume`` take everything else from the run that was begun.

    What is given besides must be what was given then, or the run is not gone on with. The command gets one argument
    more, ``arguments``: what decides its job, as JSON can say it, folders and files by their whole paths.
    """

    @functools.wraps(command)
    def run(context: typer.Context, **values: Any) -> None:
        if values["resume"] is None:
            arguments = {
                name: _plain(name, value) for name, value in values.items() if name not in _OF_EACH_TIME
            }
        else:
            values, arguments = _restored(context, values, paths)
        command(arguments=arguments, **values)

    asked = dict(inspect.signature(command).parameters)
    del asked["arguments"]
    paths = {name for name, option in asked.items() if _is_path(option.annotation)}
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    # Typer looks at both.
    run.__signature__ = inspect.Signature([context, *asked.values()])  # type: ignore[attr-defined]
    run.__annotations__ = {name: option.annotation for name, option in asked.items()} | {
        "context": typer.Context
    }
    return run


def _is_path(annotation: Any) -> bool:
    """Whether an option, ``Annotated[...]``, is a path or nothing."""
    kind = typing.get_args(annotation)[0]
    return kind is Path or Path in typing.get_args(kind)


def _restored(
    context: typer.Context, values: dict[str, Any], paths: set[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the command was given when the run was begun, for the command and as it was kept."""
    from breastlens.runs.job import begun_otherwise, read_purpose

    out = values["resume"]
    if values["out"] not in (None, out):
        raise RunDirectoryError(
            f"--resume {out} makes {out}, and --out says {values['out']}; leave out --out"
        )
    before = read_purpose(out).arguments
    if not before:
        raise RunDirectoryError(f"{out} was not begun by this command: whoever began it goes on with it")
    restored = dict(values) | {"out": out}
    for parameter in context.command.params:
        name = parameter.name or ""
        if name not in before:
            continue
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            now = _plain(name, values[name])
            if now != before[name] and name not in _MAY_DIFFER:
                spelt = parameter.opts[0] if parameter.param_type_name == "option" else "DATA"
                raise begun_otherwise(out, [f"{spelt} was {_told(before[name])}, is {_told(now)}"])
        else:
            is_path = name in paths and before[name] is not None
            restored[name] = Path(before[name]) if is_path else before[name]
    return restored, before


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(name, each) for each in value]
    if isinstance(value, Path) or (name == "weights" and Path(value).exists()):
        return str(Path(value).absolute())
    return value


def _told(value: Any) -> str:
    return "not given" if value in (None, []) else str(value)
