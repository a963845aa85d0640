"""Runs the service until it is told to end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from breastlens.errors import DataError
from breastlens.machine import usable_cores
from breastlens.serve.front import Rules
from breastlens.serve.limits import ServiceLimits
from breastlens.serve.measures import Measures
from breastlens.serve.models import ModelSource, ModelTable
from breastlens.serve.pipeline import Pipeline
from breastlens.serve.service import Service

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_KEEP_ALIVE_S = 30
_BACKLOG = 1024


@dataclass(frozen=True)
class Address:
    """Where the service listens.

    Attributes:
        host: Name or number.
        port: 0 for any that is free.
    """

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK

    def own_names(self) -> tuple[str, ...]:
        """What whoever reaches it may call it without being told to: loopback, and the names that this machine has."""
        if self.is_loopback:
            return LOOPBACK
        name = socket.gethostname().lower()
        return *LOOPBACK, self.host.lower(), name, name.partition(".")[0], f"{name}.local"

    def bind(self) -> socket.socket:
        """Listen there.

        Raises:
            DataError: That is not possible.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.host, self.port))
        except OSError as error:
            listener.close()
            raise DataError(
                f"cannot listen at {self.host}, port {self.port}: {(error.strerror or str(error)).lower()}; choose "
                "another --host or --port"
            ) from error
        return listener

    def url(self, listener: socket.socket) -> str:
        """Where a browser finds it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{listener.getsockname()[1]}"


def serve(
    sources: Sequence[ModelSource],
    address: Address,
    rules: Rules,
    limits: ServiceLimits,
    *,
    workers: int | None = None,
    on_ready: Callable[[str, ModelTable], None] = lambda url, models: None,
) -> None:
    """Serve models until SIGTERM or Ctrl-C; what is in flight then is finished.

    Args:
        sources: The models; the first answers where none is named.
        address: Where to listen.
        rules: Who may ask.
        limits: What may be asked.
        workers: Decoders; None for one a processor core.
        on_ready: Told where, and what, once requests are taken.

    Raises:
        BundleError: A model cannot be used.
        DataError: The address cannot be used.
    """
    # The parser's own messages may quote what was sent.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL + 1)
    with asyncio.Runner(loop_factory=_choose_loop()) as runner:
        runner.run(_serve(sources, address, rules, limits, workers, on_ready))


def _choose_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster loop where it is installed; it is not to be had everywhere."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    make: Callable[[], asyncio.AbstractEventLoop] = new_event_loop
    return make


async def _serve(
    sources: Sequence[ModelSource],
    address: Address,
    rules: Rules,
    limits: ServiceLimits,
    workers: int | None,
    on_ready: Callable[[str, ModelTable], None],
) -> None:
    with address.bind() as listener:
        measures = Measures()
        pipeline = Pipeline(workers or usable_cores(), limits, measures)
        # Decoders start in processes of their own and models are read in a thread; meanwhile the rest is imported.
        loading = asyncio.create_task(asyncio.to_thread(ModelTable, sources))
        await asyncio.sleep(0)  # so that the thread begins
        try:
            import uvicorn

            from breastlens.serve.app import create_app
            from breastlens.serve.protocol import make_protocol

            models = await loading
        except BaseException:
            pipeline.stop()
            raise
        async with Service(models, pipeline, limits, measures) as service:
            config = uvicorn.Config(
                create_app(service, rules),
                http=make_protocol(),
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=round(limits.shutdown_s),
            )
            server = uvicorn.Server(config)
            # uvicorn raises each signal again when it has ended; by then there is nothing left to end.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: None)
            on_ready(address.url(listener), models)
            await server.serve(sockets=[listener])
