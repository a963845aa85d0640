"""What every request passes first: an id, who asks, from where, how often, and the headers of every answer."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect

from breastlens.serve.measures import Measures
from breastlens.serve.problems import MEDIA_TYPE, ProblemError
from breastlens.serve.tokens import RateLimiter, Tokens

logger = logging.getLogger("breastlens.serve")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUEST_ID = "x-request-id"
INTERNAL = "It is no fault of yours. The service's log names the request."
_CLIENT_GONE = 499
"""What is logged where nobody waited for an answer any more."""

ROUTE = "breastlens.route"
"""Where in a scope a route that answers directly says what it is called in the log."""

CLIENT = "breastlens.client"
"""Where in a scope stands whose request it is: the name of a token, else the address it came from."""

_OPEN = ("/healthz", "/readyz")
GUARDED = ("/v1/", "/metrics", "/openapi.json")
"""Where the paths begin that not everybody may ask."""
REFUSED = (401, 403, 429)
"""What they answer to whom may not."""
_SAME_SITE = {"same-origin", "none"}

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Rules:
    """Who may ask.

    Attributes:
        tokens: Bearer tokens; None where everybody who reaches the service may ask.
        rate: How often each token may ask; without tokens, all together.
        hosts: Names of this service that a request may be sent to, without port; empty for any. It keeps a page that
            points its own name at this machine from reading answers.
        origins: Pages of other places that may ask.
        any_number: Whether any IP address is among the hosts. No page can point such a name elsewhere.
    """

    tokens: Tokens | None
    rate: RateLimiter
    hosts: Sequence[str]
    origins: Sequence[str]
    any_number: bool = False

    def answers_for(self, host: str | None) -> bool:
        """Whether a request may name this host, which has no port."""
        return not self.hosts or host in self.hosts or (self.any_number and _is_number(host))


class Front:
    """An ASGI application around the service's own."""

    def __init__(
        self,
        app: App,
        rules: Rules,
        measures: Measures,
        *,
        direct: Mapping[tuple[str, str], App] = MappingProxyType({}),
    ) -> None:
        """Take the service.

        Args:
            app: The service.
            rules: Who may ask.
            measures: Where to count.
            direct: What answers a method and path itself.
        """
        self._app, self._rules, self._measures, self._direct = app, rules, measures, direct

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass on what is none."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        request_id, begun = secrets.token_hex(8), time.perf_counter()
        scope.setdefault("state", {})["request_id"] = request_id
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        more = {REQUEST_ID: request_id} | _HEADERS | self._cross_origin(headers)
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.encode(), value.encode())
                        for name, value in more.items()
                        if name.encode() not in own
                    ),
                ]
            await send(message)

        try:
            if _is_preflight(scope, headers) and more.keys() & {"access-control-allow-origin"}:
                await _send(send_with_headers, 204, b"", {})
            else:
                self._check(scope, headers)
                app = self._direct.get((scope["method"], scope["path"]), self._app)
                await app(scope, receive, send_with_headers)
        except ProblemError as problem:
            if status == 0:
                await send_problem(send_with_headers, problem, request_id)
        except ClientDisconnect:
            status = _CLIENT_GONE
        except Exception as error:
            # Neither the message nor the place: both may hold what was sent.
            logger.critical("request %s failed: %s", request_id, type(error).__name__)
            logger.debug("request %s", request_id, exc_info=True)
            if status == 0:
                await send_problem(send_with_headers, ProblemError("internal", INTERNAL), request_id)
        finally:
            self._note(scope, request_id, status, time.perf_counter() - begun)

    def _check(self, scope: Scope, headers: Mapping[bytes, str]) -> None:
        """Refuse who may not ask.

        Raises:
            ProblemError: Wrong place, no valid token, or too often.
        """
        path = scope["path"]
        if path in _OPEN:
            return
        rules = self._rules
        if not rules.answers_for(_name_of_host(headers.get(b"host", ""))):
            self._refuse(
                "host",
                "forbidden",
                "The request names another host than this service answers for; --allow-host adds a name.",
            )
        origin = headers.get(b"origin")
        foreign = headers.get(b"sec-fetch-site", "none") not in _SAME_SITE or (
            origin is not None
            and origin not in (f"http://{headers.get(b'host')}", f"https://{headers.get(b'host')}")
        )
        if foreign and origin not in rules.origins and path.startswith(GUARDED):
            self._refuse("origin", "forbidden", "A page of another place may not ask this service.")
        if not path.startswith(GUARDED):
            return
        name, peer = "", scope.get("client")
        scope[CLIENT] = peer[0] if peer else ""
        if rules.tokens is not None:
            scheme, _, token = headers.get(b"authorization", "").partition(" ")
            found = rules.tokens.find(token.strip()) if scheme.lower() == "bearer" else None
            if found is None:
                self._refuse(
                    "token",
                    "unauthorised",
                    "Send the header Authorization: Bearer TOKEN with a token of this service.",
                    {"www-authenticate": 'Bearer realm="breastlens"'},
                )
            name = scope[CLIENT] = found or ""
        wait_s = rules.rate.wait_s(name)
        if wait_s > 0:
            seconds = str(max(1, round(wait_s + 0.5)))
            self._refuse("rate", "too-many-requests", f"Ask again in {seconds} s.", {"retry-after": seconds})

    def _refuse(self, reason: str, kind: str, detail: str, headers: dict[str, str] | None = None) -> None:
        self._measures.refused.labels(reason).inc()
        raise ProblemError(kind, detail, headers=headers)

    def _cross_origin(self, headers: Mapping[bytes, str]) -> dict[str, str]:
        origin = headers.get(b"origin")
        if origin is None or origin not in self._rules.origins:
            return {}
        return {
            "access-control-allow-origin": origin,
            "access-control-allow-headers": "authorization, content-type",
            "access-control-allow-methods": "GET, POST",
            "access-control-expose-headers": f"{REQUEST_ID}, retry-after",
            "cross-origin-resource-policy": "cross-origin",
            "vary": "Origin",
        }

    def _note(self, scope: Scope, request_id: str, status: int, elapsed_s: float) -> None:
        """Count and log one request: what was asked and how it went, nothing of who or with what."""
        route = scope.get(ROUTE) or getattr(scope.get("route"), "path", None) or "other"
        self._measures.requests.labels(route, str(status)).inc()
        self._measures.request_seconds.labels(route).observe(elapsed_s)
        logger.info(
            "%s",
            json.dumps(
                {
                    "request_id": request_id,
                    "route": route,
                    "status": status,
                    "ms": round(elapsed_s * 1000, 1),
                }
            ),
        )


async def send_problem(send: Send, problem: ProblemError, request_id: str | None) -> None:
    """Answer with a problem."""
    body = json.dumps(problem.describe(request_id)).encode()
    await _send(send, problem.status, body, {"content-type": MEDIA_TYPE} | problem.headers)


async def _send(send: Send, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    pairs.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


def _is_preflight(scope: Scope, headers: Mapping[bytes, str]) -> bool:
    return scope["method"] == "OPTIONS" and b"access-control-request-method" in headers


def _is_number(host: str | None) -> bool:
    try:
        ip_address(host or "")
    except ValueError:
        return False
    return True


def _name_of_host(host: str) -> str | None:
    """The name in a Host header, without its port; None where there is none that could be compared."""
    if not host or set(host) & set("/@?# "):
        return None
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:  # half of an IPv6 address
        return None
