"""`--resume RUN`: the command as it was given when the run was begun, unless it is given otherwise now."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from breastlens.errors import RunDirectoryError

_NOT_OF_THE_JOB = frozenset({"out", "resume", "quiet", "as_json", "cache_limit", "on", "workers"})
"""What may be given anew each time: it changes nothing about the result."""


def resumable(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command with the option ``resume`` take everything else from the run that was begun.

    What is given besides must be what was given then, or the run is not gone on with.
    """

    @functools.wraps(command)
    def run(**values: Any) -> None:
        if values["resume"] is not None:
            values = _restored(values)
        command(**values)

    run.__signature__ = inspect.signature(command)  # type: ignore[attr-defined]
    return run


def given_arguments() -> dict[str, Any]:
    """What decides the job of the running command, as JSON can say it; folders and files by their whole paths."""
    context = click.get_current_context()
    if context.params["resume"] is not None:
        return dict(context.meta[__name__])
    return {
        name: _plain(name, value) for name, value in context.params.items() if name not in _NOT_OF_THE_JOB
    }


def _restored(values: dict[str, Any]) -> dict[str, Any]:
    from breastlens.runs.job import begun_otherwise, read_arguments

    context = click.get_current_context()
    out = values["resume"]
    if values["out"] not in (None, out):
        raise RunDirectoryError(
            f"--resume {out} makes {out}, and --out says {values['out']}; leave out --out"
        )
    before = read_arguments(out)
    if not before:
        raise RunDirectoryError(f"{out} was not begun by this command: whoever began it goes on with it")
    restored = dict(values) | {"out": out}
    for parameter in context.command.params:
        name = parameter.name or ""
        if name not in before:
            continue
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            now = _plain(name, values[name])
            if now != before[name]:
                raise begun_otherwise(
                    out, [f"{_spelt(parameter, context)} was {_told(before[name])}, is {_told(now)}"]
                )
        else:
            restored[name] = parameter.type_cast_value(context, before[name])
    context.meta[__name__] = before
    return restored


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(name, each) for each in value]
    if isinstance(value, Path) or (name == "weights" and Path(value).exists()):
        return str(Path(value).absolute())
    return value


def _spelt(parameter: click.Parameter, context: click.Context) -> str:
    return parameter.opts[0] if isinstance(parameter, click.Option) else parameter.make_metavar(context)


def _told(value: Any) -> str:
    return "not given" if value in (None, []) else str(value)
