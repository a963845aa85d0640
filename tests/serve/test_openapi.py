"""What /openapi.json says of the service is what it does: requests are made from it, and answers held to it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from .conftest import RunningService

TOKEN = "a-token-of-twenty-letters"
# What no description in OpenAPI can say: so many patient_id as files, or one.
_CONFIG = """
[[operations]]
include-name = "POST /v1/predictions"
checks.positive_data_acceptance.expected-statuses = ["2xx", "404", "422"]
"""


def run_schemathesis(service: RunningService, folder: Path, *options: str) -> None:
    """Ask for what the description allows, and for what it forbids, and hold each answer to it."""
    (folder / "schemathesis.toml").write_text(_CONFIG)
    # The command rather than the plugin for pytest: it also tries limits, other methods and missing parameters.
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/openapi.json"),
            *("--phases", "coverage,fuzzing", "--checks", "all", "--max-examples", "30"),
            *("--generation-deterministic", "--no-color", "--continue-on-failure"),
            *options,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Operations: +7 selected / 7 total", done.stdout), done.stdout


def statuses(client: httpx.Client) -> dict[str, set[int]]:
    """Statuses that each route has answered with so far."""
    text = client.get("/metrics").text
    found: dict[str, set[int]] = {}
    for route, status in re.findall(r'breastlens_requests_total\{route="([^"]+)",status="(\d+)"\}', text):
        found.setdefault(route, set()).add(int(status))
    return found


def test_answers_are_as_described(service: RunningService, client: httpx.Client, tmp_path: Path) -> None:
    run_schemathesis(service, tmp_path)
    seen = statuses(client)
    assert {200, 404, 422} <= seen["/v1/predictions"]
    assert {200, 404, 422} <= seen["/v1/model"]
    assert {404, 422} <= seen["/v1/thumbnails/{number}"]
    for route in ("/v1/models", "/metrics", "/healthz", "/readyz"):
        assert {200, 405} <= seen[route]


@pytest.fixture(scope="module")
def guarded(
    start_service: Callable[..., RunningService], bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> RunningService:
    """A service that asks for a token."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(f"lab {TOKEN}\n")
    return start_service(bundle, "--token-file", tokens)


def test_where_a_token_is_needed_is_as_described(guarded: RunningService, tmp_path: Path) -> None:
    run_schemathesis(guarded, tmp_path, "--header", f"Authorization: Bearer {TOKEN}")
    with guarded.client(headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        seen = statuses(client)
    for route in ("/v1/predictions", "/v1/models", "/v1/model", "/metrics"):
        assert 200 in seen[route]
    assert 401 in seen["other"], "what is refused has no route yet"


def test_every_refusal_is_described(
    start_service: Callable[..., RunningService], guarded: RunningService
) -> None:
    with guarded.client() as client:
        description = client.get("/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"}).json()
        for path, operations in description["paths"].items():
            for method, operation in operations.items():
                place = path.replace("{number}", "1")
                answers = [
                    client.request(method, place),
                    client.request(method, place, headers={"Origin": "https://elsewhere.example"}),
                ]
                expected = [200, 200] if path in ("/healthz", "/readyz") else [401, 403]
                assert [answer.status_code for answer in answers] == expected, path
                for answer in answers:
                    kind = answer.headers["content-type"].partition(";")[0]
                    assert kind in operation["responses"][str(answer.status_code)]["content"], path
                assert bool(operation["security"]) == (401 in expected), path
                assert ("429" in operation["responses"]) == (401 in expected), path


def test_an_answer_with_scores_and_pictures_is_as_described(
    service: RunningService, awkward_dir: Path
) -> None:
    """What is made from the description alone is no image that has a score."""
    schemathesis = pytest.importorskip("schemathesis")
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    image = min((awkward_dir / "healthy").glob("P*.png")).read_bytes()
    with service.client() as client:
        request = client.build_request(
            "POST",
            "/v1/predictions",
            params={"map": True, "similar": 3},
            files=[("files", ("a.png", image)), ("files", ("b.png", image[:99]))],
            data={"patient_id": "P1"},
        )
        request.read()
        answer = client.send(request)
    operation: Any = schema["/v1/predictions"]["POST"]
    operation.validate_response(answer)
    scored, unreadable = answer.json()["predictions"]
    assert scored["picture"]["map"]
    assert len(scored["similar"]) == 3
    assert unreadable["problem"]
