"""The command that puts saved models behind HTTP, with a page on top."""

from __future__ import annotations

import importlib.util
import logging
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from breastlens.errors import DataError, MissingDependencyError

if TYPE_CHECKING:
    from breastlens.serve.models import ModelTable

_NEEDED = ("fastapi", "uvicorn", "httptools", "python_multipart", "prometheus_client")


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Run or bundle directories, the first answering by default; NAME=MODEL gives one a name.",
            show_default=False,
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any free one.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Lines NAME TOKEN: only who sends one of these tokens may ask."),
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Let everybody ask who reaches an address beyond this machine.")
    ] = False,
    rate_limit: Annotated[
        float | None,
        typer.Option(
            min=1, metavar="N", help="Requests a minute for each token; without tokens, for all together."
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Name that requests may be sent to; repeatable. [default: its own names and addresses; with "
            "--token-file, beyond this machine, any]",
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL", help="Page of another place that may ask, such as https://lab.example; repeatable."
        ),
    ] = None,
    public_key: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Serve only models signed with this Ed25519 key.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that decode. [default: processor cores]")
    ] = None,
    max_requests: Annotated[
        int, typer.Option(min=1, help="Requests at any time; further ones are told to come again.")
    ] = 128,
    max_body: Annotated[int, typer.Option(min=1, metavar="MIB", help="Of one request.")] = 256,
    max_file: Annotated[int, typer.Option(min=1, metavar="MIB", help="Of one file.")] = 64,
    decode_timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="For decoding one file.")
    ] = 20.0,
) -> None:
    """Serve saved models over HTTP, with a page to drop images on; nothing is stored."""
    for package in _NEEDED:
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(package, "serve", "serve")
    from breastlens.serve.front import Rules
    from breastlens.serve.limits import MIB, ServiceLimits
    from breastlens.serve.models import name_sources
    from breastlens.serve.run import Address
    from breastlens.serve.run import serve as run_service
    from breastlens.serve.signature import read_public_key
    from breastlens.serve.tokens import RateLimiter, read_tokens

    address = Address(host, port)
    if not address.is_loopback and token_file is None and not no_auth:
        raise DataError(
            f"--host {host} can be reached from other machines: give --token-file FILE, or say --no-auth if everybody "
            "there may ask"
        )
    tokens = None if token_file is None else read_tokens(token_file)
    key = None if public_key is None else read_public_key(public_key)
    standard = ServiceLimits()
    further_bytes = max(0, max_file * MIB - standard.reading.file_bytes)
    limits = standard.model_copy(
        update={
            "waiting": max_requests,
            "body_bytes": max_body * MIB,
            "held_bytes": max(standard.held_bytes, 2 * max_body * MIB),
            "decode_s": decode_timeout,
            "decoder_memory_bytes": standard.decoder_memory_bytes + 2 * further_bytes,
            "reading": standard.reading.model_copy(update={"file_bytes": max_file * MIB}),
        }
    )
    for origin in allow_origin or ():
        if not re.fullmatch(r"https?://[^/\s]+", origin):
            raise DataError(
                f"--allow-origin {origin}: expected a scheme and a host, such as https://lab.example"
            )
    hosts = tuple(name.lower().rpartition("://")[2].split("/")[0] for name in allow_host or ())
    # Who has a token is no page that was pointed at this machine; without tokens the name alone tells them apart.
    own_names = not hosts and (address.is_loopback or tokens is None)
    rules = Rules(
        tokens,
        RateLimiter(rate_limit),
        address.own_names() if own_names else hosts,
        tuple(allow_origin or ()),
        any_number=own_names and not address.is_loopback,
    )
    logging.getLogger("breastlens.serve").setLevel(logging.INFO)
    run_service(name_sources(models, key), address, rules, limits, workers=workers, on_ready=_announce)
    print("Stopped.")


def _announce(url: str, models: ModelTable) -> None:
    for name in models.names:
        model = models.get(name)
        if model is not None:
            print(f"Model {name}, version {model.version}")
    print(f"Serving at {url} for research use only; Ctrl-C ends it.")
    sys.stdout.flush()
