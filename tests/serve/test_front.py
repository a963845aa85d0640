"""What every request passes first: hosts, pages of other places, tokens, headers, and what is logged."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import httpx
import pytest

from breastlens.serve.front import Front, Rules
from breastlens.serve.measures import Measures
from breastlens.serve.problems import ProblemError
from breastlens.serve.tokens import RateLimiter, Tokens

TOKEN = "a-token-of-twenty-letters"
OPEN = Rules(None, RateLimiter(None), (), ())
SECRETS = ("name-of-a-file", "patient-17", "cookie-value")


async def _app(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/v1/fails":
        raise ValueError(f"about {SECRETS[0]}")
    if scope["path"] == "/v1/problem":
        raise ProblemError("busy", "Later.", headers={"retry-after": "7"})
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello"})


def ask(
    rules: Rules, path: str = "/v1/model", *, method: str = "GET", host: str = "me:8000", **headers: str
) -> httpx.Response:
    async def run() -> httpx.Response:
        front = Front(_app, rules, Measures())
        transport = httpx.ASGITransport(app=front, raise_app_exceptions=False)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.request(method, path, headers=named)

    return asyncio.run(run())


@pytest.mark.parametrize("path", ["/", "/v1/model", "/v1/fails", "/v1/problem", "/healthz"])
def test_every_answer_has_strict_headers_and_an_id(path: str) -> None:
    answer = ask(OPEN, path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src 'self'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert len(answer.headers["x-request-id"]) == 16
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["x-request-id"] != ask(OPEN, path).headers["x-request-id"]


def test_tokens_guard_all_but_page_and_health() -> None:
    rules = Rules(Tokens({"lab": TOKEN}), RateLimiter(None), (), ())
    for path in ("/v1/model", "/metrics", "/openapi.json", "/v1/predictions"):
        for given in (
            {},
            {"authorization": "Bearer"},
            {"authorization": f"Bearer {TOKEN}x"},
            {"authorization": f"Basic {TOKEN}"},
        ):
            answer = ask(rules, path, **given)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.json()["type"].endswith("unauthorised")
        assert ask(rules, path, authorization=f"Bearer {TOKEN}").status_code == 200
        assert ask(rules, path, authorization=f"bearer  {TOKEN}").status_code == 200
    for path in ("/", "/style.css", "/healthz", "/readyz"):
        assert ask(rules, path).status_code == 200


def test_each_token_has_its_own_rate() -> None:
    rules = Rules(Tokens({"lab": TOKEN, "clinic": f"{TOKEN}2"}), RateLimiter(2, clock=lambda: 0.0), (), ())
    lab, clinic = ({"authorization": f"Bearer {TOKEN}{end}"} for end in ("", "2"))
    assert [ask(rules, **lab).status_code for _ in range(3)] == [200, 200, 429]
    assert ask(rules, **clinic).status_code == 200
    assert ask(rules, **lab).headers["retry-after"] == "30"
    assert ask(rules, "/healthz", **lab).status_code == 200


def test_only_its_own_names_are_answered_for() -> None:
    rules = Rules(None, RateLimiter(None), ("127.0.0.1", "localhost", "::1"), ())
    for host in ("127.0.0.1:8000", "localhost", "[::1]:8000", "LOCALHOST:1"):
        assert ask(rules, host=host).status_code == 200, host
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost:8000@evil.example", "[", "[::1", "a]b"):
        answer = ask(rules, host="localhost", Host=host)
        assert answer.status_code == 403, host
    assert ask(rules, "/healthz", host="probe.example").status_code == 200


def test_beyond_this_machine_any_number_is_answered_for_and_no_foreign_name() -> None:
    rules = Rules(None, RateLimiter(None), ("localhost", "lab-7"), (), any_number=True)
    for host in ("192.0.2.7:8000", "[2001:db8::7]:8000", "lab-7", "LAB-7:8000", "localhost"):
        assert ask(rules, host=host).status_code == 200, host
    for host in ("evil.example", "192.0.2.7.evil.example", "lab-7.evil.example", "192.0.2", "", "0x7f000001"):
        answer = ask(rules, host="localhost", Host=host)
        assert answer.status_code == 403, host
        assert "--allow-host" in answer.json()["detail"]


def test_a_page_of_another_place_may_not_ask() -> None:
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://me"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site", "origin": "http://other.me:8000"},
    ):
        assert ask(OPEN, "/v1/predictions", method="POST", **headers).status_code == 403, headers
    for headers in (
        {},
        {"origin": "http://me:8000"},
        {"origin": "https://me:8000", "sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
    ):
        assert ask(OPEN, "/v1/predictions", method="POST", **headers).status_code == 200, headers
    assert ask(OPEN, "/", sec_fetch_site="cross-site").status_code == 200, "a link to the page works"


def test_a_page_that_was_named_may_ask() -> None:
    rules = Rules(None, RateLimiter(None), (), ("https://lab.example",))
    headers = {"origin": "https://lab.example", "sec_fetch_site": "cross-site"}
    answer = ask(rules, **headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://lab.example"
    assert answer.headers["vary"] == "Origin"
    before = ask(rules, "/v1/predictions", method="OPTIONS", access_control_request_method="POST", **headers)
    assert before.status_code == 204
    assert "authorization" in before.headers["access-control-allow-headers"]
    other = ask(rules, origin="https://evil.example", sec_fetch_site="cross-site")
    assert other.status_code == 403
    assert "access-control-allow-origin" not in other.headers


def test_what_fails_inside_is_told_without_what_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        answer = ask(OPEN, f"/v1/fails?{SECRETS[1]}", cookie=SECRETS[2])
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] in caplog.text
    assert not any(secret in _own(caplog) + answer.text for secret in SECRETS)
    later = ask(OPEN, "/v1/problem")
    assert later.status_code == 503
    assert later.headers["retry-after"] == "7"


def test_the_log_has_a_line_a_request_and_no_path(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "breastlens.serve"):
        answer = ask(OPEN, f"/v1/{SECRETS[0]}?x={SECRETS[1]}", cookie=SECRETS[2])
    [record] = [one for one in caplog.records if one.name == "breastlens.serve"]
    said = json.loads(record.getMessage())
    assert said.keys() == {"request_id", "route", "status", "ms"}
    assert said["request_id"] == answer.headers["x-request-id"]
    assert not any(secret in _own(caplog) for secret in SECRETS)


def _own(caplog: pytest.LogCaptureFixture) -> str:
    """What was logged by the service, not by the tests' client."""
    return "\n".join(one.getMessage() for one in caplog.records if one.name.startswith("breastlens"))
