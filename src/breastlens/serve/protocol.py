"""HTTP/1.1 through uvicorn; a connection that only waits, or sends without end where nobody reads, is closed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from breastlens.serve.problems import MEDIA_TYPE, ProblemError

HEADERS_WITHIN_S = 10.0
BODY_AFTER_ANSWER_S = 5.0
"""How long a body may still come that nobody reads any more; closed at once, the client might lose its answer."""
MOST_HEADER_BYTES = 64 * 1024


def make_protocol() -> type[asyncio.Protocol]:
    """The protocol for ``uvicorn.Config``."""
    return _GuardedProtocol


class _GuardedProtocol(HttpToolsProtocol):
    _overdue: asyncio.TimerHandle | None = None
    _header_bytes = 0
    _in_headers = True

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._overdue = self.loop.call_later(HEADERS_WITHIN_S, transport.close)

    def data_received(self, data: bytes) -> None:
        if self._in_headers:
            if self._header_bytes > MOST_HEADER_BYTES:
                self.transport.close()
                return
            self._header_bytes += len(data)  # the last piece may hold the beginning of the body, too
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._in_headers, self._header_bytes = True, 0
        if self._overdue is None:
            self._overdue = self.loop.call_later(HEADERS_WITHIN_S, self.transport.close)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_headers:  # fields behind a chunked body, of which there might be any number
            self.transport.close()
            return
        super().on_header(name, value)

    def send_400_response(self, msg: str) -> None:
        problem = ProblemError("bad-request", "It is no HTTP/1.1 request.").describe()
        body = json.dumps(problem).encode()
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        cycle = self.cycle
        if cycle is not None and cycle.response_complete and cycle.more_body and self._overdue is None:
            self._overdue = self.loop.call_later(BODY_AFTER_ANSWER_S, self.transport.close)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
        super().connection_lost(exc)
