"""A small load generator for loopback: many connections, as fast as they are answered or at a rate of its own.

Run by ``benchmarks/serve.py`` as ``python benchmarks/load_client.py URL IMAGE... --connections 64 --seconds 10``; it
prints one line of JSON. With ``--rate`` requests begin at random moments, whether or not earlier ones were answered,
and a latency counts from the moment at which its request was due, so that a service that stalls cannot hide it.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import random
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

MOST_LOST = 1000
_BOUNDARY = "load"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """One connection that asks one thing after the other."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._head, self._left, self._status = b"", 0, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer that is still owed fails."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("closed"))

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer."""
        if self._left == 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            found = _LENGTH.search(self._head, 0, end)
            self._status = int(self._head[9:12])
            self._left = (int(found[1]) if found else 0) - (len(self._head) - end - 4)
            self._head = b""
        else:
            self._left -= len(data)
        if self._left <= 0 and self._answer is not None:
            self._left = 0
            self._answer.set_result(self._status)

    def ask(self, request: bytes) -> asyncio.Future[int]:
        """Send a request; its status comes later."""
        self._answer = asyncio.get_running_loop().create_future()
        if self.transport is None or self.transport.is_closing():
            self._answer.set_exception(ConnectionError("closed"))
        else:
            self.transport.write(request)
        return self._answer


Ask = Callable[[Connection, float], Awaitable[None]]


async def load(
    url: str, requests: list[bytes], connections: int, seconds: float, rate: float | None, count: int | None
) -> dict[str, object]:
    """Ask for a while.

    Args:
        url: Of the service.
        requests: What to send, in turn.
        connections: How many.
        seconds: How long, unless ``count`` ends it before.
        rate: Requests a second at random moments; None for as fast as possible.
        count: Requests at most.
    """
    loop, place = asyncio.get_running_loop(), urlsplit(url)
    idle: asyncio.Queue[Connection] = asyncio.Queue()

    async def connect() -> Connection:
        _, made = await loop.create_connection(Connection, str(place.hostname), place.port or 80)
        return made

    for _ in range(connections):
        idle.put_nowait(await connect())
    latencies: list[float] = []
    statuses: collections.Counter[int] = collections.Counter()
    begun = loop.time()
    sent = 0

    async def ask(connection: Connection, due: float) -> None:
        nonlocal sent
        sent += 1
        try:
            statuses[await connection.ask(requests[sent % len(requests)])] += 1
            latencies.append(loop.time() - due)
        except ConnectionError:
            statuses[0] += 1
            if statuses[0] > MOST_LOST:
                raise
            connection = await connect()
        idle.put_nowait(connection)

    def goes_on() -> bool:
        return loop.time() - begun < seconds and (count is None or sent < count)

    async def as_fast_as_answered() -> None:
        connection = await idle.get()
        while goes_on():
            await ask(connection, loop.time())
            connection = await idle.get()

    if rate is None:
        await asyncio.gather(*(as_fast_as_answered() for _ in range(connections)))
    else:
        await _at_random_moments(ask, idle, rate, goes_on)
    elapsed = loop.time() - begun
    ordered = sorted(latencies)
    return {
        "requests": len(ordered),
        "elapsed_s": elapsed,
        "a_second": len(ordered) / elapsed,
        "statuses": dict(statuses),
        "mean_s": sum(ordered) / max(1, len(ordered)),
        **{
            f"p{share}_s": ordered[int(len(ordered) * share / 100)] if ordered else None
            for share in (50, 95, 99)
        },
        "processor_s": time.process_time(),
    }


async def _at_random_moments(
    ask: Ask, idle: asyncio.Queue[Connection], rate: float, goes_on: Callable[[], bool]
) -> None:
    """Requests with exponential gaps; one that finds no free connection waits for it, and its latency with it."""
    loop, generator = asyncio.get_running_loop(), random.Random(0)
    due, running = loop.time(), set[asyncio.Task[None]]()
    while goes_on():
        due += generator.expovariate(rate)
        if due > loop.time():
            await asyncio.sleep(due - loop.time())
        task = asyncio.create_task(_when_free(ask, idle, due))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)


async def _when_free(ask: Ask, idle: asyncio.Queue[Connection], due: float) -> None:
    await ask(await idle.get(), due)


def make_request(url: str, field: str, image: bytes) -> bytes:
    """One POST with one file."""
    place = urlsplit(url)
    body = (
        (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="a.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        ).encode()
        + image
        + f"\r\n--{_BOUNDARY}--\r\n".encode()
    )
    head = (
        f"POST {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n\r\n"
    )
    return head.encode() + body


def main() -> None:
    """Read the command line, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("url")
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--field", default="files")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--count", type=int)
    arguments = parser.parse_args()
    requests = [make_request(arguments.url, arguments.field, path.read_bytes()) for path in arguments.images]
    asked = load(
        arguments.url, requests, arguments.connections, arguments.seconds, arguments.rate, arguments.count
    )
    try:
        import uvloop
    except ImportError:
        print(json.dumps(asyncio.run(asked)))
    else:
        print(json.dumps(uvloop.run(asked)))


if __name__ == "__main__":
    main()
